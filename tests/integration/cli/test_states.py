"""States from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.cli.exit_codes import ExitCode

Cli = Any


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two arrays."""
    path = tmp_path / "weights.npz"
    np.savez(path, w=np.arange(12.0).reshape(3, 4), b=np.zeros(4))
    return path


def test_a_state_is_committed_compared_and_restored(cli: Cli, file: Path, tmp_path: Path) -> None:
    """Commit, log, show, diff, tag, branch, restore, retain, export and delete do what they say."""
    first = cli("state", "commit", "m", str(file), "-m", "first", "--step", "3", "--json").json["version"]
    assert ("first", 3, ["main"]) == (first["message"], first["step"], first["branches"])
    np.savez(file, w=np.arange(12.0).reshape(3, 4) + 1, b=np.zeros(4))
    cli("state", "commit", "m", str(file))
    assert ["m"] == [one["name"] for one in cli("state", "list", "--json").json["states"]]
    log = cli("state", "log", "m", "--json").json["versions"]
    assert first["id"] == log[1]["id"]
    shown = cli("state", "show", "m", "--codecs", "--json").json
    assert ["b", "w"] == [array["name"] for array in shown["arrays"]]
    assert [1, 1] == [sum(array["codecs"].values()) for array in shown["arrays"]]
    change = cli("state", "diff", "m", first["id"], "--json").json["diff"]["changes"]
    assert [("w", 3, 1.0)] == [(one["name"], one["rows"], one["largest_change"]) for one in change]
    assert "largest change" in cli("state", "diff", "m", first["id"][:8]).out
    cli("state", "tag", "m", "best", "--ref", first["id"])
    cli("state", "branch", "m", "side", "--ref", "best")
    cli("state", "restore", "m", "best")
    out = tmp_path / "out.npz"
    cli("state", "export", "m", str(out))
    assert np.array_equal(np.arange(12.0).reshape(3, 4), np.load(out)["w"])
    plan = cli("state", "retain", "m", "--keep-last", "1", "--dry-run", "--json").json["retain"]
    assert [log[0]["id"]] == plan["removed"]
    cli("state", "retain", "m", "--keep-last", "1", "--yes")
    assert 1 == cli("gc", "--json").json["states"]["versions"]
    cli("state", "delete", "m", "--yes")
    assert [] == cli("state", "list", "--json").json["states"]
    assert cli("verify", "--level", "full", "--json").json["ok"]


def test_what_cannot_be(cli: Cli, file: Path, tmp_path: Path) -> None:
    """A missing state, a file that is none and a question without a terminal end with their own codes."""
    cli("state", "commit", "m", str(file))
    (tmp_path / "text.npz").write_text("no arrays")
    cli("state", "commit", "m", str(tmp_path / "text.npz"), code=ExitCode.USAGE)
    cli("state", "show", "other", code=ExitCode.NOT_FOUND)
    cli("state", "delete", "m", code=ExitCode.USAGE)
    assert 1 == len(cli("state", "log", "m", "--json").json["versions"])
