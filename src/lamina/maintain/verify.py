"""Checking a store: its pages, how its parts fit together, and every byte of what it says."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from typing import get_args

import apsw

from lamina.config import Profile
from lamina.errors import CorruptionError, InvalidInputError, LaminaError
from lamina.maintain.files import check_files
from lamina.memories.context import Context
from lamina.memories.drafts import embed_texts, indexed
from lamina.patterns import upkeep
from lamina.search import duplicates
from lamina.search.tokens import tokens
from lamina.storage import fts
from lamina.storage.migrations import FORMAT_VERSION, schema, wanted_schema
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.records import Record
from lamina.storage.writer import Indexed
from lamina.types import Problem, VerifyReport

__all__ = ["covers", "lost_vectors", "token_count", "verify_store", "wrong_vectors"]

LEVELS = ("structure", "sample", "full")
_SAMPLE = 1_000
_MOST_NAMED = 20
"""Problems of one kind that are told one by one; the rest is counted."""
_BATCH = 500


def verify_store(context: Context, level: str) -> VerifyReport:
    """Check a store and say what is wrong; nothing is changed.

    Raises:
        InvalidInputError: There is no such level.
    """
    if level not in LEVELS:
        raise InvalidInputError(f"{level!r} is no level of verify.", hint=f"Use one of {', '.join(LEVELS)}.")
    checked: dict[str, int] = {}
    problems: list[Problem] = []
    try:
        with context.catalog.read("verifying") as reader:
            context.see_identity(reader)
            problems += _limited(_pages(reader, full=level == "full", checked=checked))
            if not problems:
                problems += _limited(_structure(context, reader, checked))
                problems += _limited(upkeep.problems(reader, checked))
            if level != "structure" and not any(problem.code == "page-damaged" for problem in problems):
                problems += _limited(_contents(context, reader, full=level == "full", checked=checked))
                if level == "full":
                    problems += _limited(upkeep.content_problems(reader, context.catalog.codec, checked))
        if not any(problem.code == "page-damaged" for problem in problems):
            problems += _limited(check_files(context, full=level == "full", checked=checked))
    except CorruptionError as error:
        problems.append(_problem("page-damaged", str(context.catalog.path), error.message, _REPAIR))
    return VerifyReport(level=level, problems=tuple(problems), checked=checked)


_REPAIR = "Run `lamina repair`."


def _problem(code: str, where: str, message: str, hint: str = _REPAIR) -> Problem:
    return Problem(code=code, where=where, message=message, hint=hint)


def _limited(found: Iterator[Problem]) -> list[Problem]:
    kept: list[Problem] = []
    counts: dict[str, int] = {}
    for problem in found:
        counts[problem.code] = counts.get(problem.code, 0) + 1
        if counts[problem.code] <= _MOST_NAMED:
            kept.append(problem)
    for code, count in counts.items():
        if count > _MOST_NAMED:
            kept.append(_problem(code, "catalog", f"{count - _MOST_NAMED:,} more of this kind"))
    return kept


def _pages(reader: Reader, *, full: bool, checked: dict[str, int]) -> Iterator[Problem]:
    checked["pages"] = int(reader.db.pragma("page_count"))
    pragma = "integrity_check" if full else "quick_check"
    for table in ("text_now", "text_past"):
        # FTS5 checks what it remembers; only a query makes a connection look at what others have written since.
        with contextlib.suppress(apsw.CorruptError):
            reader.db.execute(f"SELECT rowid FROM {table} LIMIT 1").fetchall()
    for (line,) in reader.db.execute(f"PRAGMA {pragma}(100)"):
        for told in str(line).splitlines():
            if told != "ok" and not told.startswith("***"):
                yield _problem("page-damaged", "catalog", told.strip())


def _structure(context: Context, reader: Reader, checked: dict[str, int]) -> Iterator[Problem]:
    db = reader.db
    checked["memories"] = int(db.execute("SELECT count(*) FROM memory").fetchall()[0][0])
    checked["passages"] = int(db.execute("SELECT count(*) FROM passage").fetchall()[0][0])
    for seq, id in db.execute(
        "SELECT seq, id FROM memory m WHERE NOT EXISTS (SELECT 1 FROM passage p WHERE p.memory = m.seq)"
    ):
        yield _problem("passages-missing", f"memory {id}", f"revision {seq} of memory {id} cannot be found by its text")
    for id, memory in db.execute(
        "SELECT id, memory FROM passage p WHERE NOT EXISTS (SELECT 1 FROM memory m WHERE m.seq = p.memory)"
    ):
        yield _problem(
            "passage-orphaned", f"passage {id}", f"passage {id} belongs to revision {memory}, which is not there"
        )
    for table, test in (("text_now", "m.valid_to = 0"), ("text_past", "m.valid_to <> 0")):
        for (id,) in db.execute(
            f"SELECT p.id FROM passage p JOIN memory m ON m.seq = p.memory WHERE {test} "
            f"AND NOT EXISTS (SELECT 1 FROM {table}_docsize d WHERE d.id = p.id)"
        ):
            yield _problem("index-behind", f"passage {id}", f"passage {id} is not in the text index {table}")
        for (id,) in db.execute(
            f"SELECT d.id FROM {table}_docsize d LEFT JOIN passage p ON p.id = d.id LEFT JOIN memory m "
            f"ON m.seq = p.memory WHERE m.seq IS NULL OR NOT ({test})"
        ):
            yield _problem(
                "index-ahead", f"passage {id}", f"{table} still holds passage {id}, which is not to be found there"
            )
    for id, count in db.execute("SELECT id, count(*) FROM memory WHERE valid_to = 0 GROUP BY id HAVING count(*) > 1"):
        yield _problem("memory-doubled", f"memory {id}", f"memory {id} has {count} current revisions")
    for id, first, last, count in db.execute(
        "SELECT id, min(revision), max(revision), count(*) FROM memory GROUP BY id "
        "HAVING min(revision) <> 1 OR max(revision) <> count(*)"
    ):
        yield _problem(
            "history-gap", f"memory {id}", f"memory {id} has {count} revisions numbered {first} to {last}", ""
        )
    for column in ("scope", "thread", "source"):
        for (id,) in db.execute(
            f"SELECT m.id FROM memory m WHERE m.{column} IS NOT NULL "
            f"AND NOT EXISTS (SELECT 1 FROM name n WHERE n.id = m.{column})"
        ):
            yield _problem("name-missing", f"memory {id}", f"the {column} of memory {id} is not known", "")
    yield from _tag_counts(reader)
    yield from _links(reader)
    yield from _catalog(context, reader)
    for seq, id in lost_vectors(reader):
        yield _problem(
            "vector-missing", f"memory {id}", f"revision {seq} of memory {id} came with a vector that is gone"
        )
    dim = context.recorded_dim
    sizes = {dim, 2 * dim, (dim + 1) // 2, 0} if dim else {0}
    marks = ", ".join(str(size) for size in sorted(sizes))
    for (id,) in db.execute(f"SELECT id FROM passage WHERE codes IS NOT NULL AND length(codes) NOT IN ({marks})"):
        yield _problem("vector-damaged", f"passage {id}", f"the vector of passage {id} has the wrong length")


def _catalog(context: Context, reader: Reader) -> Iterator[Problem]:
    """Compare tables, indexes and counters with what this version makes; of a newer format nothing is known."""
    if context.catalog.format == FORMAT_VERSION:
        here, wanted = schema(reader.db), wanted_schema()
        for kind, name, *_ in sorted(here ^ wanted, key=str):
            there = any(entry[:2] == (kind, name) for entry in here)
            what = "is not as it was made" if there else "is not there"
            if all(entry[:2] != (kind, name) for entry in wanted):
                what = "is not Lamina's"
            yield _problem("schema-differs", f"{kind} {name}", f"{kind} {name} of the catalog {what}")
    for table, number in reader.counters_behind().items():
        message = f"table {table} has row {number} and would give out that number again"
        yield _problem("counter-behind", f"table {table}", message)


def _tag_counts(reader: Reader) -> Iterator[Problem]:
    """Each memory's tags stand in its row, and once more in a table that filters use."""
    wanted = "CASE WHEN m.tags IS NULL THEN 0 ELSE length(m.tags) - length(replace(m.tags, char(31), '')) + 1 END"
    for id, count, found in reader.db.execute(
        f"SELECT id, wanted, found FROM (SELECT m.id AS id, {wanted} AS wanted, "
        "(SELECT count(*) FROM memory_tag t WHERE t.memory = m.seq) AS found FROM memory m) WHERE wanted <> found"
    ):
        yield _problem("index-differs", f"memory {id}", f"memory {id} has {count} tags and can be found by {found}")
    for (seq,) in reader.db.execute(
        "SELECT DISTINCT memory FROM memory_tag t WHERE NOT EXISTS (SELECT 1 FROM memory m WHERE m.seq = t.memory)"
    ):
        yield _problem("index-ahead", f"revision {seq}", f"tags are kept of revision {seq}, which is not there")


def _links(reader: Reader) -> Iterator[Problem]:
    """Tell of memories that were superseded by one that never was.

    A purged one leaves its id in those that it superseded, and a gap in the numbers of revisions. A link that is older
    than the first gap can therefore not lead to a purged one.
    """
    dangling = reader.db.execute(
        "SELECT m.seq, m.id, m.superseded_by FROM memory m WHERE m.superseded_by IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM memory o WHERE o.id = m.superseded_by AND o.valid_to = 0) "
        "AND NOT EXISTS (SELECT 1 FROM memory o WHERE o.id = m.superseded_by AND o.valid_to <> 0)"
    ).fetchall()
    if not dangling:
        return
    unbroken = 0
    for (seq,) in reader.db.execute("SELECT seq FROM memory ORDER BY seq"):
        if seq != unbroken + 1:
            break
        unbroken = seq
    for seq, id, other in dangling:
        if seq <= unbroken:
            message = f"memory {id} is superseded by {other}, which never was"
            yield _problem("link-dangling", f"memory {id}", message, "Supersede it by one that is there.")


def lost_vectors(reader: Reader) -> list[tuple[int, str]]:
    """Return ``(revision, memory's id)`` of those that came with a vector of their own and have none."""
    found: list[tuple[int, str]] = reader.db.execute(
        "SELECT m.seq, m.id FROM (SELECT memory, max(length(codes)) AS size FROM passage WHERE given <> 0 "
        "GROUP BY memory) p JOIN memory m ON m.seq = p.memory WHERE coalesce(p.size, 0) = 0 ORDER BY m.seq"
    ).fetchall()
    return found


def covers(text: str, spans: Sequence[tuple[int, int]]) -> bool:
    """Return whether passages lie inside a text, one after another, with nothing but white space between them."""
    at = 0
    for start, stop in sorted(spans):
        if not at <= start < stop <= len(text) or text[at:start].strip():
            return False
        at = stop
    return bool(spans) and not text[at:].strip()


def token_count(entry: Indexed) -> int:
    """Return how many tokens the text index counts for a passage."""
    return len(entry.head.split()) + len(entry.body.split()) + fts.MARKS


def _contents(context: Context, reader: Reader, *, full: bool, checked: dict[str, int]) -> Iterator[Problem]:
    db = reader.db
    seqs = [row[0] for row in db.execute("SELECT seq FROM memory ORDER BY seq")]
    if not full:
        seqs = seqs[:: max(1, len(seqs) // _SAMPLE)]
    else:
        yield from _text_indexes(reader)
    checked["texts"] = len(seqs)
    checked["vectors"] = 0
    bands = 0
    for start in range(0, len(seqs), _BATCH):
        part = seqs[start : start + _BATCH]
        good = []
        for seq in part:
            try:
                good += list(reader.records([seq]).values())
            except LaminaError as error:
                yield _problem(
                    "text-damaged",
                    f"revision {seq}",
                    error.message,
                    "Restore it from a backup; `lamina repair` lists it.",
                )
        for record in good:
            spans = [row[1:3] for row in reader.passages_of(record.seq)]
            if spans and not covers(record.text, spans):  # where there are none at all that was told
                where = f"memory {record.id}"
                yield _problem(
                    "passage-damaged", where, f"the passages of revision {record.seq} of {where} miss its text"
                )
        if full:
            yield from _vectors(context, reader, [record.seq for record in good], checked)
            for record in good:
                yield from _tokens(reader, record)
            yield from _tags(reader, good)
            bands += yield from _bands(reader, [record for record in good if not record.valid_to])
    held = int(db.execute("SELECT count(*) FROM band").fetchall()[0][0]) if full else bands
    if held != bands:
        message = f"{held - bands:,} entries of the index of near-duplicates belong to no current memory"
        yield _problem("index-ahead", "band", message)


def _tokens(reader: Reader, record: Record) -> Iterator[Problem]:
    give = indexed(record)
    for id, start, stop, *_ in reader.passages_of(record.seq):
        wanted = token_count(give(start, stop))
        held = reader.db.execute("SELECT tokens FROM passage WHERE id = ?", (id,)).fetchall()[0][0]
        if held != wanted:
            yield _problem(
                "index-differs", f"passage {id}", f"passage {id} was indexed with {held} tokens and has {wanted}"
            )


def _tags(reader: Reader, records: list[Record]) -> Iterator[Problem]:
    """Compare the tags that filters use with those of the rows; where their numbers differ that was told."""
    marks = ", ".join("?" * len(records))
    held: dict[int, list[str | None]] = {record.seq: [] for record in records}
    for seq, tag in reader.db.execute(
        f"SELECT t.memory, n.value FROM memory_tag t LEFT JOIN name n ON n.id = t.tag AND n.kind = ? "
        f"WHERE t.memory IN ({marks})",
        (int(NameKind.TAG), *held),
    ):
        held[seq].append(tag)
    for record in records:
        found = held[record.seq]
        if len(found) == len(record.tags) and set(found) != set(record.tags):
            where = f"memory {record.id}"
            yield _problem("index-differs", where, f"{where} can be found by other tags than it has")


def _bands(reader: Reader, records: list[Record]) -> Generator[Problem, None, int]:
    """Compare the bands of current memories' near-duplicate signatures; return how many are as they should be."""
    words = [
        [word for _, start, stop, *_ in reader.passages_of(record.seq) for word in tokens(record.text[start:stop])]
        for record in records
    ]
    good = 0
    for record, wanted in zip(records, duplicates.bands(words), strict=True):
        marks = ", ".join("?" * len(wanted))
        sql = f"SELECT count(*) FROM band WHERE memory = ? AND hash IN ({marks})"
        found = int(reader.db.execute(sql, (record.seq, *wanted)).fetchall()[0][0])
        good += found
        if found != len(set(wanted)):
            where = f"memory {record.id}"
            yield _problem("index-differs", where, f"near-duplicates of {where} cannot be found")
    return good


def _text_indexes(reader: Reader) -> Iterator[Problem]:
    """Let FTS5 read its own structures; a damaged one raises here and is rebuilt by repair."""
    for table in ("text_now", "text_past"):
        try:
            for _ in reader.db.execute(f"SELECT rowid FROM {table} WHERE {table} MATCH '\"lamina\"' LIMIT 1"):
                pass
            for _ in reader.db.execute(f"SELECT block FROM {table}_data"):
                pass
        except apsw.CorruptError as error:
            yield _problem("index-damaged", table, f"the text index {table} is damaged: {error}")


def _vectors(context: Context, reader: Reader, seqs: list[int], checked: dict[str, int]) -> Iterator[Problem]:
    seen, wrong = wrong_vectors(context, reader, seqs)
    checked["vectors"] += seen
    for id, _ in wrong:
        yield _problem("vector-damaged", f"passage {id}", f"the vector of passage {id} is not its text's")


def wrong_vectors(
    context: Context, reader: Reader, seqs: list[int]
) -> tuple[int, list[tuple[int, tuple[float, bytes] | None]]]:
    """Make vectors again where that is cheap, and compare: a stored vector is a pure function of text and embedder.

    Returns:
        How many were compared, and ``(passage, what it should be)`` of those that differ.
    """
    embedder = context.active
    if embedder is None or not getattr(embedder, "cheap", False):
        return 0, []
    texts: list[tuple[int, str, float, bytes]] = []
    for record in reader.records(seqs).values():
        for id, start, stop, scale, codes, given in reader.passages_of(record.seq):
            if codes and not given:
                texts.append((id, record.text[start:stop], scale or 0.0, codes))
    lengths = (2 * embedder.dim, embedder.dim, (embedder.dim + 1) // 2)
    profiles: dict[int, Profile] = dict(zip(lengths, get_args(Profile), strict=True))
    wrong: list[tuple[int, tuple[float, bytes] | None]] = []
    for length, profile in profiles.items():
        chosen = [entry for entry in texts if len(entry[3]) == length]
        made = embed_texts(embedder, [entry[1] for entry in chosen], profile) if chosen else []
        for (id, _, scale, codes), code in zip(chosen, made, strict=True):
            if code is None or code[1] != codes or not abs(code[0] - scale) <= 1e-6:  # not so where it is NaN
                wrong.append((id, code))
    return len(texts), wrong
