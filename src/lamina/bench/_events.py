"""Synthetic sessions and uses of patterns, the same for the same seed, for the benchmark of patterns."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

__all__ = ["HOT", "START", "TYPES", "json_store", "session_file", "transcript", "uses"]

TYPES: Final = (
    "SuccessfulFileCombo",
    "EffectiveToolSequence",
    "UserPreference",
    "ArchitecturalPattern",
    "DebuggingStrategy",
    "TestingPattern",
    "ConfigurationStrategy",
)
HOT: Final = ("open the file", "edit it", "run its tests")
"""Steps of the pattern that gets a tenth of all uses."""
START: Final = datetime(2025, 11, 3, tzinfo=UTC)
_DAYS: Final = 330
_VERBS: Final = ("read", "edit", "search", "run", "build", "test", "deploy", "check", "format", "lint", "trace", "ask")
_THINGS: Final = (
    "parser",
    "config",
    "schema",
    "cache",
    "index",
    "client",
    "server",
    "queue",
    "log",
    "store",
    "codec",
    "key",
)
_FILES: Final = 2_000


def uses(patterns: int, count: int, sessions: int, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yield ``count`` uses of ``patterns`` patterns in ``sessions`` sessions, each pattern at least once.

    How often patterns are used falls off like a power; a tenth of all uses is one pattern's. File ``f10`` is used with
    a tenth of the patterns, ``f50`` with half and ``f90`` with nine tenths; one type has half of all patterns.
    """
    rng = random.Random(seed)
    steps = [_steps(number) for number in range(patterns)]
    for number in range(count):
        hot = number % 10 == 0
        which = number % patterns if number < patterns else int(patterns * rng.random() ** 2)
        at = START + timedelta(seconds=rng.random() * _DAYS * 86_400)
        files = [f"src/module{(which * 7 + extra) % _FILES}.py" for extra in range(which % 2)]
        share = which * 2_654_435_761 % 1_000
        files += [
            name for name, limit in (("f10", 100), ("f50", 500), ("f90", 900)) if share < limit and number < patterns
        ]
        yield {
            "steps": HOT if hot else steps[which],
            "type": TYPES[5] if hot else _type(which),
            "success": rng.random() < (which * 40_503 % 1_000) / 1_000,
            "files": files,
            "session": f"session-{rng.randrange(sessions):06}",
            "at": at,
        }


def _type(which: int) -> str:
    return TYPES[0] if which % 2 else TYPES[1 + which // 2 % 6]


def _steps(number: int) -> tuple[str, ...]:
    return (
        f"{_VERBS[number % 12]} the {_THINGS[number // 12 % 12]}",
        f"{_VERBS[number // 144 % 12]} module {number}",
        f"{_VERBS[number // 7 % 12]} it",
    )


def json_store(folder: Path, patterns: int, count: int, sessions: int) -> None:
    """Write patterns as a file each, the way a store of JSON files has them."""
    gathered: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
    for use in uses(patterns, count, sessions):
        entry = gathered.setdefault(
            (use["type"], tuple(use["steps"])),
            {
                "pattern_type": use["type"],
                "steps": list(use["steps"]),
                "files": [],
                "uses": 0,
                "successes": 0,
                "last": "",
            },
        )
        entry["uses"] += 1
        entry["successes"] += use["success"]
        entry["last"] = max(entry["last"], use["at"].isoformat())
        entry["files"] = sorted({*entry["files"], *use["files"]})
    for number, entry in enumerate(gathered.values()):
        (folder / f"{number}.json").write_text(json.dumps(entry, indent=2), encoding="utf-8")


def transcript(number: int, calls: int, seed: int = 11) -> Iterator[str]:
    """Yield the lines of one coding-assistant transcript."""
    rng = random.Random(seed * 1_000_003 + number)
    at = START + timedelta(minutes=number)
    session = f"run-{number:06}"
    for call in range(calls):
        at += timedelta(seconds=rng.randrange(1, 40))
        tool, given = _call(rng)
        said = " ".join(rng.choices(_THINGS + _VERBS, k=rng.randrange(20, 120)))
        common: dict[str, Any] = {"sessionId": session, "cwd": "/code/project", "timestamp": at.isoformat()}
        content: list[dict[str, Any]] = [
            {"type": "text", "text": said},
            {"type": "tool_use", "id": f"t{call}", "name": tool, "input": given},
        ]
        yield json.dumps({"type": "assistant", "uuid": f"a{call}", **common, "message": {"content": content}})
        text = "\n".join(
            f"{line:4} {rng.choice(_VERBS)}({rng.choice(_THINGS)})" for line in range(rng.randrange(5, 80))
        )
        result: dict[str, Any] = {
            "type": "tool_result",
            "tool_use_id": f"t{call}",
            "content": text,
            "is_error": rng.random() < 0.1,
        }
        yield json.dumps({"type": "user", "uuid": f"u{call}", **common, "message": {"content": [result]}})


def _call(rng: random.Random) -> tuple[str, dict[str, Any]]:
    path = f"/code/project/src/{rng.choice(_THINGS)}{rng.randrange(40)}.py"
    kind = rng.random()
    if kind < 0.3:
        return "Read", {"file_path": path}
    if kind < 0.5:
        return "Edit", {"file_path": path, "old_string": rng.choice(_VERBS), "new_string": rng.choice(_THINGS)}
    if kind < 0.65:
        return "Grep", {"pattern": rng.choice(_THINGS)}
    command = rng.choice(("pytest -q", "git status", "git commit -m x", "npm test", "ls -la", "pip install x", "make"))
    return "Bash", {"command": command}


def session_file(path: Path, first: int, count: int, calls: int) -> int:
    """Write sessions in Lamina's own JSON lines; return the bytes."""
    size = 0
    with path.open("w", encoding="utf-8") as stream:
        for number in range(first, first + count):
            rng = random.Random(number)
            at = START + timedelta(minutes=number * 20)
            lines: list[dict[str, Any]] = [
                {"type": "session", "id": f"learn-{number:06}", "at": at.isoformat(), "agent": "bench"}
            ]
            for _ in range(calls):
                tool, given = _call(rng)
                lines.append({"type": "call", "tool": tool, "arguments": given, "ok": rng.random() < 0.9})
            lines.append({"type": "end", "outcome": "success" if rng.random() < 0.7 else "failure"})
            for line in lines:
                size += stream.write(json.dumps(line) + "\n")
    return size
