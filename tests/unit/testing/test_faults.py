from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from lamina.errors import DiskFullError, LaminaError, PoisonedError, StorageError
from lamina.fs import Operation, make_dir, observe, read_file, write_file
from lamina.testing import Acknowledge, count_faults, every_fault, inject, run_with_fault


def work(folder: Path, acknowledge: Acknowledge) -> None:
    """Write three files and acknowledge each."""
    make_dir(folder)
    for number in range(3):
        write_file(folder / f"{number}", b"abcdef" * 100)
        acknowledge(number)


def careless(folder: Path, acknowledge: Acknowledge) -> None:
    """Pass over every error."""
    for number in range(2):
        with contextlib.suppress(LaminaError):
            write_file(folder / f"{number}", b"x")
        acknowledge(number)


def test_count(tmp_path: Path) -> None:
    """Every operation of the workload is counted: a folder of two, and six for each file."""
    assert count_faults(work, tmp_path / "a") == 2 + 3 * 6
    assert count_faults(work, tmp_path / "b", writes_only=True) == 3


def test_every_operation_fails_once(tmp_path: Path) -> None:
    """Each run fails at its own operation, with the error for its fault, and keeps what was acknowledged."""
    hit = []
    for outcome in every_fault(work, lambda name: tmp_path / name):
        assert outcome.operation is not None, outcome
        hit.append((outcome.fault, outcome.k, outcome.operation.kind))
        for number in outcome.acknowledged:
            assert read_file(outcome.folder / f"{number}", max_bytes=600) == b"abcdef" * 100, outcome
        if outcome.fault == "short" or outcome.operation.kind == "unlink":
            assert outcome.error is None, outcome
            assert outcome.acknowledged == [0, 1, 2], outcome
        elif outcome.operation.kind == "fsync":
            assert type(outcome.error) is PoisonedError, outcome
        else:
            assert type(outcome.error) is {"EIO": StorageError, "ENOSPC": DiskFullError}[outcome.fault], outcome
    assert len(hit) == len(set(hit)) == 20 + 20 + 3


def test_a_careless_workload_is_seen(tmp_path: Path) -> None:
    """A workload that swallows its errors acknowledges what is not there; the outcome shows it."""
    outcomes = list(every_fault(careless, lambda name: make(tmp_path / name), faults=("EIO",)))
    assert any(not (outcome.folder / f"{number}").exists() for outcome in outcomes for number in outcome.acknowledged)


def make(folder: Path) -> Path:
    """Make a folder and return it."""
    folder.mkdir(parents=True)
    return folder


def test_a_disk_that_stays_full(tmp_path: Path) -> None:
    """A lasting fault goes on: after the short write nothing finds room, though removing still works."""
    outcome = run_with_fault(work, 1, "short", tmp_path / "a", lasting=True)
    assert isinstance(outcome.error, DiskFullError)
    assert outcome.acknowledged == [0]
    assert sorted(path.name for path in outcome.folder.iterdir()) == ["0"]
    assert "short and on at operation 1 (write of" in str(outcome)


def test_foreign_errors_are_not_hidden(tmp_path: Path) -> None:
    """An exception that is not ours escapes from the run, so a test over it fails."""

    def foreign(folder: Path, acknowledge: Acknowledge) -> None:
        raise RuntimeError("not ours")

    with pytest.raises(RuntimeError):
        run_with_fault(foreign, 0, "EIO", tmp_path)


def test_beyond_the_last_operation(tmp_path: Path) -> None:
    """A k that is never reached changes nothing, and says so."""
    outcome = run_with_fault(work, 1000, "EIO", tmp_path / "a")
    assert outcome.operation is None
    assert outcome.error is None
    assert "(nothing)" in str(outcome)


def test_inject_only_some_kinds(tmp_path: Path) -> None:
    """Faults can be aimed at one kind of operation."""
    with inject(1, "EIO", kinds=frozenset({"fsync"})) as hit, pytest.raises(PoisonedError):
        write_file(tmp_path / "a", b"x")
    assert [operation.path for operation in hit] == [str(tmp_path)]
    log: list[Operation] = []
    with observe(log.append), inject(0, "EIO", kinds=frozenset({"link"})), pytest.raises(StorageError):
        write_file(tmp_path / "b", b"x")
    assert "link" not in [operation.kind for operation in log]
