"""Invariant 6 on whole stores: files are the people's, whatever is done with the memories in them.

Beside it what must not happen in a folder that several share: a lost line, a secret.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lamina
from lamina import Memories
from lamina.errors import ConflictError, InvalidInputError
from lamina.fs import Operation, observe

CRLF = (
    b"\xef\xbb\xbf---\r\n# kept by hand\r\nowner:   Ana   # not us\r\nname: 'Deploys: when'\r\n"
    b"metadata:\r\n  type: project\r\n"
    b'zeta: [3,  1]\r\ndescription: "noon"\r\n---\r\n\r\nDeploys go out at noon.\r\n\r\n\r\n'
)
MESSY = {
    "project_deploys.md": CRLF,
    "notes.md": b"no front matter, no line end",
    "odd-type.md": b"---\ntype: incident\nid: [broken\n---\nIt was down.\n",
    "torn.md": b"<<<<<<< ours\none\n=======\ntwo\n>>>>>>> theirs\n",
    "latin.md": b"caf\xe9\n",
    "empty.md": b"",
    "MEMORY.md": b"# Ours\r\n\r\nprose\r\n- [Gone](gone.md) - no such file\r\n" + b"- [N](notes.md)\r\n" * 300,
    "team/MEMORY.md": b"- [x](y.md)",
    "team/user_bo.md": b"---\ntype: user\n---\nBo.\n",
    "lamina.toml": b"index_lines = 100\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people leave one."""
    place = tmp_path / "memory"
    for name, data in MESSY.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def facts(folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    """Bytes, mode, time and inode of everything that is not the engine's."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".lamina" not in path.parts:
            stat = path.stat()
            found[str(path.relative_to(folder))] = (path.read_bytes(), stat.st_mode, stat.st_mtime_ns, stat.st_ino)
    return found


def test_invariant_6_reading_and_sync_write_no_file(folder: Path) -> None:
    """Opening, syncing, recalling, auditing and verifying leave bytes, mode, time and inode of every file alone."""
    before = facts(folder)
    with lamina.open(folder, embedder="none") as store:
        m = store.memories
        m.sync()
        assert m.recall("when do deploys go out?")
        assert m.index()
        m.check_index()
        m.fix_index(dry_run=True)
        m.feedback(m.find("notes").id, "helped")
        store.verify("full")
    with lamina.open(folder, embedder="none", read_only=True) as store:
        store.memories.recall("deploys")

    assert before == facts(folder)


def test_invariant_6_an_update_changes_what_it_must(folder: Path) -> None:
    """Of a file with comments, unknown keys, odd spacing, CRLF and a byte order mark only the named entries change."""
    with lamina.open(folder, embedder="none") as store:
        memory = store.memories.find("project_deploys")
        others = {name: fact for name, fact in facts(folder).items() if name != "project_deploys.md"}
        store.memories.update(memory.id, text="Deploys go out at ten.\n\n", description="ten")

        expected = CRLF.replace(b"at noon", b"at ten").replace(b'description: "noon"', b"description: ten")
        assert (folder / "project_deploys.md").read_bytes() == expected
        assert {name: fact for name, fact in facts(folder).items() if name != "project_deploys.md"} == others
        assert store.memories.get(memory.id).metadata["owner"] == "Ana"


def test_invariant_6_a_new_file_replaces_nothing(folder: Path) -> None:
    """A memory whose file name is taken, in another case too, or taken at the last moment, gets another name."""
    (folder / "Project_Trams.md").write_bytes(b"theirs\n")
    taken: list[str] = []

    def steal(operation: Operation) -> None:
        if operation.kind == "link" and operation.target.endswith("project_ferries.md") and not taken:
            taken.append(operation.target)
            Path(operation.target).write_bytes(b"faster\n")

    with lamina.open(folder, embedder="none") as store:
        first = store.memories.add("Trams stop at ten.", type="project", title="Trams")
        with observe(steal):
            second = store.memories.add("Ferries stop at nine.", type="project", title="Ferries")

        assert first.path not in (None, "Project_Trams.md", "project_trams.md")
        assert taken
        assert second.path not in (None, "project_ferries.md")
        assert (folder / "Project_Trams.md").read_bytes() == b"theirs\n"
        assert (folder / "project_ferries.md").read_bytes() == b"faster\n"
        assert store.memories.sync().ok is False  # the folder's own problems are still told
        assert len(store.memories.recall("stop at", type="project")) >= 2


CHANGES: dict[str, Callable[[Memories, str], object]] = {
    "update": lambda m, id: m.update(id, text="From the program."),
    "move": lambda m, id: m.update(id, scope="team"),
    "to a row": lambda m, id: m.update(id, type="record"),
    "rename": lambda m, id: m.rename(id, "other.md"),
    "delete": lambda m, id: m.delete(id),
}


@pytest.mark.parametrize("name", CHANGES)
def test_invariant_6_an_update_replaces_only_what_it_last_saw(folder: Path, name: str) -> None:
    """After an edit by hand every change is refused, the file stays the person's, and a sync lets it through."""
    with lamina.open(folder, embedder="none") as store:
        memory = store.memories.find("notes")
        (folder / "notes.md").write_bytes(b"By hand.\n")
        before = facts(folder)

        with pytest.raises(ConflictError) as caught:
            CHANGES[name](store.memories, memory.id)

        assert facts(folder) == before
        if name == "update":
            kept = folder / caught.value.details["kept"]
            assert caught.value.details["found"] == "By hand.\n"
            assert "From the program." in kept.read_text(encoding="utf-8")
        store.memories.sync()
        assert store.memories.get(memory.id).text == "By hand."
        CHANGES[name](store.memories, memory.id)


@pytest.mark.parametrize("way", ["in place", "by rename"])
def test_invariant_6_a_save_in_the_last_moment_is_kept(folder: Path, way: str) -> None:
    """An editor that saves right before the exchange wins, and what the program wanted is kept beside it."""
    path = folder / "notes.md"
    saved: list[str] = []

    def save(operation: Operation) -> None:
        if operation.kind == "exchange" and operation.target == str(path) and not saved:
            saved.append(operation.target)
            if way == "in place":
                path.write_bytes(b"At the last moment.\n")
            else:
                (folder / "draft").write_bytes(b"At the last moment.\n")
                os.rename(folder / "draft", path)

    with lamina.open(folder, embedder="none") as store:
        memory = store.memories.find("notes")
        with observe(save), pytest.raises(ConflictError) as caught:
            store.memories.update(memory.id, text="From the program.")

        assert saved
        assert path.read_bytes() == b"At the last moment.\n"
        kept = (folder / caught.value.details["kept"]).read_text(encoding="utf-8")
        assert "From the program." in kept
        store.memories.sync()
        assert store.memories.get(memory.id).text == "At the last moment."


def test_invariant_6_a_line_saved_beside_ours_stays(folder: Path) -> None:
    """A person saves the index right before a pointer is written: their line and the new pointer are both there."""
    path = folder / "team" / "MEMORY.md"
    saved: list[str] = []

    def save(operation: Operation) -> None:
        if operation.kind == "exchange" and operation.target == str(path) and not saved:
            saved.append(operation.target)
            path.write_bytes(b"# By hand\n\n- [x](y.md)\n- [Bo](user_bo.md) - mine\n")

    with lamina.open(folder, embedder="none") as store, observe(save):
        memory = store.memories.add("Trams stop at ten.", type="project", scope="team", title="Trams")

    assert saved
    assert memory.path == "team/project_trams.md"
    assert path.read_text(encoding="utf-8") == (
        "# By hand\n\n- [x](y.md)\n- [Bo](user_bo.md) - mine\n- [Trams](project_trams.md) — Trams stop at ten.\n"
    )


_ADDER = """
import sys
import lamina
with lamina.open(sys.argv[1], embedder="none", durability="relaxed") as store:
    for number in range(int(sys.argv[3])):
        store.memories.add(f"{sys.argv[2]} says {number}.", type="project", scope="team", title=f"Say {number}")
"""


def test_two_programs_lose_no_line_of_an_index(tmp_path: Path) -> None:
    """Two processes that add memories of the same titles to team: each has its own file and its own pointer."""
    with lamina.open(tmp_path / "memory", embedder="none"):
        pass
    environment = {**os.environ, "PYTHONPATH": str(Path(lamina.__file__).parents[1])}
    command = [sys.executable, "-c", _ADDER, str(tmp_path / "memory")]
    running = [subprocess.Popen([*command, name, "25"], env=environment) for name in ("ana", "bo")]

    assert [process.wait(timeout=50) for process in running] == [0, 0]
    with lamina.open(tmp_path / "memory", embedder="none") as store:
        assert 50 == store.memories.count(scope="team")
        assert 50 == len({memory.path for memory in store.memories.list()})
        assert 50 == store.memories.index_view("team").pointers
        assert store.memories.check_index().ok


def test_a_secret_reaches_team_by_no_way(tmp_path: Path) -> None:
    """A secret is not added to team, written into it or moved there, and a pasted one is told; its value never."""
    secret = "gh" + "p_" + "a8Kd93jfLq02mNvB7xZs41TyUeRw5oPiHc6G"
    with lamina.open(tmp_path / "memory", embedder="none") as store:
        m = store.memories
        private = m.add(f"The token is {secret}", type="reference", title="Token")
        shared = m.add("The token is in the vault.", type="reference", scope="team", title="Vault")
        attempts: list[Callable[[], object]] = [
            lambda: m.add(f"Use {secret}", type="project", scope="team"),
            lambda: m.update(shared.id, text=f"Use {secret}"),
            lambda: m.update(private.id, scope="team"),
        ]
        for attempt in attempts:
            with pytest.raises(InvalidInputError) as caught:
                attempt()
            assert "GitHub" in str(caught.value)
            assert secret not in str(caught.value.to_dict())
        (tmp_path / "memory" / "team" / "pasted.md").write_text(f"Use {secret}\n", encoding="utf-8")
        report = m.sync()

        assert [problem.code for problem in report.problems] == ["secret"]
        assert secret not in str(report)
        assert secret.encode() not in b"".join(
            path.read_bytes() for path in (tmp_path / "memory" / "team").glob("*.md") if path.name != "pasted.md"
        )
