from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lamina
from lamina.testing import CrashFS, Ledger, Scribe, mixed_work, report_counts


@pytest.mark.parametrize("seed", [1, 2])
def test_no_power_loss_loses_an_acknowledged_write(tmp_path: Path, seed: int) -> None:
    """At random moments of a run the power goes; every image opens, verifies and holds all that had returned."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash:
        mixed_work(root, crash.acknowledge, run=seed, steps=60)
    images = 0
    for image in crash.images(tmp_path / "images", count=60, seed=seed):
        Ledger.replayed(image.acknowledged).check(Path(image.path))
        shutil.rmtree(image.path)
        images += 1
    assert images == 60
    report_counts("power losses", {"images": images, "operations recorded": len(crash), "lost": 0})


def test_a_kill_before_any_operation_leaves_a_store(tmp_path: Path) -> None:
    """What SIGKILL leaves before each operation of making a store and writing to it opens and verifies."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash, lamina.open(root, embedder="none") as store:
        scribe = Scribe(store, crash.acknowledge)
        for operation in ("add", "add", "update", "purge"):
            scribe.step(operation)
    for image in crash.every_kill(tmp_path / "images", step=3):
        Ledger.replayed(image.acknowledged).check(Path(image.path))


def test_relaxed_durability_is_never_corrupt(tmp_path: Path) -> None:
    """With durability="relaxed" the last writes may go; what is left is a whole store that lacks only those."""
    root = tmp_path / "store"
    crash = CrashFS(root)
    with crash, lamina.open(root, embedder="none", durability="relaxed") as store:
        for number in range(40):
            crash.acknowledge(store.memories.add(f"number {number}").id)
    lost = 0
    for image in crash.images(tmp_path / "images", count=60, seed=5):
        if not (Path(image.path) / ".lamina" / "catalog.db").exists():
            continue
        with lamina.open(image.path, embedder="none") as store:
            numbers = sorted(int(memory.text.split()[1]) for memory in store.memories.list(limit=None))
            assert numbers == list(range(len(numbers))), image
            assert store.verify("full").ok, image
            lost += max(0, len(image.acknowledged) - len(numbers))
    assert lost
