"""Patterns as one JSON document, and as JSON lines with a pattern each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError
from lamina.patterns.forms.entries import FORMAT
from lamina.sessions.readers.lines import json_lines
from lamina.sessions.readers.records import Notes
from lamina.sessions.readers.whole import whole_json

__all__ = ["read_json", "read_jsonl", "speaks_of_sessions", "write_json", "write_jsonl"]

_SPEECH: Final = frozenset(("user", "assistant", "summary", "session", "turn", "call", "end"))
"""Types of the lines of transcripts, and of Lamina's own files of sessions."""


def write_json(entries: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield one document, a pattern at a time."""
    yield f'{{"format": "{FORMAT}", "patterns": ['.encode()
    for number, entry in enumerate(entries):
        yield (b",\n" if number else b"\n") + json.dumps(entry, ensure_ascii=False).encode()
    yield b"\n]}\n"


def write_jsonl(entries: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a line for each pattern."""
    for entry in entries:
        yield json.dumps(entry, ensure_ascii=False).encode() + b"\n"


def read_json(path: Path, problems: list[str]) -> Iterator[tuple[str, Any]]:  # noqa: ARG001 - every form takes them
    """Yield ``(place, entry)`` of a document.

    Raises:
        InvalidInputError: It is none of ours.
    """
    document = whole_json(path)
    found = document.get("patterns") if isinstance(document, dict) else document
    if not isinstance(found, list):
        hint = "Was it written by `lamina patterns export`? Sessions are imported by `lamina sessions import`."
        raise InvalidInputError(f"{path} has no list of patterns.", hint=hint)
    for number, entry in enumerate(found, 1):
        yield f"{path}: pattern {number}", entry


def speaks_of_sessions(entry: Any) -> bool:
    """Return whether a line is one of a transcript rather than a pattern."""
    if not isinstance(entry, Mapping) or "steps" in entry:
        return False
    return "sessionId" in entry or (isinstance(entry.get("type"), str) and entry["type"] in _SPEECH)


def read_jsonl(path: Path, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield ``(place, entry)`` of each line; a line that cannot be read is a problem."""
    notes = Notes()
    for number, entry in json_lines(path, notes, lambda _: None):
        yield f"{path}: line {number}", entry
    problems += [f"{path}: {problem}" for problem in notes.told()]
