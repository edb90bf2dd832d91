"""Two people, two clones, one origin: their team folders come to hold the same, by git and merges of text alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lamina
from lamina.errors import InvalidInputError
from lamina.folder.index import Index
from lamina.memories.team import set_up_team
from lamina.store import Store

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

DRIVER = f"'{sys.executable}' -m lamina.cli team merge-driver %O %A %B"


@pytest.fixture(autouse=True)
def home(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration of git without surprises."""
    (clean_environment / ".gitconfig").write_text("[init]\n\tdefaultBranch = main\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


class Clone:
    """One person's clone, which is a store."""

    def __init__(self, path: Path, person: str) -> None:
        self.path = path
        self.git("config", "user.name", person)
        self.git("config", "user.email", f"{person.lower()}@example.org")

    def git(self, *arguments: str, code: int = 0) -> str:
        """Runs git as that person does."""
        done = subprocess.run(["git", "-C", str(self.path), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code, f"git {arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def open(self) -> Iterator[Store]:
        """Opens the store, which syncs."""
        with lamina.open(self.path, embedder="none") as store:
            yield store

    def commit(self, message: str = "memories") -> None:
        """Commits the team's folder."""
        self.git("add", "-A", "team")
        self.git("commit", "-q", "-m", message)

    def pull(self, *, code: int = 0) -> str:
        """Fetches and merges."""
        return self.git("pull", "-q", "--no-rebase", "--no-edit", code=code)

    def push(self) -> None:
        """Publishes."""
        self.git("push", "-q", "-u", "origin", "HEAD")

    def files(self) -> dict[str, bytes]:
        """The team's files, but for git's."""
        team = self.path / "team"
        return {path.name: path.read_bytes() for path in sorted(team.rglob("*.md"))}

    def memories(self) -> dict[str, tuple[str, str | None]]:
        """The team's memories as the store has them."""
        with self.open() as store:
            return {one.id: (one.text, one.path) for one in store.memories.list(scope="team", limit=None)}

    def pointers(self) -> list[str]:
        """Targets of the team's index."""
        return [pointer.target for pointer in Index.parse((self.path / "team" / "MEMORY.md").read_bytes()).pointers]


Pair = Callable[..., tuple[Clone, Clone]]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Makes two clones that hold the same three memories; ``driver`` says whether indexes merge by pointers."""

    def make(*, driver: bool = True) -> tuple[Clone, Clone]:
        subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "origin.git")], check=True)
        for name in ("ana", "bo"):
            subprocess.run(
                ["git", "clone", "-q", str(tmp_path / "origin.git"), str(tmp_path / name)],
                check=True,
                capture_output=True,
            )
        ana, bo = Clone(tmp_path / "ana", "Ana"), Clone(tmp_path / "bo", "Bo")
        with ana.open() as store:
            for title in ("Alpha", "Beta", "Gamma"):
                share(store, title)
        if driver:
            set_up_team(ana.path, driver=DRIVER)
        ana.commit("begin")
        ana.push()
        bo.pull()
        if driver:
            set_up_team(bo.path, driver=DRIVER)
        assert bo.files() == ana.files()
        return ana, bo

    return make


def share(store: Store, title: str, text: str | None = None) -> str:
    """Adds a memory for the team; returns its id."""
    words = text or f"What the team knows of {title.lower()}."
    return store.memories.add(words, title=title, description=f"{title} in one line", type="project", scope="team").id


def found(store: Store, title: str) -> str:
    """The id of the team's memory with a title."""
    return next(one.id for one in store.memories.list(scope="team") if one.title == title)


def exchange(first: Clone, second: Clone) -> None:
    """First publishes, second merges and publishes, first follows."""
    first.push()
    second.pull()
    second.push()
    first.pull()


def test_a_clone_is_a_store_with_the_same_memories(pair: Pair) -> None:
    """Ids, texts and index of what the other wrote are there after the first open, and recalled."""
    ana, bo = pair()

    assert bo.memories() == ana.memories()
    assert len(bo.memories()) == 3
    with ana.open() as mine, bo.open() as theirs:
        assert theirs.memories.index("team") == mine.memories.index("team")
        assert [hit.memory.title for hit in theirs.memories.recall("what of beta?", limit=1)] == ["Beta"]


def test_adding_changing_deleting_and_moving_converge(pair: Pair) -> None:
    """After an exchange both have the same bytes, ids and pointers, and recall in each finds the other's."""
    ana, bo = pair()
    with ana.open() as store:
        share(store, "Harbour", "Containers leave the harbour at noon.")
        share(store, "Ledger", "The ledger closes on the last Friday.")
        store.memories.update(found(store, "Alpha"), text="Alpha was renamed to Aleph.")
        own = store.memories.add("The quarry is closed.", title="Quarry", description="quarry", type="project")
        store.memories.update(own.id, scope="team")
    ana.commit("Ana's")
    with bo.open() as store:
        share(store, "Viaduct", "The viaduct carries eleven trains.")
        store.memories.delete(found(store, "Beta"))
        store.memories.update(found(store, "Gamma"), title="Gamma rays", description="Gamma in other words")
        own = store.memories.add("Orchids need rain water.", title="Orchid", description="orchid", type="reference")
        store.memories.update(own.id, scope="team")
    bo.commit("Bo's")

    exchange(ana, bo)

    assert ana.files() == bo.files()
    assert ana.memories() == bo.memories()
    names = [name for name in ana.files() if name != "MEMORY.md"]
    assert sorted(ana.pointers()) == sorted(names)
    assert len(names) == 7
    with ana.open() as store:
        assert store.memories.recall("how many trains on the viaduct?", limit=1)[0].memory.title == "Viaduct"
        assert store.memories.recall("orchids and rain water", limit=1)[0].memory.title == "Orchid"
        assert "Beta" not in store.memories.index("team")
        assert store.memories.sync().problems == ()
        assert "Gamma rays" in store.memories.index("team")
    with bo.open() as store:
        assert store.memories.recall("when do containers leave the harbour?", limit=1)[0].memory.title == "Harbour"
        assert store.memories.recall("is the quarry closed?", limit=1)[0].memory.title == "Quarry"
        assert store.memories.recall("renamed to Aleph", limit=1)[0].memory.title == "Alpha"
        assert store.memories.sync().problems == ()


def test_many_rounds_of_adding_lose_no_pointer(pair: Pair) -> None:
    """Both add a few each round and merge in turn: every file has its one pointer in the end."""
    ana, bo = pair()
    for number in range(3):
        for clone, person in ((ana, "ana"), (bo, "bo")):
            with clone.open() as store:
                for part in range(3):
                    share(store, f"Round {number} of {person} {part}")
            clone.commit()
        exchange(*((ana, bo) if number % 2 else (bo, ana)))

    assert ana.files() == bo.files()
    assert sorted(ana.pointers()) == sorted(name for name in ana.files() if name != "MEMORY.md")
    assert len(ana.pointers()) == 3 + 18
    assert ana.memories() == bo.memories()


def test_the_same_title_in_both_is_two_memories_or_a_conflict_never_one_lost(pair: Pair) -> None:
    """Both add a file of one name: git shows the conflict; both texts are in it, and either can be kept."""
    ana, bo = pair()
    with ana.open() as store:
        share(store, "Delta", "Ana's delta.")
    ana.commit()
    ana.push()
    with bo.open() as store:
        share(store, "Delta", "Bo's delta.")
    bo.commit()

    bo.pull(code=1)

    text = bo.files()["project_delta.md"].decode()
    assert "Ana's delta." in text
    assert "Bo's delta." in text
    assert "AA team/project_delta.md" in bo.git("status", "--porcelain")
    assert bo.pointers().count("project_delta.md") == 1


def test_a_true_conflict_is_shown_and_resolved_by_people(pair: Pair) -> None:
    """Both changed one memory: git and sync say so, the last good text is recalled, and the resolution is taken."""
    ana, bo = pair()
    for clone, text in ((ana, "Alpha sails on Monday."), (bo, "Alpha sails on Tuesday.")):
        with clone.open() as store:
            id = found(store, "Alpha")
            store.memories.update(id, text=text)
        clone.commit()
    ana.push()

    assert "project_alpha.md" in bo.pull(code=1)

    file = bo.path / "team" / "project_alpha.md"
    text = file.read_text(encoding="utf-8")
    assert "Monday" in text
    assert "Tuesday" in text
    with bo.open() as store:
        report = store.memories.sync()
        assert [(one.code, one.where) for one in report.problems] == [("conflict-markers", "team/project_alpha.md")]
        assert store.memories.get(id).text.strip() == "Alpha sails on Tuesday."
        assert store.memories.recall("when does alpha sail?", limit=1)[0].memory.id == id
        assert any("project_alpha.md" in notice for notice in store.notices)
        with pytest.raises(InvalidInputError, match="merge conflict"):
            store.memories.update(id, text="Alpha sails on Sunday.")
    assert file.read_text(encoding="utf-8") == text  # nobody wrote over the two sides

    head = text[: text.index("<<<<<<<")]
    file.write_text(head + "Alpha sails on Monday and Tuesday.\n", encoding="utf-8")
    bo.commit("resolved")
    with bo.open() as store:
        assert store.memories.sync().problems == ()
        assert store.memories.get(id).text.strip() == "Alpha sails on Monday and Tuesday."
    bo.push()
    ana.pull()
    assert ana.memories() == bo.memories()


def test_deleted_in_one_clone_and_changed_in_the_other(pair: Pair) -> None:
    """Git shows the conflict and leaves the changed file: the memory is still there, whichever way people decide."""
    ana, bo = pair()
    with ana.open() as store:
        id = found(store, "Beta")
        store.memories.delete(id)
    ana.commit()
    ana.push()
    with bo.open() as store:
        store.memories.update(id, text="Beta moved to the second floor.")
    bo.commit()

    bo.pull(code=1)

    assert "UD team/project_beta.md" in bo.git("status", "--porcelain")
    with bo.open() as store:
        assert store.memories.get(id).text.strip() == "Beta moved to the second floor."
    bo.commit("kept")
    bo.push()
    ana.pull()
    with ana.open() as store:  # it comes back under its own id, since people decided so
        assert store.memories.get(id).text.strip() == "Beta moved to the second floor."
        assert store.memories.recall("which floor is beta on?", limit=1)[0].memory.id == id


def test_a_rename_by_git_keeps_the_memory(pair: Pair) -> None:
    """`git mv` in one clone, a change of the text in the other: one file, one id, the new text under the new name."""
    ana, bo = pair()
    with ana.open() as store:
        id = found(store, "Gamma")
    ana.git("mv", "team/project_gamma.md", "team/project_gamma_rays.md")
    ana.commit()
    ana.push()
    with bo.open() as store:
        store.memories.update(id, text="Gamma is harmful.")
    bo.commit()

    bo.pull()
    bo.push()
    ana.pull()

    assert ana.memories() == bo.memories()
    assert ana.memories()[id][1] == "team/project_gamma_rays.md"
    assert ana.memories()[id][0].strip() == "Gamma is harmful."


def test_a_hand_made_conflict_of_one_pointer_stays_between_markers(pair: Pair) -> None:
    """Both worded one pointer anew: the driver merges the rest and leaves both wordings to people."""
    ana, bo = pair()
    for clone, words in ((ana, "Ana's words"), (bo, "Bo's words")):
        index = clone.path / "team" / "MEMORY.md"
        index.write_text(index.read_text(encoding="utf-8").replace("Alpha in one line", words), encoding="utf-8")
        with clone.open() as store:
            share(store, f"New of {words}")
        clone.commit()
    ana.push()

    bo.pull(code=1)

    text = (bo.path / "team" / "MEMORY.md").read_text(encoding="utf-8")
    assert "UU team/MEMORY.md" in bo.git("status", "--porcelain")
    assert text.count("<<<<<<<") == text.count(">>>>>>>") == 1
    for words in ("Ana's words", "Bo's words"):
        assert f"[Alpha](project_alpha.md) — {words}" in text
        assert f"New of {words}" in text


def test_without_the_driver_the_conflict_is_told_and_nothing_is_lost(pair: Pair) -> None:
    """Git's own markers in MEMORY.md: every pointer is still in what an agent loads, and a notice says so."""
    ana, bo = pair(driver=False)
    for clone, title in ((ana, "Harbour"), (bo, "Viaduct")):
        with clone.open() as store:
            share(store, title)
        clone.commit()
    ana.push()

    bo.pull(code=1)

    before = bo.files()["MEMORY.md"]
    assert before.count(b"<<<<<<<") == 1
    assert sorted(bo.pointers()) == sorted(name for name in bo.files() if name != "MEMORY.md")
    with bo.open() as store:
        view = store.memories.index_view("team")
        for title in ("Alpha", "Beta", "Gamma", "Harbour", "Viaduct"):
            assert f"[{title}]" in view.text
            assert store.memories.recall(f"the team knows of {title}", limit=1)[0].memory.title == title
        assert any("conflict" in notice for notice in view.notices)
    assert bo.files()["MEMORY.md"] == before
