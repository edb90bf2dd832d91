from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import pytest

from lamina import fs
from lamina.config import Settings
from lamina.errors import (
    ClosedError,
    CorruptionError,
    DiskFullError,
    LaminaError,
    LockedError,
    PoisonedError,
    ReadOnlyError,
    StorageError,
)
from lamina.storage import connection as connection_module
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.connection import ConnectionPool, translate_sqlite
from lamina.storage.filters import Filter, compile_where
from lamina.testing import make_draft


@pytest.fixture
def pool(catalog: SqliteCatalog) -> ConnectionPool:
    """The pool of a new catalog, with two facts whose sum is to stay 0."""
    with catalog.write() as writer:
        writer.set_meta("plus", "0")
        writer.set_meta("minus", "0")
    return catalog.pool


@pytest.fixture
def other(pool: ConnectionPool) -> Iterator[ConnectionPool]:
    """A second handle on the same catalog, as another process would have."""
    made = ConnectionPool(pool.path, read_only=False, busy_timeout=10, relaxed=True)
    yield made
    made.close()


def move(pool: ConnectionPool, by: int = 1, wait: float | None = None) -> None:
    """Change both facts in one transaction."""
    with pool.write(wait=wait) as db:
        db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE key = 'plus'", (by,))
        db.execute("UPDATE meta SET value = CAST(value AS INTEGER) - ? WHERE key = 'minus'", (by,))


def facts(db: apsw.Connection) -> tuple[int, int]:
    """Read both facts in two statements."""
    plus, minus = (
        int(str(db.execute("SELECT value FROM meta WHERE key = ?", (key,)).get)) for key in ("plus", "minus")
    )
    return plus, minus


# --- moments and turns -----------------------------------------------------------------------------------------------


def test_a_read_is_one_moment(pool: ConnectionPool, other: ConnectionPool) -> None:
    """What a read sees does not change while this handle or another one commits; the next read sees it."""
    with pool.read() as db:
        assert facts(db) == (0, 0)
        move(other)
        move(pool)
        assert facts(db) == (0, 0)
        with pool.read() as second:
            assert facts(second) == (2, -2)
    with pool.read() as db:
        assert facts(db) == (2, -2)


def test_a_writer_waits(pool: ConnectionPool, other: ConnectionPool) -> None:
    """A writer of another handle waits until the first one is done, then writes upon it."""
    entered = threading.Event()

    def hold() -> None:
        with pool.write() as db:
            entered.set()
            time.sleep(0.2)
            db.execute("UPDATE meta SET value = '10' WHERE key = 'plus'")
            db.execute("UPDATE meta SET value = '-10' WHERE key = 'minus'")

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert entered.wait(10)
        move(other, 1, wait=20)
    finally:
        thread.join()
    with other.read() as db:
        assert facts(db) == (11, -11)


def test_a_writer_gives_up(pool: ConnectionPool, other: ConnectionPool) -> None:
    """A writer that waited as long as it may raises LockedError, from another handle and from another thread."""
    caught: list[BaseException] = []

    def try_here() -> None:
        try:
            move(pool, 5, wait=0.05)
        except LaminaError as error:
            caught.append(error)

    with pool.write():
        for wait in (0.0, 0.1):
            began = time.monotonic()
            with pytest.raises(LockedError, match="nothing was written"):
                move(other, 5, wait=wait)
            assert wait <= time.monotonic() - began + 0.005 < wait + 5
        thread = threading.Thread(target=try_here)
        thread.start()
        thread.join()
    assert [type(error) for error in caught] == [LockedError]
    move(other)
    with pool.read() as db:
        assert facts(db) == (1, -1)


def test_threads(pool: ConnectionPool, other: ConnectionPool) -> None:
    """Six threads read and write over two handles: no sum is ever torn, no write lost."""
    failed: list[BaseException] = []
    done = threading.Event()
    seen = 0

    def write(handle: ConnectionPool) -> None:
        try:
            for _ in range(30):
                move(handle, wait=30)
        except BaseException as error:  # noqa: BLE001  (a thread must hand its failure to the test)
            failed.append(error)

    def read(handle: ConnectionPool) -> None:
        nonlocal seen
        try:
            last = 0
            while not done.is_set():
                with handle.read() as db:
                    plus, minus = facts(db)
                assert plus + minus == 0
                assert plus >= last
                last, seen = plus, seen + 1
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    writers = [threading.Thread(target=write, args=(handle,)) for handle in (pool, other, pool)]
    readers = [threading.Thread(target=read, args=(handle,)) for handle in (pool, other, pool)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert failed == []
    assert seen > 0
    with pool.read() as db:
        assert facts(db) == (90, -90)


# --- the end of a handle ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked(pool: ConnectionPool) -> None:
    """In a forked child everything raises ClosedError, closing included does no harm, and the parent goes on."""
    with pool.read() as db:
        assert facts(db) == (0, 0)
    child = os.fork()
    if child == 0:  # pragma: no cover (another process)
        refused = 0
        with suppress(BaseException):
            for use in (pool.read().__enter__, pool.write().__enter__, pool.checkpoint, pool.check):
                try:
                    use()
                except ClosedError:
                    refused += 1
            pool.close()
        os._exit(0 if refused == 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    move(pool)
    with pool.read() as db:
        assert facts(db) == (1, -1)


def test_closed(pool: ConnectionPool) -> None:
    """A closed pool refuses every use, upkeep among them, and opens no file for it."""
    move(pool)
    pool.close()
    pool.close()
    assert not pool.open
    for use in (
        pool.read().__enter__,
        pool.write().__enter__,
        pool.check,
        pool.checkpoint,
        lambda: pool.checkpoint(truncate=True),
        lambda: pool.vacuum(0.0),
    ):
        with pytest.raises(ClosedError):
            use()
    assert pool._writer is None
    assert not pool.path.with_name(pool.path.name + "-wal").exists()


def test_closed_while_a_writer_waits(pool: ConnectionPool) -> None:
    """A thread that waited for its turn while the pool was closed is refused, and leaves no connection open."""
    caught: list[BaseException] = []
    waiting = threading.Event()

    def late() -> None:
        waiting.set()
        try:
            move(pool, wait=20)
        except LaminaError as error:
            caught.append(error)

    with pool._write_lock:
        thread = threading.Thread(target=late)
        thread.start()
        assert waiting.wait(10)
        time.sleep(0.05)
        pool.close()
    thread.join()
    assert [type(error) for error in caught] == [ClosedError]
    assert pool._writer is None


def test_closed_inside_a_read(pool: ConnectionPool) -> None:
    """A read that is under way when the pool closes keeps its moment, and its connection is closed after it."""
    with pool.read() as db:
        pool.close()
        assert facts(db) == (0, 0)
    assert pool._idle == []
    with pytest.raises(apsw.ConnectionClosedError):
        db.execute("SELECT 1")


# --- errors ----------------------------------------------------------------------------------------------------------

MEANINGS: dict[str, type[LaminaError]] = {
    "BusyError": LockedError,
    "LockedError": LockedError,
    "FullError": DiskFullError,
    "ReadOnlyError": ReadOnlyError,
    "PermissionsError": ReadOnlyError,
    "AuthError": ReadOnlyError,
    "CorruptError": CorruptionError,
    "NotADBError": CorruptionError,
    "FormatError": CorruptionError,
    "IOError": StorageError,
    "CantOpenError": StorageError,
    "NoMemError": StorageError,
    "TooBigError": StorageError,
}
CLASSES = sorted(
    {kind for kind in vars(apsw).values() if isinstance(kind, type) and issubclass(kind, apsw.Error)},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", CLASSES, ids=[kind.__name__ for kind in CLASSES])
def test_every_error_is_ours(kind: type[apsw.Error]) -> None:
    """Every error class of apsw becomes the one of ours that is meant, with the file, what was done and a hint."""
    error = translate_sqlite(kind("the reason"), Path("/x/catalog.db"), "testing it")
    assert set(MEANINGS) <= {known.__name__ for known in CLASSES}
    assert type(error) is MEANINGS.get(kind.__name__, LaminaError)
    assert "/x/catalog.db" in error.message
    assert "testing it" in error.message
    assert error.hint
    assert error.details["path"] == "/x/catalog.db"


def test_failed_fsync_poisons(pool: ConnectionPool) -> None:
    """A failed fsync is a PoisonedError, and so is every later use of the handle."""

    def fail(operation: fs.Operation) -> None:
        if operation.kind == "fsync" and operation.path.endswith("-wal"):
            raise OSError(5, "injected")

    with fs.observe(fail):
        durable = ConnectionPool(pool.path, read_only=False, busy_timeout=1, relaxed=False)
        try:
            with pytest.raises(PoisonedError):
                move(durable)
            for use in (durable.read().__enter__, durable.write().__enter__, durable.check, durable.checkpoint):
                with pytest.raises(PoisonedError):
                    use()
        finally:
            durable.close()


def test_damaged_metadata_is_corruption(catalog: SqliteCatalog) -> None:
    """A filter over metadata that is no JSON any more says corruption, not that Lamina is at fault."""
    with catalog.write() as writer:
        writer.insert([make_draft("memory-1", metadata={"a": 1})])
        writer.db.execute("UPDATE memory SET metadata = '{\"a\":'")
    with pytest.raises(CorruptionError), catalog.read() as reader:
        reader.count(Filter(where=compile_where({"a": 1})))


def test_bytes_that_pass_for_text_are_corruption(pool: ConnectionPool) -> None:
    """A damaged page may hold text that is no UTF-8 in any column; it is our error, and the next read works."""
    with pytest.raises(CorruptionError, match="UTF-8"), pool.read("looking") as db:
        db.execute("SELECT CAST(x'8f' AS TEXT)").fetchall()
    with pool.read() as db:
        assert db.execute("SELECT 1").fetchall() == [(1,)]


def test_errors_inside_a_read(pool: ConnectionPool) -> None:
    """A caller's own exception comes through and keeps the connection; one of SQLite's is translated and drops it."""
    with pytest.raises(ZeroDivisionError), pool.read() as kept:
        raise ZeroDivisionError
    assert pool._idle == [kept]
    with pytest.raises(LaminaError, match="no such table") as caught, pool.read("looking") as dropped:
        dropped.execute("SELECT 1 FROM absent")
    assert dropped is kept
    assert isinstance(caught.value.__cause__, apsw.Error)
    assert pool._idle == []
    with pool.read() as db:
        assert db is not dropped
        assert facts(db) == (0, 0)


def test_errors_inside_a_write(pool: ConnectionPool) -> None:
    """A caller's exception and one of SQLite's both undo the write, and the next write works."""

    def change_and(fail: Callable[[apsw.Connection], object]) -> None:
        with pool.write() as db:
            db.execute("UPDATE meta SET value = '9' WHERE key = 'plus'")
            fail(db)

    with pytest.raises(ZeroDivisionError):
        change_and(lambda _: 1 // 0)
    with pytest.raises(LaminaError):
        change_and(lambda db: db.execute("INSERT INTO meta (key, value) VALUES ('plus', 'twice')"))
    move(pool)
    with pool.read() as db:
        assert facts(db) == (1, -1)


def test_a_reading_connection_cannot_write(pool: ConnectionPool) -> None:
    """A statement that writes is refused inside a read."""
    with pytest.raises(ReadOnlyError), pool.read() as db:
        db.execute("DELETE FROM meta")


# --- the log ---------------------------------------------------------------------------------------------------------


def test_checkpoint(pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emptying the log works where nobody reads, and says False, losing nothing, while a reader needs it."""
    monkeypatch.setattr(connection_module, "_READERS_WAIT", 0.05)
    log = pool.path.with_name(pool.path.name + "-wal")
    move(pool)
    assert pool.checkpoint(truncate=True) is True
    assert log.stat().st_size < 10_000  # the one commit that makes the emptying durable
    with pool.read() as db:
        assert facts(db) == (1, -1)
        move(pool)
        assert pool.checkpoint(truncate=True) is False
        assert facts(db) == (1, -1)
    assert pool.checkpoint(truncate=True) is True
    with pool.read() as db:
        assert facts(db) == (2, -2)


def test_checkpoint_of_a_reader(pool: ConnectionPool) -> None:
    """A read-only handle moves nothing."""
    reader = ConnectionPool(pool.path, read_only=True, busy_timeout=1, relaxed=False)
    try:
        assert reader.checkpoint(truncate=True) is False
        assert reader.vacuum(0.0) is False
    finally:
        reader.close()


def test_a_long_log_is_folded(pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that finds the log long moves it into the catalog, so that it does not grow for ever."""
    monkeypatch.setattr(connection_module, "CHECKPOINT_PAGES", 20)
    for _ in range(100):
        move(pool)
    assert pool.path.with_name(pool.path.name + "-wal").stat().st_size < 40 * 4_200


# --- folders that may only be read -----------------------------------------------------------------------------------

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
READER = """
import os, sys
from pathlib import Path
import lamina.testing
from lamina.config import Settings
from lamina.errors import LaminaError
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.filters import Filter

os.seteuid(65534)
folder = Path(sys.argv[1])
sys.stdin.readline()
try:
    catalog = SqliteCatalog(folder, Settings(), read_only=True)
except LaminaError as error:
    print(type(error).__name__, flush=True)
    sys.exit()
print("open", flush=True)
for line in sys.stdin:
    try:
        with catalog.read() as reader:
            print(reader.count(Filter(expired=True)), flush=True)
    except LaminaError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture
def shown() -> Iterator[Path]:
    """An engine folder that everybody may read and only root may write."""
    base = Path(tempfile.mkdtemp(prefix="lamina-shown-"))
    base.chmod(0o755)
    yield base / "store" / ".lamina"
    shutil.rmtree(base)


def open_up(folder: Path) -> None:
    """Let everybody read what is in a folder."""
    for path in (folder.parent, folder):
        path.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def fill(folder: Path, number: int) -> SqliteCatalog:
    """Make or open a catalog, add one memory, and return it open."""
    catalog = SqliteCatalog(folder, Settings(durability="relaxed"))
    with catalog.write() as writer:
        writer.insert([make_draft(f"memory-{number}")])
    return catalog


@contextmanager
def reading(folder: Path) -> Iterator[Callable[[], str]]:
    """Start a process that reads as nobody; yield what lets it open the catalog at first, then look, and tell."""
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def ask() -> str:
            with suppress(BrokenPipeError):
                stdin.write("look\n")
                stdin.flush()
            return stdout.readline().strip()

        try:
            yield ask
        finally:
            with suppress(BrokenPipeError):
                stdin.close()


@needs_root
def test_reading_without_rights(shown: Path) -> None:
    """A folder that may only be read is read, follows what its owner writes, and never answers from the past."""
    fill(shown, 1).close()
    open_up(shown)
    with reading(shown) as ask:
        assert [ask(), ask()] == ["open", "1"]
        writing = fill(shown, 2)
        assert ask() in ("2", "ReadOnlyError")
        writing.close()
        assert ask() == "2"


@needs_root
def test_an_unfolded_log_is_refused(shown: Path) -> None:
    """A copy whose log holds acknowledged writes is refused where the log cannot be taken part in."""
    writing = fill(shown, 1)
    try:
        copy = shown.parent.parent / "copy" / ".lamina"
        copy.mkdir(parents=True)
        for name in ("catalog.db", "catalog.db-wal"):
            shutil.copy(shown / name, copy / name)
        open_up(copy)
        assert (copy / "catalog.db-wal").stat().st_size > 0
        with reading(copy) as ask:
            assert ask() == "ReadOnlyError"
        (copy / "catalog.db-wal").write_bytes(b"")
        with reading(copy) as ask:
            assert [ask(), ask()] == ["open", "0"]
    finally:
        writing.close()
