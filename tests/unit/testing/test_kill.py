from __future__ import annotations

import time
from pathlib import Path

import pytest

from lamina.testing import Killer

HERE = str(Path(__file__).parent)


def test_everything_said_is_there(tmp_path: Path) -> None:
    """Workers die at random moments; what each had reported as done is whole, and at most one write was under way."""
    said = 0
    with Killer("workload:write_numbers", path=[HERE]) as killer:
        for outcome in killer.kills(tmp_path, count=12, seed=5, longest_s=0.05, options={"prefix": "p"}):
            assert outcome.killed
            begun = [entry["begin"] for entry in outcome.said if "begin" in entry]
            done = [entry["done"] for entry in outcome.said if "done" in entry]
            assert len(begun) - len(done) in (0, 1)
            assert all(name.startswith(f"p{5 + outcome.number}-") for name in begun)
            for name in done:
                assert (tmp_path / name).read_bytes() == b"x" * 2000
            said += len(done)
    assert said > 12


def test_a_kill_is_quick(tmp_path: Path) -> None:
    """A worker costs milliseconds, not an interpreter start, so hundreds of kills are affordable."""
    with Killer("workload:sleep", path=[HERE]) as killer:
        began = time.monotonic()
        for _ in range(20):
            assert killer.kill(tmp_path, after_s=0.005).killed
        assert (time.monotonic() - began) / 20 < 0.1


def test_a_worker_that_finishes(tmp_path: Path) -> None:
    """A worker that is done before its time was not killed, and its output does not disturb the answers."""
    with Killer("workload:finish", path=[HERE]) as killer:
        outcome = killer.kill(tmp_path, after_s=10)
    assert not outcome.killed
    assert outcome.said == [str(tmp_path)]


def test_a_broken_workload_fails_the_test(tmp_path: Path) -> None:
    """An exception in the worker comes out here with its traceback; it never passes for a kill."""
    with Killer("workload:fail", path=[HERE]) as killer, pytest.raises(AssertionError, match="the workload is broken"):
        killer.kill(tmp_path, after_s=10)


def test_a_workload_that_always_ends_first(tmp_path: Path) -> None:
    """Where no worker lives long enough to be killed, the run fails instead of counting nothing for ever."""
    with Killer("workload:finish", path=[HERE]) as killer, pytest.raises(AssertionError, match="before it can be"):
        for _ in killer.kills(tmp_path, count=1, longest_s=60.0, seed=1):
            pass


def test_a_module_that_is_not_there() -> None:
    """A workload that cannot be imported is an error at the start."""
    with pytest.raises(AssertionError, match="ended"), Killer("no_such_module:work"):
        pass
