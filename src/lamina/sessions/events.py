"""Turns and calls on their way in: checked, masked, brought to their normal form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lamina.sessions.masking import Masker
from lamina.sessions.rows import CALL, TURN, NewEvent, digest_of
from lamina.sessions.steps import describe, files_of, relative_to, step_of

__all__ = ["call_event", "merged_body", "turn_event"]

MAX_RESULT = 1_000_000
"""Characters of a tool's result that are kept; more is cut, and the cut is told in the result itself."""
_LONGEST_ERROR = 2_000


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
    return NewEvent(
        kind=CALL,
        key=key,
        at=at,
        name=tool,
        step=step or masker.text(step_of(tool, arguments)),
        ok=ok,
        exit=exit,
        duration=duration,
        digest=digest_of(arguments),
        files=tuple(dict.fromkeys(masker.text(relative_to(project, path)) for path in named)),
        body=body_of(masker, arguments=arguments, error=error, result=result),
    )


def body_of(masker: Masker, *, arguments: Any, error: str | None, result: str | None) -> str:
    """Return what a call says, as JSON without its secrets."""
    body: dict[str, Any] = {}
    if arguments is not None:
        body["arguments"] = masker.value(arguments)
    if error:
        body["error"] = masker.text(error[:_LONGEST_ERROR])
        if len(error) > _LONGEST_ERROR and result is None:
            result = error
    if result:
        body["result"] = masker.text(bounded(result))
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=str)


def merged_body(masker: Masker, body: str, *, error: str | None, result: str | None) -> str:
    """Return a stored body with the result that came later."""
    held = json.loads(body)
    if error:
        held["error"] = masker.text(error[:_LONGEST_ERROR])
    if result:
        held["result"] = masker.text(bounded(result))
    return json.dumps(held, ensure_ascii=False, separators=(",", ":"), default=str)


def bounded(text: str) -> str:
    """Return a text of at most :data:`MAX_RESULT` characters; lone surrogates become question marks."""
    if len(text) > MAX_RESULT:
        text = f"{text[:MAX_RESULT]}\n[cut here: {len(text) - MAX_RESULT:,} more characters]"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text


def error_step(error: str) -> str:
    """Return an error as a step of a pattern."""
    return f"error: {describe(error)}"
