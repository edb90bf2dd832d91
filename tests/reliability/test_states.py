"""States under power loss, kills, faults and damage."""

from __future__ import annotations

import faulthandler
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.errors import ConflictError, CorruptionError, LaminaError
from lamina.testing import CrashFS, FaultOutcome, Killer, StatesLedger, every_fault, report_counts, states_work
from lamina.testing._states_work import STATE, content_of

WORKLOAD = "lamina.testing._states_work:states_work"
PRELOAD = ["lamina.store", "lamina.states.commit", "lamina.states.update", "lamina.states.collect"]


def test_no_power_loss_loses_a_version(tmp_path: Path) -> None:
    """At random moments of a run the power goes; every image holds each acknowledged version, bit for bit."""
    power_losses(tmp_path, seeds=1, steps=16, images=40)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_many_power_losses(tmp_path: Path) -> None:
    """The same, at many more moments."""
    faulthandler.cancel_dump_traceback_later()  # a long run may be long
    power_losses(tmp_path, seeds=4, steps=40, images=150)


def power_losses(tmp_path: Path, *, seeds: int, steps: int, images: int) -> None:
    """Record runs, crash them, and check what is left."""
    counts: Counter[str] = Counter()
    for seed in range(seeds):
        root = tmp_path / f"run-{seed}"
        root.mkdir()
        crash = CrashFS(root)
        with crash:
            states_work(root, crash.acknowledge, steps=steps)
        for image in crash.images(tmp_path / f"images-{seed}", count=images, seed=seed):
            if image.acknowledged or (Path(image.path) / "store" / ".lamina" / "catalog.db").exists():
                counts["versions"] += StatesLedger.replayed(image.acknowledged).check(Path(image.path))
            counts["images"] += 1
            shutil.rmtree(image.path)
    assert counts["versions"]
    report_counts("power losses, states", {**counts, "lost": 0})


def kills(tmp_path: Path, count: int) -> None:
    """Kill workers, and check after each."""
    ledger = StatesLedger()
    with Killer(WORKLOAD, preload=PRELOAD) as killer:
        for outcome in killer.kills(tmp_path, count=count, seed=5, longest_s=0.25):
            for message in outcome.said:
                ledger.hear(message)
            ledger.check(tmp_path)
    assert ledger.done > count // 4
    report_counts("kills, states", {"kills": count, "versions": ledger.done + 1, "lost": 0})


def test_no_kill_loses_a_version(tmp_path: Path) -> None:
    """Workers die at random moments of commits, updates, collections and moves; what returned is whole."""
    kills(tmp_path, 12)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_hundreds_of_kills(tmp_path: Path) -> None:
    """The same, five hundred times."""
    faulthandler.cancel_dump_traceback_later()  # a long run may be long
    kills(tmp_path, 500)


def faults(tmp_path: Path, *, step: int, lasting: bool) -> None:
    """Let every ``step``-th operation fail."""

    def prepare(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        return folder

    def work(folder: Path, acknowledge: Callable[[object], None]) -> None:
        states_work(folder, acknowledge, steps=9)

    counts: Counter[str] = Counter()
    for outcome in every_fault(work, prepare, step=step, lasting=lasting):
        check_fault(outcome)
        counts[outcome.fault] += 1
        counts["told as errors"] += outcome.error is not None
        shutil.rmtree(outcome.folder)
    assert counts["told as errors"]
    report_counts(f"faults, states, {'lasting' if lasting else 'single'}", {**counts, "lost": 0})


def check_fault(outcome: FaultOutcome) -> None:
    """Hold what a fault left against what was acknowledged."""
    if (outcome.folder / "store" / ".lamina" / "catalog.db").exists():
        StatesLedger.replayed(outcome.acknowledged).check(outcome.folder)
    else:
        assert not any(kind == "done" for kind, _ in outcome.acknowledged)


def test_faults_of_the_disk(tmp_path: Path) -> None:
    """An operation that fails is told, and every version that returned before stays whole."""
    faults(tmp_path, step=17, lasting=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lasting", [False, True])
def test_every_fault_of_the_disk(tmp_path: Path, lasting: bool) -> None:
    """The same, for each operation."""
    faulthandler.cancel_dump_traceback_later()  # a long run may be long
    faults(tmp_path, step=1, lasting=lasting)


@pytest.mark.parametrize("how", ["flip", "zero page", "truncate", "remove"])
def test_damage_is_named_and_never_served(tmp_path: Path, how: str) -> None:
    """A damaged pack is named by verify, never returned as data; repair keeps what is intact and lists the rest."""
    rng = random.Random(how)
    with lamina.open(tmp_path / "store", embedder="none") as store:
        whole = np.random.default_rng(1).standard_normal((3000, 32)).astype("f4")
        store.states.commit("m", {"a": whole, "b": whole[:100] * 2})
        store.states.commit("m", {"a": whole[::-1].copy(), "b": whole[:100] * 2})
        versions = store.states.log("m")
    packs = sorted((tmp_path / "store" / ".lamina" / "packs").iterdir(), key=lambda path: path.stat().st_mtime)
    newest = packs[-1]
    data = bytearray(newest.read_bytes())
    at = rng.randrange(4096, len(data) - 60_000)
    if how == "flip":
        data[at] ^= 4
    elif how == "zero page":
        data[at : at + 4096] = bytes(4096)
    elif how == "truncate":
        del data[at:]
    newest.unlink()
    if how != "remove":
        newest.write_bytes(data)
    with lamina.open(tmp_path / "store", embedder="none") as store:
        report = store.verify("full")
        assert not report.ok
        assert any(newest.stem[:16] in problem.where + problem.message for problem in report.problems)
        with store.states.open("m") as state, pytest.raises(CorruptionError):
            state["a"].read()
        with store.states.open("m", versions[1]) as state:
            np.testing.assert_array_equal(whole, state["a"].read())
        lost = store.repair().lost
        assert any("'a'" in problem.message for problem in lost)
        assert ["version-partly-lost"] == [problem.code for problem in store.verify("full").problems]
        with store.states.open("m") as state:
            np.testing.assert_array_equal(whole, state["a"].read())
        assert [version.damaged for version in store.states.log("m")] == [True, False]
        # Committing the same again heals it: the content is stored anew under its address.
        store.states.commit("m", {"a": whole[::-1].copy(), "b": whole[:100] * 2})
        with store.states.open("m") as state:
            np.testing.assert_array_equal(whole[::-1], state["a"].read())
        assert store.verify("full").ok
        assert not any(version.damaged for version in store.states.log("m"))


def test_a_lost_catalog_row_is_found_in_the_pack(tmp_path: Path) -> None:
    """Repair needs the catalog's manifests and the packs, not the rows that say where objects lie."""
    with lamina.open(tmp_path / "store", embedder="none") as store:
        whole = np.random.default_rng(1).standard_normal((3000, 32)).astype("f4")
        store.states.commit("m", {"a": whole})
        with store.states.context.catalog.write("breaking it") as writer:
            writer.db.execute("DELETE FROM object")
            writer.db.execute("DELETE FROM pack")
        assert {"object-missing"} == {problem.code for problem in store.verify().problems}
        store.repair()
        assert store.verify("full").ok
        with store.states.open("m") as state:
            np.testing.assert_array_equal(whole, state["a"].read())


def test_a_manifest_that_was_changed_is_refused(tmp_path: Path) -> None:
    """A version is what its id says: a manifest with another shape or parent is damage, and never opened."""
    with lamina.open(tmp_path / "store", embedder="none") as store:
        store.states.commit("m", {"a": np.arange(4)})
        for column in ("head", "body"):
            with store.states.context.catalog.write("breaking it") as writer:
                rows = writer.db.execute(f"SELECT seq, {column} FROM state_version").fetchall()
                wrong = bytearray(rows[0][1])
                wrong[len(wrong) // 2] ^= 1
                writer.db.execute(f"UPDATE state_version SET {column} = ? WHERE seq = ?", (bytes(wrong), rows[0][0]))
            with lamina.open(tmp_path / "store", embedder="none") as other:
                assert "version-damaged" in {problem.code for problem in other.verify().problems}
                with pytest.raises(LaminaError):
                    other.states.open("m")["a"].read()
            with store.states.context.catalog.write("mending it") as writer:
                writer.db.execute(f"UPDATE state_version SET {column} = ? WHERE seq = ?", (rows[0][1], rows[0][0]))


WRITER = """
import sys, numpy as np, lamina
from lamina.errors import ConflictError
with lamina.open(sys.argv[1], embedder="none") as store:
    conflicts = 0
    for number in range(12):
        while True:
            with store.states.open("shared") as state:
                counts = state["counts"].read()
            counts[int(sys.argv[2])] += 1
            try:
                store.states.commit("shared", {"counts": counts, "bulk": np.full((500, 64), counts.sum(), "f4")})
                break
            except ConflictError:
                conflicts += 1
    print(conflicts)
"""


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    """Two writers of one branch: one wins, the other is told, reads, and commits again; every count arrives."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("shared", {"counts": np.zeros(2, "i8"), "bulk": np.zeros((500, 64), "f4")})
        running = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(number)], stdout=subprocess.PIPE)
            for number in range(2)
        ]
        for process in running:
            process.communicate(timeout=50)
            assert process.returncode == 0
        assert [12, 12] == store.states.open("shared")["counts"].read().tolist()
        assert 25 == len(store.states.log("shared"))
        assert store.verify("full").ok


READER = """
import sys, lamina
with lamina.open(sys.argv[1], embedder="none", read_only=sys.argv[2] == "True") as store:
    state = store.states.open("worked", sys.argv[3])
    print("opened", flush=True)
    sys.stdin.readline()
    print(state["w"].read().tobytes().hex(), flush=True)
    state.close()
    sys.stdin.readline()
"""


@pytest.mark.parametrize("read_only", [True, False])
def test_a_collection_beside_a_reader(tmp_path: Path, read_only: bool) -> None:
    """A reader in another process, the first of its store, finishes what it opened although it was collected since."""
    with lamina.open(tmp_path / "store", embedder="none") as store:
        for number in range(6):
            store.states.commit(STATE, {"w": content_of(number * 12)}, step=number)
        oldest = store.states.log(STATE)[-1].id
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path / "store"), str(read_only), oldest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert reader.stdin
        assert reader.stdout
        assert reader.stdout.readline() == "opened\n"
        assert "being read" in store.states.retain(STATE, keep_last=1).kept.values()
        store.states.delete(STATE)
        store.gc()
        reader.stdin.write("read\n")
        reader.stdin.flush()
        assert reader.stdout.readline().strip() == content_of(0).tobytes().hex()
        reader.communicate("end\n", timeout=50)
        assert store.gc()["states"]["versions"] == 1
        assert not list((tmp_path / "store" / ".lamina" / "packs").glob("*.pack"))


def test_threads_of_one_handle(tmp_path: Path) -> None:
    """Threads that commit to branches of their own and read each other's lose nothing."""
    with lamina.open(tmp_path / "store", embedder="none", durability="relaxed") as store:
        store.states.commit("m", {"x": np.zeros((100, 8))})
        for number in range(3):
            store.states.branch("m", f"b{number}")
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for step in range(10):
                    store.states.update("m", {"x": ([step], np.full((1, 8), number))}, branch=f"b{number}")
                    store.states.open("m", f"b{(number + 1) % 3}")["x"].read()
            except BaseException as error:  # noqa: BLE001 - a thread must hand its failure to the test
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for number in range(3):
            assert (store.states.open("m", f"b{number}")["x"][:10] == number).all()


def test_relaxed_packs_after_the_machine_went_down(tmp_path: Path) -> None:
    """A pack that was never synced and is torn after a power loss takes its version along, and nothing else."""
    folder = tmp_path / "store"
    whole = np.random.default_rng(1).standard_normal((3000, 32)).astype("f4")
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("m", {"a": whole})
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        before = set((folder / ".lamina" / "packs").iterdir())
        store.states.commit("m", {"a": np.random.default_rng(2).standard_normal((3000, 32)).astype("f4")})
        (torn,) = set((folder / ".lamina" / "packs").iterdir()) - before
        with store.states.context.catalog.write("another boot") as writer:
            writer.db.execute("UPDATE pack SET boot = 'earlier' WHERE synced = 0")
    data = bytearray(torn.read_bytes())
    data[5000:90_000] = bytes(85_000)
    torn.write_bytes(data)
    with lamina.open(folder, embedder="none") as store:
        np.testing.assert_array_equal(whole, store.states.open("m")["a"].read())
        assert ["version-partly-lost"] == [problem.code for problem in store.verify("full").problems]
        store.states.commit("m", {"a": whole * 3})
    with pytest.raises(ConflictError), lamina.open(folder, embedder="none") as store:
        store.states.commit("m", {"a": whole}, parent=store.states.log("m")[-1])
