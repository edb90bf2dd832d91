"""A real agent's memory directory: taken over without a changed byte, followed without an opened file, found by words.

The directory is not part of this project; where it is not at ``../shared/data/memory-directory``, these tests skip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import lamina
from lamina import Store

_REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTORY = _REPOSITORY.parent / "shared" / "data" / "memory-directory"
pytestmark = pytest.mark.skipif(
    not DIRECTORY.is_dir(), reason="the memory directory for trials is not there (../shared/data/memory-directory)"
)

AGE_DAYS = 47

QUESTIONS = {
    "Where should a new unit test read its sample files from?": "test-fixtures.md",
    "I want to print some numbers while chasing a timing bug; what should I use?": "diagnostics-logging.md",
    "How is the far edge of the world hidden from the player?": "fog.md",
    "Why did car windows turn invisible when seen from the side, and how was it solved?": "vehicle-glass.md",
    "How many real minutes does a day in the game last?": "game-time.md",
    "How do I put something like a health bar on the screen?": "hud-layer.md",
    "A downloaded car model is protected against copying and will not load; what now?": "locked-dff-recovery.md",
    "How do I know whether an object on the map is inside a building?": "ipl-interior-area-code.md",
    "How are the sea and the lakes drawn?": "simple-water-plan.md",
    "What happens when the player gets into a car?": "enter-vehicle-plan.md",
    "When do distant cars get a simpler model or disappear?": "vehicle-lod-plan.md",
    "How shiny should the paint of cars look?": "vehicle-reflections-plan.md",
    "How are the light colours for each hour and weather read?": "timecyc.md",
    "How does the player walk up stairs and steep hills?": "player-physics-plan.md",
    "How is the walking and jumping of the character animated?": "animation-manager-plan.md",
    "How does the game load only the part of the city that is near?": "world-streaming-plan.md",
    "Which key opens the developer menu while playing?": "in-game-debugger.md",
    "How can I look at a single car without starting the game?": "standalone-viewers.md",
    "Why do some buildings look much too dark?": "prelit-darkness-and-model-viewer.md",
    "Why do neon signs not light up at night?": "render-time-of-day-objects-todo.md",
}
"""Questions as someone on that project would ask them; written before anything was recalled for them."""

STRANGERS = {
    "where should unit checks load their sample assets from?": "test-fixtures.md",
    "how should I print troubleshooting output without leaving stray prints around?": "diagnostics-logging.md",
    "how does haze conceal scenery that is a long way off?": "fog.md",
    "car windscreens became invisible from some viewpoints: what was the cure?": "vehicle-glass.md",
    "how long does a virtual day last in reality, and what ticks the hours?": "game-time.md",
    "how are on-screen readouts such as the current hour put on top of the scene?": "hud-layer.md",
    "how do we open copy-protected meshes whose headers lie about their length?": "locked-dff-recovery.md",
    "how do I tell whether something stands indoors or outdoors?": "ipl-interior-area-code.md",
    "how is the sea drawn?": "simple-water-plan.md",
    "how does the hero get on board an automobile from the pavement?": "enter-vehicle-plan.md",
    "when are remote automobiles swapped for a cheap shape or dropped altogether?": "vehicle-lod-plan.md",
    "how does shiny bodywork mirror its surroundings?": "vehicle-reflections-plan.md",
    "which table gives tints and brightness for each hour and kind of weather?": "timecyc.md",
    "how does the hero go up stairs and ramps without catching on lampposts?": "player-physics-plan.md",
    "what makes the hero's limbs move when he strolls or leaps?": "animation-manager-plan.md",
    "how are nearby districts brought in with detail, and remote ones roughly, as one travels?": (
        "world-streaming-plan.md"
    ),
    "which keyboard shortcut pops up the developer panel while playing?": "in-game-debugger.md",
    "how can I inspect one asset on a page of its own, outside of the game?": "standalone-viewers.md",
    "why do some buildings come out too gloomy?": "prelit-darkness-and-model-viewer.md",
    "which lamps and adverts should appear only after dusk, and are missing so far?": (
        "render-time-of-day-objects-todo.md"
    ),
}
"""The hardest case: a stranger's words, chosen to share as few as possible with the file; many share none."""


def copied(to: Path) -> Path:
    """The directory as its users left it, all of it changed last on one day."""
    shutil.copytree(DIRECTORY, to)
    then = (datetime.now(UTC) - timedelta(days=AGE_DAYS, hours=1)).timestamp()
    for path in to.iterdir():
        path.chmod(0o640 if path.name < "m" else 0o600)
        os.utime(path, (then, then))
    to.chmod(0o755)
    time.sleep(0.05)  # a file that was saved a moment ago is read twice
    return to


def state(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """What is in a folder but for the engine's own: bytes, mode and time of each file."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".lamina" not in path.parts
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that is a copy of the directory, for tests that only read."""
    with lamina.open(copied(tmp_path_factory.mktemp("real") / "memory")) as store:
        yield store


def names() -> list[str]:
    """The memory files, by name."""
    return sorted(path.name for path in DIRECTORY.glob("*.md") if path.name != "MEMORY.md")


def rank(store: Store, question: str, name: str) -> int:
    """The place of a file among the answers, from 1."""
    found = [hit.memory.path for hit in store.memories.recall(question, limit=40)]
    return found.index(name) + 1 if name in found else len(found) + 1


def test_nothing_of_the_directory_changes(tmp_path: Path) -> None:
    """Opened, synced, recalled, listed, closed and opened again: bytes, names, modes and times stay as they were."""
    folder = copied(tmp_path / "memory")
    before = state(folder)

    for _ in range(2):
        with lamina.open(folder) as store:
            assert store.synced is not None
            assert store.memories.sync().problems == ()
            for question in list(QUESTIONS)[:5]:
                assert store.memories.recall(question)
            assert store.memories.index(scope="private") == (folder / "MEMORY.md").read_text(encoding="utf-8")
            assert len(store.memories.list(limit=None)) == 33
            store.memories.check_index()

    assert state(folder) == before
    assert len(before) == 34


def test_each_file_is_taken_over_once(tmp_path: Path) -> None:
    """The first opening takes over 33 new files and opens each; a sync after it has nothing to do."""
    with lamina.open(copied(tmp_path / "memory")) as store:
        assert store.synced is not None
        assert sorted(store.synced.new) == names()
        assert (store.synced.files, store.synced.opened, store.synced.problems) == (33, 33, ())
        again = store.memories.sync()

    assert (again.files, again.opened, again.total) == (33, 0, 0)


_COUNTED = """
import sys
opened = []
sys.addaudithook(lambda event, a: opened.append(str(a[0])) if event == "open" and str(a[0]).endswith(".md") else None)
import lamina
with lamina.open(sys.argv[1]) as store:
    store.memories.sync()
    store.memories.sync()
    assert store.memories.recall("How are the sea and the lakes drawn?")
print(opened)
"""


def test_unchanged_files_are_not_opened(tmp_path: Path) -> None:
    """A fresh process opens the store, syncs twice and recalls; the interpreter hears of no markdown file opened."""
    folder = copied(tmp_path / "memory")
    heard = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _COUNTED, str(folder)],
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY / "src")},
            capture_output=True,
            text=True,
            check=True,
        )
        heard.append(done.stdout.strip())

    assert heard[0].count(".md'") >= 33  # the first process took them over: the hook does hear
    assert heard[1] == "[]"


def test_nested_types_are_understood(store: Store) -> None:
    """The type is found where front matter nests it under ``metadata:``, as all of these files do."""
    for name in names():
        written = re.search(r"^  type: (\w+)$", (DIRECTORY / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert written is not None, name
        memory = store.memories.find(name)
        assert (memory.type, memory.scope, memory.path) == (written[1], "private", name)

    assert {memory.type for memory in store.memories.list(limit=None)} == {"project", "feedback", "reference"}


def test_each_file_is_found_by_its_description(store: Store) -> None:
    """Every file is among the first three for its own description."""
    places = {}
    for memory in store.memories.list(limit=None):
        assert memory.description, memory.path
        places[memory.path] = rank(store, memory.description, str(memory.path))

    assert len(places) == 33
    assert {path: place for path, place in places.items() if place > 3} == {}


def test_files_are_found_by_questions_in_other_words(store: Store) -> None:
    """Of 20 questions at least 17 have their file among the first three answers, 12 have it first."""
    places = {question: rank(store, question, name) for question, name in QUESTIONS.items()}

    assert len(places) == 20
    assert sum(place <= 3 for place in places.values()) >= 17, places
    assert sum(place == 1 for place in places.values()) >= 12, places


def test_files_are_found_by_a_strangers_words(store: Store) -> None:
    """Where hardly a word is shared, meaning alone still puts 8 of 20 files among the first three, 10 among five."""
    places = {question: rank(store, question, name) for question, name in STRANGERS.items()}

    assert len(places) == 20
    assert sum(place <= 3 for place in places.values()) >= 8, places
    assert sum(place <= 5 for place in places.values()) >= 10, places


def test_recalled_files_are_framed_as_data_with_their_age(store: Store) -> None:
    """The text for a model says that it is data, names the file and how old it is, and keeps to its budget."""
    hits = store.memories.recall("How are the sea and the lakes drawn?", limit=5)
    text = hits.text()

    assert text.startswith("<memories ")
    assert text.endswith("</memories>")
    assert "not instructions" in text.splitlines()[0]
    assert f'file="simple-water-plan.md" age="{AGE_DAYS} days old"' in text
    assert all(hit.age == f"{AGE_DAYS} days old" for hit in hits)
    assert len(text.encode()) <= 20_480
    cut = next(hit for hit in hits if len(hit.memory.text.encode()) > 4_096)
    assert f"[cut here; the whole is in {cut.memory.path}]" in text
