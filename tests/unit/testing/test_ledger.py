from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.testing import Ledger, Patient, Scribe, files_holding, judge, make_patient


def run(folder: Path, *operations: str) -> list[Any]:
    """Do some writes; return what was said."""
    said: list[Any] = []
    with lamina.open(folder, embedder="none") as store:
        scribe = Scribe(store, said.append)
        for operation in operations:
            scribe.step(operation)
    return said


def test_a_clean_run_is_accepted(tmp_path: Path) -> None:
    """All operations in a row leave what the ledger expects."""
    said = run(tmp_path, "add_many", "add", "update", "supersede", "feedback", "delete", "purge", "update")
    ledger = Ledger.replayed(said)
    ledger.check(tmp_path, level="full")
    assert ledger.finished == 8
    assert len(ledger.purged) == 1


def test_a_lost_write_is_seen(tmp_path: Path) -> None:
    """A memory that was acknowledged and is gone fails the check."""
    said = run(tmp_path, "add", "add")
    with lamina.open(tmp_path, embedder="none") as store:
        store.memories.delete(said[1]["ids"][0])
    with pytest.raises(AssertionError, match="1 acknowledged memories are lost"):
        Ledger.replayed(said).check(tmp_path)


def test_a_doubled_write_is_seen(tmp_path: Path) -> None:
    """A memory that nobody promised fails the check."""
    said = run(tmp_path, "add")
    with lamina.open(tmp_path, embedder="none") as store:
        store.memories.add(said[0]["texts"][0])
    with pytest.raises(AssertionError, match="nobody added"):
        Ledger.replayed(said).check(tmp_path)


def test_a_changed_text_is_seen(tmp_path: Path) -> None:
    """A text that is not the acknowledged one fails the check."""
    said = run(tmp_path, "add")
    with lamina.open(tmp_path, embedder="none") as store:
        store.memories.update(said[1]["ids"][0], text="another")
    with pytest.raises(AssertionError, match="differ"):
        Ledger.replayed(said).check(tmp_path)


@pytest.mark.parametrize("there", [0, 1, 3])
def test_a_batch_under_way(tmp_path: Path, there: int) -> None:
    """An unfinished batch may be there as a whole or not at all; a part of it fails the check."""
    texts = ["one", "two", "three"]
    with lamina.open(tmp_path, embedder="none") as store:
        store.memories.add_many(texts[:there])
    ledger = Ledger.replayed([{"begin": 1, "op": "add", "texts": texts}])
    if there == 1:
        with pytest.raises(AssertionError, match="written in part: 1 of 3"):
            ledger.check(tmp_path)
    else:
        ledger.check(tmp_path)
        assert len(ledger.entries) == there


def test_purged_bytes_are_seen(tmp_path: Path) -> None:
    """Bytes of a purged text anywhere below the folder fail the check."""
    said = run(tmp_path, "add", "add", "add", "purge")
    ledger = Ledger.replayed(said)
    ledger.check(tmp_path)
    (tmp_path / "notes.txt").write_text(f"before {ledger.purged[0]} after")
    assert files_holding(tmp_path, ledger.purged) == {"notes.txt": ledger.purged[0][:80]}
    with pytest.raises(AssertionError, match="purged texts are still in"):
        ledger.check(tmp_path)


def test_a_store_that_vanished_is_seen(tmp_path: Path) -> None:
    """Where the catalog is gone and something was acknowledged, the check fails."""
    said = run(tmp_path, "add")
    (tmp_path / ".lamina" / "catalog.db").unlink()
    with pytest.raises(AssertionError, match="the store is gone"):
        Ledger.replayed(said).check(tmp_path)


def test_a_wrong_answer_is_seen(tmp_path: Path) -> None:
    """The judge of damaged stores fails where a memory says something else than it did, and nothing was told."""
    patient = make_patient(tmp_path / "store", memories=40)
    with lamina.open(patient.folder, embedder="none") as store:
        id = next(iter(patient.memories))
        store.memories.update(id, text="a wrong answer that no checksum can see")
    with pytest.raises(AssertionError, match="is not what was written"):
        judge(patient.folder, patient.memories, patient.queries, embedder="none")


def test_a_silent_loss_is_seen(tmp_path: Path) -> None:
    """The judge fails where a memory is out of sight and nothing was told."""
    patient = make_patient(tmp_path / "store", memories=40)
    assert isinstance(patient, Patient)
    with lamina.open(patient.folder, embedder="none") as store:
        store.memories.delete(list(patient.memories)[-1])
    with pytest.raises(AssertionError, match="out of sight"):
        judge(patient.folder, patient.memories, patient.queries, embedder="none")
