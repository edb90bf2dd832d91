from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.testing import (
    FILE_OPERATIONS,
    CrashFS,
    FileScribe,
    Killer,
    Ledger,
    check_folder,
    file_work,
    report_counts,
)

PRELOAD = [
    "lamina.store",
    "lamina.memories.adding",
    "lamina.memories.changing",
    "lamina.memories.matching",
    "lamina.memories.recovery",
    "lamina.memories.renaming",
]


@pytest.fixture(scope="module")
def stepper() -> Iterator[Killer]:
    """What runs one write in a process that dies on the way."""
    with Killer("lamina.testing._workloads:file_step", preload=PRELOAD) as killer:
        yield killer


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ledger]:
    """A store with files in both scopes, a row and a superseded memory; and what it holds."""
    folder = tmp_path_factory.mktemp("template") / "store"
    said: list[Any] = []
    with lamina.open(folder, embedder="none") as store:
        scribe = FileScribe(store, said.append, label="template")
        for operation in ("add", "add", "add", "add", "add", "add", "to_row", "supersede"):
            scribe.step(operation)
    return folder, Ledger.replayed(said)


@pytest.mark.parametrize("operation", FILE_OPERATIONS)
def test_a_kill_between_steps(operation: str, stepper: Killer, template: tuple[Path, Ledger], tmp_path: Path) -> None:
    """Killed before every other operation on files: the write happened wholly or not at all, nothing lies about."""
    folder, before = template
    runs = done = 0
    while not done:
        place = tmp_path / str(runs)
        shutil.copytree(folder, place)
        die_at = 2 * runs + 1  # `make soak` takes every one
        outcome = stepper.kill(
            place, after_s=60, options={"operation": operation, "die_at": die_at, "run": 3}, number=runs
        )
        done = sum("done" in message for message in outcome.said)
        Ledger.replayed(outcome.said, before).check(place, level="full", further=check_folder)
        shutil.rmtree(place)
        runs += 1
    assert runs > 4
    report_counts(f"kills between steps, {operation}", {"kills": runs - 1, "lost": 0, "doubled": 0})


@pytest.mark.parametrize(
    ("operation", "die_at"),
    [("add", 10), ("update", 6), ("move", 20), ("rename", 5), ("delete", 7)],
)
def test_a_kill_while_the_next_open_finishes_what_was_left(
    operation: str, die_at: int, stepper: Killer, template: tuple[Path, Ledger], tmp_path: Path
) -> None:
    """Killed on the way, and again at each step of the recovery: the third one ends where the first one would have."""
    folder, before = template
    left = tmp_path / "left"
    shutil.copytree(folder, left)
    outcome = stepper.kill(left, after_s=60, options={"operation": operation, "die_at": die_at, "run": 3})
    assert not any("done" in message for message in outcome.said)
    runs, done = 0, False
    while not done:
        place = tmp_path / str(runs)
        shutil.copytree(left, place)
        again = stepper.kill(place, after_s=60, options={"operation": "open", "die_at": runs})
        done = any("done" in message for message in again.said)
        Ledger.replayed(outcome.said, before).check(place, level="full", further=check_folder)
        shutil.rmtree(place)
        runs += 1
    assert runs > 1


def test_kills_at_random(tmp_path: Path) -> None:
    """Writers of files die at random moments, one after another: files, rows and pointers are in step after each."""
    ledger = Ledger()
    killed = 0
    with Killer("lamina.testing._workloads:file_work", preload=PRELOAD) as killer:
        for outcome in killer.kills(tmp_path / "store", count=10, seed=21, longest_s=0.25):
            for message in outcome.said:
                ledger.hear(message)
            ledger.check(tmp_path / "store", level="full", further=check_folder)
            killed += outcome.killed
    assert ledger.finished > 10
    report_counts("kills of file writers", {"kills": killed, "acknowledged writes": ledger.finished, "lost": 0})


def test_power_losses(tmp_path: Path) -> None:
    """At random moments the power goes: all that returned is there, and only the write under way may lack a pointer."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash:
        file_work(root, crash.acknowledge, run=1, steps=30)
    images = 0
    for image in crash.images(tmp_path / "images", count=40, seed=1):
        check_image(image)
        images += 1
    report_counts("power losses over files", {"images": images, "operations recorded": len(crash), "lost": 0})


def check_image(image: Any) -> None:
    """Check what a power cut left."""
    ledger = Ledger.replayed(image.acknowledged)
    under_way = ledger.pending is not None
    many = len(ledger.pending["texts"]) if ledger.pending and ledger.pending["op"] == "add" else 1
    ledger.check(
        Path(image.path),
        level="full",
        further=lambda store: check_folder(store, loose=many * under_way, kept=1, left=2),
    )
    shutil.rmtree(image.path)
