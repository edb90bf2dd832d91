"""Turns and calls on their way in: checked, masked, brought to their normal form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lamina.sessions.masking import Masker, suspicious
from lamina.sessions.rows import CALL, TURN, NewEvent, key_of
from lamina.sessions.steps import describe, files_of, relative_to, step_of

__all__ = ["MAX_RESULT", "call_event", "error_step", "merged_body", "turn_event"]

MAX_RESULT = 1_000_000
"""Characters of a tool's result that are kept; more is cut, and the cut is told in the result itself."""
_LONGEST_ERROR = 2_000
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
_canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str).encode


def turn_event(masker: Masker, *, key: int, at: int, role: str, text: str) -> NewEvent:
    """Return a turn as it is stored."""
    return NewEvent(kind=TURN, key=key, at=at, name=role, body=masker.text(bounded(text)))


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
        name=tool,
        step=step or masker.text(step_of(tool, arguments)),
        ok=ok,
        exit=exit,
        duration=duration,
        digest=key_of(written),
        files=tuple(dict.fromkeys(masker.text(relative_to(project, path)) for path in named)),
        body=body_of(masker, arguments, written, error=error, result=result),
    )


def _written(arguments: Any) -> str:
    """Return arguments as canonical JSON, so that equal ones have equal digests."""
    try:
        return _canonical(arguments)
    except (TypeError, ValueError, RecursionError):  # keys that cannot be sorted, or circles
        return _compact(repr(arguments)[:MAX_RESULT])


def body_of(masker: Masker, arguments: Any, written: str, *, error: str | None, result: str | None) -> str:
    """Return what a call says, as JSON without its secrets; ``written`` are the arguments as JSON."""
    if error and len(error) > _LONGEST_ERROR and result is None:
        result = error
    parts = []
    if arguments is not None:
        if suspicious(written):
            written = _compact(masker.value(json.loads(written)))
        parts.append(f'"arguments":{written}')
    if error:
        parts.append(f'"error":{_compact(masker.text(bounded(error[:_LONGEST_ERROR])))}')
    if result:
        parts.append(f'"result":{_compact(masker.text(bounded(result)))}')
    body = "{" + ",".join(parts) + "}"
    return body if body.isascii() else bounded(body, len(body))


def merged_body(masker: Masker, body: str, *, error: str | None, result: str | None) -> str:
    """Return a stored body with the result that came later."""
    held = json.loads(body)
    if error:
        held["error"] = masker.text(error[:_LONGEST_ERROR])
    if result:
        held["result"] = masker.text(bounded(result))
    return _compact(held)


def bounded(text: str, most: int = MAX_RESULT) -> str:
    """Return a text of at most so many characters; lone surrogates become question marks."""
    if len(text) > most:
        text = f"{text[:most]}\n[cut here: {len(text) - most:,} more characters]"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text


def error_step(error: str) -> str:
    """Return an error as a step of a pattern."""
    return f"error: {describe(error)}"
