from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

import lamina
from lamina.errors import LaminaError
from lamina.testing import (
    FILE_OPERATIONS,
    FILE_PATHS,
    WRITE_PATHS,
    CrashFS,
    Entry,
    FileScribe,
    Killer,
    Ledger,
    MemoriesMachine,
    PathRig,
    TinyEmbedder,
    check_folder,
    every_fault,
    file_work,
    flip_bits,
    judge,
    make_patient,
    mixed_work,
    overwrite,
    run_writers,
    truncate_file,
)

Tell = Callable[[str, dict[str, int]], None]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]
PAGE = 4096


def test_kills(tmp_path: Path, tell: Tell, kills: int) -> None:
    """Hundreds of kills at random moments: no acknowledged write is lost, none is doubled, the store verifies."""
    ledger = Ledger()
    killed = 0
    with Killer(
        "lamina.testing._workloads:mixed_work",
        preload=["lamina.store", "lamina.memories.adding", "lamina.memories.changing"],
    ) as killer:
        for outcome in killer.kills(tmp_path / "store", count=kills, seed=1, longest_s=0.3):
            for message in outcome.said:
                ledger.hear(message)
            ledger.check(tmp_path / "store")
            killed += outcome.killed
    ledger.check(tmp_path / "store", level="full")
    assert ledger.purged
    tell("kills", {"kills": killed, "acknowledged writes": ledger.finished, "lost": 0, "doubled": 0})


def test_kills_of_file_writers(tmp_path: Path, tell: Tell, kills: int) -> None:
    """Hundreds of kills of a writer of files: files, rows and pointers are in step after each, and nothing is lost."""
    ledger = Ledger()
    killed = 0
    modules = ("adding", "changing", "matching", "pointers", "recovery", "renaming")
    preload = ["lamina.store", *(f"lamina.memories.{name}" for name in modules)]
    with Killer("lamina.testing._workloads:file_work", preload=preload) as killer:
        for outcome in killer.kills(tmp_path / "store", count=kills, seed=5, longest_s=0.5):
            for message in outcome.said:
                ledger.hear(message)
            ledger.check(tmp_path / "store", level="full", further=check_folder)
            killed += outcome.killed
    assert ledger.purged
    tell("kills of file writers", {"kills": killed, "acknowledged writes": ledger.finished, "lost": 0, "doubled": 0})


def test_kills_between_steps(tmp_path: Path, tell: Tell) -> None:
    """Killed before each operation on files of each kind of write, and again at each step of the recovery."""
    template, said = tmp_path / "template", list[dict[str, object]]()
    with lamina.open(template, embedder="none") as store:
        scribe = FileScribe(store, said.append, label="template")
        for operation in ("add", "add", "add", "add", "add", "add", "to_row", "supersede"):
            scribe.step(operation)
    before = Ledger.replayed(said)
    preload = ["lamina.store", "lamina.memories.changing", "lamina.memories.recovery", "lamina.memories.renaming"]
    once = twice = 0
    with Killer("lamina.testing._workloads:file_step", preload=preload) as killer:

        def killed(folder: Path, copy: Path, options: dict[str, object]) -> list[dict[str, object]] | None:
            """Return what a worker said in a copy of the folder before it died; None where it lived on."""
            shutil.copytree(folder, copy)
            heard: list[dict[str, object]] = killer.kill(copy, after_s=60, options=options).said
            return None if any("done" in message for message in heard) else heard

        for operation in FILE_OPERATIONS:
            for at in itertools.count():
                left, copy = tmp_path / f"{operation}-{at}", tmp_path / "copy"
                heard = killed(template, left, {"operation": operation, "die_at": at, "run": 3})
                if heard is None:
                    break
                once += 1
                for again in itertools.count():
                    alive = killed(left, copy, {"operation": "open", "die_at": again}) is None
                    Ledger.replayed(heard, before).check(copy, level="full", further=check_folder)
                    shutil.rmtree(copy)
                    if alive:
                        break
                    twice += 1
                shutil.rmtree(left)
    counts = {"writes killed": once, "recoveries killed": twice, "lost": 0, "doubled": 0, "left behind": 0}
    tell("kills between any two steps of a file write", counts)


def test_a_large_folder_that_goes_and_comes_back(tmp_path: Path, tell: Tell) -> None:
    """Five thousand files are deleted by accident and restored: every memory keeps its id, its text and its history."""
    folder, aside, count = tmp_path / "store", tmp_path / "aside", 5_000
    with lamina.open(folder, embedder="none") as store:
        for number in range(count):
            (folder / f"n{number}.md").write_text(f"Text number {number}.\n", encoding="utf-8")
        assert len(store.memories.sync().new) == count
        before = {memory.path: (memory.id, memory.text) for memory in store.memories.list(limit=None)}
        shutil.copytree(folder, aside, ignore=shutil.ignore_patterns(".lamina"))
        for path in folder.glob("n*.md"):
            path.unlink()
        assert len(store.memories.sync().deleted) == count
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        assert len(store.memories.sync().new) == count
        assert {memory.path: (memory.id, memory.text) for memory in store.memories.list(limit=None)} == before
        assert {len(store.memories.history(id)) for id, _ in before.values()} == {3}
        assert store.verify("full").ok
    tell("a folder that goes and comes back", {"files": count, "ids kept": len(before), "lost": 0})


def test_power_losses_over_files(tmp_path: Path, tell: Tell) -> None:
    """At random moments the power goes: all that returned is there, and only the write under way may lack pointers."""
    images = operations = acknowledged = 0
    for seed in range(6):
        root = tmp_path / f"store-{seed}"
        crash = CrashFS(root)
        with crash:
            file_work(root, crash.acknowledge, run=seed, steps=80)
        for image in crash.images(tmp_path / f"images-{seed}", count=100, seed=seed):
            ledger = Ledger.replayed(image.acknowledged)
            pending = ledger.pending
            loose = 0 if pending is None else len(pending.get("texts", [""]))

            def further(store: lamina.Store, loose: int = loose) -> None:
                check_folder(store, loose=loose, kept=1, left=2)

            ledger.check(Path(image.path), level="full", further=further)
            acknowledged += ledger.finished
            images += 1
            shutil.rmtree(image.path)
        operations += len(crash)
    counts = {"images": images, "operations": operations, "acknowledged writes": acknowledged, "lost": 0}
    tell("power losses over files", counts)


@pytest.mark.parametrize("lasting", [False, True], ids=["single", "lasting"])
@pytest.mark.parametrize("path", FILE_PATHS)
def test_every_fault_over_files(path: str, lasting: bool, tmp_path: Path, tell: Tell) -> None:
    """Each file operation of each way of writing files fails once, in each way: all that was acknowledged stays."""
    rig = PathRig(path, tmp_path)
    counts: Counter[str] = Counter()
    for outcome in every_fault(FILE_PATHS[path], rig.make_folder, lasting=lasting):
        rig.check(outcome)
        counts["runs"] += 1
        counts["told as errors"] += outcome.error is not None
    tell(f"faults, {path}, {'lasting' if lasting else 'single'}", {**counts, "lost": 0})


@pytest.mark.parametrize("lasting", [False, True], ids=["single", "lasting"])
@pytest.mark.parametrize("path", WRITE_PATHS)
def test_every_fault(path: str, lasting: bool, tmp_path: Path, tell: Tell) -> None:
    """Each file operation of each write path fails once, in each way: all that was acknowledged stays."""
    rig = PathRig(path, tmp_path)
    counts: Counter[str] = Counter()
    for outcome in every_fault(WRITE_PATHS[path], rig.make_folder, lasting=lasting):
        rig.check(outcome)
        counts[outcome.fault] += 1
        counts["told as errors"] += outcome.error is not None
    tell(f"faults, {path}, {'lasting' if lasting else 'single'}", {**counts, "lost": 0})


def test_power_losses(tmp_path: Path, tell: Tell) -> None:
    """At hundreds of random moments of several runs the power goes; every image holds all that had returned."""
    images = operations = acknowledged = purged = 0
    for seed in range(6):
        root = tmp_path / f"store-{seed}"
        crash = CrashFS(root)
        with crash:
            mixed_work(root, crash.acknowledge, run=seed, steps=150)
        for image in crash.images(tmp_path / f"images-{seed}", count=250, seed=seed):
            ledger = Ledger.replayed(image.acknowledged)
            ledger.check(Path(image.path))
            acknowledged += ledger.finished
            purged += len(ledger.purged)
            images += 1
            shutil.rmtree(image.path)
        operations += len(crash)
    assert purged
    tell("power losses", {"images": images, "operations": operations, "acknowledged writes": acknowledged, "lost": 0})


def test_writers(tmp_path: Path, tell: Tell) -> None:
    """Four processes write at once for a while: none of their writes is lost, none doubled."""
    ledgers = run_writers(tmp_path / "store", writers=4, steps=500)
    with lamina.open(tmp_path / "store", embedder="none") as store:
        found = {
            memory.id: Entry.of(memory, len(store.memories.history(memory.id)))
            for memory in store.memories.list(limit=None)
        }
        assert store.verify("full").ok
    assert found == dict(itertools.chain.from_iterable(ledger.entries.items() for ledger in ledgers))
    tell("writers", {"processes": 4, "writes": sum(ledger.finished for ledger in ledgers), "lost": 0, "doubled": 0})


def test_killed_writers(tmp_path: Path, tell: Tell) -> None:
    """While one process is killed again and again, another one writes on: nothing of either is lost."""
    folder = tmp_path / "store"
    dying = Ledger()
    killed = 0
    code = "from lamina.testing._several import _main; import sys; _main(sys.argv[1], 'steady', '400', '0')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    lamina.open(folder, embedder="none").close()
    steady = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    with Killer(
        "lamina.testing._workloads:mixed_work",
        preload=["lamina.store", "lamina.memories.adding", "lamina.memories.changing"],
    ) as killer:
        for outcome in killer.kills(folder, count=40, seed=9, longest_s=0.2, options={"writer": "dying"}):
            for message in outcome.said:
                dying.hear(message)
            killed += outcome.killed
            with lamina.open(folder, embedder="none") as store:
                dying.settle(
                    {
                        memory.id: Entry.of(memory, len(store.memories.history(memory.id)))
                        for memory in store.memories.list(limit=None)
                        if memory.text.startswith("dying")
                    }
                )
    import json

    said = [json.loads(line) for line in steady.communicate(timeout=300)[0].splitlines()]
    assert steady.returncode == 0
    writing = Ledger.replayed(said)
    with lamina.open(folder, embedder="none") as store:
        found = {memory.id: memory.text for memory in store.memories.list(limit=None)}
        assert store.verify("full").ok
    assert found == {id: entry.text for ledger in (dying, writing) for id, entry in ledger.entries.items()}
    tell(
        "a killed writer beside a steady one", {"kills": killed, "writes": dying.finished + writing.finished, "lost": 0}
    )


def test_random_walks(tell: Tell) -> None:
    """Long random walks over the public face answer as the model does."""
    MemoriesMachine.counts.clear()
    run_state_machine_as_test(
        MemoriesMachine,
        settings=settings(parent=settings.get_profile("soak"), max_examples=400, stateful_step_count=50),
    )
    tell("random walks", {"walks": 400, **MemoriesMachine.counts})


def test_damage(tmp_path: Path, tell: Tell) -> None:
    """Hundreds of damaged catalogs: told, repaired with losses named, or without effect; never a wrong text."""
    patient = make_patient(tmp_path / "patient")
    size = (patient.folder / ".lamina" / "catalog.db").stat().st_size
    verdicts: Counter[str] = Counter()
    for seed in range(600):
        rng = random.Random(f"damage/{seed}")
        page = rng.randrange(size // PAGE) * PAGE
        damage = rng.choice(
            [
                flip_bits(rng, 1),
                flip_bits(rng, 8),
                flip_bits(rng, 20, start=page, stop=page + PAGE),
                overwrite(page, bytes(PAGE)),
                overwrite(page, rng.randbytes(PAGE)),
                truncate_file(rng.randrange(size)),
            ]
        )
        folder = tmp_path / str(seed)
        shutil.copytree(patient.folder, folder)
        damage(folder / ".lamina" / "catalog.db")
        verdict = judge(folder, patient.memories, patient.queries, embedder=TinyEmbedder())
        verdicts[f"{verdict.before}, {verdict.after}"] += 1
        shutil.rmtree(folder)
    tell("damage", {"cases": 600, **dict(sorted(verdicts.items())), "wrong answers": 0})


def fill_up(folder: Path, said: list[dict[str, object]], run: int) -> LaminaError:
    """Write until there is no room; return the error. Each run has texts of its own, so none comes back once purged."""
    with pytest.raises(LaminaError) as caught:
        mixed_work(folder, said.append, run=run, steps=100_000)
    return caught.value


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Return what limits the size of files; the limit ends with the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_file_size_limit(tmp_path: Path, tell: Tell, file_limit: Callable[[int], None]) -> None:
    """Where files may not grow, the write is refused with an error of ours; with room again all goes on."""
    folder = tmp_path / "store"
    ledger = Ledger()
    refused = 0
    for size in range(160_000, 1_200_000, 80_000):
        said: list[dict[str, object]] = []
        file_limit(size)
        try:
            error = fill_up(folder, said, refused)
        finally:
            file_limit(resource.RLIM_INFINITY)
        assert error.code in ("disk-full", "storage", "poisoned"), error
        for message in said:
            ledger.hear(message)
        ledger.check(folder, level="full")
        refused += 1
    tell("file size limits", {"limits": refused, "acknowledged writes": ledger.finished, "lost": 0})


def test_a_full_disk(tmp_path: Path, tell: Tell) -> None:
    """On a small disk that fills up, the write is refused; after room is made the store verifies and works on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        ledger = Ledger()
        for number in range(8):
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(200_000 * (8 - number)))
            said: list[dict[str, object]] = []
            error = fill_up(disk / "store", said, number)
            assert error.code in ("disk-full", "storage", "poisoned"), error
            for message in said:
                ledger.hear(message)
            ballast.unlink()
            ledger.check(disk / "store", level="full")
        tell("full disks", {"times full": 8, "acknowledged writes": ledger.finished, "lost": 0})
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
