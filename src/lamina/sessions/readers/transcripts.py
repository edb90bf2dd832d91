"""Transcripts of a coding assistant: a JSON object a line, messages made of blocks, results that follow their calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamina.sessions.readers.lines import json_lines
from lamina.sessions.readers.records import Notes, Opened, Record, Result, Said, Used, kind_of, text_of, time_of
from lamina.sessions.rows import key_of

__all__ = ["read"]

_AGENT = "coding assistant"
_EXIT = re.compile(r"\bexit(?:ed with)? code:? (-?\d{1,5})\b", re.IGNORECASE)


def read(path: Path, notes: Notes, advance: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records of a transcript.

    A line without a session of its own belongs to the one before it, the first to one named like the file. Text, tool
    calls and results are taken; thinking and images are not. A call without a result has no outcome. A summary without
    a session is the title of the next one.
    """
    session = path.stem
    title: str | None = None
    opened: set[str] = set()
    at: int | None = None
    for number, line in json_lines(path, notes, advance):
        if not isinstance(line, dict):
            notes.strange(kind_of(line))
            continue
        kind = line.get("type")
        named = line.get("sessionId")
        session = named if isinstance(named, str) and named.strip() else session
        at = time_of(line.get("timestamp")) or at
        if kind == "summary" and isinstance(line.get("summary"), str):
            said = " ".join(line["summary"].split())
            if session in opened or session == named:
                yield Opened(session=session, at=at, title=said, agent=_AGENT)
            else:
                title = title or said
            continue
        if kind not in ("user", "assistant"):
            notes.strange(str(kind) if isinstance(kind, str) else "an object without a type")
            continue
        if session not in opened:
            opened.add(session)
            yield _opened(session, line, at, title)
            title = None
        yield from _message(session, line, number, at, notes)
    if title is not None:
        notes.strange("summary of no session")


def _opened(session: str, line: Mapping[str, Any], at: int | None, title: str | None) -> Opened:
    metadata = {
        name: line[name] for name in ("version", "gitBranch") if isinstance(line.get(name), str) and line.get(name)
    }
    project = line.get("cwd")
    return Opened(
        session=session,
        at=at,
        agent=_AGENT,
        project=project if isinstance(project, str) else None,
        title=title,
        metadata=metadata,
    )


def _message(session: str, line: Mapping[str, Any], number: int, at: int | None, notes: Notes) -> Iterator[Record]:
    message = line.get("message")
    role = str(line["type"])
    if not isinstance(message, dict) or "content" not in message:
        notes.strange(f"{role} message without content")
        return
    content = message["content"]
    uuid = line.get("uuid")
    name = f"{uuid}" if isinstance(uuid, str) and uuid else f"line {number}"
    # The same uuid may come twice with another text; both count, the same line twice does not.
    if isinstance(content, str):
        yield Said(session=session, key=key_of(session, name, content), role=role, text=content, at=at)
        return
    if not isinstance(content, list):
        notes.strange(f"{role} message whose content is {kind_of(content)}")
        return
    for place, block in enumerate(content):
        if isinstance(block, str):
            yield Said(session=session, key=key_of(session, name, place, block), role=role, text=block, at=at)
            continue
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text" and isinstance(block.get("text"), str):
            said = block["text"]
            yield Said(session=session, key=key_of(session, name, place, said), role=role, text=said, at=at)
        elif kind == "tool_use" and isinstance(block.get("name"), str) and block["name"].strip():
            call = block.get("id")
            yield Used(
                session=session,
                key=key_of(session, "call", call) if isinstance(call, str) else key_of(session, name, place, "call"),
                call=call if isinstance(call, str) else None,
                tool=block["name"],
                arguments=block.get("input"),
                at=at,
            )
        elif kind == "tool_result" and isinstance(block.get("tool_use_id"), str):
            yield _result(session, block, at)
        elif kind not in ("thinking", "redacted_thinking", "image"):
            notes.strange(f"{role} block {kind if isinstance(kind, str) else kind_of(block)}")


def _result(session: str, block: Mapping[str, Any], at: int | None) -> Result:
    text = text_of(block.get("content"))
    head = text[:200]
    found = _EXIT.search(head) if "exit" in head.lower() else None
    code = int(found[1]) if found else None
    good = block.get("is_error") is not True and code in (None, 0)
    return Result(session=session, call=str(block["tool_use_id"]), ok=good, text=text, exit=code, at=at)
