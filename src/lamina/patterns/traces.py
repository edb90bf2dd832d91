"""What learning keeps of a session: steps, tools and outcomes as numbers, the files it edited, its errors and fixes.

A trace is made once of a session's events and stored with it, so that learning again looks at numbers only.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamina.sessions.archive import archived_events
from lamina.sessions.events import error_step
from lamina.sessions.rows import CALL, StoredEvent, read_events, unpacked
from lamina.sessions.steps import CHANGES
from lamina.storage.codecs import BodyCodec
from lamina.storage.names import NameKind
from lamina.storage.writer import Writer

__all__ = ["MAX_EDITED", "Trace", "make_trace", "pack_trace", "unpack_trace"]

FAILED, WORKED, UNKNOWN = 0, 1, 2
MAX_EDITED = 40
"""Files of one session that are paired; beyond that, a session says little about which of them belong together."""
_FIX_WITHIN = 8
"""Calls after an error within which what it took to get past it is looked for."""


@dataclass(slots=True)
class Trace:
    """A session in numbers of names."""

    steps: Sequence[int] = ()
    tools: Sequence[int] = ()
    outcomes: Sequence[int] = ()
    """Of each call: 0 failed, 1 worked, 2 unknown."""
    edited: Sequence[int] = ()
    """Files, in the order of their first change."""
    fixes: Sequence[tuple[int, int]] = field(default_factory=tuple)
    """``(error as a step, step that got past it)``."""


def make_trace(writer: Writer, codec: BodyCodec, session: int, id: str) -> Trace:
    """Return the trace of a session, of its events packed or not."""
    events: list[StoredEvent] = []
    for part in archived_events(writer, codec, session, id):
        events += part
    events += read_events(writer, codec, session, id)
    calls = [event for event in events if event.kind == CALL]
    edited: dict[int, None] = {}
    for call in calls:
        if call.ok != 0 and writer.name(call.step) in CHANGES:
            edited.update(dict.fromkeys(unpacked(call.files)))
    unknown = writer.name_number(NameKind.STEP, "call") or 0
    return Trace(
        steps=[call.step if call.step is not None else unknown for call in calls],
        tools=[call.name for call in calls],
        outcomes=[UNKNOWN if call.ok is None else call.ok for call in calls],
        edited=list(edited),
        fixes=_fixes(writer, calls),
    )


def _fixes(writer: Writer, calls: Sequence[StoredEvent]) -> list[tuple[int, int]]:
    """Return errors with what got past them: the last change before the step that failed works again.

    Where the failing call itself was changed and worked at the next try, that step is its own fix.
    """
    found: dict[tuple[int, int], None] = {}
    for place, call in enumerate(calls):
        if call.ok != FAILED or call.step is None:
            continue
        change: int | None = None
        for later in calls[place + 1 : place + 1 + _FIX_WITHIN]:
            if later.step == call.step and later.ok == WORKED:
                fix = change if change is not None else call.step
                number = writer.name_number(NameKind.STEP, error_step(_error_of(call)))
                if number is not None:
                    found[number, fix] = None
                break
            if later.step is not None and later.ok != FAILED and writer.name(later.step) in CHANGES:
                change = later.step
    return list(found)


def _error_of(call: StoredEvent) -> str:
    try:
        body = json.loads(call.body)
    except ValueError:
        return ""
    return str(body.get("error") or body.get("result") or "") if isinstance(body, dict) else ""


def pack_trace(trace: Trace) -> bytes:
    """Return a trace as bytes: three counts, then the numbers."""
    numbers = array("I", (len(trace.steps), len(trace.edited), len(trace.fixes)))
    numbers.extend(trace.steps)
    numbers.extend(trace.tools)
    numbers.extend(trace.edited)
    for pair in trace.fixes:
        numbers.extend(pair)
    return numbers.tobytes() + bytes(trace.outcomes)


def unpack_trace(data: bytes) -> Trace | None:
    """Return the trace of :func:`pack_trace`; None for bytes that are none."""
    head = array("I")
    if len(data) < 3 * head.itemsize:
        return None
    head.frombytes(data[: 3 * head.itemsize])
    calls, edited, fixes = head
    size = (3 + 2 * calls + edited + 2 * fixes) * head.itemsize
    if len(data) != size + calls:
        return None
    numbers = array("I")
    numbers.frombytes(data[3 * head.itemsize : size])
    at = 2 * calls + edited
    return Trace(
        steps=numbers[:calls],
        tools=numbers[calls : 2 * calls],
        outcomes=data[size:],
        edited=numbers[2 * calls : at],
        fixes=_pairs(numbers[at:]),
    )


def _pairs(numbers: Iterable[Any]) -> list[tuple[int, int]]:
    flat = list(numbers)
    return list(zip(flat[::2], flat[1::2], strict=True))
