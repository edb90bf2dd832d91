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

from lamina.cli.commands.tour import EXAMPLES, QUESTIONS, _Tour
from lamina.cli.shell import Shell

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
    commands = (
        "init",
        "index",
        "recall",
        "add",
        "sync",
        "import",
        "update",
        "history",
        "forget",
        "get",
        "verify",
        "status",
    )
    for command in commands:
        assert f"$ lamina {command}" in shown, command
    for word in ("--explain", "--as-of", "--supersedes", "--explain-missing", "--purge", "why: "):
        assert word in shown, word
    assert "Traceback" not in shown
    assert not place.exists()
    assert not list(temporary.iterdir())


def test_the_tour_shows_a_memory_directory(cli: Cli, temporary: Path) -> None:
    """The project's own files open as they are; one is added, edited by hand and found; the index is clean."""
    steps = cli("tour", "--json").json["steps"]
    said = {step["command"].split(' "')[0].split(" --type")[0]: step["output"] for step in steps}
    first = next(step["output"] for step in steps if step["command"].startswith("lamina recall"))
    edited = next(step["output"] for step in steps if "who times the demo?" in step["command"])
    (shown,) = (step["output"] for step in steps if step["command"].startswith("cat "))

    assert "none was changed" in said["lamina init"]
    assert said["lamina index"].startswith("# Memory\n\n- [")
    assert "feedback_do_not_overfit.md · " in first
    assert "days old" in first
    assert shown.startswith("---\nname: Keep the tour short\n")
    assert "changed  feedback_keep_the_tour_short.md" in said["lamina sync"]
    assert "feedback_keep_the_tour_short.md" in edited
    assert "by make" in " ".join(edited.split())
    assert "ok  nothing is wrong" in said["lamina index --check"]


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
        if asked[f'lamina recall "{question}" --scope {EXAMPLES} -n 1'].startswith(answer)
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
    assert cli("list", "--store", store, "--json").json["total"] > 60


@pytest.mark.parametrize("shown", ["This tour works", "$ lamina index", "$ lamina sync", "$ lamina update"])
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


def test_a_coloured_line_is_cut_by_what_is_seen(tmp_path: Path) -> None:
    """Where only the beginning of an output is shown, colour codes neither count as columns nor become visible."""
    tour = _Tour(Shell(color=True, width=40), tmp_path)
    long, short = "  \x1b[2m" + "word " * 20 + "\x1b[0m", "\x1b[1mshort\x1b[0m"

    shown = list(tour._output([long, short, "third"], 2))

    assert shown[0].startswith("    word word")
    assert "\x1b" not in shown[0]
    assert "\u241b" not in shown[0]
    assert len(shown[0]) <= 40
    assert shown[1] == f"  {short}"
    assert "1 more line" in shown[2]
