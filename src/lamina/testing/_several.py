"""Several processes that write to one store at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lamina.testing._ledger import Ledger
from lamina.testing._workloads import mixed_work

__all__ = ["run_writers"]


def run_writers(folder: Path, *, writers: int, steps: int, run: int = 0, timeout_s: float = 600.0) -> list[Ledger]:
    """Run :func:`mixed_work` in several processes at once, each on memories of its own.

    Args:
        folder: Of the store; made by whoever is first.
        writers: How many processes.
        steps: Writes of each.
        run: Decides texts and choices.
        timeout_s: The longest wait for each.

    Returns:
        What each process says must be there.

    Raises:
        AssertionError: A process failed; its error is on standard error.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "lamina.testing._several", str(folder), f"w{number}", str(steps), str(run)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(writers)
    ]
    try:
        outputs = [process.communicate(timeout=timeout_s)[0] for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    codes = [process.returncode for process in running]
    assert codes == [0] * writers, f"writers ended with {codes}"
    return [Ledger.replayed(json.loads(line) for line in output.splitlines()) for output in outputs]


def _main(folder: str, writer: str, steps: str, run: str) -> None:
    def say(value: Any) -> None:
        sys.stdout.write(json.dumps(value) + "\n")

    mixed_work(Path(folder), say, run=int(run), steps=int(steps), writer=writer)


if __name__ == "__main__":
    _main(*sys.argv[1:])
