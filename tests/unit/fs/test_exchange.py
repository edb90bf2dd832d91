from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.errors import ConflictError, LaminaError, NotFoundError, PoisonedError, StorageError
from lamina.fs import (
    Operation,
    _exchange,
    clear_poison,
    count_operations,
    observe,
    replace_file,
    stray_files,
    sweep_temporary,
    write_file,
)
from lamina.testing import CrashFS

Watch = Callable[[Operation], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file that holds ``old``."""
    file = tmp_path / "store" / "a.md"
    file.parent.mkdir()
    file.write_bytes(b"old")
    return file


def no_exchange(operation: Operation) -> None:
    """Be a file system that cannot exchange."""
    if operation.kind == "exchange":
        raise OSError(errno.EINVAL, "Invalid argument")


def save(path: Path, data: bytes) -> None:
    """Save as most editors do: a new file renamed over the old one."""
    (path.parent / "editor").write_bytes(data)
    os.replace(path.parent / "editor", path)


def at_exchange(*actions: Callable[[], object]) -> Watch:
    """Return an observer that does the k-th action right before the k-th exchange."""
    left = list(actions)

    def watch(operation: Operation) -> None:
        if operation.kind == "exchange" and left:
            left.pop(0)()

    return watch


def test_protocol(path: Path) -> None:
    """Temporary, write, fsync, exchange, unlink, fsync of the folder: two fsyncs, whole bytes at every step."""
    log: list[Operation] = []

    def watch(operation: Operation) -> None:
        log.append(operation)
        assert path.read_bytes() == (b"new" if operation.kind in {"unlink", "fsync"} and len(log) > 4 else b"old")

    with observe(watch):
        replace_file(path, b"new", seen=b"old")
    assert [operation.kind for operation in log] == ["create", "write", "fsync", "exchange", "unlink", "fsync"]
    assert (log[3].path, log[3].target) == (log[0].path, str(path))
    assert log[5].path == str(path.parent)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["a.md"]


def test_without_exchange(path: Path) -> None:
    """Where files cannot change places it is a rename after one more look; two fsyncs as well."""
    with count_operations() as counter, observe(no_exchange):
        replace_file(path, b"new", seen=b"old")
    assert counter == {"create": 1, "write": 1, "fsync": 2, "rename": 1}
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["a.md"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_a_system_that_refuses(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange that the kernel refuses is announced twice, so that whoever replays it sees the right bytes."""
    monkeypatch.setattr(_exchange, "_system_exchange", lambda: lambda _one, _other: code)
    crash = CrashFS(path.parent)
    with crash:
        replace_file(path, b"new", seen=b"old")
    assert path.read_bytes() == b"new"
    image = crash.image(path.parent.parent / "image", loss="all")
    assert {name: (Path(image.path) / name).read_bytes() for name in os.listdir(image.path)} == {"a.md": b"new"}


def test_another_failure_of_the_exchange(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange that fails otherwise is an error of ours; nothing changed and nothing stays behind."""
    monkeypatch.setattr(_exchange, "_system_exchange", lambda: lambda _one, _other: errno.EIO)
    with pytest.raises(StorageError, match="Could not replace"):
        replace_file(path, b"new", seen=b"old")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a.md"]


def test_the_real_exchange(tmp_path: Path) -> None:
    """The system's own call changes two names, and names what is missing."""
    one, other = tmp_path / "ä", tmp_path / "b"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    exchange = _exchange._system_exchange()
    code = exchange(os.fsencode(one), os.fsencode(other))
    if code in _exchange._UNSUPPORTED:
        pytest.skip("no exchange here")
    assert (code, one.read_bytes(), other.read_bytes()) == (0, b"2", b"1")
    assert exchange(os.fsencode(one), os.fsencode(tmp_path / "none")) == errno.ENOENT


@pytest.mark.parametrize("watch", [lambda _: None, no_exchange])
def test_what_was_not_seen_is_kept(path: Path, watch: Watch) -> None:
    """Invariant 6: a file that holds something else stays as it is, and nothing is even written."""
    path.write_text("häßlich", encoding="utf-8")
    log: list[Operation] = []
    with observe(log.append), observe(watch), pytest.raises(ConflictError, match="no longer what") as caught:
        replace_file(path, b"new", seen=b"old")
    assert caught.value.details == {"path": str(path), "found": "häßlich"}
    assert log == []
    assert path.read_text(encoding="utf-8") == "häßlich"


@pytest.mark.parametrize("human", [b"older", b"", b"ol", b"OLD", b"\xff\xfe", b"x" * 200_000])
def test_a_save_during_the_write(path: Path, human: bytes) -> None:
    """Whoever saves while ours is being written wins; small text is handed back in the error."""

    def watch(operation: Operation) -> None:
        assert operation.kind != "exchange"  # it never has another name, not even for a moment
        if operation.kind == "fsync":
            save(path, human)

    with observe(watch), pytest.raises(ConflictError) as caught:
        replace_file(path, b"new", seen=b"old")
    assert path.read_bytes() == human
    assert caught.value.details.get("found") == (human.decode() if human.isascii() and len(human) < 100_000 else None)
    assert os.listdir(path.parent) == ["a.md"]


@pytest.mark.parametrize("human", [b"", b"ol", b"older", b"x" * 200_000])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_save_in_the_last_moment(path: Path, human: bytes, in_place: bool) -> None:
    """Invariant 6: a save between the last look and the exchange is put back, durably, and ours is gone."""
    log: list[Operation] = []
    act = at_exchange(lambda: path.write_bytes(human) if in_place else save(path, human))
    with observe(log.append), observe(act), pytest.raises(ConflictError) as caught:
        replace_file(path, b"new", seen=b"old")
    assert path.read_bytes() == human
    assert "kept" not in caught.value.details
    assert os.listdir(path.parent) == ["a.md"]
    assert [operation.kind for operation in log][3:] == ["exchange", "exchange", "unlink", "fsync"]


@pytest.mark.parametrize("in_place", [False, True])
def test_two_saves_in_the_last_moment(path: Path, in_place: bool) -> None:
    """Two saves around the exchange: the later one has the name, the earlier one is kept and named."""
    second = (lambda: path.write_bytes(b"later")) if in_place else (lambda: save(path, b"later"))
    watch = at_exchange(lambda: save(path, b"earlier"), second)
    with observe(watch), pytest.raises(ConflictError, match="is kept in") as caught:
        replace_file(path, b"new", seen=b"old")
    assert path.read_bytes() == b"later"
    assert caught.value.details["found"] == "later"
    kept = caught.value.details["kept"]
    assert Path(kept).read_bytes() == b"earlier"
    assert stray_files(path.parent) == [kept]
    assert sweep_temporary(path.parent, -10) == 0  # what a person wrote is never swept


def test_an_exchange_back_that_fails(path: Path) -> None:
    """Where what was swapped out cannot be put back, it is kept and named."""

    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with observe(at_exchange(lambda: save(path, b"human"), fail)), pytest.raises(ConflictError) as caught:
        replace_file(path, b"new", seen=b"old")
    assert Path(caught.value.details["kept"]).read_bytes() == b"human"


def test_a_save_before_the_rename(path: Path) -> None:
    """Without an exchange the file is looked at once more right before the rename."""

    def watch(operation: Operation) -> None:
        if operation.kind == "exchange":
            save(path, b"human")
        no_exchange(operation)

    with observe(watch), pytest.raises(ConflictError):
        replace_file(path, b"new", seen=b"old")
    assert path.read_bytes() == b"human"
    assert os.listdir(path.parent) == ["a.md"]


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
@pytest.mark.parametrize("late", [False, True])
def test_no_regular_file_any_more(path: Path, kind: str, late: bool) -> None:
    """A link, folder or pipe in the file's place is neither replaced nor followed, whenever it appears."""
    outside = path.parent.parent / "outside"
    outside.write_bytes(b"old")

    def change() -> None:
        path.unlink()
        if kind == "link":
            path.symlink_to(outside)
        elif kind == "folder":
            path.mkdir()
        else:
            os.mkfifo(path)

    if not late:
        change()
    with observe(at_exchange(*([change] if late else []))), pytest.raises(ConflictError, match="no longer a regular"):
        replace_file(path, b"new", seen=b"old")
    mode = path.lstat().st_mode
    assert {"link": stat.S_ISLNK, "folder": stat.S_ISDIR, "pipe": stat.S_ISFIFO}[kind](mode)
    assert outside.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a.md"]


def test_a_missing_file(path: Path) -> None:
    """A file that is gone is not made anew, whether it went before or in the last moment."""
    with observe(at_exchange(path.unlink)), pytest.raises(NotFoundError):
        replace_file(path, b"new", seen=b"old")
    with pytest.raises(NotFoundError):
        replace_file(path, b"new", seen=b"old")
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("watch", [lambda _: None, no_exchange])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_rights_stay(path: Path, mode: int, watch: Watch) -> None:
    """The permission bits of the file are those it had."""
    path.chmod(mode)
    with observe(watch):
        replace_file(path, b"new", seen=b"old")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("watch", [lambda _: None, no_exchange])
def test_every_fault(path: Path, code: int, watch: Watch) -> None:
    """Whichever operation fails: an error of ours, the whole old or new file; only tidying may fail unseen."""
    log: list[Operation] = []
    with observe(log.append), observe(watch):
        replace_file(path, b"new", seen=b"old")
    for k, step in enumerate(log):
        path.write_bytes(b"old")
        count = 0

        def fail(operation: Operation, k: int = k) -> None:
            nonlocal count
            count += 1
            if count == k + 1:
                raise OSError(code, os.strerror(code))

        with observe(fail), observe(watch):
            if step.kind == "unlink":
                replace_file(path, b"new", seen=b"old")
                assert [Path(left).read_bytes() for left in stray_files(path.parent)] == [b"old"]
            else:
                with pytest.raises(LaminaError) as caught:
                    replace_file(path, b"new", seen=b"old")
                assert isinstance(caught.value, PoisonedError) == (step.kind == "fsync")
                assert stray_files(path.parent) == []
        last = k == len(log) - 1 or step.kind == "unlink"
        assert path.read_bytes() == (b"new" if last else b"old")
        clear_poison(path.parent)
        for left in stray_files(path.parent):
            os.unlink(left)


def test_poison(path: Path) -> None:
    """After a failed fsync the file is not replaced until someone looked."""

    def fail(operation: Operation) -> None:
        if operation.kind == "fsync":
            raise OSError(errno.EIO, "Input/output error")

    with observe(fail), pytest.raises(PoisonedError):
        replace_file(path, b"new", seen=b"old")
    with pytest.raises(PoisonedError):
        replace_file(path, b"new", seen=b"old")
    clear_poison(path.parent)
    replace_file(path, b"new", seen=b"old")


class Interrupted(BaseException):
    """What ends a step in the middle, as Control-C does."""


def test_an_interrupt_leaves_what_may_be_a_persons(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt before the exchange leaves nothing; one after it leaves what came out for someone to look at."""

    def interrupt(kind: str) -> Watch:
        def watch(operation: Operation) -> None:
            if operation.kind == kind:
                raise Interrupted

        return watch

    with observe(interrupt("fsync")), pytest.raises(Interrupted):
        replace_file(path, b"new", seen=b"old")
    assert os.listdir(path.parent) == ["a.md"]
    with observe(interrupt("unlink")), pytest.raises(Interrupted):
        replace_file(path, b"new", seen=b"old")
    assert path.read_bytes() == b"new"
    assert [Path(left).read_bytes() for left in stray_files(path.parent)] == [b"old"]

    def exchanged(one: bytes, other: bytes) -> int:
        os.rename(other, one + b"x")
        os.rename(one, other)
        os.rename(one + b"x", one)
        raise Interrupted

    monkeypatch.setattr(_exchange, "_system_exchange", lambda: exchanged)
    with pytest.raises(Interrupted):
        replace_file(path, b"newer", seen=b"new")
    assert path.read_bytes() == b"newer"
    assert {Path(left).read_bytes() for left in stray_files(path.parent)} == {b"old", b"new"}


_KILLED = """
import os, signal, sys
from pathlib import Path
from lamina.fs import observe, replace_file
path, k = Path(sys.argv[1]), int(sys.argv[2])
count = exchanges = 0
def watch(operation):
    global count, exchanges
    if operation.kind == "exchange":
        exchanges += 1
        if exchanges == 1:
            (path.parent / "editor").write_bytes(b"human")
            os.replace(path.parent / "editor", path)
    if count == k:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
with observe(watch):
    replace_file(path, b"new", seen=b"old")
"""


def test_killed_around_a_save(path: Path) -> None:
    """Kill -9 at any step around a person's save: their bytes are at the name, or in a file that is listed."""
    kept = 0
    for k in range(7):
        path.write_bytes(b"old")
        done = subprocess.run([sys.executable, "-c", _KILLED, str(path), str(k)], capture_output=True, check=False)
        assert done.returncode == -9, done.stderr
        strays = {Path(left).read_bytes() for left in stray_files(path.parent)}
        expected = b"old" if k < 3 else b"human"
        assert expected in {path.read_bytes()} | strays
        assert strays <= {b"", b"new", b"human"}
        kept += path.read_bytes() == b"new"
        assert sweep_temporary(path.parent, -10) == 0
        for left in stray_files(path.parent):
            os.unlink(left)
    assert kept == 1  # the moment between the exchange and the exchange back


def test_power_loss(path: Path) -> None:
    """Invariant 1: after power loss the file is whole, old or new, and new once it was acknowledged."""
    crash = CrashFS(path.parent)
    seen = b"old"
    with crash:
        for number in range(6):
            data = f"{number}".encode() * 2000
            replace_file(path, data, seen=seen)
            crash.acknowledge(number)
            seen = data
    versions = [b"old", *(f"{number}".encode() * 2000 for number in range(6))]
    for image in crash.images(path.parent.parent / "images", count=150, seed=3):
        found = versions.index((Path(image.path) / "a.md").read_bytes())
        assert found >= len(image.acknowledged)


def test_kill_images_show_the_exchange(path: Path) -> None:
    """The crash rig replays an exchange as one: between it and the unlink the old bytes have the temporary name."""
    crash = CrashFS(path.parent)
    with crash:
        replace_file(path, b"new", seen=b"old")
    states = []
    for image in crash.every_kill(path.parent.parent / "kills"):
        names = sorted(os.listdir(image.path), key=lambda name: name != "a.md")
        states.append([(Path(image.path) / name).read_bytes() for name in names])
    assert states == [[b"old"], [b"old", b""], *[[b"old", b"new"]] * 2, [b"new", b"old"], [b"new"], [b"new"]]


def test_stray_files(tmp_path: Path) -> None:
    """Listed are our temporary files alone, by age; nothing fails where there is no folder."""
    names = [".lamina-1-0123456789abcdef.swap", ".lamina-1-0123456789abcdef.tmp"]
    for name in [*names, "a.swap", ".lamina-1-0123456789abcdef.swp", ".a.swap"]:
        write_file(tmp_path / name, b"")
    (tmp_path / ".lamina-2-0123456789abcdef.swap").mkdir()
    paths = [str(tmp_path / name) for name in names]
    assert stray_files(tmp_path) == paths
    assert stray_files(tmp_path, older_than_s=3600) == []
    os.utime(paths[0], (1, 1))
    assert stray_files(tmp_path, older_than_s=3600) == paths[:1]
    assert stray_files(tmp_path / "none") == []
