"""The evidence of what is learned: what is held, where it occurs in new sessions, and writing it.

Whether a pattern occurs in a session, and whether it worked there, depends on that session alone. So what is held gets
exactly its evidence when only sessions that are new or have changed are looked at, in whatever portions they come.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lamina.patterns.identity import pattern_id
from lamina.patterns.mining import Found, occurrences
from lamina.patterns.recording import Recorder, Use, forget_uses, roomy
from lamina.patterns.rows import REMOVED
from lamina.patterns.traces import MAX_EDITED, Trace
from lamina.patterns.values import FILE_COMBO
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.writer import Writer

__all__ = ["Held", "Learned", "Studied", "fixes_of", "held_evidence", "named", "what_is_held", "write_evidence"]

_USES_AT_ONCE: Final = 20_000
_FILES_A_USE: Final = 5
_CONFIGURING: Final = ("pip ", "npm ", "apt", "conda", "uv ", "poetry", "brew", "docker", "cargo add")
_TOOLS: Final = "EffectiveToolSequence"
_FIX: Final = "DebuggingStrategy"
_EDIT: Final = "edit "


@dataclass(slots=True)
class Studied:
    """A session that learning has a trace of."""

    number: int
    id: str
    at: int
    result: bool | None
    trace: Trace
    fresh: bool
    """Its uses are to be written anew."""
    learned: int
    """What the catalog says that learning has seen of it."""
    final: int
    """What it shall say once all is written; -1 to learn from it again."""
    facts: tuple[Any, ...]
    """Last event, outcome and quality, which are compared before that is said."""


@dataclass(slots=True)
class Learned:
    """What was found in sessions, as a pattern."""

    type: str
    steps: tuple[str, ...]
    found: Found
    files: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    description: str | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = pattern_id(self.type, self.steps)


@dataclass(slots=True)
class Held:
    """What learning has found before, and what of it was deleted for good."""

    ids: frozenset[str]
    forgotten: frozenset[str]
    rows: Sequence[tuple[str, tuple[str, ...]]]
    """Types and steps."""
    newest: int
    """The last number of a pattern."""


def named(reader: Reader, kind: str, found: Found) -> Learned:
    """Return what was found as a pattern; the kinds are steps, tools, files and fixes."""
    names = tuple(reader.name(item) or "?" for item in found.items)
    if kind == "files":
        files = tuple(sorted(names))
        steps = tuple(f"{_EDIT}{path}" for path in files)
        return Learned(FILE_COMBO, steps, found, files=files, description="files that are edited in the same sessions")
    if kind == "tools":
        return Learned(_TOOLS, names, found, tools=tuple(dict.fromkeys(names)))
    if kind == "fixes":
        return Learned(_FIX, names, found, description="an error, and what got past it")
    return Learned(_type_of(names), names, found)


def _type_of(steps: Sequence[str]) -> str:
    if "run-tests" in steps:
        return "TestingPattern"
    if any(step.startswith(_CONFIGURING) for step in steps):
        return "ConfigurationStrategy"
    return "StepSequence"


def what_is_held(reader: Reader) -> Held:
    """Return what learning found before, be it removed or merged since, unless it was deleted for good."""
    db = reader.db
    numbers = {
        row[0] for row in db.execute("SELECT DISTINCT coalesce(moved_from, pattern) FROM pattern_use WHERE learned = 1")
    }
    ids: set[str] = set()
    forgotten: set[str] = set()
    rows: list[tuple[str, tuple[str, ...]]] = []
    newest = 0
    for number, id, kind, steps, origin, state, prune in db.execute(
        "SELECT seq, id, type, steps, origin, state, prune FROM pattern ORDER BY seq"
    ):
        newest = number
        if state == REMOVED and prune is None:
            forgotten.add(id)
        elif origin == 1 or number in numbers:
            ids.add(id)
            rows.append((reader.name(kind) or "?", _steps(steps)))
    return Held(frozenset(ids), frozenset(forgotten), rows, newest)


def _steps(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(step) for step in json.loads(text))
    except (ValueError, TypeError):
        return ()  # damaged; verify names it


def held_evidence(reader: Reader, held: Held, known: Sequence[Studied], max_gap: int) -> list[Learned]:
    """Return what is held of the sessions that are fresh, with its evidence in these."""
    places = [place for place, session in enumerate(known) if session.fresh]
    if not places or not held.rows:
        return []
    fresh = [known[place] for place in places]
    wanted = _by_kind(reader, held.rows)
    results = [session.result for session in fresh]
    outcomes = [session.trace.outcomes for session in fresh]
    steps = [session.trace.steps for session in fresh]
    tools = [session.trace.tools for session in fresh]
    found = {
        "steps": occurrences(steps, outcomes, results, wanted["steps"], max_gap=max_gap),
        "tools": occurrences(tools, outcomes, results, wanted["tools"], max_gap=max_gap),
        "files": _together(fresh, wanted["files"]),
        "fixes": fixes_of(fresh, wanted["fixes"]),
    }
    made = [named(reader, kind, entry) for kind, entries in found.items() for entry in entries]
    for pattern in made:
        pattern.found.sessions = [places[place] for place in pattern.found.sessions]
    return [pattern for pattern in made if pattern.id in held.ids]


def _by_kind(reader: Reader, rows: Sequence[tuple[str, tuple[str, ...]]]) -> Mapping[str, dict[tuple[int, ...], None]]:
    """Return what is held as the numbers that traces are made of."""
    wanted: dict[str, dict[tuple[int, ...], None]] = {"steps": {}, "tools": {}, "files": {}, "fixes": {}}
    numbers: dict[tuple[NameKind, str], int | None] = {}

    def put(kind: str, of: NameKind, names: Sequence[str]) -> None:
        for name in names:
            if (of, name) not in numbers:
                numbers[of, name] = reader.name_id(of, name)
        found = [numbers[of, name] for name in names]
        if None not in found:
            wanted[kind][tuple(number for number in found if number is not None)] = None

    for type, steps in rows:
        if type == FILE_COMBO and len(steps) == 2 and all(step.startswith(_EDIT) for step in steps):
            put("files", NameKind.FILE, [step.removeprefix(_EDIT) for step in steps])
        elif type == _TOOLS:
            put("tools", NameKind.TOOL, steps)
        elif type == _FIX and len(steps) == 2:
            put("fixes", NameKind.STEP, steps)
        elif type == _type_of(steps):
            put("steps", NameKind.STEP, steps)
    return wanted


def _together(fresh: Sequence[Studied], wanted: Mapping[tuple[int, ...], None]) -> list[Found]:
    found: dict[tuple[int, ...], list[int]] = {}
    pairs = {tuple(sorted(pair)): pair for pair in wanted}
    partners: dict[int, list[int]] = {}
    for one, other in pairs:
        partners.setdefault(one, []).append(other)
    for place, session in enumerate(fresh):
        edited = set(list(session.trace.edited)[:MAX_EDITED])
        for one in edited & partners.keys():
            for other in edited.intersection(partners[one]):
                found.setdefault((one, other), []).append(place)
    return [Found(pair, where, [fresh[place].result is not False for place in where]) for pair, where in found.items()]


def fixes_of(sessions: Sequence[Studied], wanted: Mapping[tuple[int, ...], None] | None = None) -> list[Found]:
    """Return errors with what got past them, each of which worked; only those that are wanted, all where None."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, session in enumerate(sessions):
        for pair in session.trace.fixes:
            if wanted is None or pair in wanted:
                found.setdefault(pair, []).append(place)
    return [Found(pair, where, [True] * len(where)) for pair, where in found.items()]


# --- writing ---------------------------------------------------------------------------------------------------------


def write_evidence(
    catalog: SqliteCatalog,
    known: Sequence[Studied],
    new: Sequence[Learned],
    again: Sequence[Learned],
    *,
    held: Held,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[str], int, int]:
    """Write uses; return the ids of new patterns, how many others got uses, and how many uses there were.

    A session's old uses, its new ones and the mark that it was learned from are one transaction. All that will get
    uses are marked before, so that after a kill, or where another process changes or learns from one meanwhile, it is
    learned from again.
    """
    by_session: dict[int, list[tuple[Learned, bool]]] = {}
    for pattern in (*new, *again):
        for place, worked in zip(pattern.found.sessions, pattern.found.worked, strict=True):
            by_session.setdefault(place, []).append((pattern, worked))
    places = [place for place, session in enumerate(known) if session.fresh or place in by_session]
    with catalog.write("marking what to learn from") as writer:
        writer.db.executemany(
            "UPDATE session SET learned = -2 WHERE seq = ? AND learned = ?",
            [(known[place].number, known[place].learned) for place in places if not known[place].fresh],
        )
    mine = held.ids | {pattern.id for pattern in new}
    made: dict[str, None] = {}
    touched: set[int] = set()
    total = done = 0
    for part in _parts(places, by_session):
        with catalog.write("writing what was learned") as writer, roomy(writer):
            forgotten = _forgotten(writer)
            unsure = _others(writer, held.newest, mine)
            uses: list[Use] = []
            for place in part:
                session = known[place]
                final = _begin(writer, session)
                if final is None:
                    continue
                there = forgotten
                if session.fresh:
                    touched.update(forget_uses(writer, session.number))
                else:
                    there = forgotten | _found_in(writer, session.number)
                edited = tuple(writer.name(number) or "?" for number in list(session.trace.edited)[:_FILES_A_USE])
                uses += [
                    _use(pattern, session, edited, worked=worked)
                    for pattern, worked in by_session.get(place, ())
                    if pattern.id not in there
                ]
                writer.db.execute(
                    "UPDATE session SET learned = ? WHERE seq = ?", (-1 if unsure else final, session.number)
                )
            recorder = Recorder(writer, revive=False)
            recorder.add(uses)
        made.update(dict.fromkeys(recorder.new))
        touched.update(recorder.touched)
        total += len(uses)
        done += len(part)
        if progress is not None:
            progress(done, len(places))
    return list(made), max(0, len(touched) - len(made)), total


def _begin(writer: Writer, session: Studied) -> int | None:
    """Return what to say that learning has seen of a session; None where it is not to be written."""
    rows = writer.db.execute(
        "SELECT learned, last_at, outcome, quality FROM session WHERE seq = ?", (session.number,)
    ).fetchall()
    if not rows:
        return None  # deleted
    if rows[0][0] != -2:  # another process has learned from it, or said something new of it
        writer.db.execute("UPDATE session SET learned = -1 WHERE seq = ?", (session.number,))
        return None
    return session.final if tuple(rows[0][1:]) == session.facts else -1


def _forgotten(writer: Writer) -> frozenset[str]:
    """Return the ids of what was deleted for good."""
    rows = writer.db.execute("SELECT id FROM pattern WHERE state = ? AND prune IS NULL", (REMOVED,))
    return frozenset(row[0] for row in rows)


def _others(writer: Writer, newest: int, mine: frozenset[str]) -> bool:
    """Return whether another process has learned what this one does not know of."""
    rows = writer.db.execute("SELECT id FROM pattern WHERE seq > ? AND origin = 1", (newest,))
    return any(row[0] not in mine for row in rows)


def _found_in(writer: Writer, session: int) -> set[str]:
    """Return the ids of the patterns that learning found in a session."""
    rows = writer.db.execute(
        "SELECT p.id FROM pattern_use u JOIN pattern p ON p.seq = coalesce(u.moved_from, u.pattern) "
        "WHERE u.session = ? AND u.learned = 1",
        (session,),
    )
    return {row[0] for row in rows}


def _parts(places: Sequence[int], by_session: Mapping[int, Sequence[Any]]) -> Iterator[list[int]]:
    """Yield places of sessions to write together."""
    part: list[int] = []
    uses = 0
    for place in places:
        part.append(place)
        uses += len(by_session.get(place, ()))
        if uses >= _USES_AT_ONCE:
            yield part
            part, uses = [], 0
    if part:
        yield part


def _use(pattern: Learned, session: Studied, edited: tuple[str, ...], *, worked: bool) -> Use:
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
