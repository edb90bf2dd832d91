"""ZIP archives to and from streams: written without seeking, read at offsets of a source."""

from __future__ import annotations

import errno
import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import Final

from lamina.formats.state_source import CHUNK_BYTES, Source

__all__ = ["SourceFile", "ZipStream"]

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first time that a ZIP can hold: no clock, so equal content, equal bytes


class SourceFile(io.RawIOBase):
    """A source as a seekable file, for modules that want one."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "before the beginning")  # what a file raises, and zipfile expects
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes."""
        left = max(0, self._source.size - self._at)
        count = left if size is None or size < 0 else min(size, left)
        data = self._source.read(self._at, count)
        self._at += count
        return data


class _Pipe(io.RawIOBase):
    """What a writer puts in at one end and a generator takes out at the other; it cannot seek."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def flush(self) -> None:
        """Nothing is held back; an archive that is given up half-way flushes when it goes, be this closed or not."""

    def drain(self) -> Iterator[bytes]:
        parts, self._parts = self._parts, []
        yield from parts


class ZipStream:
    """An archive of stored members, given away part by part."""

    def __init__(self) -> None:
        self._pipe = _Pipe()
        self._archive = zipfile.ZipFile(self._pipe, "w", zipfile.ZIP_STORED)

    def member(self, name: str, size: int, parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
        """Yield the bytes of one member of ``size`` bytes."""
        info = zipfile.ZipInfo(name, _EPOCH)
        info.external_attr = 0o600 << 16
        with self._archive.open(info, "w", force_zip64=size >= 1 << 31) as stream:
            for part in parts:
                view = memoryview(part)
                for start in range(0, len(view), CHUNK_BYTES):
                    stream.write(view[start : start + CHUNK_BYTES])
                    yield from self._pipe.drain()
        yield from self._pipe.drain()

    def finish(self, comment: bytes = b"") -> Iterator[bytes]:
        """Yield the directory at the end, and a comment of at most 65,535 bytes."""
        self._archive.comment = comment
        self._archive.close()
        yield from self._pipe.drain()
