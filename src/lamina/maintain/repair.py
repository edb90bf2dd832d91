"""Repair: everything derived is made anew; a damaged catalog is salvaged row by row into a new one.

It needs nothing but the catalog. Nothing is thrown away: the damaged file is put aside.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from lamina import fs
from lamina.config import CATALOG_NAME, DAMAGED, ENGINE_FOLDER, IN_USE_NAME, SALVAGE, Settings
from lamina.embed import Embedder, resolve
from lamina.errors import CorruptionError, EmbedderError, FormatError, LaminaError, LockedError, NotFoundError
from lamina.maintain.salvage import TABLES, check_damage, open_file, salvage_rows
from lamina.maintain.verify import covers, lost_vectors, token_count, wrong_vectors
from lamina.memories.context import Context
from lamina.memories.drafts import bands_of, indexed
from lamina.patterns.upkeep import rebuild_patterns
from lamina.search.passages import cut
from lamina.states.context import StatesContext
from lamina.states.mend import mend
from lamina.storage import mirror
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.connection import translate_sqlite
from lamina.storage.migrations import FORMAT_VERSION, schema, wanted_schema
from lamina.storage.reader import StoredPassage
from lamina.storage.records import Record
from lamina.storage.writer import Writer
from lamina.types import Problem, RepairReport

__all__ = ["rebuild", "repair_store"]

_WAIT = 10.0
_PAGES_AT_ONCE = 2048
_BATCH = 500
_MOST_NAMED = 1_000
_OF_MEMORIES = ("passages", "tags", "text indexes", "near-duplicate bands")


def rebuild(context: Context) -> RepairReport:
    """Make passages, text indexes, near-duplicate bands and the waiting list anew from the memories."""
    size = context.settings.passage_chars
    lost, damaged = _damaged(context)
    mended = mend(StatesContext(context.catalog, context.settings, context.catalog.path.parent))
    lost += mended.lost
    aside = None
    if damaged:
        aside = _aside(context.catalog.path)
        context.catalog.copy_to(aside, _PAGES_AT_ONCE, None)
    with context.catalog.write("repairing") as writer:
        writer.mend_counters()
        writer.drop_revisions(damaged)
        writer.drop_orphans()
        context.see_identity(writer)
        if context.recorded and not context.recorded_dim and context.active is not None:
            writer.set_meta("dim", str(context.active.dim))  # it was lost, and the embedder knows it
            context.see_identity(writer)
        dim = context.recorded_dim  # 0 where nobody knows it: then vectors wait to be made anew
        writer.drop_vectors_of_other_lengths((dim, 2 * dim, (dim + 1) // 2, 0))
        seqs = [row[0] for row in writer.db.execute("SELECT seq FROM memory ORDER BY seq")]

        def records() -> Iterator[Record]:
            for seq in seqs:
                yield from writer.records([seq]).values()

        for record in records():
            _mend_passages(writer, record, size)
        lost += _release_lost(writer)
        with contextlib.suppress(EmbedderError):  # one that fails must not keep the store from being mended
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
        mirror.drop_unmatched(writer.db)  # their files are looked at anew when the store is opened
        rebuild_patterns(writer)
        patterns = bool(writer.db.execute("SELECT 1 FROM pattern LIMIT 1").fetchall())
        writer.announce_all()
    return RepairReport(
        rebuilt=(
            *(_OF_MEMORIES if seqs else ()),
            *(("counts of patterns",) if patterns else ()),
            *(("packs of states",) if mended.rewritten else ()),
        ),
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


def _mend_passages(writer: Writer, record: Record, size: int) -> None:
    """See to it that a revision's passages cover its text and say how many tokens they have."""
    held = writer.passages_of(record.seq)
    if not covers(record.text, [(start, stop) for _, start, stop, *_ in held]):
        _cut_anew(writer, record, size, held)
        return
    give = indexed(record)
    for id, start, stop, *_ in held:
        writer.db.execute(
            "UPDATE passage SET tokens = ?2 WHERE id = ?1 AND tokens <> ?2", (id, token_count(give(start, stop)))
        )


def _cut_anew(writer: Writer, record: Record, size: int, held: list[StoredPassage]) -> None:
    """Cut a revision's text again; vectors are kept where a passage stays, and one that came with the memory always."""
    give = indexed(record)
    writer.drop_passages(record.seq)
    spans = cut(record.text, size)
    writer.insert_passages(record.seq, [(start, stop, give(start, stop)) for start, stop in spans])
    fresh = writer.passages_of(record.seq)
    if fresh and any(given for *_, given in held):
        own = next(((scale, codes) for _, _, _, scale, codes, given in held if given and codes), (None, None))
        writer.db.execute("UPDATE passage SET given = 1 WHERE memory = ?", (record.seq,))
        writer.db.execute("UPDATE passage SET scale = ?, codes = ? WHERE id = ?", (*own, fresh[0][0]))
        return
    made = {(start, stop): (scale or 0.0, codes) for _, start, stop, scale, codes, _ in held if codes is not None}
    writer.set_vectors((id, *made[start, stop]) for id, start, stop, *_ in fresh if (start, stop) in made)


def _release_lost(writer: Writer) -> list[Problem]:
    """Name the vectors that came with memories and are gone; those memories wait for one of the embedder's."""
    lost = []
    for seq, id in lost_vectors(writer):
        writer.db.execute("UPDATE passage SET given = 0, scale = NULL, codes = NULL WHERE memory = ?", (seq,))
        message = f"the vector that memory {id} came with could not be kept; `lamina reindex` makes one of its text"
        lost.append(Problem(code="vector-lost", where=f"memory {id}", message=message))
    return lost


def repair_store(folder: Path, settings: Settings) -> RepairReport:
    """Repair the store in a folder, also one that does not open.

    Raises:
        NotFoundError: There is no catalog to repair.
        LockedError: A process has the store open.
        FormatError: A newer version wrote it, so this one cannot know what is whole.
    """
    engine = folder / ENGINE_FOLDER
    path = engine / CATALOG_NAME
    try:
        path.stat()
        there = True
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except OSError as error:  # the folder may not be entered
        raise fs.translate(error, path, "look at") from error
    if not there and not _interrupted(engine):
        raise NotFoundError(f"There is no store in {folder}.", hint="Name the folder of a store.", path=str(folder))
    in_use = fs.FileLock(engine / IN_USE_NAME)
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
            _check_version(path)
        else:
            aside = _replace(_interrupted(engine)[0], path)
        if not _healthy(path):
            aside, recovered, lost = _salvage(path, settings)
        catalog = SqliteCatalog(engine, settings)
        try:
            report = rebuild(Context(catalog, settings, lambda: _cheap_embedder(settings), None))
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


def _cheap_embedder(settings: Settings) -> Embedder | None:
    """Return the embedder in use where it makes vectors at no cost; a repair needs none, and loads no model."""
    with contextlib.suppress(LaminaError):
        embedder = resolve(settings.embedder)
        if getattr(embedder, "cheap", False):
            return embedder
    return None


def _entries(writer: Any, records: Iterator[Record]) -> Iterator[tuple[int, bool, str, str, str, str]]:
    for record in records:
        give = indexed(record)
        for id, start, stop, *_ in writer.passages_of(record.seq):
            tokens = give(start, stop)
            yield id, bool(record.valid_to), tokens.head, tokens.body, record.scope, record.type


def _check_version(path: Path) -> None:
    """Refuse a whole catalog of a newer version: what this one does not know of it would be thrown away.

    Raises:
        FormatError: It is one. Where only the number was damaged the tables are those of this version.
    """
    with contextlib.suppress(apsw.Error, UnicodeDecodeError):
        db = open_file(path)
        try:
            version = db.pragma("user_version")
            newer = isinstance(version, int) and version > FORMAT_VERSION and schema(db) != wanted_schema()
            if newer and db.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]:
                raise FormatError(
                    f"{path.parent.parent} was written by a newer Lamina (format {version}); only that can repair it.",
                    hint="Upgrade with `pip install --upgrade lamina`.",
                    format=version,
                )
        finally:
            _close(db)


def _healthy(path: Path) -> bool:
    """Return whether the tables that matter can be read from end to end.

    Raises:
        StorageError: The disk failed in another way than by a page that cannot be read.
    """
    try:
        db = open_file(path)
        try:
            if any(line != "ok" for (line,) in db.execute("PRAGMA integrity_check(1)")) or schema(db) != wanted_schema(
                _version(db)
            ):
                return False
            there = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            for table in there.intersection(TABLES):
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
        check_damage(error, path)
        return False
    return True


def _version(db: apsw.Connection) -> int | None:
    """Return the number of an older format, whose tables are others; None for this one, or where it is damaged."""
    version = db.pragma("user_version")
    return version if isinstance(version, int) and 0 < version < FORMAT_VERSION else None


def _close(db: apsw.Connection) -> None:
    with contextlib.suppress(apsw.Error):  # what could not be moved out of the log stays in it
        db.close(True)


def _salvage(path: Path, settings: Settings) -> tuple[Path, dict[str, int], list[Problem]]:
    """Copy every row that can be read into a new catalog, and put the damaged one aside."""
    fresh_folder = path.parent / f"{SALVAGE}{time.time_ns()}"
    fs.make_dir(fresh_folder, mode=0o700)
    fresh = SqliteCatalog(fresh_folder, settings)
    try:
        with fresh.write("salvaging") as writer:
            recovered, lost = salvage_rows(path, writer)
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
    base = f"{DAMAGED}{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
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
        aside = max(path.parent.glob(f"{DAMAGED}*[0-9]"), default=aside)
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
