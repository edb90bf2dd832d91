from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from lamina.errors import LaminaError
from lamina.fs import Operation, catalog_vfs, make_dir, move_file, observe, remove_file, write_file
from lamina.fs._seam import report, report_write
from lamina.testing import CrashFS


def images(crash: CrashFS, folder: Path, count: int = 150) -> list[tuple[dict[str, bytes], tuple[Any, ...]]]:
    """Return the files and the acknowledgements of many random crashes."""
    found = []
    for image in crash.images(folder / "images", count=count, seed=7):
        content: dict[str, bytes] = {}
        for place, _, names in os.walk(image.path):
            for name in names:
                path = os.path.join(place, name)
                content[os.path.relpath(path, image.path)] = Path(path).read_bytes()
        found.append((content, image.acknowledged))
    return found


def careless_write(path: Path, data: bytes, *, sync_file: bool, sync_folder: bool) -> None:
    """Write a file by way of a temporary name, as the write protocol does but for the fsyncs."""
    temporary = f"{path}.tmp"
    report("create", temporary)
    report_write(temporary, data, 0)
    Path(temporary).write_bytes(data)
    if sync_file:
        report("fsync", temporary)
    report("rename", temporary, target=str(path))
    os.rename(temporary, path)
    if sync_folder:
        report("fsync", os.path.dirname(path))


def test_the_write_protocol_survives(tmp_path: Path) -> None:
    """Invariant 1 for files: what was acknowledged is whole after every crash, and no name ever has half a file."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash:
        make_dir(root / "packs")
        for number in range(8):
            write_file(root / "packs" / f"{number}", bytes([number]) * 3000)
            crash.acknowledge(number)
            write_file(root / "index", f"{number}".encode() * 2000, replace=True)
    for content, acknowledged in images(crash, tmp_path):
        for number in acknowledged:
            assert content[f"packs/{number}"] == bytes([number]) * 3000
        for path, data in content.items():
            if path.startswith("packs/") and not path.endswith(".tmp"):
                assert data == bytes([int(path[6:])]) * 3000, path
        if "index" in content:
            assert len(set(content["index"])) == 1
            assert len(content["index"]) == 2000
        if acknowledged and acknowledged[-1] != 0:
            assert int(content["index"][:1]) >= acknowledged[-1] - 1


@pytest.mark.parametrize(("sync_file", "sync_folder"), [(False, True), (True, False)])
def test_a_missing_fsync_is_caught(tmp_path: Path, sync_file: bool, sync_folder: bool) -> None:
    """A writer that forgets one of the two fsyncs loses acknowledged bytes in some image; the rig would find it."""
    (tmp_path / "store").mkdir()
    crash = CrashFS(tmp_path / "store")
    with crash:
        for number in range(4):
            careless_write(tmp_path / "store" / f"{number}", b"x" * 3000, sync_file=sync_file, sync_folder=sync_folder)
            crash.acknowledge(number)
    lost = [
        (number, content.get(f"{number}"))
        for content, acknowledged in images(crash, tmp_path)
        for number in acknowledged
        if content.get(f"{number}") != b"x" * 3000
    ]
    assert lost
    if not sync_file:
        assert any(data is not None and 0 < len(data) < 3000 for _, data in lost)  # torn, not only empty


def test_removal_and_move(tmp_path: Path) -> None:
    """A file that was removed stays removed, and one that moves is never without a name."""
    root = tmp_path / "store"
    root.mkdir()
    (root / "old").write_bytes(b"there before")
    crash = CrashFS(root)
    with crash:
        move_file(root / "old", root / "new")
        crash.acknowledge("moved")
        remove_file(root / "new")
        crash.acknowledge("removed")
    for content, acknowledged in images(crash, tmp_path):
        if "removed" in acknowledged:
            assert content == {}
        elif "moved" in acknowledged:
            assert content in ({"new": b"there before"}, {})
        else:
            assert set(content.values()) == {b"there before"}


def test_a_folder_that_was_not_synced_takes_its_content_along(tmp_path: Path) -> None:
    """Files in a new folder are lost with the folder, where only the folder's own content was synced."""
    root = tmp_path / "store"
    root.mkdir()
    crash = CrashFS(root)
    with crash:
        report("mkdir", str(root / "d"))
        (root / "d").mkdir()
        write_file(root / "d" / "a", b"x")
    assert {} in [content for content, _ in images(crash, tmp_path)]


def test_kill_images_keep_everything(tmp_path: Path) -> None:
    """After a killed process everything written is there, synced or not, up to the moment."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash:
        make_dir(root)
        careless_write(root / "a", b"1", sync_file=False, sync_folder=False)
    states = [sorted(os.listdir(image.path)) for image in crash.every_kill(tmp_path / "kills")]
    assert states == [[], [], [], ["a.tmp"], ["a.tmp"], ["a"]]
    assert len(crash) == 5


def test_images_are_reproducible(tmp_path: Path) -> None:
    """The same moment and seed give the same image; another seed gives another one somewhere."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash:
        make_dir(root)
        for number in range(4):
            careless_write(root / f"{number}", b"x" * 5000, sync_file=False, sync_folder=False)

    def state(name: str, seed: int) -> list[tuple[str, bytes]]:
        image = crash.image(tmp_path / name, seed=seed)
        return [(path, (Path(image.path) / path).read_bytes()) for path in sorted(os.listdir(image.path))]

    assert state("a", 1) == state("b", 1)
    assert len({str(state(f"s{seed}", seed)) for seed in range(10)}) > 1


def test_a_write_beside_the_seam_is_caught(tmp_path: Path) -> None:
    """A file that was made without the seam's knowledge and is then used through it fails the run."""
    root = tmp_path / "store"
    root.mkdir()
    crash = CrashFS(root)
    with crash:
        (root / "a").write_bytes(b"made beside the seam")
        move_file(root / "a", root / "b")
    with pytest.raises(AssertionError, match="in no way that the seam has seen"):
        crash.image(tmp_path / "image")


def test_failed_operations_leave_no_trace(tmp_path: Path) -> None:
    """What an inner observer made fail is not in the images, and the bytes of a short write are."""
    root = tmp_path / "store"
    crash = CrashFS(root)

    def fail(operation: Operation) -> None:
        if operation.kind == "link":
            raise OSError(5, "x")

    with crash:
        make_dir(root)
        with observe(fail), pytest.raises(LaminaError):
            write_file(root / "a", b"x")
    assert os.listdir(crash.image(tmp_path / "image", loss="nothing").path) == []


def rows(path: Path) -> list[int]:
    """Return the rows of a database that may be missing or empty, and check that it is sound."""
    if not path.exists():
        return []
    connection = apsw.Connection(str(path))
    try:
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        if not connection.execute("SELECT 1 FROM sqlite_schema").get:
            return []
        return [row[0] for row in connection.execute("SELECT a FROM t ORDER BY a")]
    finally:
        connection.close()


def run_database(root: Path, synchronous: str, acknowledge: Callable[[int], None]) -> None:
    """Insert numbered rows one commit each, with a checkpoint on the way."""
    connection = apsw.Connection(str(root / "c.db"), vfs=catalog_vfs() or "")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", synchronous)
    connection.pragma("wal_autocheckpoint", 0)
    connection.execute("CREATE TABLE t (a, b)")
    for number in range(30):
        connection.execute("INSERT INTO t VALUES (?, zeroblob(3000))", (number,))
        acknowledge(number)
        if number % 10 == 9:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()


@pytest.mark.parametrize(("synchronous", "may_lose"), [("full", False), ("normal", True)])
def test_sqlite_under_the_crash(tmp_path: Path, synchronous: str, may_lose: bool) -> None:
    """The catalog's settings keep every commit; relaxed ones lose some last commits and are never corrupt."""
    root = tmp_path / "store"
    root.mkdir()
    crash = CrashFS(root)
    with crash:
        run_database(root, synchronous, crash.acknowledge)
    lost = 0
    for image in crash.images(tmp_path / "images", count=150, seed=3):
        found = rows(Path(image.path) / "c.db")
        assert found == list(range(len(found))), image
        assert len(found) <= len(image.acknowledged) + 1, image
        lost += len(found) < len(image.acknowledged)
        assert not os.path.exists(os.path.join(image.path, "c.db-shm"))
    assert bool(lost) is may_lose


def test_sqlite_without_syncs_is_caught(tmp_path: Path) -> None:
    """With synchronous=OFF some image is lossy or damaged: the rig does see what SQLite does."""
    root = tmp_path / "store"
    root.mkdir()
    crash = CrashFS(root)
    with crash:
        run_database(root, "off", crash.acknowledge)
    bad = 0
    for image in crash.images(tmp_path / "images", count=60, seed=3):
        try:
            bad += len(rows(Path(image.path) / "c.db")) < len(image.acknowledged)
        except (apsw.Error, AssertionError):
            bad += 1
    assert bad > 5
