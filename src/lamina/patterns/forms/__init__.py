"""Patterns as files: one module a form. What is written is read back without loss, and written again is the same."""

from __future__ import annotations

from typing import Final

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


def form_of(suffix: str) -> str:
    """Return the form that a file's suffix means; a name without one is a folder of markdown."""
    return _SUFFIXES.get(suffix.lower(), "json")
