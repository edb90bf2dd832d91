"""Clocks, memory and fresh processes for the benchmarks."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamina.errors import LaminaError

__all__ = ["anonymous_memory", "fresh_environment", "fsync_seconds", "machine", "percentile", "timed_process"]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0..1) of the values lie: the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    from lamina._version import __version__

    return {
        "lamina": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def anonymous_memory() -> int | None:
    """Bytes of this process that the kernel cannot take back (``RssAnon``); None where the system does not say."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def fsync_seconds(folder: Path, rounds: int = 50, size: int = 8192) -> float:
    """The median time of an fsync after a small append, in a folder: what a durable write cannot go below."""
    path = folder / "fsync-probe"
    block = os.urandom(size)
    times = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(rounds):
            os.write(descriptor, block)
            started = time.perf_counter()
            os.fsync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)
    return statistics.median(times)


def fresh_environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment for fresh processes that run the code this process runs.

    An installed package is compiled, whatever this process was told about writing bytecode; so what the first process
    compiles is kept in ``folder`` for the others.
    """
    source = str(Path(__file__).resolve().parents[2])
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    found["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    return {**found, **more}


def timed_process(arguments: Sequence[str], environment: dict[str, str]) -> float:
    """Runs a fresh Python with ``arguments`` and returns its seconds, from start to end.

    Raises:
        LaminaError: The process failed.
    """
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - this interpreter, with the benchmark's own arguments
        [sys.executable, *arguments], env=environment, capture_output=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        tail = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise LaminaError(
            f"A measured process ended with {done.returncode}: {' '.join(tail)}",
            hint="Run the same command by hand to see why.",
            arguments=list(arguments),
        )
    return seconds
