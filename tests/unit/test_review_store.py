"""The store as a whole: narrowed handles, places that cannot be used, forks, whose folder it is, who may read it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina import Store
from lamina.config import damaged_copies, find_store, load_settings
from lamina.errors import InvalidInputError, ReadOnlyError
from lamina.testing import TinyEmbedder


class Dear(TinyEmbedder):
    """An embedder whose vectors are worth keeping."""

    cheap = False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store with two scopes, the other one's the younger and longer."""
    place = tmp_path / "store"
    with lamina.open(place, embedder=TinyEmbedder(), durability="relaxed") as store:
        store.memories.add("Mine alone.")
        old = store.memories.add("The team's.", scope="team")
        store.memories.update(old.id, text="The team's, and long. " * 200)
    with lamina.open(place, embedder="none", durability="relaxed") as store:
        store.memories.add("The team's, without a vector.", scope="team")
    return place


# --- narrowed handles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        lambda store, _: store.verify(),
        lambda store, _: store.repair(),
        lambda store, _: store.reindex(),
        lambda store, _: store.optimize(),
        lambda store, _: store.gc(dry_run=True),
        lambda store, place: store.backup(place / "copy"),
    ],
    ids=["verify", "repair", "reindex", "optimize", "gc", "backup"],
)
def test_upkeep_needs_the_whole_store(folder: Path, tmp_path: Path, act: Callable[[Store, Path], object]) -> None:
    """A handle that sees some scopes may not copy, change or report on the others by way of upkeep."""
    with (
        lamina.open(folder, embedder="none", scopes=["private", "user/alice"]) as store,
        pytest.raises(ReadOnlyError, match="private, user/alice") as caught,
    ):
        act(store, tmp_path)
    assert "whole store" in caught.value.hint
    assert not (tmp_path / "copy").exists()


def test_stats_of_a_narrowed_handle(folder: Path) -> None:
    """Every number is of what the handle may see: with one scope alone in a store the numbers are the same."""
    alone = folder.parent / "alone"
    with lamina.open(alone, embedder=TinyEmbedder()) as store:
        store.memories.add("Mine alone.")
        expected = store.stats()
    names = ("memories", "by_scope", "by_type", "passages", "vectors", "vectors_waiting", "history", "text_bytes")
    with lamina.open(folder, embedder="none", scopes=["private"]) as store:
        mine = store.stats()
        mine_alone = store.memories.list()[0]
    with lamina.open(folder, embedder="none", scopes=["nobody"]) as store:
        nothing = store.stats()
    with lamina.open(folder, embedder="none") as store:
        whole = store.stats()

    assert {name: expected[name] for name in names} == {name: mine[name] for name in names}
    assert mine_alone.updated_at.isoformat() == mine["last_write"]
    assert None is mine["bytes_on_disk"]
    assert {0} == {nothing[name] for name in names if isinstance(nothing[name], int)}
    assert None is nothing["last_write"]
    assert (3, 1, 1) == (whole["memories"], whole["history"], whole["vectors_waiting"])
    assert whole["bytes_on_disk"]["total"] > 0


# --- places ----------------------------------------------------------------------------------------------------------


_UNREADABLE = """
import json, os, sys
from pathlib import Path
import lamina
from lamina.maintain.doctor import check_settings, free_bytes

base = Path(sys.argv[1])
os.environ["XDG_CONFIG_HOME"] = str(base / "no-settings")
with lamina.open(base / "warm", embedder="none") as store:  # loads what another user may not be able to
    store.memories.add("x")
    store.backup(base / "copy")
lamina.repair(base / "warm")
if os.geteuid() == 0:
    os.seteuid(65534)
told = {}

def tell(name, act):
    try:
        act()
        told[name] = "nothing"
    except lamina.LaminaError as error:
        told[name] = [error.code, bool(error.hint)]
    except BaseException as error:
        told[name] = repr(error)

def opened(**options):
    with lamina.open(embedder="none", **options):
        pass

tell("open", lambda: opened(location=base / "locked-engine"))
tell("read only", lambda: opened(location=base / "locked-engine", read_only=True))
tell("below", lambda: opened(location=base / "locked" / "store"))
tell("repair", lambda: lamina.repair(base / "locked-engine"))
tell("repair below", lambda: lamina.repair(base / "locked" / "store"))
tell("doctor", lambda: list(check_settings(base / "locked" / "store", "named")))
tell("free", lambda: free_bytes(base / "locked" / "store"))
def backed_up():
    with lamina.open(base / "free", embedder="none") as store:
        store.memories.add("x")
        store.backup(base / "locked" / "copy")
tell("backup", backed_up)
os.environ["XDG_CONFIG_HOME"] = str(base / "locked")
tell("config", lambda: opened(location=base / "free"))
print(json.dumps(told))
"""


def run(script: str, *arguments: str) -> Any:
    """Run a script in an interpreter of its own and return the document that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that another user may use, too."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o777)
        locked = [base / "locked", base / "locked-engine" / ".lamina"]
        for folder in locked:
            folder.mkdir(parents=True)
            folder.chmod(0)
        yield base
        for folder in locked:
            folder.chmod(0o700)


def test_folders_that_may_not_be_entered(place: Path) -> None:
    """Whatever is asked of a place that may not be entered, the answer is one of our errors with what to do."""
    told = run(_UNREADABLE, str(place))
    looks = {name: told.pop(name) for name in ("doctor", "free")}
    assert {"doctor": "nothing", "free": "nothing"} == looks
    assert ["invalid-input", True] == told.pop("config")
    assert {name: ["read-only", True] for name in told} == told


def test_a_settings_file_that_may_not_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no file can have, and one below a file, are no settings; a circle of links is told."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAMINA_CONFIG", str(tmp_path / "file" / "config.toml"))
    assert "full" == load_settings(tmp_path).durability
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    monkeypatch.setenv("LAMINA_CONFIG", str(tmp_path / "circle"))
    with pytest.raises(InvalidInputError, match="circle"):
        load_settings(tmp_path)


# --- settings --------------------------------------------------------------------------------------------------------


def test_a_stores_own_settings_do_not_lower_durability(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lamina.toml that asks for relaxed is passed over and says so; the user's settings and arguments may ask."""
    (folder / "lamina.toml").write_text('durability = "relaxed"\n')
    with lamina.open(folder, embedder="none") as store:
        assert "full" == store.stats()["durability"]
        assert any("durability" in notice for notice in store.notices)
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        assert "relaxed" == store.stats()["durability"]
    (tmp_path / "config.toml").write_text('durability = "relaxed"\n')
    monkeypatch.setenv("LAMINA_CONFIG", str(tmp_path / "config.toml"))
    assert "relaxed" == load_settings(folder).durability
    monkeypatch.setenv("LAMINA_DURABILITY", "full")
    assert "full" == load_settings(folder).durability


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("mark", [".lamina", "lamina.toml", "link"])
def test_a_planted_store_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    """A store of another user in a folder above catches nobody's memories; the search goes on and says so."""
    mine, planted = tmp_path / "mine", tmp_path / "mine" / "all-may-write"
    here = planted / "work"
    here.mkdir(parents=True)
    (mine / ".lamina").mkdir()
    if mark == "link":  # to a folder of the user's own, so that only the link is foreign
        (planted / ".lamina").symlink_to(mine / ".lamina")
    elif mark == ".lamina":
        (planted / mark).mkdir()
    else:
        (planted / mark).write_text("")
    os.chown(planted / (".lamina" if mark == "link" else mark), 12345, 12345, follow_symlinks=False)
    monkeypatch.chdir(here)

    found, reason = find_store()

    assert mine == found
    assert f"passed over what belongs to another user in {planted}" in reason
    monkeypatch.setenv("LAMINA_STORE", str(planted))
    assert planted == find_store()[0]


def test_the_nearest_store_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a store of one's own that store is found, and nothing is said of others."""
    (tmp_path / ".lamina").mkdir()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    found, reason = find_store()
    assert tmp_path == found
    assert "passed over" not in reason


# --- forks -----------------------------------------------------------------------------------------------------------


_FORK = """
import json, os, sys
import lamina
from lamina import fs
from lamina.testing import TinyEmbedder

class Dear(TinyEmbedder):
    cheap = False

store = lamina.open(sys.argv[1], embedder=Dear())
store.memories.add("before the fork")
child = os.fork()
if child == 0:
    code = 1
    try:
        try:
            store.memories.add("in the child")
        except lamina.ClosedError:
            with store:
                pass
            store.close()
            store.close()
            code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
try:
    fs.FileLock(store.location / ".lamina" / "in-use.lock").acquire(0.0)
    locked = False
except lamina.LockedError:
    locked = True
store.memories.add("after the fork")
count = store.memories.count()
ok = store.verify("full").ok
hits = store.memories._context.embedder.cache.stats.skipped
store.close()
print(json.dumps([os.waitstatus_to_exitcode(status), locked, count, ok, hits]))
"""


def test_closing_in_a_forked_child(tmp_path: Path) -> None:
    """A child that closes the store, or leaves its with block, raises nothing and takes nothing from its parent."""
    assert [0, True, 2, True, 0] == run(_FORK, str(tmp_path / "store"))


# --- rights and copies -----------------------------------------------------------------------------------------------


def test_the_embedding_cache_is_private(tmp_path: Path) -> None:
    """Vectors tell of texts: nobody else may read the cache or its log, also where it was made with other rights."""
    before = os.umask(0)
    try:
        with lamina.open(tmp_path / "store", embedder=Dear()) as store:
            store.memories.add("A secret.")
            search = store.location / ".lamina" / "search"
            files = sorted(search.iterdir())
            modes = {stat.S_IMODE(file.stat().st_mode) for file in files}
            assert "embeddings.db" in {file.name for file in files}
        cache = search / "embeddings.db"
        cache.chmod(0o644)
        with lamina.open(tmp_path / "store", embedder=Dear()) as store:
            store.memories.add("Another one.")
            modes |= {stat.S_IMODE(file.stat().st_mode) for file in search.iterdir()}
    finally:
        os.umask(before)
    assert {0o600} == modes


def test_damaged_copies(tmp_path: Path) -> None:
    """What repairs put aside or left unfinished is listed, the log of a damaged catalog, too; nothing else is."""
    for name in ("catalog.db", "catalog.db-wal", "catalog.db.damaged-20260101-000000", "tmp"):
        (tmp_path / name).write_text("")
    (tmp_path / "catalog.db.damaged-20260101-000000-wal").write_text("")
    (tmp_path / "salvage-17").mkdir()
    assert [
        "catalog.db.damaged-20260101-000000",
        "catalog.db.damaged-20260101-000000-wal",
        "salvage-17",
    ] == [path.name for path in damaged_copies(tmp_path)]
    assert [] == damaged_copies(tmp_path / "nowhere")
