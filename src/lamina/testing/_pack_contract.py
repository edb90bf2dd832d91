"""The contracts of codecs and packs, as classes that the tests of an implementation inherit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.errors import CorruptionError, LaminaError, NotFoundError
from lamina.storage.frames import Bytes, Coding
from lamina.storage.packs import PackFolder, PackHome, PackWriter, StoredPack, read_pack
from lamina.storage.shards import Encoded, ObjectKind, encode_object, hash_content

__all__ = ["CodecTests", "PackTests", "sample_frames"]


def sample_frames(width: int) -> list[Bytes]:
    """Return frames of many kinds for elements of ``width`` bytes: noise, zeros, few values, sparse, short ones."""
    rng = np.random.default_rng(width)
    count = 65_536 // width
    sparse = np.zeros(count * width, np.uint8)
    sparse[rng.choice(sparse.size, 40, replace=False)] = 7
    frames = [
        rng.integers(0, 256, count * width, np.uint8),
        np.zeros(count * width, np.uint8),
        rng.integers(0, 3, count * width, np.uint8),
        sparse,
        np.arange(7 * width, dtype=np.uint8),
        rng.integers(0, 256, width, np.uint8),
    ]
    if width in (4, 8):
        frames.append((rng.standard_normal(count) * 0.02).astype(f"f{width}").view(np.uint8))
    return frames


class CodecTests:
    """What every codec of bytes to bytes keeps to. Subclasses say how to encode and decode."""

    widths: Sequence[int] = (1, 2, 4, 8, 16)

    def encode(self, frame: Bytes, width: int) -> bytes | None:
        """Encode a frame, or return None where that does not make it smaller."""
        raise NotImplementedError

    def decode(self, data: bytes, width: int, size: int) -> bytes:
        """Decode it again; ``ValueError`` where it cannot have been encoded."""
        raise NotImplementedError

    def test_round_trip(self) -> None:
        """What is encoded comes back bit for bit, and is never larger than it was."""
        encoded = 0
        for width in self.widths:
            for frame in sample_frames(width):
                data = self.encode(frame, width)
                if data is not None:
                    encoded += 1
                    assert len(data) < frame.size
                    assert bytes(self.decode(data, width, frame.size)) == frame.tobytes()
        assert encoded

    def test_cut_short(self) -> None:
        """Bytes that end early are refused."""
        for width, frame, data in self._encoded():
            for stop in (0, 1, len(data) // 2, len(data) - 1):
                with pytest.raises(ValueError, match=r".*"):
                    self.decode(data[:stop], width, frame.size)

    def test_another_size(self) -> None:
        """A size that lies is refused or kept to, for the hash of the frame to judge; nothing larger is made."""
        for width, frame, data in self._encoded():
            for size in (frame.size - width, frame.size + width):
                try:
                    found = self.decode(data, width, size)
                except ValueError:
                    continue
                assert len(found) == size
            with pytest.raises(ValueError, match=r".*"):
                self.decode(data, width, 1 << 40)

    def test_damage(self) -> None:
        """A flipped bit gives other bytes of the right size, or is refused; nothing else happens."""
        rng = random.Random(0)
        for width, frame, data in self._encoded():
            for _ in range(20):
                wrong = bytearray(data)
                wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
                try:
                    found = bytes(self.decode(bytes(wrong), width, frame.size))
                except ValueError:
                    continue
                assert len(found) == frame.size

    def _encoded(self) -> list[tuple[int, Bytes, bytes]]:
        found = []
        for width in self.widths:
            for frame in sample_frames(width):
                data = self.encode(frame, width)
                if data is not None:
                    found.append((width, frame, data))
        assert found
        return found


class PackTests:
    """What every home of packs keeps to. Subclasses override what is different where theirs is not a folder.

    ``folder`` stands for a home that is empty at first: a prefix, a bucket.
    """

    def home(self, folder: Path) -> PackHome:
        """Return the home."""
        return PackFolder(folder)

    def write(self, folder: Path, objects: Sequence[Encoded]) -> StoredPack:
        """Write a pack."""
        with PackWriter(self.home(folder)) as writer:
            for encoded in objects:
                writer.add(encoded)
            return writer.finish()

    def read(self, folder: Path, name: str) -> StoredPack:
        """Read its directory."""
        return read_pack(self.home(folder), name)

    def bytes_of(self, folder: Path, name: str) -> bytes:
        """Return all of its bytes."""
        return (folder / f"{name}.pack").read_bytes()

    def replace(self, folder: Path, name: str, data: bytes) -> None:
        """Put other bytes in its place, as a failing disk does."""
        (folder / f"{name}.pack").write_bytes(data)

    def names(self, folder: Path) -> list[str]:
        """Return what is there, unfinished files included."""
        return sorted(path.name for path in folder.iterdir())

    @pytest.fixture
    def objects(self) -> list[Encoded]:
        """Objects of several sizes, raw and compressed, one of them empty of frames' worth."""
        made = []
        for number, (coding, size) in enumerate(
            [(Coding.RAW, 200_000), (Coding.SHUFFLE, 150_000), (Coding.RAW, 12), (Coding.ZSTD, 70_000)]
        ):
            content = np.random.default_rng(number).integers(0, 4, size, np.uint8)
            made.append(
                encode_object(content, hash_content(content, ObjectKind.CONTENT, 4, 65_536), coding=coding, gain=0.0)
            )
        return made

    def test_what_is_written_is_found(self, tmp_path: Path, objects: list[Encoded]) -> None:
        """The directory names every object where it lies, in order, aligned; the bytes there are those written."""
        pack = self.write(tmp_path, objects)
        found = self.read(tmp_path, pack.name)
        assert found == pack
        assert [place.address for place in found.places] == [encoded.address for encoded in objects]
        data = self.bytes_of(tmp_path, pack.name)
        for place, encoded in zip(found.places, objects, strict=True):
            assert place.offset % 64 == 0
            written = b"".join(bytes(part) for part in encoded.parts)
            assert data[place.offset : place.offset + place.table.stored] == written
            assert data[place.record : place.record + place.record_size] == place.table.record()

    def test_equal_content_has_an_equal_name(self, tmp_path: Path, objects: list[Encoded]) -> None:
        """A pack is named by what it holds: written again it is the same one."""
        assert self.write(tmp_path, objects) == self.write(tmp_path, objects)
        assert len(self.names(tmp_path)) == 1
        assert self.write(tmp_path, objects[:2]) != self.write(tmp_path, objects)

    def test_one_that_is_not_finished_leaves_nothing(self, tmp_path: Path, objects: list[Encoded]) -> None:
        """A writer that fails half way leaves no file behind."""

        def fail() -> None:
            with PackWriter(self.home(tmp_path)) as writer:
                writer.add(objects[0])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert self.names(tmp_path) == []

    def test_a_home_lists_measures_and_removes(self, tmp_path: Path, objects: list[Encoded]) -> None:
        """Names and sizes are those of what was published; what was removed, or never was, is not there."""
        home = self.home(tmp_path)
        packs = [self.write(tmp_path, objects[:count]) for count in (1, 2, 3)]
        assert home.names() == sorted(pack.name for pack in packs)
        assert [home.size(pack.name) for pack in packs] == [pack.size for pack in packs]
        for pack in packs[:2]:
            home.sync(pack.name)
            home.remove(pack.name)
            home.remove(pack.name)
            home.sync(pack.name)
            assert home.size(pack.name) is None
            with pytest.raises(NotFoundError):
                home.open(pack.name)
        home.sweep()
        assert home.names() == [packs[2].name]

    def test_a_pack_is_read_at_offsets(self, tmp_path: Path, objects: list[Encoded]) -> None:
        """Any stretch is what was written there, also after the pack was removed; beyond the end there is nothing."""
        home, pack = self.home(tmp_path), self.write(tmp_path, objects)
        data = self.bytes_of(tmp_path, pack.name)
        reader = home.open(pack.name)
        home.remove(pack.name)
        assert reader.size == pack.size == len(data)
        rng = random.Random(1)
        for _ in range(50):
            start = rng.randrange(len(data))
            size = rng.randrange(1, min(100_000, len(data) - start) + 1)
            reader.advise(start, size)
            view = memoryview(bytearray(size))
            reader.read_into(view, start)
            assert reader.read(start, size) == view.tobytes() == data[start : start + size]
        for offset, size in ((len(data), 1), (0, len(data) + 1), (len(data) - 1, 1 << 60)):
            with pytest.raises(CorruptionError):
                reader.read(offset, size)

    def test_damage_is_told(self, tmp_path: Path, objects: list[Encoded]) -> None:
        """A flipped bit anywhere is told by the directory or by the frame that it is in; no wrong byte is served."""
        pack = self.write(tmp_path, objects)
        whole = self.bytes_of(tmp_path, pack.name)
        rng = random.Random(3)
        for _ in range(120):
            at = rng.randrange(len(whole))
            wrong = bytearray(whole)
            wrong[at] ^= 1 << rng.randrange(8)
            self.replace(tmp_path, pack.name, bytes(wrong))
            assert self._told(tmp_path, pack.name) or self._unused(pack, at), at

    def test_truncation_is_told(self, tmp_path: Path, objects: list[Encoded]) -> None:
        """A pack that lost its end is refused, wherever it was cut."""
        pack = self.write(tmp_path, objects)
        whole = self.bytes_of(tmp_path, pack.name)
        for size in (0, 1, 63, 64, 200, len(whole) // 2, len(whole) - 80, len(whole) - 1):
            self.replace(tmp_path, pack.name, whole[:size])
            with pytest.raises(LaminaError):
                self.read(tmp_path, pack.name)

    def _told(self, folder: Path, name: str) -> bool:
        try:
            found = self.read(folder, name)
            data = self.bytes_of(folder, name)
            for place in found.places:
                at = place.offset
                for number in range(place.table.frames):
                    table = place.table
                    size = table.sizes[number] if table.codings else table.plain_size(number)
                    table.decode(number, data[at : at + size], "here")
                    at += size
        except (CorruptionError, LaminaError):
            return True
        return False

    @staticmethod
    def _unused(pack: StoredPack, at: int) -> bool:
        """Whether a byte is filling: the writer's name in the header, or between two objects."""
        if at < 64:
            return at >= 12
        end = min(place.record for place in pack.places) - 16
        held: Any = any(place.offset <= at < place.offset + place.table.stored for place in pack.places)
        return at < end and not held
