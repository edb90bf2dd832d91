"""Durable files: the one write protocol, and nothing else writes.

Temporary file in the same folder, write, check the count, fsync, link or rename, fsync the folder. A reader sees the
whole old file, the whole new one or none, whenever the power goes; what has returned is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Sequence
from typing import Literal

from lamina.errors import AlreadyExistsError, InvalidInputError, LaminaError, PoisonedError, StorageError
from lamina.fs._seam import report, report_write
from lamina.fs._translate import check_poison, poison, translate

__all__ = [
    "inside",
    "link_file",
    "make_dir",
    "move_file",
    "remove_file",
    "stray_files",
    "sweep_temporary",
    "sync_bytes",
    "sync_dir",
    "sync_names",
    "temporary_name",
    "write_all",
    "write_file",
    "write_files",
    "write_temporary",
]

AnyPath = str | os.PathLike[str]

_TEMPORARY = re.compile(r"\.lamina-\d+-[0-9a-f]{16}\.tmp")
_STRAY = re.compile(r"\.lamina-\d+-[0-9a-f]{16}\.(tmp|swap)")
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL_FSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def write_file(path: AnyPath, data: bytes | Iterable[bytes], *, replace: bool = False, mode: int = 0o600) -> None:
    """Write a whole file so that it survives power loss once this returns.

    Args:
        path: Where; its folder must exist. A symbolic link there is replaced itself, never followed.
        data: The content, or parts of it in order; parts are written as they come and not gathered.
        replace: Replace what is there (and keep its permission bits); otherwise a file that is there stays as it is.
        mode: Permission bits of a new file.

    Raises:
        AlreadyExistsError: Something is there, and ``replace`` is False.
        DiskFullError: No room; nothing changed under ``path``.
        PoisonedError: An fsync failed, now or earlier; see :func:`clear_poison`.
        ReadOnlyError: The folder cannot be written.
        NotFoundError: The folder is missing.
        StorageError: Any other failure of the file system.
    """
    target = os.path.abspath(os.fspath(path))
    _put(target, (data,) if isinstance(data, bytes) else data, mode, replace=replace)
    sync_names(os.path.dirname(target), blame=target)


def write_files(folder: AnyPath, items: Sequence[tuple[str, bytes]], *, mode: int = 0o600) -> None:
    """Publish several new files of one folder, none replacing anything, with one fsync each and one of the folder.

    Args:
        folder: It must exist.
        items: Names and contents, published in this order.
        mode: Permission bits of each file.

    Raises:
        InvalidInputError: A name is empty or leads to another folder; nothing was written.
        AlreadyExistsError: A name is taken. As with every error below, the files before it stay, durably, and
            ``details["written"]`` says how many they are.
        PoisonedError: An fsync failed. Where it was the folder's, what was written may not survive.
        LaminaError: As :func:`write_file` has it.
    """
    where = os.path.abspath(os.fspath(folder))
    for name, _ in items:
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise InvalidInputError(
                f"{name!r} is no name of a file in {where}.", hint="Give a name without a folder.", path=name
            )
    written: list[str] = []
    failure: LaminaError | None = None
    try:
        for name, data in items:
            target = os.path.join(where, name)
            _put(target, (data,), mode, replace=False)
            written.append(target)
    except LaminaError as error:
        failure = error
    try:
        _sync_written(where, written)
    except LaminaError as error:
        error.details["written"] = len(written)
        raise
    if failure is not None:
        failure.details["written"] = len(written)
        raise failure


def _sync_written(folder: str, written: list[str]) -> None:
    """Make the names of new files durable; a failure is remembered against each of them."""
    if not written:
        return
    try:
        sync_names(folder, blame=written[0])
    except PoisonedError as error:
        for path in written[1:]:
            poison(path, error.__cause__ if isinstance(error.__cause__, OSError) else error)
        raise


def _put(target: str, parts: Iterable[bytes], mode: int, *, replace: bool) -> None:
    """Publish a file whose bytes are durable; its name is not yet."""
    check_poison(target)
    if not replace and os.path.lexists(target):
        raise _exists(target)
    temporary = temporary_name(os.path.dirname(target))
    try:
        write_temporary(temporary, target, parts, mode, replace=replace)
        if replace:
            report("rename", temporary, target=target)
            os.rename(temporary, target)
        else:
            _publish_new(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            report("unlink", temporary)
            os.unlink(temporary)
        if isinstance(error, FileExistsError) and not replace:
            raise _exists(target) from error
        if isinstance(error, OSError) and not isinstance(error, LaminaError):
            raise translate(error, target, "write") from error
        raise


def write_temporary(temporary: str, target: str, parts: Iterable[bytes], mode: int, *, replace: bool) -> None:
    """Fill, check and fsync a temporary file; with ``replace`` it takes the rights of what is at ``target``."""
    report("create", temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        if replace:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(fd, stat.S_IMODE(os.stat(target, follow_symlinks=False).st_mode) & 0o777)
        size = 0
        for part in parts:
            size = write_all(fd, temporary, part, size)
        if (found := os.fstat(fd).st_size) != size:
            raise StorageError(
                f"Wrote {size} bytes for {target}, but the file system counts {found}.",
                hint="Check the disk, then run `lamina verify`.",
                path=target,
            )
        sync_bytes(fd, temporary, blame=target)
    finally:
        os.close(fd)


def write_all(fd: int, path: str, part: bytes, offset: int) -> int:
    """Write ``part`` whole at ``offset``, however short each call falls; return the offset after it."""
    view = memoryview(part).cast("B")
    while view:
        allowed = report_write(path, view, offset)
        count = os.write(fd, view[:allowed])
        if count == 0 and allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[count:]
        offset += count
    return offset


def _publish_new(temporary: str, target: str) -> None:
    """Give the finished file its name without replacing anything."""
    try:
        report("link", temporary, target=target)
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here (FAT, some network mounts): an empty file reserves the name, then is replaced.
        report("create", target)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        report("rename", temporary, target=target)
        os.rename(temporary, target)
        return
    with contextlib.suppress(OSError):  # the file is published; a stray temporary name is swept later
        report("unlink", temporary)
        os.unlink(temporary)


def make_dir(path: AnyPath, *, mode: int = 0o700) -> None:
    """Make a folder and those above it, durably; one that is there already is left as it is.

    Args:
        path: The folder.
        mode: Permission bits of each new folder.

    Raises:
        AlreadyExistsError: Something that is not a folder is in the way.
        PoisonedError: The fsync of a parent failed.
        LaminaError: As :func:`translate` has it.
    """
    folder = os.path.abspath(os.fspath(path))
    missing: list[str] = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        check_poison(folder)
        try:
            report("mkdir", folder)
            os.mkdir(folder, mode)
        except FileExistsError as error:
            if not os.path.isdir(folder):
                raise _exists(folder) from error
        except OSError as error:
            raise translate(error, folder, "make the folder") from error
        sync_names(os.path.dirname(folder), blame=folder)


def move_file(source: AnyPath, target: AnyPath) -> None:
    """Rename a file durably, without replacing anything; both names must be on one file system.

    Raises:
        AlreadyExistsError: Something is at ``target``; nothing changed.
        LaminaError: As :func:`translate` has it.
    """
    old, new = os.path.abspath(os.fspath(source)), os.path.abspath(os.fspath(target))
    if link_file(old, new):  # the new name first: the file is never without one
        remove_file(old)
        return
    _rename_new(old, new)
    sync_names(os.path.dirname(new), blame=new)
    if os.path.dirname(old) != os.path.dirname(new):
        sync_names(os.path.dirname(old), blame=old)


def link_file(old: str, new: str) -> bool:
    """Give a file a second name durably; return False where the file system has no hard links."""
    check_poison(new)
    try:
        report("link", old, target=new)
        os.link(old, new, follow_symlinks=False)
    except FileExistsError as error:
        raise _exists(new) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise translate(error, old, "move") from error
        return False
    sync_names(os.path.dirname(new), blame=new)
    return True


def _rename_new(old: str, new: str) -> None:
    """Rename where there are no hard links; the check and the rename are then two steps."""
    if os.path.lexists(new):
        raise _exists(new)
    try:
        report("rename", old, target=new)
        os.rename(old, new)
    except OSError as error:
        raise translate(error, old, "move") from error


def remove_file(path: AnyPath, *, missing_ok: bool = False) -> None:
    """Remove a file so that it stays removed.

    Raises:
        NotFoundError: It is not there, and ``missing_ok`` is False.
        LaminaError: As :func:`translate` has it.
    """
    target = os.path.abspath(os.fspath(path))
    try:
        report("unlink", target)
        os.unlink(target)
    except FileNotFoundError as error:
        if not missing_ok:
            raise translate(error, target, "remove") from error
        return
    except OSError as error:
        raise translate(error, target, "remove") from error
    sync_names(os.path.dirname(target), blame=target)


def sweep_temporary(folder: AnyPath, older_than_s: float) -> int:
    """Remove temporary files that a killed writer left in ``folder``; never fails.

    Args:
        folder: Looked at without its subfolders.
        older_than_s: Only files last changed longer ago than this, so that a writer at work keeps its own.

    Returns:
        How many were removed.
    """
    removed = 0
    for path in _old_files(folder, _TEMPORARY, older_than_s):
        with contextlib.suppress(OSError):
            report("unlink", path)
            os.unlink(path)
            removed += 1
    return removed


def stray_files(folder: AnyPath, *, older_than_s: float = 0.0) -> list[str]:
    """List the temporary files in ``folder`` that a killed writer may have left; never fails.

    One that ends in ``.swap`` was on its way to replace a file and may hold what a person wrote in that moment (see
    :func:`replace_file`), so :func:`sweep_temporary` leaves it: whoever recovers looks at it and removes it.

    Args:
        folder: Looked at without its subfolders.
        older_than_s: Only files last changed longer ago than this, so that a writer at work keeps its own.

    Returns:
        Absolute paths, sorted.
    """
    return sorted(_old_files(folder, _STRAY, older_than_s))


def _old_files(folder: AnyPath, names: re.Pattern[str], older_than_s: float) -> list[str]:
    found: list[str] = []
    horizon = time.time() - older_than_s
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if not names.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                    continue
                if older_than_s <= 0 or entry.stat(follow_symlinks=False).st_mtime <= horizon:
                    found.append(os.path.abspath(entry.path))
    return found


def sync_dir(path: AnyPath) -> None:
    """Make the names in a folder durable; for whoever relies on a file or folder that it found there, not made.

    Raises:
        PoisonedError: The fsync failed.
        LaminaError: As :func:`translate` has it.
    """
    folder = os.path.abspath(os.fspath(path))
    sync_names(folder, blame=folder)


def inside(root: AnyPath, relative: str) -> str:
    """Return the absolute path of ``relative`` under ``root``, and refuse one that leads outside.

    Raises:
        InvalidInputError: It is absolute, climbs with ``..``, holds a NUL, or a symbolic link on the way leads outside.
    """
    top = os.path.realpath(os.fspath(root))
    safe = bool(relative) and "\0" not in relative and not os.path.isabs(relative)
    if safe and ".." not in relative.replace("\\", "/").split("/"):
        path = os.path.join(top, relative)
        if os.path.commonpath((top, os.path.realpath(path))) == top:
            return path
    raise InvalidInputError(
        f"The path {relative!r} leads outside {top}.", hint="Name a file below the store's folder.", path=relative
    )


def temporary_name(folder: str, *, suffix: Literal["tmp", "swap"] = "tmp") -> str:
    """Return a fresh temporary path in ``folder``; :func:`sweep_temporary` takes ``tmp`` and leaves ``swap``."""
    return os.path.join(folder, f".lamina-{os.getpid()}-{secrets.token_hex(8)}.{suffix}")


def _sync(fd: int) -> None:
    """Bring a file to the disk itself; on macOS ``fsync`` stops at the drive's cache, ``F_FULLFSYNC`` does not."""
    if _FULL_FSYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_FSYNC)
        except OSError as error:
            if error.errno not in {*_UNSUPPORTED, errno.ENOTTY}:
                raise
        else:
            return
    os.fsync(fd)


def sync_bytes(fd: int, path: str, *, blame: str | None = None) -> None:
    """Fsync an open file; where that fails, ``blame`` (the file itself when None) is poisoned."""
    try:
        report("fsync", path)
        _sync(fd)
    except OSError as error:
        raise poison(blame or path, error) from error


def sync_names(folder: str, *, blame: str) -> None:
    """Fsync a folder; where that fails, what was done to ``blame`` may not survive."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise translate(error, folder, "open the folder") from error
    try:
        report("fsync", folder)
        _sync(fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # some file systems cannot fsync a folder, and need not
            raise poison(blame, error) from error
    finally:
        os.close(fd)


def _exists(path: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"Something is already at {path}.", hint="Choose another name, or replace it on purpose.", path=path
    )
