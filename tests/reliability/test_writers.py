from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lamina
from lamina.testing import Entry, report_counts, run_writers


def test_four_writers_at_once(tmp_path: Path, repository: Path) -> None:
    """Four processes write to one store at once; every acknowledged write is there once, and the store verifies."""
    ledgers = run_writers(tmp_path / "store", writers=4, steps=40)
    with lamina.open(tmp_path / "store", embedder="none") as store:
        found = {
            memory.id: Entry.of(memory, len(store.memories.history(memory.id)))
            for memory in store.memories.list(limit=None)
        }
        assert store.verify("full").ok
    wanted: dict[str, Entry] = {}
    for ledger in ledgers:
        assert ledger.pending is None
        assert not set(wanted) & set(ledger.entries)
        wanted |= ledger.entries
    assert found == wanted
    report_counts("writers", {"processes": 4, "writes": sum(ledger.finished for ledger in ledgers), "lost": 0})


def test_one_store_is_made_by_many(tmp_path: Path) -> None:
    """Processes that make the same store at the same moment end with one store, which holds what each wrote."""
    code = (
        "import lamina, sys\nwith lamina.open(sys.argv[1], embedder='none') as s: s.memories.add('from ' + sys.argv[2])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "store"), str(number)], env=environment)
        for number in range(4)
    ]
    assert [process.wait(timeout=30) for process in running] == [0] * 4
    with lamina.open(tmp_path / "store", embedder="none") as store:
        assert sorted(memory.text for memory in store.memories.list()) == [f"from {number}" for number in range(4)]
        assert store.verify("full").ok
