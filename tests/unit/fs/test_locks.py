from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lamina.errors import LaminaError, LockedError, NotFoundError, StorageError
from lamina.fs import FileLock

HOLDER = """
import sys, time
from lamina.fs import FileLock
lock = FileLock(sys.argv[1])
lock.acquire(5, shared=sys.argv[2] == "shared")
print("held", flush=True)
time.sleep(60)
"""


def holder(path: Path, kind: str = "exclusive") -> subprocess.Popen[str]:
    """Start a process that holds the lock until it is killed."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(path), kind], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    """Kill and reap it."""
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def test_excludes_another_process_and_names_it(tmp_path: Path) -> None:
    """A lock held elsewhere is refused after the wait, with the holder's process id, and is free after its death."""
    child = holder(tmp_path / "lock")
    try:
        began = time.monotonic()
        with pytest.raises(LockedError, match=f"process {child.pid}") as caught:
            FileLock(tmp_path / "lock").acquire(0.2)
        assert 0.2 <= time.monotonic() - began < 5
        assert caught.value.details["pid"] == child.pid
        assert isinstance(caught.value, TimeoutError)
        os.kill(child.pid, signal.SIGKILL)
        with FileLock(tmp_path / "lock").hold(5):
            pass
    finally:
        end(child)


def test_shared_with_sharers_only(tmp_path: Path) -> None:
    """Shared holders admit each other and keep an exclusive one out."""
    child = holder(tmp_path / "lock", "shared")
    try:
        with FileLock(tmp_path / "lock").hold(1, shared=True) as lock:
            assert lock.held
            with pytest.raises(LockedError):
                FileLock(tmp_path / "lock").acquire(0)
    finally:
        end(child)


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    """Between threads it holds as between processes, with one object or with several."""
    shared = FileLock(tmp_path / "lock")
    inside = 0
    most = 0

    def work(lock: FileLock) -> None:
        nonlocal inside, most
        for _ in range(20):
            with lock.hold(20):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work, args=(lock,)) for lock in (shared, shared, FileLock(tmp_path / "lock"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_one_object_is_not_reentrant(tmp_path: Path) -> None:
    """A second acquisition of a held object waits and fails, as for anyone else; a second release is an error."""
    lock = FileLock(tmp_path / "lock")
    lock.acquire(1)
    with pytest.raises(LockedError):
        lock.acquire(0.01)
    assert lock.held
    lock.release()
    assert "held=False" in repr(lock)
    with pytest.raises(StorageError, match="not held"):
        lock.release()
    with lock:
        assert lock.held


def test_rights_and_missing_folder(tmp_path: Path) -> None:
    """The lock file is the owner's alone, stays in place, and a missing folder is our error."""
    with FileLock(tmp_path / "lock").hold(1):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
        assert int((tmp_path / "lock").read_text()) == os.getpid()
    assert (tmp_path / "lock").read_text() == ""
    with pytest.raises(NotFoundError):
        FileLock(tmp_path / "no" / "lock").acquire(0)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LaminaError):
        FileLock(tmp_path / "link").acquire(0)
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_acquire_leaves_the_object_usable(tmp_path: Path) -> None:
    """After an error the same object can be acquired."""
    (tmp_path / "d").mkdir()
    lock = FileLock(tmp_path / "d" / "lock")
    with FileLock(tmp_path / "d" / "lock").hold(1), pytest.raises(LockedError):
        lock.acquire(0)
    with lock.hold(0):
        assert lock.held


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_holds_nor_releases(tmp_path: Path) -> None:
    """A fork copies no lock: the child does not hold it, cannot free it, and does not keep it."""
    lock = FileLock(tmp_path / "lock")
    ready, told = os.pipe()
    wait, go = os.pipe()
    with lock.hold(1):
        child = os.fork()
        if child == 0:  # pragma: no cover (another process)
            code = 0 if not lock.held else 1
            try:
                lock.acquire(0)
                code = 2
            except LockedError:
                pass
            os.write(told, b"x")
            os.read(wait, 1)  # stay alive while the parent lets go
            os._exit(code)
        os.read(ready, 1)
        with pytest.raises(LockedError):
            FileLock(tmp_path / "lock").acquire(0)
    try:
        with FileLock(tmp_path / "lock").hold(0):
            pass
    finally:
        os.write(go, b"x")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for fd in (ready, told, wait, go):
            os.close(fd)
    assert status == 0
