from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.errors import (
    AlreadyExistsError,
    ConflictError,
    DiskFullError,
    InvalidInputError,
    LaminaError,
    NotFoundError,
    PoisonedError,
    ReadOnlyError,
    StorageError,
)
from lamina.fs import (
    Operation,
    ShortWrite,
    Stamp,
    _reading,
    clear_poison,
    inside,
    make_dir,
    move_file,
    observe,
    read_file,
    read_with_stamp,
    remove_file,
    stamp_of,
    sweep_temporary,
    sync_dir,
    write_file,
    write_files,
)


def kinds(log: list[Operation]) -> list[str]:
    """Return the kind of each operation."""
    return [operation.kind for operation in log]


def test_write_follows_the_protocol(tmp_path: Path) -> None:
    """A new file is made by: temporary, write, fsync, link, fsync of the folder; its bytes never have a half state."""
    log: list[Operation] = []
    with observe(log.append):
        write_file(tmp_path / "a", b"hello")
    assert kinds(log) == ["create", "write", "fsync", "link", "unlink", "fsync"]
    assert os.path.dirname(log[0].path) == str(tmp_path)
    assert log[3].target == str(tmp_path / "a")
    assert log[5].path == str(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert os.listdir(tmp_path) == ["a"]


def test_replace_renames(tmp_path: Path) -> None:
    """Replacing goes through a rename, and the old content is whole until then."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    log: list[Operation] = []

    def watch(operation: Operation) -> None:
        log.append(operation)
        assert path.read_bytes() == b"old" or operation.kind == "fsync"

    with observe(watch):
        write_file(path, b"new", replace=True)
    assert kinds(log) == ["create", "write", "fsync", "rename", "fsync"]
    assert path.read_bytes() == b"new"


def test_parts_are_consumed_lazily(tmp_path: Path) -> None:
    """Parts are written as they come, so a large file never has to lie in memory."""
    order: list[str] = []

    def parts() -> Iterator[bytes]:
        for part in (b"one", b"", b"two"):
            order.append("made")
            yield part

    with observe(lambda operation: order.append(operation.kind)):
        write_file(tmp_path / "a", parts())
    assert order[:6] == ["create", "made", "write", "made", "made", "write"]
    assert (tmp_path / "a").read_bytes() == b"onetwo"


def test_no_replace_keeps_what_is_there(tmp_path: Path) -> None:
    """A file that is there stays as it is, and the error names it."""
    write_file(tmp_path / "a", b"first")
    with pytest.raises(AlreadyExistsError, match=r"already at .*/a\.") as caught:
        write_file(tmp_path / "a", b"second")
    assert caught.value.details["path"] == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_lost_race_for_a_name(tmp_path: Path) -> None:
    """A file that appears between the first look and the link is not replaced either, and no temporary file stays."""
    path = tmp_path / "a"

    def rival(operation: Operation) -> None:
        if operation.kind == "link":
            path.write_bytes(b"rival")

    with observe(rival), pytest.raises(AlreadyExistsError):
        write_file(path, b"mine")
    assert path.read_bytes() == b"rival"
    assert os.listdir(tmp_path) == ["a"]


def test_without_hard_links(tmp_path: Path) -> None:
    """Where the file system has no hard links the file is published all the same, and still replaces nothing."""

    def refuse(operation: Operation) -> None:
        if operation.kind == "link":
            raise OSError(errno.EPERM, "Operation not permitted")

    with observe(refuse):
        write_file(tmp_path / "a", b"one")
        move_file(tmp_path / "a", tmp_path / "b")
        with pytest.raises(AlreadyExistsError):
            write_file(tmp_path / "b", b"two")
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {"b": b"one"}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("replace", [False, True])
def test_every_fault_leaves_old_or_new(tmp_path: Path, code: int, replace: bool) -> None:
    """Whichever operation fails: our error is raised, the file is whole (old or new), and no temporary file stays."""
    log: list[Operation] = []
    with observe(log.append):
        write_file(tmp_path / "count", b"x" * 10, replace=replace)
    steps = len(log)
    for k in range(steps):
        folder = tmp_path / f"{k}"
        folder.mkdir()
        path = folder / "a"
        if replace:
            path.write_bytes(b"old")
        seen = 0

        def fail(operation: Operation, k: int = k) -> None:
            nonlocal seen
            seen += 1
            if seen == k + 1:
                raise OSError(code, os.strerror(code))

        with observe(fail):
            if log[k].kind == "unlink":  # only tidying may fail unseen: the file is in place
                write_file(path, b"new", replace=replace)
            else:
                wanted = {errno.ENOSPC: DiskFullError, errno.EIO: StorageError}[code]
                with pytest.raises((wanted, PoisonedError)):
                    write_file(path, b"new", replace=replace)
        assert [name for name in os.listdir(folder) if name.endswith(".tmp")] == [] or log[k].kind == "unlink"
        found = path.read_bytes() if path.exists() else None
        published = log[k].kind in {"fsync", "unlink"} and k >= 3
        assert found == (b"new" if published else b"old" if replace else None)
        clear_poison(folder)


def test_short_writes_are_continued(tmp_path: Path) -> None:
    """A short write is not an error: the rest is written, and nothing is doubled or missing."""

    def one_byte(operation: Operation) -> None:
        if operation.kind == "write":
            raise ShortWrite(1)

    with observe(one_byte):
        write_file(tmp_path / "a", [b"abc", b"de"])
    assert (tmp_path / "a").read_bytes() == b"abcde"


def test_failed_fsync_poisons_the_path(tmp_path: Path) -> None:
    """After a failed fsync the path refuses every write until someone has reopened and looked."""

    def fail(operation: Operation) -> None:
        if operation.kind == "fsync":
            raise OSError(errno.EIO, "Input/output error")

    with observe(fail), pytest.raises(PoisonedError) as caught:
        write_file(tmp_path / "a", b"1")
    assert isinstance(caught.value.__cause__, OSError)
    log: list[Operation] = []
    with observe(log.append), pytest.raises(PoisonedError):
        write_file(tmp_path / "a", b"2")
    assert log == []
    write_file(tmp_path / "b", b"another path is unharmed")
    clear_poison(tmp_path)
    write_file(tmp_path / "a", b"3")
    assert (tmp_path / "a").read_bytes() == b"3"


def test_folder_that_cannot_be_synced(tmp_path: Path) -> None:
    """A file system that has no fsync for folders is served; any other failure there is not passed over."""

    def unsupported(operation: Operation) -> None:
        if operation.path == str(tmp_path):
            raise OSError(errno.EINVAL, "Invalid argument")

    with observe(unsupported):
        write_file(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_failing_source_leaves_nothing(tmp_path: Path) -> None:
    """An error of the caller's own iterator passes through unchanged, and nothing stays behind."""

    def parts() -> Iterator[bytes]:
        yield b"one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a", parts())
    assert os.listdir(tmp_path) == []


def test_least_rights(tmp_path: Path) -> None:
    """New files are the owner's alone, new folders too; a replaced file keeps the rights that it had."""
    make_dir(tmp_path / "d" / "e")
    write_file(tmp_path / "d" / "new", b"")
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "d" / "e").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "d" / "new").stat().st_mode) == 0o600
    (tmp_path / "shared").write_bytes(b"x")
    (tmp_path / "shared").chmod(0o664)
    write_file(tmp_path / "shared", b"y", replace=True)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o664


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """A symbolic link in the place of a file cannot lead a write elsewhere."""
    (tmp_path / "outside").write_bytes(b"safe")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(AlreadyExistsError):
        write_file(tmp_path / "link", b"x")
    write_file(tmp_path / "link", b"x", replace=True)
    assert (tmp_path / "outside").read_bytes() == b"safe"
    assert (tmp_path / "link").read_bytes() == b"x"


def test_missing_folder(tmp_path: Path) -> None:
    """Writing into a folder that is not there says so."""
    with pytest.raises(NotFoundError, match="Could not write"):
        write_file(tmp_path / "no" / "a", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    """A folder without write rights gives ReadOnlyError."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ReadOnlyError):
            write_file(tmp_path / "a", b"")
    finally:
        tmp_path.chmod(0o700)


def test_make_dir_syncs_each_parent(tmp_path: Path) -> None:
    """Each new folder's parent is fsynced after it, top down; folders that are there cost nothing."""
    log: list[Operation] = []
    with observe(log.append):
        make_dir(tmp_path / "a" / "b")
    steps = [(operation.kind, os.path.relpath(operation.path, tmp_path)) for operation in log]
    assert steps == [("mkdir", "a"), ("fsync", "."), ("mkdir", "a/b"), ("fsync", "a")]
    again: list[Operation] = []
    with observe(again.append):
        make_dir(tmp_path / "a" / "b")
    assert again == []
    write_file(tmp_path / "file", b"")
    with pytest.raises(LaminaError):
        make_dir(tmp_path / "file")
    with pytest.raises(LaminaError):
        make_dir(tmp_path / "file" / "below")


def test_move_file(tmp_path: Path) -> None:
    """A move makes the new name durable before the old one goes, and replaces nothing."""
    (tmp_path / "to").mkdir()
    write_file(tmp_path / "a", b"1")
    write_file(tmp_path / "to" / "taken", b"2")
    with pytest.raises(AlreadyExistsError):
        move_file(tmp_path / "a", tmp_path / "to" / "taken")
    log: list[Operation] = []
    with observe(log.append):
        move_file(tmp_path / "a", tmp_path / "to" / "b")
    assert kinds(log) == ["link", "fsync", "unlink", "fsync"]
    assert (tmp_path / "to" / "b").read_bytes() == b"1"
    assert not (tmp_path / "a").exists()
    with pytest.raises(NotFoundError):
        move_file(tmp_path / "a", tmp_path / "c")


def test_remove_file(tmp_path: Path) -> None:
    """A removal is durable; a missing file is an error unless it may be missing."""
    write_file(tmp_path / "a", b"")
    log: list[Operation] = []
    with observe(log.append):
        remove_file(tmp_path / "a")
    assert kinds(log) == ["unlink", "fsync"]
    remove_file(tmp_path / "a", missing_ok=True)
    with pytest.raises(NotFoundError):
        remove_file(tmp_path / "a")
    with pytest.raises(LaminaError):
        remove_file(tmp_path)


def test_read_file_is_bounded(tmp_path: Path) -> None:
    """A file at the limit is read; one byte more, a folder, a pipe or a missing file is refused, and at once."""
    write_file(tmp_path / "a", b"12345")
    assert read_file(tmp_path / "a", max_bytes=5) == b"12345"
    with pytest.raises(InvalidInputError, match="holds 5 bytes, more than the 4"):
        read_file(tmp_path / "a", max_bytes=4)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(InvalidInputError, match="not a regular file"):
            read_file(tmp_path / name, max_bytes=4)
    with pytest.raises(NotFoundError):
        read_file(tmp_path / "none", max_bytes=4)


def test_read_file_whose_length_lies() -> None:
    """A file that claims no length (as those of /proc do) is bounded by what it really gives."""
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("no /proc here")
    with pytest.raises(InvalidInputError, match="more than the 100"):
        read_file("/proc/self/maps", max_bytes=100)


def test_read_file_that_follows_no_link(tmp_path: Path) -> None:
    """A symbolic link is followed unless that is forbidden; then it is refused, whatever it points to."""
    write_file(tmp_path / "a", b"1")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to("loop")
    assert read_file(tmp_path / "link", max_bytes=5) == b"1"
    assert read_file(tmp_path / "a", max_bytes=5, follow=False) == b"1"
    for name in ("link", "loop"):
        with pytest.raises(InvalidInputError, match="is a symbolic link"):
            read_file(tmp_path / name, max_bytes=5, follow=False)
        with pytest.raises(InvalidInputError, match="is a symbolic link"):
            read_with_stamp(tmp_path / name, max_bytes=5)
    assert read_with_stamp(tmp_path / "link", max_bytes=5, follow=True)[0] == b"1"
    with pytest.raises(StorageError):
        read_file(tmp_path / "loop", max_bytes=5)


def test_stamps(tmp_path: Path) -> None:
    """A stamp is size, times and inode of what is at a path itself; nothing there has none."""
    path = tmp_path / "a"
    write_file(path, b"123")
    status = path.stat()
    stamp = Stamp(3, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    assert read_with_stamp(path, max_bytes=3) == (b"123", stamp)
    assert stamp_of(path) == Stamp.of(status) == stamp
    assert stamp_of(tmp_path / "none") is None
    assert stamp_of(path / "below") is None
    (tmp_path / "link").symlink_to("a")
    link = stamp_of(tmp_path / "link")
    assert link is not None
    assert link.inode != stamp.inode
    with pytest.raises(InvalidInputError, match="more than the 2"):
        read_with_stamp(path, max_bytes=2)
    with pytest.raises(NotFoundError):
        read_with_stamp(tmp_path / "none", max_bytes=2)


def test_a_stamp_that_proves_nothing_yet() -> None:
    """A file that changed within the last clock tick, or in the future, may change once more unseen."""
    stamp = Stamp(1, 10**18, 10**9, 7)
    assert [stamp.settled(10**9 + passed) for passed in (-1, 0, 10**7, 2 * 10**7, 10**9)] == [False] * 3 + [True] * 2


@pytest.mark.parametrize(("changes", "ok"), [(0, True), (3, True), (4, False)])
def test_a_file_that_is_being_written_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: int, ok: bool
) -> None:
    """The stamp belongs to the bytes: a file that changes under the reader is read up to four times, then refused."""
    path = tmp_path / "a"
    path.write_bytes(b"0" * 10)
    honest = _reading._read_up_to
    reads = 0

    def disturbed(fd: int, limit: int) -> bytes:
        nonlocal reads
        reads += 1
        data = honest(fd, limit)
        if reads <= changes:
            path.write_bytes(f"{reads}".encode() * 10)
            os.utime(path, ns=(0, reads))  # a tick of the clock may be longer than this test
        return data

    monkeypatch.setattr(_reading, "_read_up_to", disturbed)
    if ok:
        data, stamp = read_with_stamp(path, max_bytes=10)
        assert (data, stamp) == (path.read_bytes(), stamp_of(path))
    else:
        with pytest.raises(ConflictError, match="changed each of the 4 times"):
            read_with_stamp(path, max_bytes=10)
    assert reads == min(changes + 1, 4)


def test_several_files_share_one_fsync_of_their_folder(tmp_path: Path) -> None:
    """Each file costs its own fsync, the folder one at the end; the order and the rights are as given."""
    log: list[Operation] = []
    with observe(log.append):
        write_files(tmp_path, [("b", b"1"), ("a", b"2"), ("c", b"")], mode=0o640)
    assert kinds(log) == [
        *["create", "write", "fsync", "link", "unlink"] * 2,
        "create",
        "fsync",
        "link",
        "unlink",
        "fsync",
    ]
    assert [operation.target for operation in log if operation.kind == "link"] == [str(tmp_path / n) for n in "bac"]
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {"b": b"1", "a": b"2", "c": b""}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    with observe(log.append):
        write_files(tmp_path, [])
    assert len(log) == 15


def test_several_files_stop_at_a_taken_name(tmp_path: Path) -> None:
    """A taken name stops the rest: what came before is published and synced, and the error says how many."""
    write_file(tmp_path / "taken", b"old")
    log: list[Operation] = []
    with observe(log.append), pytest.raises(AlreadyExistsError) as caught:
        write_files(tmp_path, [("a", b"1"), ("b", b"2"), ("taken", b"3"), ("c", b"4")])
    assert caught.value.details == {"path": str(tmp_path / "taken"), "written": 2}
    assert (log[-1].kind, log[-1].path) == ("fsync", str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "taken"]
    assert (tmp_path / "taken").read_bytes() == b"old"
    log.clear()
    with observe(log.append), pytest.raises(AlreadyExistsError) as caught:
        write_files(tmp_path, [("taken", b"3")])
    assert caught.value.details["written"] == 0
    assert log == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/x", "a\0b"])
def test_several_files_of_one_folder(tmp_path: Path, name: str) -> None:
    """A name that leads elsewhere is refused before anything is written."""
    with pytest.raises(InvalidInputError, match="is no name of a file"):
        write_files(tmp_path, [("good", b"1"), (name, b"2")])
    assert os.listdir(tmp_path) == []


def test_several_files_and_every_fault(tmp_path: Path) -> None:
    """Whichever operation fails, the files before it are whole, their number is told, and no other one is there."""
    items = [(name, name.encode() * 10) for name in "abc"]
    log: list[Operation] = []
    (tmp_path / "count").mkdir()
    with observe(log.append):
        write_files(tmp_path / "count", items)
    for k, step in enumerate(log):
        folder = tmp_path / f"{k}"
        folder.mkdir()
        seen = 0

        def fail(operation: Operation, k: int = k) -> None:
            nonlocal seen
            seen += 1
            if seen == k + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        with observe(fail):
            if step.kind == "unlink":
                write_files(folder, items)
                continue
            with pytest.raises(StorageError) as caught:
                write_files(folder, items)
        count = caught.value.details["written"]
        assert count == sum(done.kind == "link" for done in log[:k])
        assert {name: (folder / name).read_bytes() for name in os.listdir(folder)} == dict(items[:count])
        if k == len(log) - 1:  # the folder's own fsync: none of them may be trusted
            for name, data in items:
                with pytest.raises(PoisonedError):
                    write_file(folder / name, data, replace=True)
        clear_poison(folder)


def test_sweep_takes_old_temporaries_alone(tmp_path: Path) -> None:
    """Only our own, old, temporary files are swept; people's files and a writer at work keep theirs."""
    stray = tmp_path / ".lamina-123-0123456789abcdef.tmp"
    fresh = tmp_path / ".lamina-124-0123456789abcdef.tmp"
    other = tmp_path / "notes.tmp"
    folder = tmp_path / ".lamina-125-0123456789abcdef.tmp"
    for path in (stray, fresh, other):
        path.write_bytes(b"x")
    folder.mkdir()
    for path in (stray, other, folder):
        os.utime(path, (time.time() - 7200,) * 2)
    assert sweep_temporary(tmp_path, 3600) == 1
    assert sorted(os.listdir(tmp_path)) == sorted([fresh.name, other.name, folder.name])
    assert sweep_temporary(tmp_path / "missing", 0) == 0


def test_sync_dir(tmp_path: Path) -> None:
    """A folder's names can be made durable by whoever only found them."""
    log: list[Operation] = []
    with observe(log.append):
        sync_dir(tmp_path)
    assert [(operation.kind, operation.path) for operation in log] == [("fsync", str(tmp_path))]
    with pytest.raises(NotFoundError):
        sync_dir(tmp_path / "no")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", "out/x", "..\\x"])
def test_inside_refuses(tmp_path: Path, path: str) -> None:
    """Absolute paths, climbing, NULs and links that lead outside are refused."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match="leads outside"):
        inside(tmp_path / "root", path)


def test_inside_allows(tmp_path: Path) -> None:
    """An honest relative path comes back absolute, whether it exists or not."""
    assert inside(tmp_path, "a/b..c") == os.path.join(os.path.realpath(tmp_path), "a/b..c")
