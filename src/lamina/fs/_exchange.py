"""Replacing, removing and moving a file only while it still holds what was last seen.

Between a look at a file and a rename over it someone may save, and the rename would destroy what they wrote. So the new
file and the old one change places in one step of the kernel, and what came out is looked at: were it not what was
seen, the two change places again. Whenever the process is killed, what a person saved is at one of the two names.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable

from lamina.errors import ConflictError, LaminaError
from lamina.fs._files import link_file, move_file, remove_file, sync_names, temporary_name, write_temporary
from lamina.fs._reading import peek
from lamina.fs._seam import report
from lamina.fs._translate import check_poison, translate

__all__ = ["move_seen", "remove_seen", "replace_file"]

AnyPath = str | os.PathLike[str]

_MOST_FOUND = 100_000
"""Bytes of a file up to which a conflict carries its text."""
_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # sys/stdio.h of macOS
# EPERM: old container filters say so of system calls that they do not know.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def replace_file(path: AnyPath, data: bytes, *, seen: bytes) -> None:
    """Replace a regular file durably, only while it still holds ``seen``; its permission bits stay.

    Costs two fsyncs. Where the system cannot let two files change places (some network mounts, an old kernel or C
    library), the file is compared once more right before the rename, and a save within that moment is lost.

    Writers of ours take turns under a lock of theirs: for a moment a reader can see a text that is then taken back.
    An editor that empties a file before it writes is noticed, but for one case: where ``seen`` was read while the file
    was empty. So nothing should be made from an empty file.

    A process that is killed on the way leaves a file that :func:`stray_files` lists and :func:`sweep_temporary` does
    not take: it holds ``seen``, ``data``, or what someone saved in that moment.

    Args:
        path: The file.
        data: Its new content.
        seen: The content that the new one was made from.

    Raises:
        ConflictError: It holds something else, or is no regular file any more; it stays as it is. ``found`` in the
            details is the text that is there, up to 100,000 bytes; ``kept`` is the path of a second text, where two
            people saved within the same moment.
        NotFoundError: It is not there.
        DiskFullError: No room; nothing changed.
        PoisonedError: An fsync failed, now or earlier; see :func:`clear_poison`.
        ReadOnlyError: The folder cannot be written.
        StorageError: Any other failure of the file system.
    """
    target = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(target)
    check_poison(target)
    _compare(target, seen)  # before anything is written
    temporary = temporary_name(folder, suffix="swap")
    ours = True  # whether the temporary file can hold nothing but ours
    try:
        write_temporary(temporary, target, (data,), 0o600, replace=True)
        _compare(target, seen)  # the fsync took its time
        ours = False
        ours = not _exchange(temporary, target)
        if ours:
            _compare(target, seen)
            report("rename", temporary, target=target)
            os.rename(temporary, target)
    except BaseException as error:
        if ours or isinstance(error, OSError):  # an exchange that failed has changed nothing
            _discard(temporary)
        if isinstance(error, OSError) and not isinstance(error, LaminaError):
            raise translate(error, target, "replace") from error
        raise
    if not ours:
        if not _holds(temporary, seen):
            kept = _undo(temporary, target, data)
            sync_names(folder, blame=target)
            raise _conflict(target, kept=kept)
        _discard(temporary)
    sync_names(folder, blame=target)


def remove_seen(path: AnyPath, *, seen: bytes) -> None:
    """Remove a regular file durably, only while it still holds ``seen``. Costs one fsync.

    It is moved aside, looked at, and then removed or given back. A process that is killed on the way leaves a file that
    :func:`stray_files` lists: it holds ``seen``, or what someone saved in that moment.

    Raises:
        ConflictError: It holds something else, or is no regular file any more; it stays. ``details`` as
            :func:`replace_file` has them.
        NotFoundError: It is not there.
        PoisonedError: The folder's fsync failed.
        LaminaError: As :func:`translate` has it.
    """
    target = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(target)
    _compare(target, seen)
    aside = temporary_name(folder, suffix="swap")
    try:
        report("rename", target, target=aside)
        os.rename(target, aside)
        if not _holds(aside, seen):
            kept = _give_back(aside, target)
            sync_names(folder, blame=target)
            raise _conflict(target, kept=kept)
        try:
            report("unlink", aside)
            os.unlink(aside)
        except OSError:
            _give_back(aside, target)
            raise
    except OSError as error:
        if isinstance(error, LaminaError):
            raise
        raise translate(error, target, "remove") from error
    sync_names(folder, blame=target)


def move_seen(source: AnyPath, target: AnyPath, *, seen: bytes) -> None:
    """Rename a regular file durably as :func:`move_file` does, only while it still holds ``seen``.

    Raises:
        AlreadyExistsError: Something is at ``target``; nothing changed.
        ConflictError: It holds something else; it keeps its name. ``details`` as :func:`replace_file` has them.
        LaminaError: As :func:`translate` has it.
    """
    old, new = os.path.abspath(os.fspath(source)), os.path.abspath(os.fspath(target))
    _compare(old, seen)
    if not link_file(old, new):  # no hard links here: the file has one name at a time, and is looked at afterwards
        move_file(old, new)
        if not _holds(new, seen):
            move_file(new, old)
            raise _conflict(old)
        return
    try:
        remove_seen(old, seen=seen)
    except LaminaError:
        if os.path.lexists(old) and (_holds(new, seen) or _same(old, new)):
            with contextlib.suppress(LaminaError):
                remove_file(new, missing_ok=True)
        raise


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _give_back(aside: str, target: str) -> str | None:
    """Give a file that was moved aside its name again; return where it is kept where someone has taken that."""
    try:
        if not link_file(aside, target):
            move_file(aside, target)
            return None
    except LaminaError:
        return aside
    _discard(aside)
    return None


def _compare(target: str, seen: bytes) -> None:
    """Raise where the file does not hold what was seen."""
    try:
        found = peek(target, max(len(seen), _MOST_FOUND) + 1)
    except OSError as error:
        raise translate(error, target, "replace") from error
    if found != seen:
        raise _conflict(target)


def _undo(temporary: str, target: str, data: bytes) -> str | None:
    """Give back what came out of the exchange; return where a text is kept that found no place."""
    with contextlib.suppress(OSError):
        if _exchange(temporary, target) and not _holds(temporary, data):
            _exchange(temporary, target)  # someone saved over ours as well: theirs is the later one
    if not _holds(temporary, data):
        return temporary if os.path.lexists(temporary) else None
    _discard(temporary)
    return None


def _holds(path: str, content: bytes) -> bool:
    try:
        return peek(path, len(content) + 1) == content
    except OSError:
        return False


def _discard(temporary: str) -> None:
    with contextlib.suppress(OSError):
        report("unlink", temporary)
        os.unlink(temporary)


def _conflict(target: str, *, kept: str | None = None) -> ConflictError:
    """Return the error, with what is at ``target`` now."""
    details = {"path": target} | ({"kept": kept} if kept else {})
    message = f"{target} is no longer what was last read"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = peek(target, _MOST_FOUND + 1)
        if found is None:
            message = f"{target} is no longer a regular file"
        elif len(found) <= _MOST_FOUND:
            details["found"] = found.decode("utf-8")
    if kept:
        message += f", and what someone else saved is kept in {kept}"
    return ConflictError(f"{message}.", hint="Read it again, and change what is there now.", **details)


def _exchange(one: str, other: str) -> bool:
    """Let two names change places; return False where the system cannot.

    Raises:
        OSError: It failed; nothing changed.
    """
    try:
        report("exchange", one, target=other)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    code = _system_exchange()(os.fsencode(one), os.fsencode(other))
    if code in _UNSUPPORTED:
        report("exchange", one, target=other)  # to whoever replays what was announced, the first one is undone
        return False
    if code:
        raise OSError(code, os.strerror(code))
    return True


@functools.cache
def _system_exchange() -> Callable[[bytes, bytes], int]:
    """Return a function that exchanges two paths and returns 0 or an errno. Python has none."""
    import ctypes  # 2 ms, and most processes never replace a file

    libc = ctypes.CDLL(None, use_errno=True)
    name = "renamex_np" if sys.platform == "darwin" else "renameat2"
    function = getattr(libc, name, None)
    if function is None:  # musl before 1.2.6, glibc before 2.28
        return lambda _one, _other: errno.ENOSYS
    text, number, flags = ctypes.c_char_p, ctypes.c_int, ctypes.c_uint
    function.restype = number
    function.argtypes = [text, text, flags] if sys.platform == "darwin" else [number, text, number, text, flags]

    def exchange(one: bytes, other: bytes) -> int:
        if sys.platform == "darwin":
            done = function(one, other, _RENAME_SWAP)
        else:
            done = function(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE)
        return ctypes.get_errno() if done else 0

    return exchange
