"""Bytes of a state file that nobody vouches for: read at offsets, never further than they go."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina import fs
from lamina.errors import ConflictError, InvalidInputError, LaminaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CHUNK_BYTES", "Source", "elements"]

CHUNK_BYTES: Final = 1 << 20
"""Bytes that are read at a time where a file is streamed."""


class Source:
    """A file, or bytes in memory.

    A file is opened for each read and must still be the one that was there first: an array that is read later is
    never taken from another file that has come to the same name.

    Args:
        data: A path or bytes.

    Raises:
        InvalidInputError: The path is a pipe, a device or a folder.
        NotFoundError: There is no such file.
        LaminaError: The file system refused it.
    """

    def __init__(self, data: str | os.PathLike[str] | bytes | bytearray | memoryview) -> None:
        self.path: Path | None = None
        self._bytes = b""
        self._identity: tuple[int, ...] = ()
        if isinstance(data, (bytes, bytearray, memoryview)):
            self.name = "the data"
            self._bytes = bytes(data)
            self.size = len(self._bytes)
            return
        self.path = Path(data)
        self.name = str(self.path)
        try:
            status = self.path.stat()
        except OSError as error:
            raise fs.translate(error, self.name, "read") from error
        except ValueError:
            raise InvalidInputError(f"{self.name!r} is no path.", hint="Name a file.") from None
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInputError(f"{self.name} is not a regular file.", hint="Name a file.", path=self.name)
        self.size = status.st_size
        self._identity = _identity(status)

    def bad(self, message: str, hint: str = "", **details: Any) -> InvalidInputError:
        """Return the error that says what is wrong with these bytes."""
        return InvalidInputError(
            f"{self.name}: {message}", hint=hint or "Is the file whole, and of this format?", path=self.name, **details
        )

    def read(self, offset: int, count: int, what: str = "data") -> bytes:
        """Return exactly ``count`` bytes.

        Raises:
            InvalidInputError: They are not all there; nothing was allocated for them.
        """
        self.need(offset, count, what)
        if self.path is None:
            return self._bytes[offset : offset + count]
        buffer = bytearray(count)
        self._fill(offset, memoryview(buffer))
        return bytes(buffer)

    def array(self, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], what: str) -> NDArray[Any]:
        """Return an array whose bytes lie at ``offset`` in the order of C, read straight into its own memory.

        Raises:
            InvalidInputError: The file is shorter than the shape says; nothing was allocated.
        """
        import numpy as np

        self.need(offset, elements(shape) * dtype.itemsize, what)
        result = np.empty(shape, dtype=dtype)
        if result.size:
            self._fill(offset, result.reshape(-1).view(np.uint8).data)
        return result

    def need(self, offset: int, count: int, what: str) -> None:
        """Refuse what lies beyond the end."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.bad(
                f"{what} would take bytes {offset:,} to {offset + count:,}, but there are only {self.size:,}.",
                "The file is cut short, or its header is wrong.",
            )

    def chunks(self, offset: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``offset`` to ``end`` (default: the last) piece by piece."""
        stop = self.size if end is None else end
        if self.path is None:
            for start in range(offset, stop, CHUNK_BYTES):
                yield self._bytes[start : min(start + CHUNK_BYTES, stop)]
            return
        while offset < stop:
            piece = self.read(offset, min(CHUNK_BYTES, stop - offset))
            offset += len(piece)
            yield piece

    def _fill(self, offset: int, view: memoryview) -> None:
        if self.path is None:
            view[:] = self._bytes[offset : offset + len(view)]
            return
        with self._opened() as fd:
            while view:
                count = os.preadv(fd, [view[: 1 << 30]], offset)
                if count == 0:
                    raise self._changed()
                view, offset = view[count:], offset + count

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fd = os.open(self.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _identity(os.fstat(fd)) != self._identity:
                    raise self._changed()
                yield fd
            finally:
                os.close(fd)
        except LaminaError:
            raise
        except OSError as error:
            raise fs.translate(error, self.name, "read") from error

    def _changed(self) -> ConflictError:
        return ConflictError(f"{self.name} changed while it was read.", hint="Read it again.", path=self.name)


def elements(shape: tuple[int, ...]) -> int:
    """Return how many elements a shape has; whole numbers of Python, so that no product runs over."""
    count = 1
    for length in shape:
        count *= length
    return count


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
