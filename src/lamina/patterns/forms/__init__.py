"""Patterns as files: one module a form. What is written is read back without loss, and written again is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lamina.errors import InvalidInputError

__all__ = ["READABLE", "WRITABLE", "form_of"]

WRITABLE: Final = ("json", "jsonl", "csv", "markdown", "graphml")
READABLE: Final = ("json", "jsonl", "csv", "markdown", "aircher")
_SUFFIXES: Final = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".graphml": "graphml",
    ".md": "markdown",
    "": "markdown",
}


def form_of(place: Path) -> str:
    """Return the form that a file's name means; a folder, or a name without an ending, is markdown.

    Raises:
        InvalidInputError: There is no such form.
    """
    form = _SUFFIXES.get(place.suffix.lower())
    if form is None and place.is_dir():
        return "markdown"
    if form is None:
        raise InvalidInputError(
            f"{place.name} ends in {place.suffix}, which is none of the forms.",
            hint=f"Let it end in {', '.join(suffix for suffix in _SUFFIXES if suffix)}, or name the format.",
        )
    return form
