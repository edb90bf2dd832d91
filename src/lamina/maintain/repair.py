"""Repair: everything derived is made anew; a damaged catalog is salvaged row by row into a new one.

It needs nothing but the catalog. Nothing is thrown away: the damaged file is put aside.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from lamina import fs
from lamina.config import CATALOG_NAME, ENGINE_FOLDER, Settings
from lamina.errors import CorruptionError, LockedError, NotFoundError
from lamina.maintain.verify import wrong_vectors
from lamina.memories.context import Context
from lamina.memories.drafts import bands_of, indexed
from lamina.search.passages import cut
from lamina.storage.catalog import SALVAGE, SqliteCatalog
from lamina.storage.connection import translate_sqlite
from lamina.storage.migrations import migrate
from lamina.storage.records import Record
from lamina.storage.writer import Writer
from lamina.types import Problem, RepairReport

__all__ = ["rebuild", "repair_store"]

_TABLES = ("meta", "name", "dictionary", "dictionary_copy", "memory", "memory_tag", "use_count", "passage", "ending")
"""What is kept of a damaged catalog; everything else is derived from it."""
_WAIT = 10.0
_PAGES_AT_ONCE = 2048
_BATCH = 500
_MOST_NAMED = 1_000


def rebuild(context: Context) -> RepairReport:
    """Make passages, text indexes, near-duplicate bands and the waiting list anew from the memories."""
    size = context.settings.passage_chars
    lost, damaged = _damaged(context)
    aside = None
    if damaged:
        aside = _aside(context.catalog.path)
        context.catalog.copy_to(aside, _PAGES_AT_ONCE, None)
    with context.catalog.write("repairing") as writer:
        writer.drop_revisions(damaged)
        writer.drop_orphans()
        context.see_identity(writer)
        dim = context.recorded_dim  # 0 where it is lost: then vectors of unknown length wait to be made anew
        writer.drop_vectors_of_other_lengths((dim, 2 * dim, (dim + 1) // 2, 0))
        seqs = [row[0] for row in writer.db.execute("SELECT seq FROM memory ORDER BY seq")]

        def records() -> Iterator[Record]:
            for seq in seqs:
                yield from writer.records([seq]).values()

        for record in records():
            if not _covered(writer, record):
                writer.drop_passages(record.seq)
                spans = cut(record.text, size)
                give = indexed(record)
                writer.insert_passages(record.seq, [(start, stop, give(start, stop)) for start, stop in spans])
        for start in range(0, len(seqs), _BATCH):
            _, wrong = wrong_vectors(context, writer, seqs[start : start + _BATCH])
            writer.drop_vectors([id for id, _ in wrong])
            writer.set_vectors((id, *(code or (0.0, b""))) for id, code in wrong)
        writer.rebuild_tags(records())
        writer.rebuild_text(_entries(writer, records()))
        writer.rebuild_bands(
            (record.seq, bands_of(record, writer.passages_of(record.seq)))
            for record in records()
            if not record.valid_to
        )
        writer.announce_all()
    return RepairReport(
        rebuilt=("passages", "tags", "text indexes", "near-duplicate bands"),
        recovered={},
        lost=tuple(lost),
        kept_aside=str(aside) if aside else None,
    )


def _damaged(context: Context) -> tuple[list[Problem], list[int]]:
    """Return the revisions that cannot be read, named as far as that is possible."""
    lost: list[Problem] = []
    damaged: list[int] = []
    with context.catalog.read("looking for damage") as reader:
        for (seq,) in reader.db.execute("SELECT seq FROM memory ORDER BY seq").fetchall():
            try:
                reader.records([seq])
            except CorruptionError as error:
                damaged.append(seq)
                if len(lost) < _MOST_NAMED:
                    where = str(error.details.get("where", f"revision {seq}"))
                    lost.append(Problem(code="memory-lost", where=where, message=error.message))
    if len(damaged) > len(lost):
        more = f"{len(damaged) - len(lost):,} more revisions could not be read"
        lost.append(Problem(code="memory-lost", where="memory", message=more))
    return lost, damaged


def _covered(writer: Writer, record: Record) -> bool:
    """Return whether a revision has passages that lie inside its text and are indexed as they should be."""
    give = indexed(record)
    held = writer.db.execute("SELECT start, stop, tokens FROM passage WHERE memory = ?", (record.seq,)).fetchall()
    for start, stop, tokens in held:
        if not 0 <= start < stop <= len(record.text):
            return False
        entry = give(start, stop)
        if tokens != len(entry.head.split()) + len(entry.body.split()) + 2:  # the marks of scope and type are two
            return False
    return bool(held)


def repair_store(folder: Path, settings: Settings) -> RepairReport:
    """Repair the store in a folder, also one that does not open.

    Raises:
        NotFoundError: There is no catalog to repair.
        LockedError: A process has the store open.
    """
    engine = folder / ENGINE_FOLDER
    path = engine / CATALOG_NAME
    if not path.exists() and not _interrupted(engine):
        raise NotFoundError(f"There is no store in {folder}.", hint="Name the folder of a store.", path=str(folder))
    in_use = fs.FileLock(engine / "in-use.lock")
    try:
        in_use.acquire(_WAIT)
    except LockedError:
        raise LockedError(
            f"A process has {folder} open, and its files cannot be replaced under it.",
            hint="Close it and repeat `lamina repair`.",
        ) from None
    try:
        recovered: dict[str, int] = {}
        lost: list[Problem] = []
        aside = None
        if path.exists():
            _clear(engine)
        else:
            aside = _replace(_interrupted(engine)[0], path)
        if not _healthy(path):
            aside, recovered, lost = _salvage(path, settings)
        catalog = SqliteCatalog(engine, settings)
        try:
            report = rebuild(Context(catalog, settings, lambda: None, None))
        finally:
            catalog.close()
        return RepairReport(
            rebuilt=report.rebuilt,
            recovered=recovered,
            lost=(*lost, *report.lost),
            kept_aside=str(aside) if aside else report.kept_aside,
        )
    finally:
        in_use.release()


def _entries(writer: Any, records: Iterator[Record]) -> Iterator[tuple[int, bool, str, str, str, str]]:
    for record in records:
        give = indexed(record)
        for id, start, stop, *_ in writer.passages_of(record.seq):
            tokens = give(start, stop)
            yield id, bool(record.valid_to), tokens.head, tokens.body, record.scope, record.type


def _healthy(path: Path) -> bool:
    """Return whether the tables that matter can be read from end to end.

    Raises:
        StorageError: The disk failed in another way than by a page that cannot be read.
    """
    try:
        db = _open(path)
        try:
            if (
                any(line != "ok" for (line,) in db.execute("PRAGMA integrity_check(1)"))
                or _schema(db) != _wanted_schema()
            ):
                return False
            for table in _TABLES:
                for _ in db.execute(f"SELECT * FROM {table}"):
                    pass
            for table in ("text_now", "text_past"):
                for _ in db.execute(f"SELECT * FROM {table}_data"):
                    pass
        finally:
            _close(db)
    except UnicodeDecodeError:
        return False
    except apsw.Error as error:
        _check_damage(error, path)
        return False
    return True


def _schema(db: apsw.Connection) -> set[tuple[Any, ...]]:
    """Return what a catalog says of its tables; what the query planner keeps for itself is left out."""
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'")
    return set(rows.fetchall())


def _wanted_schema() -> set[tuple[Any, ...]]:
    """Return what a new catalog says of its tables."""
    draft = apsw.Connection(":memory:")
    try:
        migrate(draft, 0)
        return _schema(draft)
    finally:
        draft.close(True)


def _open(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=fs.catalog_vfs())


def _close(db: apsw.Connection) -> None:
    with contextlib.suppress(apsw.Error):  # what could not be moved out of the log stays in it
        db.close(True)


def _check_damage(error: apsw.Error, path: Path) -> None:
    """Raise unless an error speaks of damaged bytes: a disk that fails now may answer later, so nothing is given up.

    Raises:
        StorageError: Of whatever kind the failure is.
    """
    unreadable = (apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ)
    failed = (apsw.CantOpenError, apsw.FullError, apsw.BusyError, apsw.NoMemError, apsw.ReadOnlyError)
    if isinstance(error, failed) or (
        isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) not in unreadable
    ):
        raise translate_sqlite(error, path, "repairing") from error


def _salvage(path: Path, settings: Settings) -> tuple[Path, dict[str, int], list[Problem]]:
    """Copy every row that can be read into a new catalog, and put the damaged one aside."""
    fresh_folder = path.parent / f"{SALVAGE}{time.time_ns()}"
    fs.make_dir(fresh_folder, mode=0o700)
    recovered: dict[str, int] = {}
    lost: list[Problem] = []
    fresh = SqliteCatalog(fresh_folder, settings)
    try:
        with fresh.write("salvaging") as writer:
            for table in _TABLES:
                columns = [row[1] for row in writer.db.execute(f"PRAGMA table_info({table})")]
                insert = (
                    f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
                )
                for row in _readable_rows(path, table, columns, lost):
                    with contextlib.suppress(apsw.ConstraintError, apsw.MismatchError):
                        writer.db.execute(insert, row)
                recovered[table] = int(writer.db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
            lost += _lost_memories(path, writer)
        fresh.pool.checkpoint(truncate=True)
    except apsw.Error as error:  # pragma: no cover - the new file is healthy
        raise translate_sqlite(error, fresh.path, "salvaging") from error
    finally:
        fresh.close()
    return _replace(fresh.path, path), recovered, lost


def _interrupted(engine: Path) -> list[Path]:
    """Return the finished catalog of a repair that was interrupted after it had put the damaged one aside."""
    return sorted(engine.glob(f"{SALVAGE}*/{CATALOG_NAME}"))


def _aside(path: Path) -> Path:
    """Return a free name beside the catalog for a damaged one."""
    base = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    return next(
        place
        for number in itertools.count()
        if not (place := path.with_name(f"{base}-{number}" if number else base)).exists()
    )


def _replace(fresh: Path, path: Path) -> Path:
    """Put the damaged catalog aside and the new one into its place; return where the damaged one is.

    The catalog goes first and its log after it: a log beside a catalog that it does not belong to would damage that.
    Until the new one has its name there is none, so that an open between the steps finds no store to write to.
    """
    aside = _aside(path)
    if path.exists():
        fs.move_file(path, aside)
    else:
        aside = max(path.parent.glob(f"{path.name}.damaged-*[0-9]"), default=aside)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        fs.move_file(log, aside.with_name(f"{aside.name}-wal"))
    fs.remove_file(path.with_name(f"{path.name}-shm"), missing_ok=True)
    fs.move_file(fresh, path)
    _clear(path.parent)
    return aside


def _clear(engine: Path) -> None:
    """Remove what an interrupted repair left beside a catalog that is in its place."""
    for folder in engine.glob(f"{SALVAGE}*"):
        for leftover in folder.iterdir():
            fs.remove_file(leftover, missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _readable_rows(path: Path, table: str, columns: list[str], lost: list[Problem]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table of a damaged file, stepping over what cannot be read."""
    key = columns[0] if table != "memory_tag" else None
    select = f"SELECT {', '.join(columns)} FROM {table}"
    if key is None or table == "meta":
        yield from _until_damage(path, select, (), lambda error: lost.append(_lost(table, error)))
        return
    after: Any = -(2**63)
    step = 1
    failed = 0
    while True:
        got = False
        errors: list[Exception] = []
        for row in _until_damage(path, f"{select} WHERE {key} > ? ORDER BY {key}", (after,), errors.append):
            after, got, step = row[0], True, 1
            yield row
        if not errors:
            break
        failed += 1
        if not got:
            step *= 2
        after = (after if after > -(2**63) else 0) + step
        if step > 2**40:
            break
    if failed:
        # From the end towards the damage; what came already is replaced by itself.
        yield from _until_damage(path, f"{select} ORDER BY {key} DESC", (), _passed_over)
        if table == "name":  # its unique index holds all of it once more
            yield from _until_damage(
                path, f"{select} INDEXED BY sqlite_autoindex_name_1 ORDER BY kind", (), _passed_over
            )
        lost.append(
            Problem(code="rows-lost", where=table, message=f"{failed} stretches of table {table} could not be read")
        )


def _until_damage(
    path: Path, sql: str, bindings: tuple[Any, ...], failed: Callable[[Exception], Any]
) -> Iterator[tuple[Any, ...]]:
    try:
        db = _open(path)
        try:
            db.pragma("writable_schema", True)  # then a table whose definition is damaged does not hide the others
            yield from db.execute(sql, bindings)
        finally:
            _close(db)
    except UnicodeDecodeError as error:
        failed(error)
    except apsw.Error as error:
        _check_damage(error, path)
        failed(error)


def _passed_over(_: Exception) -> None:
    """Take no note of damage that was noted before."""


def _lost_memories(path: Path, writer: Writer) -> list[Problem]:
    """Name the memories whose rows are gone, as far as the index of ids can still be read."""
    kept = {row[0] for row in writer.db.execute("SELECT id FROM memory WHERE valid_to = 0")}
    sql = "SELECT id FROM memory INDEXED BY memory_id WHERE valid_to = 0"
    ids = [row[0] for row in _until_damage(path, sql, (), _passed_over)]
    missing = [id for id in ids if isinstance(id, str) and id not in kept]
    problems = [
        Problem(code="memory-lost", where=f"memory {id}", message=f"memory {id} could not be read")
        for id in missing[:_MOST_NAMED]
    ]
    if len(missing) > _MOST_NAMED:
        more = f"{len(missing) - _MOST_NAMED:,} more memories could not be read"
        problems.append(Problem(code="memory-lost", where="memory", message=more))
    return problems


def _lost(table: str, error: Exception) -> Problem:
    return Problem(code="rows-lost", where=table, message=f"the rest of table {table} could not be read: {error}")
