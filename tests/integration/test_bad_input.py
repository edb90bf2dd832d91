"""What can go wrong outside, one test a line: each is one error of ours that says what to do, and nothing is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

import lamina
from lamina import (
    CorruptionError,
    DiskFullError,
    FormatError,
    InvalidInputError,
    LaminaError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
)

TEXTS = [f"Note {number} says that the pelican of house {number} sleeps in the harbour." for number in range(60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with sixty memories, closed."""
    with lamina.open(tmp_path / "store") as store:
        store.memories.add_many(TEXTS)
    return tmp_path / "store"


def check_whole(folder: Path, more: int = 0) -> None:
    """Open the store and look that every memory is there, can be found and verifies."""
    with lamina.open(folder) as store:
        held = {memory.text for memory in store.memories.list(limit=None)}
        assert set(TEXTS) <= held
        assert len(TEXTS) + more == len(held)
        assert store.memories.recall("the pelican of house 17")[0].memory.text == TEXTS[17]
        assert store.verify("full").ok


def told(error: LaminaError) -> LaminaError:
    """Look that an error has all that a reader needs, and that it prints as JSON."""
    assert error.message
    assert error.hint
    printed = json.loads(json.dumps(error.to_dict()))
    assert {"code", "message", "hint"} <= set(printed)
    return error


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start code in a fresh interpreter that has the same Lamina."""
    environment = {**os.environ, "PYTHONPATH": str(Path(lamina.__file__).parents[1])}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.mark.parametrize(
    "values",
    [
        {"text": ""},
        {"text": " \n "},
        {"text": "x" * 10_000_001},
        {"text": "a lone \ud800"},
        {"text": "x", "vector": [float("nan")] * 256},
        {"text": "x", "vector": [1.0, 2.0]},
        {"text": "x", "type": "thought"},
        {"text": "x", "scope": "no such name!"},
    ],
    ids=["empty", "blank", "huge", "surrogate", "nan", "dimension", "type", "scope"],
)
def test_bad_values(folder: Path, values: dict[str, Any]) -> None:
    """Empty or huge text, lone surrogates, bad vectors, unknown types and scopes are refused, nothing is written."""
    with lamina.open(folder) as store:
        for call in (lambda: store.memories.add(**values), lambda: store.memories.add_many([values])):
            with pytest.raises(InvalidInputError) as caught:
                call()
            told(caught.value)
    check_whole(folder)


def test_an_unknown_id(folder: Path) -> None:
    """An id that nothing has is not found."""
    with lamina.open(folder) as store, pytest.raises(NotFoundError) as caught:
        store.memories.get("0000000000000000zz")
    assert "0000000000000000zz" == told(caught.value).details["id"]


def test_a_missing_folder(tmp_path: Path) -> None:
    """A store that is not there is not found, and is not made on the way."""
    with pytest.raises(NotFoundError) as caught:
        lamina.open(tmp_path / "nowhere", create=False)
    told(caught.value)
    with pytest.raises(NotFoundError) as caught:
        lamina.repair(tmp_path / "nowhere")
    told(caught.value)
    assert [] == list(tmp_path.iterdir())


READ = """
import os, sys
import lamina

with lamina.open(sys.argv[2], embedder="none") as other:  # loads what somebody else may not read
    other.memories.add("x")
    other.memories.recall("x")
os.environ["XDG_CONFIG_HOME"] = "/nowhere"
if os.geteuid() == 0:  # root may write anywhere, so the reader has to be somebody else
    os.setgid(65534)
    os.setuid(65534)
try:
    store = lamina.open(sys.argv[1], embedder="none")
    assert 60 == store.memories.count()
    assert store.memories.recall("pelican of house 17")[0].memory.text.startswith("Note 17 ")
    store.memories.add("x")
except lamina.LaminaError as error:
    print(type(error).__name__, bool(error.hint), error)
"""


def test_a_folder_that_may_only_be_read(folder: Path) -> None:
    """Without the right to write, reading works, writing is one error of ours, and no file is left behind."""
    inside = [folder, *folder.rglob("*")]
    above = [parent for parent in folder.parents if parent.stat().st_uid == os.geteuid() and parent.name][:-1]
    modes = [(path, path.stat().st_mode & 0o7777) for path in (*inside, *above)]
    before = sorted(path.name for path in (folder / ".lamina").iterdir())
    try:
        for parent in above:
            parent.chmod(parent.stat().st_mode | 0o055)
        for path in inside:
            path.chmod(0o555 if path.is_dir() else 0o444)
        output, errors = python(READ, folder, folder.with_name("other")).communicate(timeout=50)
    finally:
        for path, mode in modes:
            path.chmod(mode)
    assert "" == errors
    assert ["ReadOnlyError", "True"] == output.split()[:2], output
    assert before == sorted(path.name for path in (folder / ".lamina").iterdir())
    check_whole(folder)


FULL = """
import resource, signal, sys
import lamina

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = lamina.open(sys.argv[1], embedder="none")
added = 0
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    for number in range(1000):
        store.memories.add(f"more {number} " + "x" * 2000)
        added += 1
except lamina.LaminaError as error:
    print(type(error).__name__, bool(error.hint), added)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    assert 60 + added == store.memories.count()
    store.close()
except lamina.ClosedError:
    pass
"""


@pytest.mark.parametrize("limit", [100_000, 1_000_000])
def test_a_full_disk(folder: Path, limit: int) -> None:
    """Where nothing more fits, the write is one error of ours; what was acknowledged is there, later writes work."""
    output, errors = python(FULL, folder, limit).communicate(timeout=50)
    assert "" == errors
    name, hint, added = output.split()
    assert name in {"DiskFullError", "StorageError"}
    assert issubclass(getattr(lamina, name), (DiskFullError, StorageError))
    assert "True" == hint
    check_whole(folder, more=int(added))
    with lamina.open(folder) as store:
        store.memories.add("there is room again")
    check_whole(folder, more=int(added) + 1)


@pytest.mark.parametrize("options", [{}, {"read_only": True}])
def test_a_store_of_a_newer_format(folder: Path, options: dict[str, Any]) -> None:
    """A store that needs a later version says so; nothing in it changes."""
    catalog = folder / ".lamina" / "catalog.db"
    db = apsw.Connection(str(catalog))
    held = db.execute("SELECT value FROM meta WHERE key = 'reader_features'").get
    db.execute("UPDATE meta SET value = '[\"from-the-future\"]' WHERE key = 'reader_features'")
    db.close()
    with pytest.raises(FormatError) as caught:
        lamina.open(folder, **options)
    told(caught.value)
    db = apsw.Connection(str(catalog))
    db.execute("UPDATE meta SET value = ? WHERE key = 'reader_features'", (held,))
    db.close()
    check_whole(folder)


LOCK = """
import sys, apsw
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


def test_a_locked_store(folder: Path) -> None:
    """While another process keeps writing, reading goes on, a write is refused in time, and works afterwards."""
    (folder / "lamina.toml").write_text("busy_timeout = 0.2\n")
    other = python(LOCK, folder / ".lamina" / "catalog.db")
    assert other.stdout
    assert "locked\n" == other.stdout.readline()
    with lamina.open(folder) as store:
        assert 60 == store.memories.count()
        assert store.memories.recall("pelican of house 17")
        for call in (
            lambda: store.memories.add("x"),
            lambda: store.memories.add_many(["x"]),
            lambda: store.memories.update(store.memories.list(limit=1)[0].id, title="T"),
            lambda: store.memories.delete(store.memories.list(limit=1)[0].id),
        ):
            with pytest.raises(LockedError) as caught:
                call()
            told(caught.value)
        other.communicate("done\n", timeout=20)
        memory = store.memories.add("free again")
        store.memories.delete(memory.id, purge=True)
    check_whole(folder)


def test_a_network_file_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks cannot be trusted nothing is opened for writing."""
    monkeypatch.setattr("lamina.fs.filesystem_of", lambda path: "nfs")
    with pytest.raises(StorageError) as caught:
        lamina.open(folder)
    told(caught.value)
    monkeypatch.undo()
    check_whole(folder)


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "foreign", "a file"])
def test_a_corrupted_search_folder(folder: Path, harm: str) -> None:
    """Whatever happens to what is derived, opening works, recall answers, and writing goes on."""
    search = folder / ".lamina" / "search"
    search.mkdir(exist_ok=True)
    cache = search / "embeddings.db"
    if not cache.exists():
        cache.write_bytes(b"SQLite format 3\0" + bytes(4080))
    if harm == "gone":
        shutil.rmtree(search)
    elif harm == "a file":
        shutil.rmtree(search)
        search.write_bytes(b"not a folder")
    elif harm == "cut":
        cache.write_bytes(cache.read_bytes()[:100])
    elif harm == "flipped":
        cache.write_bytes(bytes(byte ^ 0x5A for byte in cache.read_bytes()))
    else:
        (search / "unknown.bin").write_bytes(os.urandom(1000))
    with lamina.open(folder) as store:
        assert store.memories.recall("the pelican of house 17")[0].memory.text == TEXTS[17]
        memory = store.memories.add("another one")
        store.memories.delete(memory.id)
        assert store.verify("full").ok
    check_whole(folder)


@pytest.mark.parametrize("seed", range(12))
def test_a_corrupted_catalog_page(folder: Path, seed: int) -> None:
    """With a page damaged each answer is right or our error; repair keeps what is intact and names the rest."""
    catalog = folder / ".lamina" / "catalog.db"
    content = bytearray(catalog.read_bytes())
    chance = random.Random(seed)
    page = chance.randrange(1, len(content) // 4096) * 4096
    for place in chance.sample(range(page, page + 4096), 64 if seed % 2 else 4096):
        content[place] = chance.randrange(256)
    catalog.write_bytes(content)
    try:
        with lamina.open(folder) as store:
            m = store.memories
            calls: tuple[Callable[[], Any], ...] = (
                lambda: {memory.text for memory in m.list(limit=None)},
                lambda: {hit.memory.text for hit in m.recall("pelican house 17", limit=60)},
                lambda: {hit.memory.text for hit in m.recall("pelican", mode="text")},
                lambda: store.verify("full").ok and set(),
            )
            for call in calls:
                try:
                    assert set(call() or ()) <= set(TEXTS)
                except LaminaError as error:
                    told(error)
                    assert isinstance(error, CorruptionError), repr(error)  # noqa: PT017 - most pages raise nothing
    except LaminaError as error:
        told(error)
        assert isinstance(error, (CorruptionError, FormatError)), repr(error)  # noqa: PT017 - as above
    report = lamina.repair(folder)
    with lamina.open(folder) as store:
        kept = {memory.text for memory in store.memories.list(limit=None)}
        assert kept <= set(TEXTS)
        assert len(kept) == 60 or report.lost
        assert store.verify("full").ok
        if kept:
            assert store.memories.recall("pelican")
        store.memories.add("life goes on")


def test_a_catalog_that_is_none(folder: Path) -> None:
    """A catalog that is cut to nothing, or is another file, is told as what it is, and is left as it is."""
    catalog = folder / ".lamina" / "catalog.db"
    for content in (b"", b"not a database, but long enough to be looked at " * 200):
        catalog.write_bytes(content)
        for read_only in (False, True):
            with pytest.raises((CorruptionError, FormatError, ReadOnlyError)) as caught:
                lamina.open(folder, read_only=read_only)
            told(caught.value)
        assert content == catalog.read_bytes()
