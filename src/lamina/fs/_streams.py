"""Large immutable files: written as a stream, named when their content is known, read at any offset.

The write protocol is that of :mod:`lamina.fs._files`; only the name comes last, because it is made of the content.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from types import TracebackType
from typing import Self

from lamina.errors import CorruptionError, LaminaError, StorageError
from lamina.fs._files import _sync, sync_names, temporary_name, write_all
from lamina.fs._seam import report
from lamina.fs._translate import check_poison, poison, translate

__all__ = ["FileReader", "FileWriter", "sync_file"]

AnyPath = str | os.PathLike[str]


class FileWriter:
    """A new file that has no name yet. Leaving a ``with`` block without :meth:`publish` removes it.

    Args:
        folder: Where it will be; must exist.
        durable: Fsync file and folder in :meth:`publish`. False leaves that to :func:`sync_file`, or to chance.

    Raises:
        LaminaError: As :func:`translate` has it; so do the methods.
        PoisonedError: An earlier fsync of the folder failed.
    """

    def __init__(self, folder: AnyPath, *, durable: bool = True) -> None:
        self._folder = os.path.abspath(os.fspath(folder))
        self._durable = durable
        self._path = temporary_name(self._folder)
        self.size = 0
        """Bytes written so far."""
        check_poison(self._folder)
        try:
            report("create", self._path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise translate(error, self._folder, "make a file in") from error

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        try:
            self.size = write_all(self._fd, self._path, data, self.size)  # type: ignore[arg-type]
        except OSError as error:
            if isinstance(error, LaminaError):
                raise
            raise translate(error, self._folder, "write a file in") from error

    def publish(self, name: str) -> str:
        """Make the file durable and give it its name; a file of that name has the same content and is replaced.

        Returns:
            Its path.

        Raises:
            PoisonedError: An fsync failed; what reached the disk is unknown.
        """
        target = os.path.join(self._folder, name)
        check_poison(target)
        try:
            if (found := os.fstat(self._fd).st_size) != self.size:
                raise StorageError(
                    f"Wrote {self.size} bytes for {target}, but the file system counts {found}.",
                    hint="Check the disk, then run `lamina verify`.",
                    path=target,
                )
            if self._durable:
                try:
                    report("fsync", self._path)
                    _sync(self._fd)
                except OSError as error:
                    raise poison(target, error) from error
            report("rename", self._path, target=target)
            os.rename(self._path, target)
        except OSError as error:
            if isinstance(error, LaminaError):
                raise
            raise translate(error, target, "write") from error
        self._path = ""
        self.close()
        if self._durable:
            sync_names(self._folder, blame=target)
        return target

    def close(self) -> None:
        """Close the file, and remove it where it was not published."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
        if self._path:
            with contextlib.suppress(OSError):
                report("unlink", self._path)
                os.unlink(self._path)
            self._path = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FileReader:
    """An immutable file, read at offsets without a position; safe to use from several threads.

    It is closed when nobody refers to it any more, so a reader that was handed out stays readable even after the file
    was removed.

    Raises:
        NotFoundError: It is not there.
        LaminaError: As :func:`translate` has it.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._fd = -1
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            status = os.fstat(self._fd)
        except OSError as error:
            raise translate(error, self.path, "read") from error
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{self.path} is not a regular file.", hint="Run `lamina verify`.", path=self.path)
        self.size = status.st_size
        """Bytes, when it was opened; the file is immutable."""

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``.

        Raises:
            CorruptionError: The file ends before that; nothing is allocated then.
        """
        self._check(offset, size)
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise translate(error, self.path, "read") from error
        if len(data) == size:
            return data
        whole = bytearray(size)
        self.read_into(memoryview(whole), offset)
        return bytes(whole)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill a writable view with the bytes from ``offset``.

        Raises:
            CorruptionError: The file ends before the view is full.
        """
        self._check(offset, len(view))
        done = 0
        try:
            while done < len(view):
                count = os.preadv(self._fd, [view[done:]], offset + done)
                if count <= 0:
                    raise self._short(offset, len(view))
                done += count
        except OSError as error:
            raise translate(error, self.path, "read") from error

    def advise(self, offset: int, size: int) -> None:
        """Tell the system that these bytes will be read soon, so that it fetches them meanwhile."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._fd, offset, size, os.POSIX_FADV_WILLNEED)

    def map(self, offset: int, size: int) -> memoryview:
        """Return a read-only memory map of ``size`` bytes from ``offset``; it lives as long as the view.

        Raises:
            CorruptionError: The file ends before that.
        """
        self._check(offset, size)
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        try:
            whole = mmap.mmap(self._fd, offset - start + size, access=mmap.ACCESS_READ, offset=start)
        except (OSError, ValueError) as error:
            cause = error if isinstance(error, OSError) else OSError(str(error))
            raise translate(cause, self.path, "map") from error
        return memoryview(whole)[offset - start :]

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self._short(offset, size)

    def _short(self, offset: int, size: int) -> CorruptionError:
        return CorruptionError(
            f"{self.path} has {self.size} bytes, and bytes {offset} to {offset + size} were to be read.",
            hint="Run `lamina verify` to see what is affected and `lamina repair` to keep what is intact.",
            path=self.path,
        )

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def sync_file(path: AnyPath) -> None:
    """Make a file durable that was written without waiting for the disk, and its name.

    Raises:
        PoisonedError: An fsync failed.
        LaminaError: As :func:`translate` has it.
    """
    target = os.path.abspath(os.fspath(path))
    check_poison(target)
    try:
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise translate(error, target, "read") from error
    try:
        report("fsync", target)
        _sync(fd)
    except OSError as error:
        raise poison(target, error) from error
    finally:
        os.close(fd)
    sync_names(os.path.dirname(target), blame=target)
