"""Repair: everything derived is made anew; a damaged catalog is salvaged row by row into a new one.

It needs nothing but the catalog. Nothing is thrown away: the damaged file is put aside.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from lamina import fs
from lamina.config import CATALOG_NAME, ENGINE_FOLDER, Settings
from lamina.errors import CorruptionError, LockedError, NotFoundError
from lamina.memories.context import Context
from lamina.memories.drafts import bands_of, indexed
from lamina.search.passages import cut
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.connection import translate_sqlite
from lamina.storage.records import Record
from lamina.storage.writer import Writer
from lamina.types import Problem, RepairReport

__all__ = ["rebuild", "repair_store"]

_TABLES = ("meta", "name", "dictionary", "memory", "memory_tag", "passage", "ending")
"""What is kept of a damaged catalog; everything else is derived from it."""
_WAIT = 10.0
_MOST_NAMED = 100


def rebuild(context: Context) -> RepairReport:
    """Make passages, text indexes, near-duplicate bands and the waiting list anew from the memories."""
    size = context.settings.passage_chars
    lost: list[Problem] = []
    with context.catalog.write("repairing") as writer:
        seqs = [row[0] for row in writer.db.execute("SELECT seq FROM memory ORDER BY seq")]
        writer.drop_orphans()
        dim = context.recorded_dim
        if dim:
            writer.drop_vectors_of_other_lengths((dim, 2 * dim, (dim + 1) // 2, 0))

        def records() -> Iterator[Record]:
            for seq in seqs:
                try:
                    yield from writer.records([seq]).values()
                except CorruptionError as error:
                    if len(lost) < _MOST_NAMED:
                        lost.append(Problem(code="text-damaged", where=f"revision {seq}", message=error.message))

        for record in records():
            if not writer.passages_of(record.seq):
                spans = cut(record.text, size)
                give = indexed(record)
                writer.insert_passages(record.seq, [(start, stop, give(start, stop)) for start, stop in spans])
        lost.clear()
        writer.rebuild_text(_entries(writer, records()))
        lost.clear()
        writer.rebuild_bands((record.seq, bands_of(record, size)) for record in records() if not record.valid_to)
        writer.announce_all()
    return RepairReport(rebuilt=("passages", "text indexes", "near-duplicate bands"), recovered={}, lost=tuple(lost))


def repair_store(folder: Path, settings: Settings) -> RepairReport:
    """Repair the store in a folder, also one that does not open.

    Raises:
        NotFoundError: There is no catalog to repair.
        LockedError: A process has the store open.
    """
    engine = folder / ENGINE_FOLDER
    path = engine / CATALOG_NAME
    if not path.exists():
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
            kept_aside=str(aside) if aside else None,
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
    """Return whether the tables that matter can be read from end to end."""
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:
        return False
    try:
        if any(line != "ok" for (line,) in db.execute("PRAGMA quick_check(1)")):
            return False
        for table in _TABLES:
            for _ in db.execute(f"SELECT * FROM {table}"):
                pass
        for table in ("text_now", "text_past"):
            for _ in db.execute(f"SELECT * FROM {table}_data"):
                pass
    except apsw.Error:
        return False
    else:
        return True
    finally:
        db.close(True)


def _salvage(path: Path, settings: Settings) -> tuple[Path, dict[str, int], list[Problem]]:
    """Copy every row that can be read into a new catalog, and put the damaged one aside."""
    fresh_folder = path.parent / f"salvage-{time.time_ns()}"
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
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    for ending in ("-wal", "-shm", ""):
        source = path.with_name(path.name + ending)
        if source.exists():
            fs.move_file(source, aside.with_name(aside.name + ending))
    fs.move_file(fresh.path, path)
    for leftover in fresh_folder.iterdir():
        fs.remove_file(leftover, missing_ok=True)
    fresh_folder.rmdir()
    return aside, recovered, lost


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
        errors: list[apsw.Error] = []
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
        lost.append(
            Problem(code="rows-lost", where=table, message=f"{failed} stretches of table {table} could not be read")
        )


def _until_damage(
    path: Path, sql: str, bindings: tuple[Any, ...], failed: Callable[[apsw.Error], Any]
) -> Iterator[tuple[Any, ...]]:
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error as error:
        failed(error)
        return
    try:
        yield from db.execute(sql, bindings)
    except apsw.Error as error:
        failed(error)
    finally:
        db.close(True)


def _passed_over(_error: apsw.Error) -> None:
    """Leave a failure to those that count the stretches."""


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
