"""Leases: a locked file says "someone still reads this", and the operating system takes it back at death."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from lamina.fs._files import temporary_name
from lamina.fs._locks import Forgets, close_in_children, try_flock
from lamina.fs._translate import translate

__all__ = ["Lease", "LeaseInfo", "live_leases"]

_SUFFIX = ".lease"


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """One lease that someone holds."""

    label: str
    """What its holder wrote on it; empty where that cannot be read."""
    pid: int | None
    """The holder's process."""
    since: datetime | None
    path: str


class Lease(Forgets):
    """Hold a lease until :meth:`release`, the end of a ``with`` block, or the death of the process.

    The file is locked before it gets its name, so no one can take a fresh lease for a dead one. It is not made durable:
    no lease outlives a power loss.

    Args:
        folder: Where leases of this kind lie; must exist.
        label: What is held, for others to read.

    Raises:
        LaminaError: As :func:`translate` has it.
    """

    def __init__(self, folder: str | os.PathLike[str], label: str) -> None:
        where = os.path.abspath(os.fspath(folder))
        self.label = label
        self.path = os.path.join(where, secrets.token_hex(8) + _SUFFIX)
        self._fd: int | None = None
        body = json.dumps({"label": label, "pid": os.getpid(), "since": datetime.now(UTC).isoformat()}).encode()
        temporary = temporary_name(where)
        try:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                try_flock(fd)
                os.write(fd, body)
                os.rename(temporary, self.path)
            except BaseException:
                os.close(fd)
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise translate(error, where, "take a lease in") from error
        self._fd = fd
        close_in_children(self)

    def __repr__(self) -> str:
        return f"Lease({self.path!r}, {self.label!r}, held={self.held})"

    @property
    def held(self) -> bool:
        """True until it is released; False in a forked child."""
        return self._fd is not None

    def release(self) -> None:
        """Give the lease back; again does nothing, and so does a forked child."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def live_leases(folder: str | os.PathLike[str]) -> list[LeaseInfo]:
    """Return the leases in ``folder`` whose holders live, and remove those of the dead.

    Args:
        folder: Where the leases lie; a missing folder holds none.

    Raises:
        LaminaError: As :func:`translate` has it; an unreadable folder must not pass for one without leases.
    """
    live: list[LeaseInfo] = []
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return live
    except OSError as error:
        raise translate(error, folder, "list the leases in") from error
    for name in names:
        path = os.path.join(os.path.abspath(os.fspath(folder)), name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # released meanwhile
        except OSError as error:
            raise translate(error, path, "open the lease") from error
        try:
            if not try_flock(fd):
                live.append(_read(fd, path))
                continue
            with contextlib.suppress(OSError):  # a read-only folder keeps its dead leases; they hold nothing
                os.unlink(path)
        except OSError as error:
            raise translate(error, path, "look at the lease") from error
        finally:
            os.close(fd)
    return live


def _read(fd: int, path: str) -> LeaseInfo:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        body = json.loads(os.pread(fd, 1 << 16, 0))
        return LeaseInfo(str(body["label"]), int(body["pid"]), datetime.fromisoformat(body["since"]), path)
    return LeaseInfo("", None, None, path)
