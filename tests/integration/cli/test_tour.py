"""The tour shows what it says, quickly, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from lamina.cli.commands.tour import QUESTIONS

Cli = Any

_SOURCE = str(Path(__file__).resolve().parents[3] / "src")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_tour_shows_each_thing_it_names(cli: Cli, place: Path, temporary: Path) -> None:
    """Every step ends as it should, within ten seconds; the user's store and the temporary folder stay untouched."""
    started = time.monotonic()
    shown = cli("tour").out

    assert time.monotonic() - started < 10
    for command in ("import", "recall", "add", "update", "history", "forget", "get", "verify", "status"):
        assert f"$ lamina {command}" in shown, command
    for word in ("--explain", "--as-of", "--supersedes", "--explain-missing", "--purge", "why: "):
        assert word in shown, word
    assert "Traceback" not in shown
    assert not place.exists()
    assert not list(temporary.iterdir())


def test_the_tour_as_json(cli: Cli, temporary: Path) -> None:
    """One document of steps with their real output; the past is answered as it was."""
    document = cli("tour", "--json").json

    steps = {step["command"].split(" --as-of ")[0]: step for step in document["steps"]}
    assert all(step["exit"] == step["expected_exit"] for step in document["steps"])
    assert "port 5433" in steps['lamina recall "which port is staging on?"']["output"]
    assert document["store"] is None
    assert document["seconds"] < 10


def test_the_tours_questions_are_answered(cli: Cli, temporary: Path) -> None:
    """Nine of ten questions get the memory that answers them first: a tour of wrong answers would show the opposite."""
    steps = cli("tour", "--json").json["steps"]
    asked = {step["command"]: step["output"] for step in steps if "ms" in step}

    right = [
        question
        for question, answer in QUESTIONS.items()
        if asked[f'lamina recall "{question}" -n 1'].startswith(answer)
    ]

    assert len(QUESTIONS) == 20
    assert len(right) >= 18


def test_the_tour_takes_a_file_of_the_user(cli: Cli, tmp_path: Path, temporary: Path) -> None:
    """A file that is named is asked about, in a scope of its own."""
    (tmp_path / "notes.txt").write_text(
        "The lighthouse keeper paints the railing every spring.\n\nFerries stop running after the first storm.\n",
        encoding="utf-8",
    )

    shown = cli("tour", "notes.txt").out

    assert "--scope yours" in shown
    assert "lighthouse keeper" in shown
    cli("tour", "missing.txt", code=3)


def test_the_tour_can_keep_its_store(cli: Cli, temporary: Path) -> None:
    """With --keep the store stays, and opens."""
    store = cli("tour", "--keep", "--json").json["store"]

    assert Path(store).is_relative_to(temporary)
    assert cli("list", "--store", store, "--json").json["total"] > 40


@pytest.mark.parametrize("shown", ["This tour works", "$ lamina import", "$ lamina recall", "$ lamina update"])
def test_ctrl_c_ends_the_tour_at_once(tmp_path: Path, place: Path, shown: str) -> None:
    """Whatever step it meets: exit 130, no bug, nothing left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    tour = subprocess.Popen(
        [sys.executable, "-m", "lamina.cli", "tour"],
        env={**os.environ, "PYTHONPATH": _SOURCE, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tour.stdout is not None
    next(line for line in tour.stdout if shown in line)
    tour.send_signal(signal.SIGINT)
    _, said = tour.communicate(timeout=10)

    assert tour.returncode in (130, -signal.SIGINT)  # a shell shows both as 130
    assert "bug" not in said
    assert "Traceback" not in said
    assert not list(folder.iterdir())
