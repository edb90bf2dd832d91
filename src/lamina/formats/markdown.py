"""Memories as one Markdown document, for people to read. It is not read back; JSON lines are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lamina.formats.fields import iso_time
from lamina.types import Memory

__all__ = ["write_markdown"]

_TITLE_WIDTH = 80


def write_markdown(memories: Iterable[Memory]) -> Iterator[bytes]:
    """Writes a heading, a line of facts and the text of each memory."""
    for count, memory in enumerate(memories):
        parts = ["" if count == 0 else "\n", f"## {_title(memory)}\n\n", f"*{_facts(memory)}*\n\n"]
        if memory.description:
            parts.append(f"> {' '.join(memory.description.split())}\n\n")
        parts.append(memory.text.rstrip("\n") + "\n")
        yield "".join(parts).encode("utf-8")


def _title(memory: Memory) -> str:
    line = " ".join((memory.title or memory.text[: 4 * _TITLE_WIDTH]).split())
    return line if len(line) <= _TITLE_WIDTH or memory.title else line[: _TITLE_WIDTH - 1].rstrip() + "…"


def _facts(memory: Memory) -> str:
    facts = [memory.type, memory.scope, iso_time(memory.created_at)]
    if memory.tags:
        facts.append(" ".join(f"#{tag}" for tag in memory.tags))
    if memory.source:
        facts.append(memory.source)
    if memory.valid_until:
        facts.append(f"valid until {iso_time(memory.valid_until)}")
    facts.append(memory.id)
    return " · ".join(facts)
