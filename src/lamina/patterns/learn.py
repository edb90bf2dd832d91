"""Learning: from sessions to patterns, with the sessions as evidence, adding only what is new."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lamina.patterns.identity import pattern_id
from lamina.patterns.mining import Found, frequent_pairs, frequent_sequences
from lamina.patterns.recording import Recorder, Use, forget_uses, roomy
from lamina.patterns.reports import LearnReport
from lamina.patterns.traces import MAX_EDITED, Trace, make_trace, pack_trace, unpack_trace
from lamina.patterns.values import FILE_COMBO
from lamina.sessions.checks import check_id, check_number, check_whole
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.reader import Reader
from lamina.storage.writer import Writer

__all__ = ["learn"]

_LEAST_SUPPORT: Final = 3
_SHARE: Final = 100
"""One in so many sessions must have something, where nothing else is asked for."""
_SESSIONS_AT_ONCE: Final = 200
_USES_AT_ONCE: Final = 20_000
_FILES_A_USE: Final = 5
_GOOD: Final = 0.5
"""Quality from which a session without an outcome counts as a success."""
_CONFIGURING: Final = ("pip ", "npm ", "apt", "conda", "uv ", "poetry", "brew", "docker", "cargo add")


@dataclass(slots=True)
class _Session:
    number: int
    id: str
    at: int
    result: bool | None
    trace: Trace
    fresh: bool


@dataclass(slots=True)
class _Pattern:
    """What a frequent thing is as a pattern."""

    type: str
    steps: tuple[str, ...]
    found: Found
    files: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    description: str | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = pattern_id(self.type, self.steps)


def learn(
    catalog: SqliteCatalog,
    sessions: Iterable[str] | None,
    *,
    min_support: int | None,
    min_success_rate: float,
    max_length: int,
    max_gap: int,
    limit: int,
    progress: Any = None,
) -> LearnReport:
    """Learn from sessions that are new or have grown; see :meth:`Patterns.learn`."""
    started = time.perf_counter()
    rate = check_number(min_success_rate, "min_success_rate", 0, 1)
    check_whole(max_length, "max_length", 2, 6)
    check_whole(max_gap, "max_gap", 0, 5)
    check_whole(limit, "limit", 1, 100_000)
    wanted = None if sessions is None else {check_id(getattr(id, "id", id)) for id in sessions}
    renewed = _trace_sessions(catalog, wanted, progress)
    with catalog.read("learning") as reader:
        known = _load(reader, renewed)
        support = min_support
        if support is None:
            support = max(_LEAST_SUPPORT, -(-len(known) // _SHARE))
        check_whole(support, "min_support", 1, 2**53)
        patterns, counts, left_out = _mine(
            reader, known, support=support, rate=rate, max_length=max_length, max_gap=max_gap, limit=limit
        )
    new, updated, uses = _store(catalog, known, patterns, progress)
    return LearnReport(
        sessions=len(known),
        new_sessions=len(renewed),
        patterns=tuple(new),
        updated=updated,
        uses=uses,
        found=counts,
        left_out={kind: count for kind, count in left_out.items() if count},
        min_support=support,
        seconds=time.perf_counter() - started,
    )


# --- traces ----------------------------------------------------------------------------------------------------------


def _trace_sessions(catalog: SqliteCatalog, wanted: set[str] | None, progress: Any) -> set[int]:
    """Make the traces of sessions that learning has not seen as they are now; what it found in them before goes."""
    with catalog.read("looking for new sessions") as reader:
        rows = reader.db.execute(
            "SELECT seq, id FROM session WHERE calls > 0 AND learned <> turns + calls ORDER BY seq"
        ).fetchall()
    chosen = [row for row in rows if wanted is None or row[1] in wanted]
    for start in range(0, len(chosen), _SESSIONS_AT_ONCE):
        with catalog.write("learning from sessions") as writer:
            for number, id in chosen[start : start + _SESSIONS_AT_ONCE]:
                _trace(writer, catalog, number, id)
        if progress is not None:
            progress(min(start + _SESSIONS_AT_ONCE, len(chosen)), len(chosen))
    return {row[0] for row in chosen}


def _trace(writer: Writer, catalog: SqliteCatalog, number: int, id: str) -> None:
    ((learned,),) = writer.db.execute("SELECT learned FROM session WHERE seq = ?", (number,)).fetchall() or ((None,),)
    if learned is None:
        return  # it was deleted meanwhile
    trace = make_trace(writer, catalog.codec, number, id)
    writer.db.execute("UPDATE session SET learned = -2, trace = ? WHERE seq = ?", (pack_trace(trace), number))


def _load(reader: Reader, renewed: set[int]) -> list[_Session]:
    """Return every session with a trace; ``fresh`` are those whose uses are still to be written."""
    found = []
    for number, id, at, outcome, quality, learned, data in reader.db.execute(
        "SELECT seq, id, last_at, outcome, quality, learned, trace FROM session WHERE trace IS NOT NULL ORDER BY seq"
    ):
        trace = unpack_trace(data)
        if trace is None:
            continue  # damaged; verify names it, and learning from the session again makes it anew
        result = bool(outcome) if outcome is not None else quality >= _GOOD if quality is not None else None
        found.append(_Session(number, id, at, result, trace, learned == -2 or number in renewed))
    return found


# --- what is frequent ------------------------------------------------------------------------------------------------


def _mine(
    reader: Reader,
    known: Sequence[_Session],
    *,
    support: int,
    rate: float,
    max_length: int,
    max_gap: int,
    limit: int,
) -> tuple[list[_Pattern], dict[str, int], dict[str, int]]:
    results = [session.result for session in known]
    outcomes = [session.trace.outcomes for session in known]
    options = {"min_support": support, "max_length": max_length, "max_gap": max_gap}
    steps = frequent_sequences([session.trace.steps for session in known], outcomes, results, **options)
    tools = frequent_sequences([session.trace.tools for session in known], outcomes, results, **options)
    files, too_many = frequent_pairs(
        [session.trace.edited for session in known], results, min_support=support, most=MAX_EDITED
    )
    fixes = _fixes(known, support)
    held = _learned_ids(reader)
    patterns: list[_Pattern] = []
    counts: dict[str, int] = {}
    left_out: dict[str, int] = {"files of one session": too_many}
    for kind, found in (("steps", steps), ("tools", tools), ("files", files), ("fixes", fixes)):
        made = [_named(reader, kind, entry) for entry in found]
        good = [pattern for pattern in made if _rate(pattern.found) >= rate or pattern.id in held]
        good.sort(key=lambda pattern: (-len(pattern.found.sessions), -len(pattern.steps), pattern.steps))
        chosen = good[:limit] + [pattern for pattern in good[limit:] if pattern.id in held]
        counts[kind] = len(chosen)
        left_out[kind] = len(good) - len(chosen)
        patterns += chosen
    return patterns, counts, left_out


def _rate(found: Found) -> float:
    return sum(found.worked) / len(found.worked)


def _fixes(known: Sequence[_Session], support: int) -> list[Found]:
    places: dict[tuple[int, int], list[int]] = {}
    for place, session in enumerate(known):
        for pair in session.trace.fixes:
            places.setdefault(pair, []).append(place)
    return [Found(pair, where, [True] * len(where)) for pair, where in sorted(places.items()) if len(where) >= support]


def _named(reader: Reader, kind: str, found: Found) -> _Pattern:
    names = tuple(reader.name(item) or "?" for item in found.items)
    if kind == "files":
        files = tuple(sorted(names))
        steps = tuple(f"edit {path}" for path in files)
        return _Pattern(FILE_COMBO, steps, found, files=files, description="files that are edited in the same sessions")
    if kind == "tools":
        return _Pattern("EffectiveToolSequence", names, found, tools=tuple(dict.fromkeys(names)))
    if kind == "fixes":
        return _Pattern("DebuggingStrategy", names, found, description="an error, and what got past it")
    return _Pattern(_type_of(names), names, found)


def _type_of(steps: Sequence[str]) -> str:
    if "run-tests" in steps:
        return "TestingPattern"
    if any(step.startswith(_CONFIGURING) for step in steps):
        return "ConfigurationStrategy"
    return "StepSequence"


def _learned_ids(reader: Reader) -> frozenset[str]:
    """Return what was learned before: it gets every new use, however rare it has become."""
    return frozenset(row[0] for row in reader.db.execute("SELECT id FROM pattern WHERE origin = 1 AND state <> 1"))


# --- writing ---------------------------------------------------------------------------------------------------------


def _store(
    catalog: SqliteCatalog, known: Sequence[_Session], patterns: Sequence[_Pattern], progress: Any
) -> tuple[list[str], int, int]:
    """Write uses: of patterns that are new, from every session; of those that were there, from fresh sessions.

    A session's old uses, its new ones and the mark that it was learned from are one transaction, so that a kill
    between them leaves it to be learned from again.
    """
    with catalog.read("learning") as reader:
        there = _learned_before(reader, patterns)
    fresh = frozenset(place for place, session in enumerate(known) if session.fresh)
    by_session: dict[int, list[tuple[_Pattern, bool]]] = {}
    for pattern in patterns:
        new_here = pattern.id not in there
        for place, worked in zip(pattern.found.sessions, pattern.found.worked, strict=True):
            if new_here or place in fresh:
                by_session.setdefault(place, []).append((pattern, worked))
    new: dict[str, None] = {}
    touched: set[int] = set()
    total = done = 0
    for part in _portions(known, by_session):
        with catalog.write("writing what was learned") as writer, roomy(writer):
            uses: list[Use] = []
            for place in part:
                session = known[place]
                held: set[str] = set()
                if session.fresh:
                    touched.update(forget_uses(writer, session.number))
                elif _has_gone(writer, session.number):
                    continue
                else:  # another process may have learned the same meanwhile
                    held = _held(writer, session.number)
                edited = tuple(writer.name(number) or "?" for number in list(session.trace.edited)[:_FILES_A_USE])
                uses += [
                    _use(entry, session, edited, worked=worked)
                    for entry, worked in by_session.get(place, ())
                    if entry.id not in held
                ]
            recorder = Recorder(writer)
            recorder.add(uses)
            writer.db.executemany(
                "UPDATE session SET learned = turns + calls WHERE seq = ? AND learned = -2",
                [(known[place].number,) for place in part],
            )
        new.update(dict.fromkeys(recorder.new))
        touched.update(recorder.touched)
        total += len(uses)
        done += len(part)
        if progress is not None:
            progress(done, len(known))
    return list(new), max(0, len(touched) - len(new)), total


def _learned_before(reader: Reader, patterns: Sequence[_Pattern]) -> set[str]:
    """Return those that learning found before: their uses of sessions that it has seen are there."""
    found = {row[0] for row in reader.db.execute("SELECT id FROM pattern WHERE origin = 1")}
    for pattern in patterns:
        if pattern.id not in found:
            for (number,) in reader.db.execute("SELECT seq FROM pattern WHERE id = ?", (pattern.id,)).fetchall():
                if reader.db.execute(
                    "SELECT 1 FROM pattern_use WHERE (pattern = ?1 AND moved_from IS NULL OR moved_from = ?1) "
                    "AND learned = 1 LIMIT 1",
                    (number,),
                ).fetchall():
                    found.add(pattern.id)
    return found


def _held(writer: Writer, session: int) -> set[str]:
    """Return the ids of the patterns that learning found in a session."""
    rows = writer.db.execute(
        "SELECT p.id FROM pattern_use u JOIN pattern p ON p.seq = coalesce(u.moved_from, u.pattern) "
        "WHERE u.session = ? AND u.learned = 1",
        (session,),
    )
    return {row[0] for row in rows}


def _has_gone(writer: Writer, number: int) -> bool:
    return not writer.db.execute("SELECT 1 FROM session WHERE seq = ?", (number,)).fetchall()


def _portions(known: Sequence[_Session], by_session: dict[int, list[Any]]) -> Iterable[list[int]]:
    """Yield places of sessions to write together, those with nothing to write left out."""
    part: list[int] = []
    uses = 0
    for place, session in enumerate(known):
        if not session.fresh and place not in by_session:
            continue
        part.append(place)
        uses += len(by_session.get(place, ()))
        if uses >= _USES_AT_ONCE:
            yield part
            part, uses = [], 0
    if part:
        yield part


def _use(pattern: _Pattern, session: _Session, edited: tuple[str, ...], *, worked: bool) -> Use:
    return Use(
        id=pattern.id,
        type=pattern.type,
        steps=pattern.steps,
        success=worked,
        at=session.at,
        files=pattern.files or edited,
        tools=pattern.tools,
        session=session.id,
        description=pattern.description,
        learned=True,
        origin="learned",
    )
