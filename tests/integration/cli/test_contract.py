"""docs/json.md names what --json prints."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lamina.cli.app import COMMANDS

Cli = Any

_RUNS = {
    "init": ["init"],
    "add": ["add", "one more"],
    "recall": ["recall", "billing", "--explain", "--explain-missing", "{deploy}", "--token-budget", "5"],
    "get": ["get", "{deploy}"],
    "list": ["list", "--limit", "2"],
    "update": ["update", "{deploy}", "--title", "x"],
    "forget": ["forget", "{deploy}", "--yes"],
    "history": ["history", "{deploy}"],
    "index": ["index"],
    "open": ["open", "{deploy}"],
    "move": ["move", "{deploy}", "team"],
    "sync": ["sync"],
    "watch": ["watch", "--for", "0.1"],
    "team": ["team", "init"],
    "patterns": ["patterns", "stats"],
    "sessions": ["sessions", "list"],
    "export": ["export"],
    "import": ["import", "-", "--format", "jsonl"],
    "state": ["state", "list"],
    "stats": ["stats"],
    "status": ["status"],
    "doctor": ["doctor"],
    "verify": ["verify"],
    "repair": ["repair", "--yes"],
    "reindex": ["reindex"],
    "optimize": ["optimize"],
    "gc": ["gc"],
    "backup": ["backup", "copy"],
    "bench": ["bench", "add", "--single", "2", "--many", "5"],
    "tour": ["tour"],
    "completion": ["completion", "bash"],
}
_BY_NAME = {
    "by_scope",
    "by_type",
    "counts",
    "by_origin",
    "removed",
    "checked",
    "recovered",
    "signals",
    "weights",
    "operations_per_add",
    "metadata",
}
"""Objects whose keys are names of the user's or of places, not fields."""


def keys(value: Any) -> set[str]:
    """Every field in a document, however deep."""
    if isinstance(value, list):
        return {name for item in value for name in keys(item)}
    if not isinstance(value, dict):
        return set()
    inner = {name for key, item in value.items() if key not in _BY_NAME for name in keys(item)}
    return set(value) | inner


def documented(text: str) -> set[str]:
    """Every word in backticks."""
    return set(re.findall(r"`([a-z_@0-9]+)`", text))


def test_each_command_has_a_section(repository: Path) -> None:
    """The page follows the table of commands."""
    text = (repository / "docs" / "json.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^## `([a-z]+)`$", text, re.MULTILINE)) == set(COMMANDS)
    assert set(_RUNS) == set(COMMANDS)


@pytest.mark.parametrize("name", list(_RUNS))
def test_every_field_is_documented(  # noqa: PLR0917
    cli: Cli, filled: dict[str, str], repository: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a command prints with --json is one document, and each of its fields stands on the page."""
    monkeypatch.setenv("VISUAL", "true")  # an editor that changes nothing
    if name == "team":
        subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    text = (repository / "docs" / "json.md").read_text(encoding="utf-8")
    common = documented(text.split("## Shapes")[1].split("## `init`")[0])
    section = documented(text.split(f"## `{name}`")[1].split("\n## ")[0])

    answer = cli(*(part.format(**filled) for part in _RUNS[name]), "--json", stdin='{"text": "a"}\n{}\n')

    assert keys(answer.json) <= common | section
