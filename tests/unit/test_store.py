from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina import ClosedError, FormatError, InvalidInputError, LaminaError, NotFoundError, ReadOnlyError, StorageError

CALLS: dict[str, Any] = {
    "add": lambda store, id: store.memories.add("x"),
    "add_many": lambda store, id: store.memories.add_many(["x"]),
    "update": lambda store, id: store.memories.update(id, title="x"),
    "delete": lambda store, id: store.memories.delete(id),
    "purge": lambda store, id: store.memories.delete(id, purge=True),
    "supersede": lambda store, id: store.memories.supersede(id, "0000000000000000zz"),
    "feedback": lambda store, id: store.memories.feedback(id, "helped"),
    "optimize": lambda store, id: store.optimize(),
    "repair": lambda store, id: store.repair(),
    "gc": lambda store, id: store.gc(),
    "get": lambda store, id: store.memories.get(id),
    "list": lambda store, id: store.memories.list(),
    "count": lambda store, id: store.memories.count(),
    "history": lambda store, id: store.memories.history(id),
    "similar": lambda store, id: store.memories.similar(id),
    "recall": lambda store, id: store.memories.recall("x"),
    "explain_missing": lambda store, id: store.memories.explain_missing("x", id),
    "stats": lambda store, id: store.stats(),
    "verify": lambda store, id: store.verify(),
    "notices": lambda store, id: store.notices,
    "backup": lambda store, id: store.backup(f"{store.location}-copy"),
    "reindex": lambda store, id: store.reindex(),
}
WRITES = list(CALLS)[:10]


def one_memory(folder: Path) -> str:
    """Make a store with one memory in it, and return its id."""
    with lamina.open(folder) as store:
        return store.memories.add("The pelican sleeps.").id


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_missing_store_is_made_unless_asked_not_to(tmp_path: Path) -> None:
    """create=False and read_only make nothing, not even a folder."""
    place = tmp_path / "a" / "b"
    for create, read_only in ((False, False), (True, True), (False, True)):
        with pytest.raises(NotFoundError) as caught:
            lamina.open(place, create=create, read_only=read_only)
        assert caught.value.hint
        assert not (tmp_path / "a").exists()
    with lamina.open(place, embedder="none") as store:
        assert place == store.location
    with lamina.open(place, create=False, embedder="none") as store:
        assert not store.read_only


def test_a_folder_with_an_empty_engine_folder_is_no_store(tmp_path: Path) -> None:
    """A .lamina folder without a catalog is missing for a reader and completed by a writer."""
    (tmp_path / ".lamina").mkdir()
    with pytest.raises(NotFoundError):
        lamina.open(tmp_path, read_only=True)
    with lamina.open(tmp_path, embedder="none") as store:
        assert 0 == store.memories.count()


@pytest.mark.parametrize(
    "location",
    ["a\0b", 5, "\ud800", "postgres://host/db", "x" * 5000, "~no-such-user-here/x", "file", "file/inside"],
    ids=["nul", "number", "surrogate", "url", "long", "nobody", "file", "in-file"],
)
def test_a_place_that_cannot_be_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: Any
) -> None:
    """Whatever is passed as a place, the error is ours and says what to do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("here")
    for call in (lamina.open, lamina.repair):
        with pytest.raises(LaminaError) as caught:
            call(location)
        assert caught.value.hint
        assert len(caught.value.message) < 6000
    assert ["file"] == [path.name for path in tmp_path.iterdir()]


def test_files_belong_to_the_user_alone(tmp_path: Path) -> None:
    """Folders are 0700, files 0600, also beside a generous umask; git is told to ignore the engine's folder."""
    old = os.umask(0)
    try:
        folder = tmp_path / "store"
        with lamina.open(folder) as store:
            store.memories.add("x")
            for path in [folder, *folder.rglob("*")]:
                assert (0o700 if path.is_dir() else 0o600) == path.stat().st_mode & 0o777, path
    finally:
        os.umask(old)
    assert "*\n" == (folder / ".lamina" / ".gitignore").read_text()


def test_a_folder_of_the_users_keeps_its_files_and_rights(tmp_path: Path) -> None:
    """Making a store in a folder that is there touches nothing in it."""
    (tmp_path / "notes.md").write_text("mine")
    tmp_path.chmod(0o755)
    with lamina.open(tmp_path, embedder="none"):
        pass
    assert 0o755 == tmp_path.stat().st_mode & 0o777
    assert {"notes.md", ".lamina"} == {path.name for path in tmp_path.iterdir()}


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    """What was added is found by the next handle; closing twice does nothing."""
    id = one_memory(tmp_path)
    store = lamina.open(tmp_path)
    assert [id] == [hit.memory.id for hit in store.memories.recall("pelican")]
    store.close()
    store.close()


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_durability_is_a_setting(tmp_path: Path, durability: Any) -> None:
    """Both levels write, and stats say which one it is."""
    with lamina.open(tmp_path, durability=durability, embedder="none") as store:
        store.memories.add("x")
        assert durability == store.stats()["durability"]
        assert store.verify("full").ok


def test_two_processes_making_the_same_store_end_with_one(tmp_path: Path) -> None:
    """Several processes that open a store that is not there at once all write into the same one."""
    code = (
        "import lamina, sys\nsys.stdin.readline()\n"
        f"with lamina.open({str(tmp_path / 'new')!r}, embedder='none') as store:\n"
        "    print(store.memories.add('from ' + sys.argv[1]).id)"
    )
    workers = [python(code, number) for number in range(4)]
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [worker.communicate(timeout=50) for worker in workers]
    assert [""] * 4 == [errors for _, errors in results]
    with lamina.open(tmp_path / "new", embedder="none") as store:
        assert {output.strip() for output, _ in results} == {memory.id for memory in store.memories.list()}
        assert store.verify("full").ok


def test_a_network_file_system_is_refused_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks cannot be trusted nothing is written unless the user insists; reading is possible."""
    one_memory(tmp_path / "there")
    monkeypatch.setattr("lamina.fs.filesystem_of", lambda path: "nfs4")
    for place in ("there", "new"):
        with pytest.raises(StorageError, match="nfs4") as caught:
            lamina.open(tmp_path / place)
        assert caught.value.hint
        assert "nfs4" == caught.value.details["filesystem"]
    assert not (tmp_path / "new").exists()
    with lamina.open(tmp_path / "there", read_only=True) as store:
        assert store.memories.recall("pelican")
    monkeypatch.setenv("LAMINA_ALLOW_NETWORK", "1")
    with lamina.open(tmp_path / "there") as store:
        assert "on purpose" == store.memories.add("on purpose").text


def test_a_newer_format_is_not_touched(tmp_path: Path) -> None:
    """A store of a later version is refused by name, with what to do, and not changed by a byte."""
    import apsw

    one_memory(tmp_path)
    catalog = tmp_path / ".lamina" / "catalog.db"
    db = apsw.Connection(str(catalog))
    db.execute("UPDATE meta SET value = '[\"time-travel\"]' WHERE key = 'reader_features'")
    db.pragma("user_version", 9_999)
    db.close()
    before = catalog.read_bytes()
    for read_only in (False, True):
        with pytest.raises(FormatError) as caught:
            lamina.open(tmp_path, read_only=read_only)
        assert "upgrade" in caught.value.hint.lower()
    assert before == catalog.read_bytes()


# --- handles that may not write, are closed, or crossed a fork -------------------------------------------------------


@pytest.mark.parametrize("call", [call for call in WRITES if call != "supersede"])
def test_a_read_only_handle_refuses_each_write(tmp_path: Path, call: str) -> None:
    """Whatever writes is refused by a read-only handle, and nothing changes."""
    id = one_memory(tmp_path)
    with lamina.open(tmp_path, read_only=True) as store:
        assert store.read_only
        with pytest.raises(ReadOnlyError) as caught:
            CALLS[call](store, id)
        assert caught.value.hint
        assert 1 == store.memories.count() == len(store.memories.history(id))


def test_a_read_only_handle_supersedes_nothing(tmp_path: Path) -> None:
    """Two memories that are there stay as they are."""
    old = one_memory(tmp_path)
    new = one_memory(tmp_path)
    with lamina.open(tmp_path, read_only=True) as store:
        with pytest.raises(ReadOnlyError):
            store.memories.supersede(old, new)
        assert store.memories.get(old).superseded_by is None


def test_a_read_only_handle_reads_everything(tmp_path: Path) -> None:
    """Reading, asking, verifying and copying work without a write; use counts are not kept."""
    id = one_memory(tmp_path)
    with lamina.open(tmp_path, read_only=True) as store:
        for call in ("get", "list", "count", "history", "similar", "recall", "explain_missing", "stats", "verify"):
            CALLS[call](store, id)
        assert store.backup(tmp_path.with_name(f"{tmp_path.name}-copy")).is_dir()
        assert store.gc(dry_run=True)["dry_run"]
    with lamina.open(tmp_path) as store:
        assert 0 == store.memories.get(id).uses


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_handle_says_so(tmp_path: Path, call: str) -> None:
    """After close every call raises ClosedError with what to do."""
    id = one_memory(tmp_path)
    store = lamina.open(tmp_path)
    store.close()
    with pytest.raises(ClosedError) as caught:
        CALLS[call](store, id)
    assert "lamina.open" in caught.value.hint


FORK = """
import json, os, sys
import lamina
from lamina import fs

store = lamina.open(sys.argv[1])
store.memories.recall("pelican")
read, write = os.pipe()
if os.fork() == 0:
    told = {}
    try:
        for name, call in CALLS.items():
            try:
                call(store, sys.argv[2])
                told[name] = "no error"
            except BaseException as error:
                told[name] = type(error).__name__
        store.close()
        with lamina.open(sys.argv[1]) as own:
            told["its own"] = str(own.memories.count())
    except BaseException as error:
        told["failed"] = repr(error)
    finally:
        os.write(write, json.dumps(told).encode())
        os._exit(0)
os.close(write)
print(os.fdopen(read).read())
store.memories.add("the parent goes on")
try:
    fs.FileLock(store.location / ".lamina" / "in-use.lock").acquire(0)
except lamina.LockedError:
    print("still claimed")
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start code in a fresh interpreter that has the same Lamina."""
    environment = {**os.environ, "PYTHONPATH": str(Path(lamina.__file__).parents[1])}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def test_a_forked_child_cannot_use_the_handle(tmp_path: Path) -> None:
    """In a child every call raises ClosedError; its close harms neither the parent's claim nor the store."""
    id = one_memory(tmp_path)
    source = Path(__file__).read_text(encoding="utf-8")
    calls = source[source.index("CALLS: dict") : source.index("WRITES =")].replace(": dict[str, Any]", "", 1)
    output, errors = python(calls + FORK, tmp_path, id).communicate(timeout=50)
    assert "" == errors
    told, claim = output.splitlines()
    assert {**dict.fromkeys(CALLS, "ClosedError"), "its own": "1"} == json.loads(told)
    assert "still claimed" == claim
    with lamina.open(tmp_path) as store:
        assert 2 == store.memories.count()
        assert store.verify("full").ok


def test_an_error_in_the_with_block_closes_the_store(tmp_path: Path) -> None:
    """The block's own exception comes through, and the handle is closed."""
    store = lamina.open(tmp_path, embedder="none")

    def fail() -> None:
        with store:
            store.memories.add("kept")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(ClosedError):
        store.memories.count()
    with lamina.open(tmp_path, embedder="none") as store:
        assert 1 == store.memories.count()


# --- facts -----------------------------------------------------------------------------------------------------------


def test_stats_are_json_and_add_up(tmp_path: Path) -> None:
    """Counts by scope and type sum to the memories, and every value can be printed as JSON."""
    with lamina.open(tmp_path) as store:
        m = store.memories
        ids = m.add_many(
            {"text": f"text {n}", "scope": ["private", "team"][n % 2], "type": ["user", "record"][n % 3 % 2]}
            for n in range(10)
        )
        m.update(ids[0], title="T")
        m.delete(ids[1])
        stats = json.loads(json.dumps(store.stats()))
        assert 9 == stats["memories"] == sum(stats["by_scope"].values()) == sum(stats["by_type"].values())
        assert {"private": 5, "team": 4} == stats["by_scope"]
        assert 2 == stats["history"]
        assert stats["bytes_on_disk"]["total"] > 0
        assert str(tmp_path) == stats["location"]
        assert store.embedder == stats["embedder"] == stats["embedder_recorded"]
        assert () == store.notices


def test_a_copy_opens_as_a_store_and_is_apart(tmp_path: Path) -> None:
    """A backup holds everything, and what is written afterwards is in one of the two only."""
    with lamina.open(tmp_path / "one") as store:
        id = store.memories.add("The pelican sleeps.").id
        place = store.backup(tmp_path / "two")
        store.memories.add("later")
        with pytest.raises(lamina.AlreadyExistsError):
            store.backup(tmp_path / "two")
        with pytest.raises(InvalidInputError):
            store.backup(tmp_path / "one" / "inside")
    with lamina.open(place) as copy:
        assert [id] == [memory.id for memory in copy.memories.list()]
        assert [id] == [hit.memory.id for hit in copy.memories.recall("pelican")]
        assert copy.verify("full").ok
