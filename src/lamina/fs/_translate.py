"""From the operating system's errors to ours, and the memory of failed fsyncs."""

from __future__ import annotations

import errno
import os

from lamina.errors import (
    AlreadyExistsError,
    DiskFullError,
    LaminaError,
    NotFoundError,
    PoisonedError,
    ReadOnlyError,
    StorageError,
)

__all__ = ["check_poison", "clear_poison", "poison", "translate"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

_poisoned: dict[str, str] = {}


def translate(exc: OSError, path: str | os.PathLike[str], doing: str) -> LaminaError:
    """Return our error for an ``OSError``; to be raised ``from`` it.

    Args:
        exc: What the operating system said. One of ours is returned unchanged.
        path: What it happened to.
        doing: What was tried, such as ``"write"`` or ``"make the folder"``; it follows "could not".

    Returns:
        ``DiskFullError``, ``ReadOnlyError``, ``NotFoundError``, ``AlreadyExistsError`` or ``StorageError``, with
        ``path`` and ``errno`` in its details.
    """
    if isinstance(exc, LaminaError):
        return exc
    name = os.fspath(path)
    reason = exc.strerror or str(exc) or type(exc).__name__
    message = f"Could not {doing} {name}: {reason}."
    kind: type[LaminaError]
    if exc.errno in _FULL:
        kind, hint = DiskFullError, "Free some space or raise the limit, then try again; nothing saved before is lost."
    elif exc.errno in _READ_ONLY:
        kind, hint = ReadOnlyError, "Check the owner and the rights of the folder, or open the store read-only."
    elif exc.errno == errno.ENOENT:
        kind, hint = NotFoundError, "Check the path; a folder on the way may be missing."
    elif exc.errno == errno.EEXIST:
        kind, hint = AlreadyExistsError, "Choose another name, or replace it on purpose."
    else:
        kind, hint = StorageError, "Check the disk and the kernel log, then run `lamina verify`."
    return kind(message, hint=hint, path=name, errno=exc.errno)


def poison(path: str | os.PathLike[str], exc: OSError) -> PoisonedError:
    """Remember that an fsync of ``path`` failed, and return the error to raise.

    After a failed fsync the kernel may mark the pages clean although they never reached the disk, so a second fsync
    would succeed and prove nothing ("Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    """
    name = os.path.abspath(os.fspath(path))
    _poisoned[name] = exc.strerror or str(exc)
    return _error(name)


def check_poison(path: str | os.PathLike[str]) -> None:
    """Raise where an earlier fsync of ``path`` failed in this process.

    Raises:
        PoisonedError: Until :func:`clear_poison` is called for the path or a folder above it.
    """
    if _poisoned:
        name = os.path.abspath(os.fspath(path))
        if name in _poisoned:
            raise _error(name)


def clear_poison(folder: str | os.PathLike[str]) -> None:
    """Forget failed fsyncs of ``folder`` and all below it: whoever calls has reopened and looks at what is there."""
    top = os.path.abspath(os.fspath(folder))
    for name in [name for name in _poisoned if name == top or name.startswith(os.path.join(top, ""))]:
        _poisoned.pop(name, None)


def _error(name: str) -> PoisonedError:
    return PoisonedError(
        f"An fsync of {name} failed ({_poisoned[name]}), so what reached the disk is unknown.",
        hint="Stop writing, check the disk, then reopen the store and run `lamina verify`.",
        path=name,
    )
