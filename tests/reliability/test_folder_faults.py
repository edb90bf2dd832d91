from __future__ import annotations

from pathlib import Path

import pytest

import lamina
from lamina.errors import LaminaError, PoisonedError
from lamina.fs import Operation, clear_poison, observe
from lamina.testing import (
    FAULTS,
    FILE_PATHS,
    FaultOutcome,
    PathRig,
    TinyEmbedder,
    check_folder,
    every_fault,
    inject,
    report_counts,
)

STEP = {"file sync": 17}


@pytest.mark.parametrize("path", FILE_PATHS)
def test_every_file_path_survives_faults(path: str, tmp_path: Path) -> None:
    """One file operation fails; the error is ours, what was acknowledged stays, files and rows are in step."""
    runs = failed = 0
    rig = PathRig(path, tmp_path)  # `make soak` takes every operation, and lasting failures of each kind
    for lasting, faults in ((False, FAULTS), (True, ("ENOSPC",))):

        def make_folder(name: str, lasting: bool = lasting) -> Path:
            return rig.make_folder(f"{name}-{lasting}")

        for outcome in every_fault(
            FILE_PATHS[path], make_folder, faults=faults, lasting=lasting, step=STEP.get(path, 67)
        ):
            rig.check(outcome)
            assert outcome.operation is not None, outcome
            runs += 1
            failed += outcome.error is not None
    assert runs > 3
    assert failed
    report_counts(f"faults, {path}", {"faults": runs, "told as errors": failed, "lost": 0})


@pytest.mark.parametrize(
    ("path", "lasting"),
    [("file update", True), ("file move", False), ("file move", True), ("file rename", True), ("file delete", False)],
)
def test_no_fsync_that_fails_loses_a_memory(path: str, lasting: bool, tmp_path: Path) -> None:
    """Where a commit was not confirmed, files are not put back: the row may be there when the store is opened again."""
    rig = PathRig(path, tmp_path)
    for k in range(40):
        outcome = FaultOutcome(k, "EIO", lasting, rig.make_folder(str(k)))
        with inject(k, "EIO", lasting=lasting, kinds=frozenset({"fsync"})) as hit:
            try:
                FILE_PATHS[path](outcome.folder, outcome.acknowledged.append)
            except LaminaError as error:
                outcome.error = error
        clear_poison(outcome.folder)
        rig.check(outcome)
        if not hit:
            break
    else:
        raise AssertionError("a write has no forty fsyncs")
    assert k > 3


@pytest.mark.parametrize("kind", ["create", "write", "fsync", "link", "exchange"])
@pytest.mark.parametrize("many", [False, True], ids=["one", "several"])
def test_an_add_that_failed_can_be_repeated(kind: str, many: bool, tmp_path: Path) -> None:
    """Whichever operation of an add fails: where that was told as an error nothing is left, so a retry doubles none."""
    items = [{"text": f"Text {number}.", "title": f"Title {number}", "type": "project"} for number in range(1 + many)]
    failures = 0
    for k in range(30):
        folder = tmp_path / str(k)
        with lamina.open(folder, embedder="none") as store:
            store.memories.add("The first.", title="First", type="project")
            with inject(k, "EIO", kinds=frozenset({kind})) as hit:
                try:
                    store.memories.add_many(items)
                except LaminaError:
                    failed = True
                else:
                    failed = False
        if not hit:
            break
        if hit[0].path.endswith("-wal"):  # whether such a commit took place is decided when the log is read again
            continue
        failures += failed
        with lamina.open(folder, embedder="none") as store:
            assert store.memories.count() == (1 if failed else 1 + len(items)), hit
            if failed:
                store.memories.add_many(items)
            assert store.memories.count() == 1 + len(items)
            check_folder(store, left=1)
    else:
        raise AssertionError("an add has no thirty operations of one kind")
    assert failures or kind == "exchange"


def test_a_pointer_that_could_not_be_written_comes_later(tmp_path: Path) -> None:
    """Where the file and the row are durable and the index is not, the add says so and the next open finishes it."""

    def fail(operation: Operation) -> None:
        if operation.kind == "write" and "swap" in operation.path:
            raise OSError(5, "Input/output error")

    with lamina.open(tmp_path / "store", embedder="none") as store:
        store.memories.add("The first.", title="First", type="project")
        with observe(fail):
            memory = store.memories.add("The second.", title="Second", type="project")
        assert "pointer in MEMORY.md is still to come" in memory.notices[0]
        assert "Second" not in store.memories.index()
    with lamina.open(tmp_path / "store", embedder="none") as store:
        assert "Second" in store.memories.index()
        check_folder(store, left=1)


def test_a_file_whose_fsync_failed_is_not_written_again_before_the_store_is_reopened(tmp_path: Path) -> None:
    """A failed fsync poisons that file: the next update of it is refused, and works on a reopened store."""
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        memory = store.memories.add("Old.", title="Title", type="project")
        with inject(0, "EIO", kinds=frozenset({"fsync"})), pytest.raises(PoisonedError, match=str(memory.path)):
            store.memories.update(memory.id, text="New.")
        with pytest.raises(PoisonedError):
            store.memories.update(memory.id, text="New.")
        assert store.memories.get(memory.id).text == "Old."
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder()) as store:
        assert store.memories.update(memory.id, text="New.").text == "New."
        check_folder(store, left=1)
