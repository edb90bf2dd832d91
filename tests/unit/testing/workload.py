"""Workloads that the kill harness's own tests run in a child."""

from __future__ import annotations

import time
from pathlib import Path

from lamina.fs import write_file
from lamina.testing import Acknowledge


def write_numbers(folder: Path, acknowledge: Acknowledge, *, run: int = 0, prefix: str = "n") -> None:
    """Write numbered files for ever; say ``begin`` before and ``done`` after each."""
    for number in range(1_000_000):
        acknowledge({"begin": f"{prefix}{run}-{number}"})
        write_file(folder / f"{prefix}{run}-{number}", b"x" * 2000)
        acknowledge({"done": f"{prefix}{run}-{number}"})


def finish(folder: Path, acknowledge: Acknowledge, *, run: int = 0) -> None:
    """End at once."""
    print("what a workload prints is not taken for an answer")
    acknowledge(str(folder))


def fail(folder: Path, acknowledge: Acknowledge) -> None:
    """Raise."""
    raise ValueError("the workload is broken")


def sleep(folder: Path, acknowledge: Acknowledge) -> None:
    """Do nothing for a minute."""
    time.sleep(60)
