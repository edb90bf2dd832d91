from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.config import CATALOG_NAME, Settings
from lamina.errors import CorruptionError, FormatError, LaminaError, ReadOnlyError
from lamina.storage import catalog as catalog_module
from lamina.storage import migrations
from lamina.storage.catalog import SqliteCatalog
from lamina.testing import make_draft


@pytest.fixture
def path(folder: Path) -> Path:
    """The file of a catalog that holds one memory and is closed."""
    catalog = SqliteCatalog(folder, Settings(durability="relaxed"))
    with catalog.write() as writer:
        writer.insert([make_draft("memory-1", "first words")])
    catalog.close()
    return folder / CATALOG_NAME


def change(path: Path, sql: str, *values: Any) -> None:
    """Change a catalog as another program would."""
    connection = apsw.Connection(str(path))
    connection.execute(sql, values)
    connection.close()


def fact(path: Path, sql: str) -> Any:
    """Ask a catalog something."""
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql).get
    finally:
        connection.close()


def opened(path: Path, **options: Any) -> SqliteCatalog:
    """Open the catalog that is in a file."""
    return SqliteCatalog(path.parent, Settings(busy_timeout=5), **options)


def text_of(catalog: SqliteCatalog) -> str:
    """Return the text of the one memory."""
    with catalog.read() as reader:
        record = reader.current("memory-1")
    assert record is not None
    return record.text


# --- newer versions --------------------------------------------------------------------------------------------------


def test_a_new_catalog_says_what_it_is(path: Path) -> None:
    """A new file carries our application id, its number of migrations, the features it needs, and a log."""
    assert fact(path, "PRAGMA application_id") == migrations.APPLICATION_ID
    assert fact(path, "PRAGMA user_version") == migrations.FORMAT_VERSION == len(migrations.MIGRATIONS)
    assert fact(path, "PRAGMA journal_mode") == "wal"
    for kind in ("reader", "writer"):
        found = fact(path, f"SELECT value FROM meta WHERE key = '{kind}_features'")
        assert json.loads(found) == ["tokens-1", "zstd"]


@pytest.mark.parametrize("read_only", [False, True])
def test_newer_reader_feature(path: Path, read_only: bool) -> None:
    """A file that needs what this version cannot read is refused; the error names it and says to upgrade."""
    features = json.dumps(["tokens-1", "zstd", "tokens-9"])
    change(path, "UPDATE meta SET value = ? WHERE key = 'reader_features'", features)
    before = path.read_bytes()
    with pytest.raises(FormatError, match="tokens-9") as caught:
        opened(path, read_only=read_only)
    assert "upgrade" in caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", ["feature", "version"])
def test_newer_writer(path: Path, how: str) -> None:
    """A file that this version can read but not keep opens for reading only, and a write says why."""
    if how == "feature":
        change(path, "UPDATE meta SET value = ? WHERE key = 'writer_features'", json.dumps(["zstd", "later"]))
    else:
        change(path, f"PRAGMA user_version = {migrations.FORMAT_VERSION + 1}")
    catalog = opened(path)
    try:
        assert catalog.read_only
        assert text_of(catalog) == "first words"
        with pytest.raises(ReadOnlyError, match="newer Lamina") as caught, catalog.write():
            pytest.fail("a write began")
        assert "upgrade" in caught.value.hint
    finally:
        catalog.close()


@pytest.mark.parametrize("value", ["no json", '{"a": 1}', "3", "null", ""])
def test_damaged_features(path: Path, value: str) -> None:
    """A list of features that is none any more is corruption, an empty text means none."""
    change(path, "UPDATE meta SET value = ? WHERE key = 'reader_features'", value)
    if value:
        with pytest.raises(CorruptionError):
            opened(path)
    else:
        opened(path).close()


# --- other files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sql", ["CREATE TABLE t (a)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"])
def test_foreign_sqlite_file(folder: Path, sql: str) -> None:
    """A SQLite file of another program is refused and left as it is."""
    folder.mkdir(parents=True)
    path = folder / CATALOG_NAME
    change(path, sql)
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(FormatError, match="not a Lamina catalog"):
            opened(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "data", [b"hello", b"# notes\n" * 1_000, b"\0" * 8_192, b"SQLite format 3\0", os.urandom(5_000)]
)
def test_no_sqlite_file(folder: Path, data: bytes) -> None:
    """A file that is no SQLite file is corruption, never made anew over what is there."""
    folder.mkdir(parents=True)
    path = folder / CATALOG_NAME
    path.write_bytes(data)
    for read_only in (False, True):
        with pytest.raises((CorruptionError, FormatError)) as caught:
            opened(path, read_only=read_only)
        assert caught.value.hint
    assert path.read_bytes() == data


def test_empty_file(folder: Path) -> None:
    """An empty file is no catalog: it is refused and stays empty, for something was lost there."""
    folder.mkdir(parents=True)
    path = folder / CATALOG_NAME
    path.touch()
    for read_only in (False, True):
        with pytest.raises(FormatError, match="empty"):
            opened(path, read_only=read_only)
    assert path.stat().st_size == 0


@settings(max_examples=40)
@given(data=st.data())
def test_truncated_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A file that lost at least its last page is told at opening, wherever it was cut."""
    whole = image()
    most = len(whole) - 4_096  # SQLite reads what is missing of the last page as zeros, and verify tells that
    cut = data.draw(st.one_of(st.integers(1, most), st.integers(1, most // 4_096).map(lambda pages: pages * 4_096)))
    folder = tmp_path_factory.mktemp("cut") / ".lamina"
    folder.mkdir()
    (folder / CATALOG_NAME).write_bytes(whole[:cut])
    with pytest.raises((CorruptionError, FormatError)):
        opened(folder / CATALOG_NAME).close()


_image: list[bytes] = []


def image() -> bytes:
    """Return the bytes of an empty catalog."""
    if not _image:
        db = apsw.Connection(":memory:")
        db.pragma("page_size", 4096)
        migrations.migrate(db, 0)
        made = bytearray(db.serialize("main"))
        db.close()
        made[18] = made[19] = 2
        _image.append(bytes(made))
    return _image[0]


def test_the_whole_image_opens(folder: Path) -> None:
    """The image that the truncations cut is itself whole, so that it is the cut that is told."""
    folder.mkdir(parents=True)
    (folder / CATALOG_NAME).write_bytes(image())
    opened(folder / CATALOG_NAME).close()


# --- migrating -------------------------------------------------------------------------------------------------------


def later(monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    """Pretend that this version has one migration more."""
    version = migrations.FORMAT_VERSION + 1
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, step))
    monkeypatch.setattr(migrations, "FORMAT_VERSION", version)
    monkeypatch.setattr(catalog_module, "FORMAT_VERSION", version)


def add_column(db: apsw.Connection) -> None:
    """Migrate in two steps."""
    db.execute("ALTER TABLE memory ADD COLUMN colour TEXT")
    db.execute("UPDATE memory SET colour = 'red'")


def test_migrating(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older file is brought up to date at opening, once, and keeps what it holds."""
    later(monkeypatch, add_column)
    for _ in range(2):
        catalog = opened(path)
        try:
            assert not catalog.read_only
            assert catalog.format == migrations.FORMAT_VERSION
            assert text_of(catalog) == "first words"
            with catalog.read() as reader:
                assert reader.db.execute("SELECT colour FROM memory").fetchall() == [("red",)]
        finally:
            catalog.close()


def test_a_reader_does_not_migrate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only handle reads an older file as it is."""
    old = migrations.FORMAT_VERSION
    later(monkeypatch, add_column)
    catalog = opened(path, read_only=True)
    try:
        assert catalog.format == old
        assert text_of(catalog) == "first words"
    finally:
        catalog.close()
    assert fact(path, "PRAGMA user_version") == old


@pytest.mark.parametrize("error", [apsw.FullError, ZeroDivisionError])
def test_a_failed_migration_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A migration that fails half way is undone as a whole, and the old version goes on with the file."""

    def broken(db: apsw.Connection) -> None:
        add_column(db)
        db.execute("DELETE FROM memory")
        raise error("in the middle")

    old = migrations.FORMAT_VERSION
    with monkeypatch.context() as patch:
        later(patch, broken)
        with pytest.raises(LaminaError if issubclass(error, apsw.Error) else error):
            opened(path)
    assert fact(path, "PRAGMA user_version") == old
    catalog = opened(path)
    try:
        assert text_of(catalog) == "first words"
        with catalog.read() as reader:
            assert "colour" not in [row[1] for row in reader.db.execute("PRAGMA table_info(memory)")]
    finally:
        catalog.close()


DIES = """
import os, sys
from pathlib import Path
from lamina.config import Settings
from lamina.storage import catalog, migrations

def dies(db):
    db.execute("ALTER TABLE memory ADD COLUMN colour TEXT")
    db.execute("DELETE FROM memory")
    os._exit(7)

migrations.MIGRATIONS = (*migrations.MIGRATIONS, dies)
migrations.FORMAT_VERSION = catalog.FORMAT_VERSION = migrations.FORMAT_VERSION + 1
catalog.SqliteCatalog(Path(sys.argv[1]), Settings())
"""


def test_a_process_that_dies_while_migrating(path: Path) -> None:
    """A process that ends in the middle of a migration leaves the old format, whole."""
    done = subprocess.run([sys.executable, "-c", DIES, str(path.parent)], check=False)
    assert done.returncode == 7
    catalog = opened(path)
    try:
        assert not catalog.read_only
        assert text_of(catalog) == "first words"
    finally:
        catalog.close()


def test_migrating_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handles that open an older file at the same time migrate it once between them."""
    runs: list[int] = []

    def counted(db: apsw.Connection) -> None:
        runs.append(1)
        add_column(db)

    later(monkeypatch, counted)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            opened(path).close()
        except BaseException as error:  # noqa: BLE001  (a thread must hand its failure to the test)
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert runs == [1]
