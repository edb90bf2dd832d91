"""A thousand memories in one index, and two processes that add to one at once: nothing is lost or cut silently."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lamina
from lamina import Store
from lamina.folder.index import Index

_SOURCE = str(Path(__file__).resolve().parents[2] / "src")
MANY = 1_000
LINES, BYTES = 200, 25_000


def pointers(folder: Path) -> list[str]:
    """The targets of every pointer of an index and its overflow, in order, doubled ones twice."""
    found: list[str] = []
    for name in ("MEMORY.md", "MEMORY.more.md"):
        if (folder / name).exists():
            found += [pointer.target for pointer in Index.parse((folder / name).read_bytes()).pointers]
    return found


def files(folder: Path) -> list[str]:
    """The memory files of a folder, by name."""
    return sorted(path.name for path in folder.glob("*.md") if not path.name.startswith("MEMORY"))


def within_limits(folder: Path) -> bool:
    """Whether the index keeps to both limits."""
    data = (folder / "MEMORY.md").read_bytes()
    return data.count(b"\n") <= LINES and len(data) <= BYTES


def complaints(store: Store, scope: str) -> list[str]:
    """What an audit of an index finds, but that it is nearly full."""
    found = [problem.code for problem in store.memories.check_index(scope).problems]
    return [code for code in found if code != "index-near-limit"]


def check(folder: Path, ids: dict[str, str]) -> None:
    """The index fits, every file has its one pointer, and the index says how many it does not hold."""
    assert within_limits(folder)
    named = pointers(folder)
    assert sorted(named) == files(folder) == sorted(ids)
    index = Index.parse((folder / "MEMORY.md").read_bytes())
    over = len(named) - len(index.pointers)
    assert len(index.more) == (1 if over else 0)
    assert all(f"{over:,} more memor" in more.title for more in index.more)


@pytest.mark.timeout(120)  # a thousand adds are four thousand fsyncs where the disk is slow and shared
def test_a_thousand_memories_one_by_one(tmp_path: Path) -> None:
    """MEMORY.md keeps to both limits throughout; it and its overflow name each file once; all are there at the end."""
    ids: dict[str, str] = {}
    told = 0
    with lamina.open(tmp_path, durability="relaxed", embedder="none") as store:
        for number in range(MANY):
            added = store.memories.add(
                f"Decision {number}: shelf {number % 37} holds the parts of machine {number}. It was measured twice.",
                title=f"Shelf of machine {number}",
                type=("project", "reference", "feedback", "user")[number % 4],
            )
            assert added.path is not None
            ids[added.path] = added.id
            told += bool(added.notices)
            if number % 50 == 49:
                check(tmp_path, ids)
        check(tmp_path, ids)
        view = store.memories.index_view()
        assert (view.left_out, view.text) == ((), (tmp_path / "MEMORY.md").read_text(encoding="utf-8"))
        assert complaints(store, "private") == []
    assert len(ids) == MANY
    assert told >= MANY - LINES  # each that finds the index near its limits says so

    with lamina.open(tmp_path, durability="relaxed", embedder="none") as store:
        assert store.synced is not None
        assert (store.synced.files, store.synced.opened, store.synced.total) == (MANY, 0, 0)
        assert {memory.path: memory.id for memory in store.memories.list(limit=None)} == ids
        for number in (0, 1, 499, 998, 999):
            hits = store.memories.recall(f"Where are the parts of machine {number}?", limit=3)
            assert f"Shelf of machine {number}" in [hit.memory.title for hit in hits]


_ADDER = """
import sys, time
import lamina
place, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with lamina.open(place, embedder="none") as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        store.memories.add(f"{name} wrote down fact {number}.", title=f"Fact {number}", type="project", scope="team")
print("done", flush=True)
"""


def add_at_once(place: Path, count: int, timeout: float) -> None:
    """Two fresh processes add ``count`` memories each to ``team``, beginning together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ADDER, str(place), name, str(count)],
            env={**os.environ, "PYTHONPATH": _SOURCE, "LAMINA_BUSY_TIMEOUT": "60"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("Ana", "Bo")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            out, _ = process.communicate(timeout=timeout)
            assert (process.returncode, out) == (0, "done\n")
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


def none_lost(place: Path, count: int) -> None:
    """Files, pointers, rows and texts of both writers are all there, each once."""
    team = place / "team"
    assert len(files(team)) == 2 * count
    assert sorted(pointers(team)) == files(team)
    assert within_limits(team)
    with lamina.open(place, embedder="none") as store:
        memories = store.memories.list(scope="team", limit=None)
        assert sorted(memory.path or "" for memory in memories) == [f"team/{name}" for name in files(team)]
        assert len({memory.id for memory in memories}) == 2 * count
        said = sorted(memory.text.strip() for memory in memories)
        assert said == sorted(f"{name} wrote down fact {n}." for name in ("Ana", "Bo") for n in range(count))
        assert complaints(store, "team") == []
        assert store.verify("full").ok


def test_two_processes_add_to_one_index(tmp_path: Path) -> None:
    """40 memories each, of the same titles, at once: 80 files, 80 pointers, no line lost."""
    prepared(tmp_path).close()
    add_at_once(tmp_path, 40, timeout=50)
    none_lost(tmp_path, 40)
    index = (tmp_path / "team" / "MEMORY.md").read_text(encoding="utf-8")
    assert index.startswith("# Ours\n\nRead this first.\n")
    assert re.search(r"^- \[Fact 0\]\(project_fact_0_2\.md\)", index, re.MULTILINE)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_two_processes_fill_one_index(tmp_path: Path) -> None:
    """200 memories each at once: 400 files, 400 pointers in the index and its overflow, no line lost."""
    prepared(tmp_path).close()
    add_at_once(tmp_path, 200, timeout=500)
    none_lost(tmp_path, 200)


def prepared(place: Path) -> Store:
    """A store whose team has an index that people began."""
    (place / "team").mkdir()
    (place / "team" / "MEMORY.md").write_text("# Ours\n\nRead this first.\n\n", encoding="utf-8")
    return lamina.open(place, embedder="none")
