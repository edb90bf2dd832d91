"""Locks between processes, and between the threads of one: ``flock`` on a file of its own.

The operating system drops a ``flock`` when its process dies, so a killed holder never blocks anyone. Each acquisition
opens the file anew, which makes two threads of one process exclude each other as two processes do. Windows has no
``flock``; this module, and with it the store, is for Linux and macOS.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Self

from lamina.errors import LaminaError, LockedError, StorageError
from lamina.fs._translate import translate

__all__ = ["FileLock", "Forgets", "close_in_children", "try_flock"]

_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.05
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}

_open_here: weakref.WeakSet[Forgets] = weakref.WeakSet()


class Forgets:
    """Something that holds a locked descriptor, which a forked child must let go of.

    A ``flock`` belongs to the open file, which a fork shares: left open in the child it would outlive a killed parent,
    and unlocked there it would be unlocked for the parent. Closing the child's copy does neither.
    """

    _fd: int | None = None

    def forget(self) -> None:
        """Close the descriptor, and with it this copy of the lock."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


def close_in_children(holder: Forgets) -> None:
    """See to it that a forked child closes its copy of ``holder``'s descriptor."""
    _open_here.add(holder)


def _after_fork() -> None:
    for holder in list(_open_here):
        holder.forget()
    _open_here.clear()


os.register_at_fork(after_in_child=_after_fork)


def try_flock(fd: int, *, shared: bool = False) -> bool:
    """Try to lock an open file at once; return False where someone else holds it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


class FileLock(Forgets):
    """A lock on a file, held by one process (or by several that share it) at a time.

    Not re-entrant: one object is held once at a time, and a second thread waits its turn. The file is made with the
    rights 0600, holds the process id of an exclusive holder for messages, and is never removed.

    Args:
        path: The lock file; its folder must exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._fd: int | None = None
        self._turn = threading.Lock()
        self._owner = os.getpid()
        self._exclusive = False

    def __repr__(self) -> str:
        return f"FileLock({self.path!r}, held={self.held})"

    @property
    def held(self) -> bool:
        """True while this object holds the lock in this process."""
        return self._fd is not None and self._owner == os.getpid()

    def acquire(self, timeout_s: float, *, shared: bool = False) -> None:
        """Take the lock, waiting up to ``timeout_s`` seconds with growing, jittered pauses.

        Args:
            timeout_s: The longest wait; 0 tries once.
            shared: Share it with others that share it.

        Raises:
            LockedError: It was not free in time.
            ReadOnlyError: The lock file cannot be opened for writing.
            StorageError: The file system failed, or cannot lock.
        """
        deadline = time.monotonic() + max(0.0, timeout_s)
        if self._owner != os.getpid():  # a fork may have copied the turn while another thread held it
            self._turn, self._owner = threading.Lock(), os.getpid()
        if not self._turn.acquire(timeout=max(0.0, timeout_s)):
            raise self._locked(timeout_s)
        try:
            fd = self._open(shared=shared)
            try:
                self._wait(fd, deadline, timeout_s, shared=shared)
                if not shared:
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            except BaseException:
                os.close(fd)
                raise
        except BaseException as error:
            self._turn.release()
            if isinstance(error, OSError) and not isinstance(error, LaminaError):
                raise translate(error, self.path, "lock") from error
            raise
        self._fd, self._exclusive = fd, not shared
        close_in_children(self)

    def release(self) -> None:
        """Give the lock back; in a forked child this leaves the parent's lock alone.

        Raises:
            StorageError: This object does not hold it.
        """
        if not self.held:
            raise StorageError(
                f"The lock {self.path} is not held here.",
                hint="Release a lock once, where it was acquired.",
                path=self.path,
            )
        fd, self._fd = self._fd, None
        assert fd is not None
        try:
            if self._exclusive:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, 0)
            os.close(fd)  # drops the lock
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def hold(self, timeout_s: float, *, shared: bool = False) -> Iterator[Self]:
        """Hold the lock for the length of a ``with`` block; arguments and errors as :meth:`acquire`."""
        self.acquire(timeout_s, shared=shared)
        try:
            yield self
        finally:
            if self.held:  # not so in a child that was forked inside the block
                self.release()

    def __enter__(self) -> Self:
        self.acquire(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self.held:
            self.release()

    def _open(self, *, shared: bool) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags, 0o600)
        except PermissionError:
            if not shared:
                raise
        except OSError as error:
            if not shared or error.errno != errno.EROFS:
                raise
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _wait(self, fd: int, deadline: float, timeout_s: float, *, shared: bool) -> None:
        pause = _FIRST_WAIT_S
        while not try_flock(fd, shared=shared):
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._locked(timeout_s)
            time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # jitter: waiters must not march in step
            pause = min(pause * 2, _LONGEST_WAIT_S)

    def _locked(self, timeout_s: float) -> LockedError:
        pid = self._holder()
        who = f"process {pid}" if pid else "another process"
        return LockedError(
            f"{self.path} is locked by {who}; waited {timeout_s:g} s.",
            hint="Try again when it is done, or stop that process.",
            path=self.path,
            pid=pid,
        )

    def _holder(self) -> int | None:
        with contextlib.suppress(OSError, ValueError), open(self.path, "rb") as file:
            return int(file.read(20))
        return None
