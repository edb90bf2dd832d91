"""Trajectories of a software-engineering agent (SWE-agent): one JSON document a run, a list of actions with answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamina.errors import InvalidInputError
from lamina.sessions.readers.records import Closed, Notes, Opened, Record, Said, Used, kind_of, text_of
from lamina.sessions.readers.whole import whole_json
from lamina.sessions.rows import key_of
from lamina.sessions.steps import failed, files_of, step_of

__all__ = ["read"]

_AGENT = "SWE-agent"
_VARIABLES = re.compile(r"(?:\w+=(?:\"[^\"]*\"|'[^']*'|\S)*\s+)+")
"""Variables that a shell sets for the program behind them."""


def read(path: Path, notes: Notes, advance: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records of one run.

    Its first step, its task and the name of the file tell it from other runs, so that one that grew stays the same. It
    has no times but how long each action took: it begins when the file was last changed. An action's first word behind
    variables is the tool. The outcome is what ``exit_status`` says: ``submitted`` is a success, anything else a
    failure; that the submitted change is right is not known. A file without a trajectory is read from its history.

    Raises:
        InvalidInputError: It is no trajectory.
    """
    document = whole_json(path)
    notes.read += path.stat().st_size
    if not isinstance(document, dict):
        raise InvalidInputError(f"{path} is {kind_of(document)}, not a trajectory.", hint="Choose another format.")
    steps = _steps(document, notes)
    if not steps:
        raise InvalidInputError(f"{path} has neither a trajectory nor actions in its history.", hint="Is it finished?")
    title = _title(document)
    first = [str(steps[0].get(name)) for name in ("action", "observation", "thought")]
    session = f"{path.stem[:150]}-{key_of(path.stem, document.get('environment'), title, *first) & 0xFFFFFFFF:08x}"
    at = path.stat().st_mtime_ns // 1000
    info = document.get("info") if isinstance(document.get("info"), dict) else {}
    assert isinstance(info, dict)
    status = info.get("exit_status")
    facts = {"exit_status": status} if isinstance(status, str) else {}
    if isinstance(document.get("environment"), str):
        facts["environment"] = document["environment"]
    yield Opened(session=session, at=at, agent=_AGENT, project=_folder(steps), title=title, metadata=facts)
    for number, step in enumerate(steps):
        at = yield from _step(session, number, step, at)
        advance(notes.read)
    if isinstance(status, str):
        yield Closed(session=session, outcome=status.startswith("submitted"), at=at)


def _steps(document: Mapping[str, Any], notes: Notes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    trajectory = document.get("trajectory")
    if isinstance(trajectory, list):
        for step in trajectory:
            if isinstance(step, dict) and isinstance(step.get("action"), str):
                found.append(step)
            else:
                notes.strange("a step without an action")
        return found
    history = document.get("history")
    for entry in history if isinstance(history, list) else ():
        if not isinstance(entry, dict):
            notes.strange(kind_of(entry))
        elif isinstance(entry.get("action"), str):
            found.append({"action": entry["action"], "observation": "", "thought": entry.get("thought")})
        elif found and entry.get("role") in ("tool", "user"):
            found[-1]["observation"] = text_of(entry.get("content"))
    return found


def _step(session: str, number: int, step: Mapping[str, Any], at: int) -> Any:
    thought = step.get("thought")
    action = step["action"].strip()
    observation = step.get("observation")
    observed = observation if isinstance(observation, str) else text_of(observation)
    if isinstance(thought, str) and thought.strip():
        key = key_of(session, number, "thought", thought)
        yield Said(session=session, key=key, role="assistant", text=thought.strip(), at=at)
    seconds = step.get("execution_time")
    duration = int(seconds * 1e6) if isinstance(seconds, (int, float)) and 0 <= seconds < 1e9 else None
    if action:
        variables = _VARIABLES.match(action)
        words = (action[variables.end() :] if variables else action).split(None, 1)
        rest = words[1] if len(words) > 1 else ""
        bad = failed(observed)
        yield Used(
            session=session,
            key=key_of(session, number, action, observed[:1_000]),
            tool=words[0],
            arguments=action if variables else rest,
            step=step_of(words[0], rest) if variables else None,
            files=files_of(words[0], rest) if variables else _files(words, step),
            at=at,
            ok=not bad,
            error=observed if bad else None,
            result=None if bad else observed,
            duration=duration,
        )
    return at + (duration or 1)


def _files(words: list[str], step: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the file that an editing action works on, which is the open one; of others their words say."""
    if words[0] not in ("edit", "insert", "set_cursors", "scroll_down", "scroll_up", "goto"):
        return None
    opened = _state(step).get("open_file")
    return (opened,) if isinstance(opened, str) and opened not in ("", "n/a") else ()


def _state(step: Mapping[str, Any]) -> Mapping[str, Any]:
    state = step.get("state")
    if isinstance(state, str):
        try:
            state = json.loads(state)
        except ValueError:
            state = None
    return state if isinstance(state, dict) else {}


def _folder(steps: list[dict[str, Any]]) -> str | None:
    for step in steps:
        folder = _state(step).get("working_dir")
        if isinstance(folder, str) and folder.startswith("/"):
            return folder
    return None


def _title(document: Mapping[str, Any]) -> str | None:
    """Return the first line of the issue that the agent was given."""
    history = document.get("history")
    for entry in history if isinstance(history, list) else ():
        text = text_of(entry.get("content")) if isinstance(entry, dict) and entry.get("role") == "user" else ""
        _, found, issue = text.partition("ISSUE:")
        if found:
            return next((line.strip()[:300] for line in issue.splitlines() if line.strip()), None)
    return None
