"""What the process says at its end. The numbers are a contract: scripts branch on them, so they never change."""

from __future__ import annotations

from enum import IntEnum

from lamina.errors import (
    AlreadyExistsError,
    ConflictError,
    CorruptionError,
    DependencyError,
    DiskFullError,
    EmbedderError,
    FormatError,
    InvalidInputError,
    LaminaError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
)

__all__ = ["ExitCode", "exit_code_for"]


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0
    """Done. A recall without hits is done, too."""
    FAILURE = 1
    """Not done, for a reason without a number of its own; or answered with no at a question."""
    USAGE = 2
    """The command line, or a value in it or in a file it names, cannot be accepted; nothing was done."""
    NOT_FOUND = 3
    """The store, the memory or the file is not there."""
    CONFLICT = 4
    """Someone else was first, or something is already there."""
    LOCKED = 5
    """Another process kept a lock for longer than the wait; try again."""
    READ_ONLY = 6
    """The store or its folder cannot be written."""
    CORRUPTION = 7
    """Bytes on disk are not what was written; also ``verify`` and ``doctor`` with findings."""
    DISK_FULL = 8
    """No room is left."""
    FORMAT = 9
    """The store needs another version of Lamina."""
    DEPENDENCY = 10
    """An embedder or an optional package is missing or failed."""
    BUG = 70
    """Lamina failed in a way it should not; the message says how to report it."""
    INTERRUPT = 130
    """Stopped by Ctrl-C."""
    BROKEN_PIPE = 141
    """The reader of standard output went away."""


_BY_ERROR: tuple[tuple[type[LaminaError], ExitCode], ...] = (
    (InvalidInputError, ExitCode.USAGE),
    (NotFoundError, ExitCode.NOT_FOUND),
    (ConflictError, ExitCode.CONFLICT),
    (AlreadyExistsError, ExitCode.CONFLICT),
    (LockedError, ExitCode.LOCKED),
    (ReadOnlyError, ExitCode.READ_ONLY),
    (CorruptionError, ExitCode.CORRUPTION),
    (DiskFullError, ExitCode.DISK_FULL),
    (FormatError, ExitCode.FORMAT),
    (EmbedderError, ExitCode.DEPENDENCY),
    (DependencyError, ExitCode.DEPENDENCY),
)


def exit_code_for(error: LaminaError) -> ExitCode:
    """The exit code of an error: the only place where one becomes the other."""
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILURE
