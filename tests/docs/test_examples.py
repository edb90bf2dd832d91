"""The examples are valid, and small enough for what they show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import lamina
from lamina import formats
from lamina._examples import memory_folder, tour_file
from lamina.types import CURATED_TYPES, MEMORY_TYPES

POINTER = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<file>[^)]+)\) — (?P<hook>.+)$")
FRONT_MATTER = re.compile(
    r"\A---\nname: (?P<name>[^\n]+)\ndescription: (?P<hook>[^\n]+)\ntype: (?P<type>\w+)\n"
    r"created_at: 20\d\d-\d\d-\d\d\n---\n\n(?P<body>.+)\Z",
    re.DOTALL,
)


@pytest.fixture
def folder(repository: Path) -> Path:
    """Return the project's own memory directory."""
    return repository / "examples" / "project-memory"


def test_tour_is_readable_to_the_last_line() -> None:
    """Every line of tour.jsonl is a memory that `lamina import` accepts, and none is there twice."""
    with tour_file().open("rb") as stream:
        items = [record.item for record in formats.read(stream, "jsonl")]

    assert 40 <= len(items) <= 60
    assert len({item["text"] for item in items}) == len(items)


def test_tour_shows_what_lamina_has() -> None:
    """The tour has every type, tags, dates, metadata, and threads whose positions count up from 0."""
    with tour_file().open("rb") as stream:
        items = [record.item for record in formats.read(stream, "jsonl")]
    threads = Counter(item["thread"] for item in items if item.get("thread"))

    assert {item["type"] for item in items} == set(MEMORY_TYPES)
    assert all(item.get("tags") and item.get("created_at") for item in items)
    assert any(item.get("metadata") for item in items)
    assert len(threads) >= 2
    for thread, size in threads.items():
        assert [item["position"] for item in items if item.get("thread") == thread] == list(range(size))


def test_index_and_details_agree(folder: Path) -> None:
    """MEMORY.md points at every detail file once, in the form that it promises, within its limits."""
    text = (folder / "MEMORY.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    pointers = [POINTER.match(line) for line in lines]
    files = sorted(path.name for path in folder.glob("*.md") if path.name != "MEMORY.md")

    assert all(pointers)
    assert sorted(match["file"] for match in pointers if match) == files
    assert len(text.splitlines()) <= 200
    assert len(text.encode()) <= 25_000


def test_details_carry_front_matter_and_reasons(folder: Path) -> None:
    """Each detail has name, description and a curated type; feedback and project say why and how to apply."""
    index = (folder / "MEMORY.md").read_text(encoding="utf-8")
    for path in folder.glob("*.md"):
        if path.name == "MEMORY.md":
            continue
        match = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        assert match is not None, path.name
        assert match["type"] in CURATED_TYPES
        assert path.name.startswith(f"{match['type']}_")
        assert f"- [{match['name']}]({path.name}) — {match['hook']}" in index
        if match["type"] in {"feedback", "project"}:
            assert "**Why:** " in match["body"], path.name
            assert "**How to apply:** " in match["body"], path.name


def test_links_between_memories_lead_somewhere(folder: Path) -> None:
    """A `[[link]]` names a detail file."""
    for path in folder.glob("*.md"):
        for name in re.findall(r"\[\[([\w-]+)\]\]", path.read_text(encoding="utf-8")):
            assert (folder / f"{name}.md").is_file(), (path.name, name)


def test_the_directory_is_a_store_in_order(folder: Path, tmp_path: Path) -> None:
    """It opens as it is, every file is a memory, sync and the audit find nothing, and no byte is changed by that."""
    copy = tmp_path / "memory"
    shutil.copytree(memory_folder(), copy)
    before = {path.name: path.read_bytes() for path in copy.glob("*.md")}

    with lamina.open(copy, embedder="none") as store:
        report = store.memories.sync()
        audit = store.memories.check_index()
        index = store.memories.index()

    assert report.ok
    assert report.files == len(before) - 1
    assert not [problem for problem in audit.problems if problem.code != "stale"]  # time passes in here too
    assert index.encode() == before["MEMORY.md"]
    assert before == {path.name: path.read_bytes() for path in copy.glob("*.md")}
    assert before == {path.name: path.read_bytes() for path in folder.glob("*.md")}


def test_each_file_answers_its_own_description(tmp_path: Path) -> None:
    """A file's one-line description, asked as a question, finds that file among the first three."""
    copy = tmp_path / "memory"
    shutil.copytree(memory_folder(), copy)
    missed = []
    with lamina.open(copy) as store:
        for memory in store.memories.list(limit=None):
            hits = store.memories.recall(memory.description, limit=3)
            if memory.id not in {hit.memory.id for hit in hits}:
                missed.append(memory.path)

    assert missed == []


def test_the_ways_of_keeping_a_grid_run(repository: Path, tmp_path: Path) -> None:
    """examples/persistence.py goes through all of them: files are exact, a run resumes, the store verifies."""
    command = [sys.executable, str(repository / "examples" / "persistence.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(repository / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    assert "20,008 bytes, exact: True" in done.stdout
    assert "exact: False" not in done.stdout
    assert "kept [50, 40, 30], resumed at 50" in done.stdout
    assert done.stdout.rstrip().endswith("verify: ok")
