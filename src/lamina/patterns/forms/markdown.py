"""Patterns as a folder of markdown that people can read and commit: a file a pattern, and an index of all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lamina import fs
from lamina.errors import InvalidInputError, NotFoundError
from lamina.patterns.forms.entries import HEAD, USE
from lamina.search.outcomes import wilson

__all__ = ["INDEX", "file_name", "is_ours", "read_markdown", "render", "render_index"]

INDEX: Final = "PATTERNS.md"
_MARK: Final = "lamina: pattern"
_MAX_BYTES: Final = 256 << 20
_SLUG: Final = re.compile(r"[^a-z0-9]+")
_ROW: Final = re.compile(r"^\| (.*) \|$")


def file_name(entry: Mapping[str, Any]) -> str:
    """Return a pattern's file: its type as a folder, its first steps and its id as the name."""
    slug = _SLUG.sub("-", " ".join(entry["steps"][:4]).lower()).strip("-")[:60].strip("-")
    kind = _SLUG.sub("-", entry["type"].lower()).strip("-")[:60] or "other"
    return f"{kind}/{slug}-{entry['id']}.md" if slug else f"{kind}/{entry['id']}.md"


def render(entry: Mapping[str, Any]) -> bytes:
    """Return a pattern's file. Nothing in it depends on the time of writing."""
    uses = entry["uses"]
    good = sum(use["success"] for use in uses)
    lines = ["---", _MARK]
    lines += [f"{name}: {_json(entry[name])}" for name in HEAD if entry[name] not in (None, {})]
    lines += ["---", "", f"# {_escaped(' → '.join(entry['steps']))}", ""]
    if entry["description"]:
        lines += [_escaped(entry["description"]), ""]
    lines += [_summary(uses, good), "", "## Steps", ""]
    lines += [f"{number}. {_escaped(step)}" for number, step in enumerate(entry["steps"], 1)]
    if uses:
        lines += ["", "## Uses", "", "| at | success | session | seconds | files | tools | learned |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(_cell(use[name]) for name in USE) + " |" for use in uses]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _summary(uses: list[Any], good: int) -> str:
    if not uses:
        return "Never used."
    low, high = wilson(good, len(uses))
    last = uses[-1]["at"][:10]
    times = "once" if len(uses) == 1 else f"{len(uses):,} times"
    return f"Used {times}, worked {good:,} ({low:.0%} to {high:.0%} with 95 % confidence), last on {last}."


def render_index(entries: Iterable[tuple[Mapping[str, Any], int, int, str]]) -> bytes:
    """Return the index of ``(pattern, uses, successes, last use)``, by type, the most used first."""
    by_type: dict[str, list[tuple[Mapping[str, Any], int, int, str]]] = {}
    for found in entries:
        by_type.setdefault(found[0]["type"], []).append(found)
    lines = ["# Patterns", ""]
    for kind in sorted(by_type):
        lines += [f"## {_escaped(kind)}", "", "| pattern | uses | worked | last used |", "|---|---:|---:|---|"]
        for entry, uses, good, last in sorted(by_type[kind], key=lambda found: (-found[1], found[0]["id"])):
            title = _escaped(" → ".join(entry["steps"]))[:200].replace("|", "\\|").replace("[", "(").replace("]", ")")
            share = f"{good / uses:.0%}" if uses else "-"
            lines.append(f"| [{title}]({file_name(entry)}) | {uses:,} | {share} | {last[:10] or '-'} |")
        lines.append("")
    return ("\n".join(lines).rstrip("\n") + "\n").encode("utf-8")


def is_ours(data: bytes) -> bool:
    """Return whether a file is one of a pattern."""
    return data.startswith(f"---\n{_MARK}\n".encode())


def read_markdown(folder: Path, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield ``(place, entry)`` of every file of a pattern below a folder.

    Raises:
        NotFoundError: There is none.
    """
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.md"))
    seen = False
    for path in paths:
        data = fs.read_file(path, max_bytes=_MAX_BYTES)
        if not is_ours(data):
            continue
        seen = True
        try:
            yield str(path), _parsed(data.decode("utf-8"))
        except (ValueError, InvalidInputError) as error:
            problems.append(f"{path}: {error}")
    if not seen:
        raise NotFoundError(f"{folder} holds no file of a pattern.", hint="Name a folder of `lamina patterns export`.")


def _parsed(text: str) -> dict[str, Any]:
    head, found, body = text.removeprefix("---\n").partition("\n---\n")
    if not found:
        raise InvalidInputError("its front matter does not end.")
    entry: dict[str, Any] = {"uses": []}
    for line in head.split("\n")[1:]:
        name, colon, value = line.partition(": ")
        if colon and name in HEAD:
            entry[name] = json.loads(value)
    _, _, table = body.partition("\n## Uses\n")
    for line in table.split("\n"):
        match = _ROW.match(line)
        cells = match[1].split(" | ") if match else []
        if len(cells) == len(USE) and cells[0] != "at":
            entry["uses"].append({name: _read_cell(name, cell) for name, cell in zip(USE, cells, strict=True)})
    return entry


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return _json(value).replace("|", "\\u007c") if value else "-"
    if isinstance(value, str) and re.fullmatch(r"[\w:.+@/-]*\w", value) and value not in ("yes", "no"):
        return value
    return _json(value).replace("|", "\\u007c")


def _read_cell(name: str, cell: str) -> Any:
    if cell in ("-", "yes", "no"):
        return {"-": None, "yes": True, "no": False}[cell]
    if name == "duration":  # the only number: a session may be called 123
        return float(cell)
    return json.loads(cell) if cell[:1] in ('"', "[") else cell


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("\n", " ")
