"""Turns and calls on their way in: checked, masked, brought to their normal form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lamina.sessions.masking import TOO_DEEP, Masker, encodable, plain, suspicious
from lamina.sessions.rows import CALL, TURN, NewEvent, key_of
from lamina.sessions.steps import describe, files_of, relative_to, step_of

__all__ = ["MAX_RESULT", "call_event", "error_step", "merged_body", "turn_event"]

MAX_RESULT = 1_000_000
"""Characters of a text or result that are kept; more is cut, and the cut is told in the text itself."""
_LONGEST_ERROR = 2_000
_LONGEST_NAME = 200
_LONGEST_PATH = 1_000
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
_canonical = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str, allow_nan=False
).encode


def turn_event(masker: Masker, *, key: int, at: int, role: str, text: str) -> NewEvent:
    """Return a turn as it is stored."""
    return NewEvent(kind=TURN, key=key, at=at, name=masker.name(role, 100) or "user", body=bounded(masker.text(text)))


def call_event(
    masker: Masker,
    *,
    key: int,
    at: int,
    tool: str,
    arguments: Any = None,
    files: Sequence[str] | None = None,
    project: str | None = None,
    ok: bool | None = None,
    exit: int | None = None,
    error: str | None = None,
    result: str | None = None,
    duration: int | None = None,
    step: str | None = None,
) -> NewEvent:
    """Return a call as it is stored; without ``files`` they are taken from the arguments."""
    named = files_of(tool, arguments) if files is None else files
    written = _written(arguments)
    return NewEvent(
        kind=CALL,
        key=key,
        at=at,
        name=masker.name(tool, _LONGEST_NAME) or "tool",
        step=masker.name(step or step_of(tool, arguments), _LONGEST_NAME) or "call",
        ok=ok,
        exit=exit,
        duration=duration,
        digest=key_of(written),
        files=tuple(
            dict.fromkeys(name for path in named if (name := masker.name(relative_to(project, path), _LONGEST_PATH)))
        ),
        body=body_of(masker, arguments, written, error=error, result=result),
    )


def _written(arguments: Any) -> str:
    """Return arguments as canonical JSON, so that equal ones have equal digests."""
    try:
        return _canonical(arguments)
    except (TypeError, ValueError, RecursionError) as error:
        circle = "ircular" in str(error)
    # Numbers that JSON does not have, keys that cannot be sorted, circles, and what is nested without end.
    try:
        return _canonical(repr(arguments) if circle else plain(arguments))
    except (TypeError, ValueError, RecursionError):
        return _compact(TOO_DEEP)


def body_of(masker: Masker, arguments: Any, written: str, *, error: str | None, result: str | None) -> str:
    """Return what a call says, as JSON without its secrets; ``written`` are the arguments as JSON.

    Everything is masked before it is cut, so that no half of a secret stays.
    """
    if error and len(error) > _LONGEST_ERROR and result is None:
        result = error
    parts = []
    if arguments is not None:
        if suspicious(written):
            written = _masked_json(masker, written)
        parts.append(f'"arguments":{written}')
    if error:
        parts.append(f'"error":{_compact(masker.text(error)[:_LONGEST_ERROR])}')
    if result:
        parts.append(f'"result":{_compact(bounded(masker.text(result)))}')
    return encodable("{" + ",".join(parts) + "}")


def _masked_json(masker: Masker, written: str) -> str:
    try:
        return _compact(masker.value(json.loads(written)))
    except RecursionError:  # nested by thousands: as a text it can be masked all the same
        return _compact(masker.text(written))


def merged_body(masker: Masker, body: str, *, error: str | None, result: str | None) -> str:
    """Return a stored body with the result that came later."""
    held = json.loads(body)
    if error:
        held["error"] = masker.text(error)[:_LONGEST_ERROR]
    if result:
        held["result"] = bounded(masker.text(result))
    return _compact(held)


def bounded(text: str) -> str:
    """Return a text of at most :data:`MAX_RESULT` characters, and how many more there were."""
    if len(text) > MAX_RESULT:
        return f"{text[:MAX_RESULT]}\n[cut here: {len(text) - MAX_RESULT:,} more characters]"
    return text


def error_step(error: str) -> str:
    """Return an error as a step of a pattern."""
    return f"error: {describe(error)}"
