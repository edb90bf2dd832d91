"""Reading whole files of bounded size, and stamps that tell whether a file is still the one that was read."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple, Self

from lamina.errors import ConflictError, InvalidInputError
from lamina.fs._translate import translate

__all__ = ["Stamp", "peek", "read_file", "read_with_stamp", "stamp_of"]

AnyPath = str | os.PathLike[str]

_TRIES = 4
_IS_LINK = {errno.ELOOP, errno.EMLINK}
# A coarse kernel clock ticks every 1 to 10 ms, and a file written twice within one tick keeps its times.
_TICK_NS = 20_000_000


class Stamp(NamedTuple):
    """What a file's status says about its content; a tuple, because thousands are made at every open."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change of the content; anyone may set it."""
    ctime_ns: int
    """Time of the last change of content or status; the kernel alone sets it."""
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the stamp of a status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    def settled(self, now_ns: int) -> bool:
        """Return whether a later change would surely change the stamp.

        A file that changed within the last 20 ms before ``now_ns`` (``time.time_ns()`` when the stamp was taken) may
        change once more without its times moving on, so its stamp proves nothing later. A change in the future, after
        a clock was set back, proves nothing either.
        """
        return self.ctime_ns + _TICK_NS <= now_ns


def read_file(path: AnyPath, *, max_bytes: int, follow: bool = True) -> bytes:
    """Read a whole regular file of bounded size.

    Args:
        path: The file; a pipe or device is refused.
        max_bytes: The most that is accepted; a larger file is refused before anything is allocated.
        follow: Follow a symbolic link at the end of ``path``; otherwise refuse it.

    Raises:
        InvalidInputError: It is larger than ``max_bytes``, no regular file, or a link that is not to be followed.
        NotFoundError: It is not there.
        LaminaError: As :func:`translate` has it.
    """
    return _read(os.fspath(path), max_bytes, follow=follow)[0]


def read_with_stamp(path: AnyPath, *, max_bytes: int, follow: bool = False) -> tuple[bytes, Stamp]:
    """Read a whole regular file, and the stamp that belongs to these very bytes.

    A file that changes while it is read is read again, up to three times.

    Args:
        path: The file.
        max_bytes: The most that is accepted.
        follow: Follow a symbolic link at the end of ``path``; otherwise refuse it.

    Raises:
        ConflictError: It went on changing.
        InvalidInputError: As for :func:`read_file`.
        NotFoundError: It is not there.
        LaminaError: As :func:`translate` has it.
    """
    name = os.fspath(path)
    for _ in range(_TRIES):
        data, before, after = _read(name, max_bytes, follow=follow)
        if before == after and len(data) == after.size:
            return data, after
    raise ConflictError(
        f"{name} changed each of the {_TRIES} times it was read.", hint="Try again when it is written.", path=name
    )


def stamp_of(path: AnyPath) -> Stamp | None:
    """Return the stamp of what is at ``path`` without opening it, or None where nothing is; a link is not followed.

    Raises:
        LaminaError: As :func:`translate` has it.
    """
    try:
        return Stamp.of(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise translate(error, path, "look at") from error


def peek(path: str, limit: int) -> bytes | None:
    """Return up to ``limit`` bytes of a regular file, or None for a link, a folder, a pipe or a device.

    Raises:
        OSError: What the operating system says; a missing file among it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _IS_LINK or error.errno == errno.ENXIO:  # ENXIO: a socket
            return None
        raise
    try:
        return _read_up_to(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def _read(name: str, max_bytes: int, *, follow: bool) -> tuple[bytes, Stamp, Stamp]:
    """Read a file whole, with its stamps before and after."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        try:
            status = os.fstat(fd)
            regular = stat.S_ISREG(status.st_mode)
            data = _read_up_to(fd, max_bytes + 1) if regular and status.st_size <= max_bytes else b""
            after = Stamp.of(os.fstat(fd))
        finally:
            os.close(fd)
    except OSError as error:
        if not follow and error.errno in _IS_LINK:
            raise InvalidInputError(
                f"{name} is a symbolic link.", hint="Put the file itself in its place.", path=name
            ) from error
        raise translate(error, name, "read") from error
    if not regular:
        raise InvalidInputError(f"{name} is not a regular file.", hint="Name a file that can be read.", path=name)
    if (size := max(len(data), status.st_size)) > max_bytes:
        raise InvalidInputError(
            f"{name} holds {size:,} bytes, more than the {max_bytes:,} that are read.",
            hint="Split it, or name a smaller file.",
            path=name,
            limit=max_bytes,
        )
    return data, Stamp.of(status), after


def _read_up_to(fd: int, limit: int) -> bytes:
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(fd, min(limit, 1 << 20))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)
