from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import lamina
from lamina.storage.records import to_micros
from lamina.testing._pattern_work import moment_of

Tell = Callable[[str, dict[str, int]], None]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]
SECONDS = float(os.environ.get("LAMINA_SOAK_SECONDS", "40"))


class Worker:
    """One process of the soak, started again where it was killed."""

    def __init__(self, folder: Path, role: str, name: str) -> None:
        self.folder, self.role, self.name = folder, role, name
        self.done: set[int] = set()
        self.tried: set[int] = set()
        self.kills = 0
        self.process = self._start(0)

    def _start(self, first: int) -> subprocess.Popen[str]:
        name = f"{self.name}:{first}"
        command = [sys.executable, "-m", "lamina.testing._pattern_work", str(self.folder), self.role, name, "3600"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def end(self) -> None:
        """Kill it, and hear what it said until then."""
        assert self.process.poll() is None, f"a {self.role} ended with {self.process.returncode}"
        self.process.kill()
        said, _ = self.process.communicate(timeout=60)
        for line in said.splitlines():
            word, _, rest = line.partition(" ")
            first, _, count = rest.partition(" ")
            if count.isdigit():  # the kill may have torn the last line
                (self.done if word == "done" else self.tried).update(range(int(first), int(first) + int(count)))
        self.kills += 1

    def again(self) -> None:
        """Kill it and start it again behind all that it has tried."""
        self.end()
        self.process = self._start(max(self.tried, default=-1) + 1)


def test_recording_querying_and_pruning_with_kills(tmp_path: Path, tell: Tell) -> None:
    """Four record, two query, one prunes, all are killed again and again: no use is lost or counted twice."""
    folder = tmp_path / "store"
    lamina.open(folder, embedder="none").close()
    roles = [("record", str(number)) for number in range(4)] + [("query", "0"), ("query", "1"), ("prune", "0")]
    workers = [Worker(folder, role, name) for role, name in roles]
    rng = random.Random(5)
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            time.sleep(rng.uniform(0.1, 0.8))
            rng.choice(workers).again()
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.end()
    with lamina.open(folder, embedder="none") as store:
        assert store.verify("full").ok
        with store._catalog.read() as reader:
            rows = Counter(row[0] for row in reader.db.execute("SELECT at FROM pattern_use"))
            active = reader.db.execute("SELECT coalesce(sum(uses), 0) FROM pattern").fetchall()[0][0]
    assert max(rows.values(), default=0) <= 1
    assert active == sum(rows.values())
    acknowledged = 0
    for worker in workers[:4]:
        known = {number for number in worker.tried if rows[to_micros(moment_of(int(worker.name), number))]}
        assert worker.done <= known
        acknowledged += len(worker.done)
    assert acknowledged > 0
    tell(
        "patterns, seven processes",
        {"kills": sum(worker.kills for worker in workers), "acknowledged uses": acknowledged, "lost": 0, "doubled": 0},
    )
