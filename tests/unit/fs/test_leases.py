from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lamina.errors import LaminaError, NotFoundError
from lamina.fs import Lease, live_leases

HOLDER = """
import sys, time
from lamina.fs import Lease
lease = Lease(sys.argv[1], "reader")
print(lease.path, flush=True)
time.sleep(60)
"""


def test_a_lease_is_seen_until_it_is_released(tmp_path: Path) -> None:
    """A held lease is listed with its label and holder; a released one is gone, and releasing again does nothing."""
    with Lease(tmp_path, "snapshot 7") as lease:
        (found,) = live_leases(tmp_path)
        assert (found.label, found.pid, found.path) == ("snapshot 7", os.getpid(), lease.path)
        assert found.since is not None
        assert abs((datetime.now(UTC) - found.since).total_seconds()) < 60
        assert os.stat(lease.path).st_mode & 0o777 == 0o600
    assert not lease.held
    lease.release()
    assert live_leases(tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_death_releases(tmp_path: Path) -> None:
    """The operating system takes the lease of a killed process back, and its file is tidied at the next look."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        path = child.stdout.readline().strip()
        assert [(lease.path, lease.pid) for lease in live_leases(tmp_path)] == [(path, child.pid)]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert os.path.exists(path)
    assert live_leases(tmp_path) == []
    assert not os.path.exists(path)


def test_looking_never_takes_a_fresh_lease_for_a_dead_one(tmp_path: Path) -> None:
    """While leases come and go, a look from elsewhere never removes one that is held."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            live_leases(tmp_path)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(100):
            with Lease(tmp_path, "x") as lease:
                assert os.path.exists(lease.path)
    finally:
        stop.set()
        watcher.join()


def test_odd_files_and_folders(tmp_path: Path) -> None:
    """An unreadable label does not hide a live lease; a missing folder holds none to list and takes none."""
    lease = Lease(tmp_path, "x")
    with open(lease.path, "wb") as file:
        file.write(b"not json")
    (found,) = live_leases(tmp_path)
    assert (found.label, found.pid, found.since) == ("", None, None)
    lease.release()
    (tmp_path / "notes.txt").write_text("kept")
    assert live_leases(tmp_path) == []
    assert os.listdir(tmp_path) == ["notes.txt"]
    assert live_leases(tmp_path / "no") == []
    with pytest.raises(NotFoundError):
        Lease(tmp_path / "no", "x")
    with pytest.raises(LaminaError):
        live_leases(tmp_path / "notes.txt")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_prolong_it(tmp_path: Path) -> None:
    """A child forked while a lease is held neither releases it nor keeps it alive."""
    lease = Lease(tmp_path, "x")
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover (another process)
        lease.release()
        os.read(wait, 1)
        os._exit(1 if lease.held else 0)
    try:
        assert len(live_leases(tmp_path)) == 1
        lease.release()
        assert live_leases(tmp_path) == []
    finally:
        os.write(go, b"x")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(wait)
        os.close(go)
    assert status == 0
