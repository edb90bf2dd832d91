"""Every error that Lamina raises, in one tree.

::

    LaminaError                     anything that went wrong in Lamina
    ├── InvalidInputError           a value that cannot be accepted            (ValueError)
    ├── NotFoundError               a store, memory or other thing is not there (KeyError)
    ├── AlreadyExistsError          something is already in that place
    ├── ConflictError               someone else was first
    ├── LockedError                 a lock was not free within the wait         (TimeoutError)
    ├── ReadOnlyError               a write through a read-only handle or folder
    ├── StorageError                the file system failed                      (OSError)
    │   ├── DiskFullError           no room is left
    │   └── PoisonedError           an earlier fsync failed; reopen and verify
    ├── CorruptionError             bytes on disk are not what was written
    ├── FormatError                 the store needs another version of Lamina
    ├── EmbedderError               an embedder is missing, changed or failed
    ├── DependencyError             an optional package is not installed        (ImportError)
    └── ClosedError                 the handle was closed, or crossed a fork    (RuntimeError)

Each error carries ``code`` (stable, append-only), ``message`` (what happened, to what) and ``hint`` (what to do).
``str(error)`` is the message and the hint on one line; ``error.to_dict()`` is what ``--json`` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

__all__ = [
    "AlreadyExistsError",
    "ClosedError",
    "ConflictError",
    "CorruptionError",
    "DependencyError",
    "DiskFullError",
    "EmbedderError",
    "FormatError",
    "InvalidInputError",
    "LaminaError",
    "LockedError",
    "NotFoundError",
    "PoisonedError",
    "ReadOnlyError",
    "StorageError",
]


class LaminaError(Exception):
    """Root of every error that Lamina raises.

    Args:
        message: What happened, and to what.
        hint: What the reader can do about it; one sentence.
        details: Facts for programs, JSON-serialisable (a path, an id, a limit).
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.details), self.__dict__  # its notes are there

    def to_dict(self) -> dict[str, Any]:
        """Return the error as ``{"code", "message", "hint", **details}``."""
        return {"code": self.code, "message": self.message, "hint": self.hint, **self.details}


def _rebuild(cls: type[LaminaError], message: str, hint: str, details: dict[str, Any]) -> LaminaError:
    return cls(message, hint=hint, **details)


class InvalidInputError(LaminaError, ValueError):
    """A value that cannot be accepted: text, vector, type, scope, filter or option."""

    code = "invalid-input"


class NotFoundError(LaminaError, KeyError):
    """A store, memory or other named thing is not there."""

    code = "not-found"


class AlreadyExistsError(LaminaError):
    """Something is already in the place where a new thing was to be made."""

    code = "already-exists"


class ConflictError(LaminaError):
    """Someone else changed the thing first; nothing was written."""

    code = "conflict"


class LockedError(LaminaError, TimeoutError):
    """Another process held a lock for longer than the bounded wait; nothing was written."""

    code = "locked"


class ReadOnlyError(LaminaError):
    """A write was asked of a read-only handle or folder."""

    code = "read-only"


class StorageError(LaminaError, OSError):
    """The file system refused or failed an operation."""

    code = "storage"


class DiskFullError(StorageError):
    """No room is left on the device; the write did not happen."""

    code = "disk-full"


class PoisonedError(StorageError):
    """An earlier fsync failed, so what reached the disk is unknown; reopen and verify."""

    code = "poisoned"


class CorruptionError(LaminaError):
    """Bytes on disk are not what was written."""

    code = "corruption"


class FormatError(LaminaError):
    """The store was written by a version of Lamina that this one cannot serve."""

    code = "format"


class EmbedderError(LaminaError):
    """An embedder is missing, is not the one the store was made with, or failed."""

    code = "embedder"


class DependencyError(LaminaError, ImportError):
    """An optional package is not installed; the hint names the extra that brings it."""

    code = "dependency"


class ClosedError(LaminaError, RuntimeError):
    """The handle was closed, or is used in a forked child."""

    code = "closed"


for _name in __all__:  # tracebacks show the public path
    globals()[_name].__module__ = "lamina"


def there_are(wanted: str, names: Sequence[str], *, most: int = 6) -> str:
    """Return the hint that says what there is instead of ``wanted``, what is spelled alike first; empty for nothing."""
    if not names:
        return ""
    from difflib import get_close_matches

    alike = get_close_matches(wanted, names, n=3, cutoff=0.6)
    shown = [*alike, *(name for name in names if name not in alike)][:most]
    rest = len(names) - len(shown)
    return f"There are: {', '.join(shown)}{f' and {rest:,} more' if rest else ''}."
