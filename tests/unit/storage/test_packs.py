from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import CorruptionError, FormatError
from lamina.storage import frames
from lamina.storage.frames import Bytes, Coding
from lamina.storage.packs import PackFolder, PackWriter, read_pack
from lamina.storage.shards import FrameTable, ObjectKind, encode_object, hash_content, parse_record
from lamina.testing import CodecTests, PackTests


class TestPacks(PackTests):
    """Packs in a folder keep the contract."""


class _Frames(CodecTests):
    coding = Coding.ZSTD

    def encode(self, frame: Bytes, width: int) -> bytes | None:
        """Encode."""
        return frames.encode(frame, width, self.coding)

    def decode(self, data: bytes, width: int, size: int) -> bytes:
        """Decode."""
        return bytes(frames.decode(data, width, self.coding, size))


class TestZstd(_Frames):
    """zstd keeps the contract."""


class TestShuffle(_Frames):
    """Byte shuffle and zstd keep the contract."""

    coding = Coding.SHUFFLE


class TestCsr(_Frames):
    """Compressed sparse rows keep the contract."""

    coding = Coding.CSR
    widths = (1, 2, 4, 8)


def table_of(content: Bytes, width: int = 4) -> FrameTable:
    """Return the frame table of bytes."""
    return hash_content(content, ObjectKind.CONTENT, width, 65_536)


@given(data=st.binary(max_size=3000), width=st.sampled_from([1, 2, 3, 4, 8]))
def test_any_bytes_come_back(data: bytes, width: int) -> None:
    """Every object is what was encoded, whichever coding measuring chose."""
    content = np.frombuffer(data * width, np.uint8)
    encoded = encode_object(content, table_of(content, width))
    table = parse_record(encoded.table.record(), encoded.address, "here")
    assert table == encoded.table
    assert table.stored == sum(len(part) for part in encoded.parts)
    stored = b"".join(bytes(part) for part in encoded.parts)
    found, at = b"", 0
    for number in range(table.frames):
        size = table.sizes[number] if table.codings else table.plain_size(number)
        found += bytes(table.decode(number, stored[at : at + size], "here"))
        at += size
    assert found == content.tobytes()


def test_an_address_names_the_plain_bytes() -> None:
    """The same bytes have the same address raw and compressed, and another width or byte gives another."""
    content = np.zeros(100_000, np.uint8)
    table = table_of(content)
    raw = encode_object(content, table, coding=Coding.RAW)
    packed = encode_object(content, table, coding=Coding.SHUFFLE)
    assert raw.address == packed.address
    assert packed.table.stored < 1000 < raw.table.stored
    other = content.copy()
    other[70_000] = 1
    assert table_of(other).address() != raw.address != table_of(content, 8).address()


def test_noise_stays_raw_and_structure_does_not() -> None:
    """Gaussian noise is not worth compressing, small weights and sparse arrays are; the share is what was measured."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(200_000).astype("f4").view(np.uint8)
    rounded = rng.standard_normal(200_000).astype("f2").astype("f4").view(np.uint8)
    sparse = np.where(rng.random(200_000) < 0.01, rng.standard_normal(200_000), 0).astype("f4").view(np.uint8)
    assert frames.choose(noise, 4, 65_536) == (Coding.RAW, 1.0)
    assert frames.choose(noise, 4, 65_536, gain=frames.COLD_GAIN)[0] is Coding.SHUFFLE
    coding, share = frames.choose(rounded, 4, 65_536)
    assert coding is Coding.SHUFFLE
    assert 0.4 < share < 0.7
    coding, share = frames.choose(sparse, 4, 65_536)
    assert coding in (Coding.CSR, Coding.SHUFFLE)
    assert share < 0.12


@pytest.mark.parametrize("cut", [0, 5, 17, 40])
def test_a_record_that_lies_is_refused(cut: int) -> None:
    """A frame table that is cut, or says a length that it has no hashes for, is refused before anything is made."""
    content = np.zeros(100_000, np.uint8)
    encoded = encode_object(content, table_of(content))
    record = encoded.table.record()
    with pytest.raises(CorruptionError):
        parse_record(record[:cut], encoded.address, "here")
    lying = bytearray(record)
    lying[8:16] = (1 << 62).to_bytes(8, "little")
    with pytest.raises(CorruptionError):
        parse_record(bytes(lying), None, "here")
    with pytest.raises(CorruptionError):
        parse_record(record, bytes(32), "here")


def test_a_newer_pack_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    """A pack of a later format says to upgrade."""
    content = np.zeros(1000, np.uint8)
    home = PackFolder(tmp_path)
    with PackWriter(home) as writer:
        writer.add(encode_object(content, table_of(content)))
        pack = writer.finish()
    path = tmp_path / f"{pack.name}.pack"
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    with pytest.raises(FormatError, match="newer"):
        read_pack(home, pack.name)
