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


def _learned(store: lamina.Store) -> dict[str, tuple[int, int]]:
    """Learn from what is left to learn from; return uses and successes that learning found of each pattern."""
    store.patterns.learn(min_support=2)
    with store._catalog.read() as reader:
        return {
            id: (uses, good)
            for id, uses, good in reader.db.execute(
                "SELECT p.id, count(*), sum(u.success) FROM pattern_use u "
                "JOIN pattern p ON p.seq = coalesce(u.moved_from, u.pattern) WHERE u.learned = 1 GROUP BY p.id"
            )
        }


def test_recording_querying_and_pruning_with_kills(tmp_path: Path, tell: Tell) -> None:
    """Four record, two query, others prune, learn and delete, all killed again and again: no use is lost or doubled.

    Patterns are merged into such as are merged themselves later on; what is deleted has a type of its own. In the end
    learning from what is there adds up to what learning from it all at once in another store does.
    """
    folder = tmp_path / "store"
    lamina.open(folder, embedder="none").close()
    roles = [("record", str(number)) for number in range(4)] + [("query", "0"), ("query", "1"), ("prune", "0")]
    roles += [("learn", "0"), ("delete", "0")]
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
            rows = Counter(
                row[0]
                for row in reader.db.execute(
                    "SELECT u.at FROM pattern_use u JOIN pattern p ON p.seq = u.pattern JOIN name n ON n.id = p.type "
                    "WHERE n.value = 'T'"
                )
            )
            doubled = reader.db.execute(
                "SELECT count(*) FROM pattern_use WHERE learned = 1 "
                "GROUP BY session, coalesce(moved_from, pattern) HAVING count(*) > 1"
            ).fetchall()
            active = reader.db.execute(
                "SELECT coalesce(sum(uses), 0) FROM pattern p JOIN name n ON n.id = p.type WHERE n.value = 'T'"
            ).fetchall()[0][0]
        learned = _learned(store)
        with lamina.open(tmp_path / "again", embedder="none") as other:
            lines = tmp_path / "sessions.jsonl"
            lines.write_text("".join(store.sessions.lines()), encoding="utf-8")
            other.sessions.import_file(lines)
            anew = _learned(other)
    assert not doubled
    assert {id: facts for id, facts in learned.items() if id in anew} == {
        id: facts for id, facts in anew.items() if id in learned
    }
    assert anew
    assert max(rows.values(), default=0) <= 1
    assert active == sum(rows.values())
    acknowledged = 0
    for worker in workers[:4]:
        known = {number for number in worker.tried if rows[to_micros(moment_of(int(worker.name), number))]}
        assert worker.done <= known
        acknowledged += len(worker.done)
    assert acknowledged > 0
    tell(
        "patterns, nine processes",
        {"kills": sum(worker.kills for worker in workers), "acknowledged uses": acknowledged, "lost": 0, "doubled": 0},
    )
