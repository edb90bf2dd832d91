"""What git is asked, what it answers, and what a hostile repository must not make it do."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lamina.errors import LockedError, NotFoundError, StorageError
from lamina.folder import git_command
from lamina.folder.git import Repository, Uncommitted

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch, clean_environment: Path) -> None:
    """Someone to commit as."""
    (clean_environment / ".gitconfig").write_text(
        "[user]\n\tname = Ana Lima\n\temail = ana@example.org\n[init]\n\tdefaultBranch = main\n", encoding="utf-8"
    )
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str, code: int | None = 0) -> str:
    """Runs git as a person does."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout


def write(folder: Path, **files: str) -> None:
    """Writes markdown files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A repository with one commit that has three files in team/, and one beside it."""
    folder = tmp_path / "store"
    write(folder / "team", a="a\n", b="b\n", c="a text long enough to be known again\n")
    write(folder, private="mine\n")
    git(folder.parent, "init", "-q", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "begin")
    return folder


def test_uncommitted_files_by_kind(store: Path) -> None:
    """New, changed, deleted and renamed files of the folder, staged or not; nothing from beside it."""
    team = store / "team"
    write(team, a="changed\n", new="new\n", staged="staged\n")
    (team / "b.md").unlink()
    git(store, "mv", "team/c.md", "team/ü d.md")
    git(store, "add", "team/staged.md")
    write(store, private="other\n")

    found = {one.path: one for one in Repository.around(team).uncommitted()}

    assert {path: (one.change, one.staged, one.unstaged) for path, one in found.items()} == {
        "a.md": ("changed", False, True),
        "b.md": ("deleted", False, True),
        "new.md": ("new", False, True),
        "staged.md": ("new", True, False),
        "ü d.md": ("renamed", True, False),
    }
    assert found["ü d.md"].was == "c.md"


def test_a_file_taken_out_of_the_index_only_is_told_once(store: Path) -> None:
    """`git rm --cached` leaves the file: one entry, changed."""
    git(store, "rm", "-q", "--cached", "team/a.md")

    assert Repository.around(store / "team").uncommitted() == (
        Uncommitted(path="a.md", change="changed", staged=True, unstaged=True),
    )


def test_each_kind_of_conflict_is_named(store: Path) -> None:
    """Both changed, changed against deleted, both added."""
    git(store, "checkout", "-qb", "other")
    write(store / "team", a="theirs\n", n="theirs\n", b="theirs\n")
    git(store, "add", ".")
    git(store, "commit", "-qm", "theirs")
    git(store, "checkout", "-q", "main")
    write(store / "team", a="ours\n", n="ours\n")
    git(store, "rm", "-q", "team/b.md")
    git(store, "add", ".")
    git(store, "commit", "-qm", "ours")
    git(store, "merge", "other", code=1)

    found = Repository.around(store / "team").uncommitted()

    assert {one.path: (one.change, one.detail) for one in found} == {
        "a.md": ("conflict", "both sides changed it"),
        "b.md": ("conflict", "deleted here, changed there"),
        "n.md": ("conflict", "both sides added it"),
    }


def test_commits_carry_author_time_and_files(store: Path) -> None:
    """Newest first, only those that touched the folder, with names that hold anything."""
    write(store, private="other\n")
    git(store, "commit", "-qam", "beside")
    git(store, "mv", "team/c.md", "team/d.md")
    (store / "team" / "a.md").unlink()
    write(store / "team", **{"q\n\x01 é": "x\n"})
    git(store, "add", "-A")
    git(store, "commit", "-qm", "subject \x01 ✓", "--author", "Bo <bo@example.org>", "--date", "2026-03-01T12:00:00Z")

    last, first = Repository.around(store / "team").commits("HEAD")

    assert (last.author, last.email, last.subject) == ("Bo", "bo@example.org", "subject \x01 ✓")
    assert last.at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert {(one.path, one.change, one.was) for one in last.files} == {
        ("a.md", "deleted", None),
        ("d.md", "renamed", "c.md"),
        ("q\n\x01 é.md", "new", None),
    }
    assert (first.author, {one.path for one in first.files}) == ("Ana Lima", {"a.md", "b.md", "c.md"})
    assert last.id == git(store, "rev-parse", "HEAD").strip()


def test_a_file_moved_in_is_new(store: Path) -> None:
    """What came from outside of the folder has no former name in it."""
    git(store, "mv", "private.md", "team/private.md")
    git(store, "commit", "-qm", "share")

    (change,) = Repository.around(store / "team").commits("HEAD")[0].files

    assert (change.path, change.change, change.was) == ("private.md", "new", None)


def test_a_merge_shows_what_neither_side_had(store: Path) -> None:
    """The resolution of a conflict belongs to who merged; a plain merge has no files and is left out."""
    git(store, "checkout", "-qb", "other")
    write(store / "team", a="theirs\n")
    git(store, "commit", "-qam", "theirs")
    git(store, "checkout", "-q", "main")
    write(store / "team", a="ours\n")
    git(store, "commit", "-qam", "ours")
    git(store, "merge", "other", code=1)
    write(store / "team", a="both\n")
    git(store, "commit", "-qam", "resolved")

    found = Repository.around(store / "team").commits("HEAD")

    assert found[0].subject == "resolved"
    assert [(one.path, one.change) for one in found[0].files] == [("a.md", "changed")]
    assert sorted(one.subject for one in found) == ["begin", "ours", "resolved", "theirs"]


def test_since_and_most_narrow_the_commits(store: Path) -> None:
    """Only those since a time, and no more than asked for."""
    write(store / "team", a="2\n")
    git(store, "commit", "-qam", "two")
    repository = Repository.around(store / "team")

    assert repository.commits("HEAD", since=datetime.now(UTC) + timedelta(days=1)) == ()
    assert len(repository.commits("HEAD", since=datetime.now(UTC) - timedelta(days=1))) == 2
    assert [one.subject for one in repository.commits("HEAD", most=1)] == ["two"]


def test_branch_in_every_state(store: Path, tmp_path: Path) -> None:
    """No commit, no upstream, an upstream that was fetched, one that was not, a commit by itself."""
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert not Repository.around(empty).branch().has_commits

    alone = Repository.around(store).branch()
    assert (alone.name, alone.upstream, alone.has_commits, alone.has_upstream) == ("main", None, True, False)

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(store), str(clone))
    following = Repository.around(clone).branch()
    assert (following.upstream, following.has_upstream) == ("origin/main", True)
    git(clone, "update-ref", "-d", "refs/remotes/origin/main")
    gone = Repository.around(clone).branch()
    assert (gone.upstream, gone.has_upstream) == ("origin/main", False)

    git(store, "checkout", "-q", "--detach")
    assert Repository.around(store).branch().name is None


def test_a_folder_that_is_not_there_can_be_asked_about(store: Path) -> None:
    """A deleted team/ shows its files as deleted."""
    shutil.rmtree(store / "team")

    found = Repository.around(store, "team").uncommitted()

    assert {one.path: one.change for one in found} == {"a.md": "deleted", "b.md": "deleted", "c.md": "deleted"}


def test_names_are_no_patterns(store: Path) -> None:
    """A folder called * is that folder alone."""
    write(store / "*", x="x\n")
    write(store / "other", y="y\n")

    assert [one.path for one in Repository.around(store, "*").uncommitted()] == ["x.md"]


def test_ignores_and_attributes(store: Path) -> None:
    """As git itself would decide."""
    (store / ".gitignore").write_text("secret/\n", encoding="utf-8")
    (store / ".gitattributes").write_text("MEMORY.md merge=one\n", encoding="utf-8")
    repository = Repository.around(store)

    assert (repository.ignores("secret/"), repository.ignores("team")) == (True, False)
    assert repository.attribute("merge", "team/MEMORY.md") == "one"
    assert repository.attribute("merge", "team/a.md") == "unspecified"


def test_settings_are_of_this_clone(store: Path) -> None:
    """Set, read, set again; several values become one; a name without a value is None."""
    repository = Repository.around(store)
    assert repository.setting("merge.x.driver") is None
    git(store, "config", "--add", "merge.x.driver", "one")
    git(store, "config", "--add", "merge.x.driver", "two")

    repository.set("merge.x.driver", "a 'b' %O\n")

    assert repository.setting("merge.x.driver") == "a 'b' %O\n"
    assert "driver" not in git(store, "config", "--global", "--list")


def test_a_locked_configuration_is_said(store: Path) -> None:
    """Another git that writes it: LockedError."""
    (store / ".git" / "config.lock").touch()

    with pytest.raises(LockedError, match="configuration"):
        Repository.around(store).set("merge.x.driver", "one")


# --- where git cannot answer ------------------------------------------------------------------------------------------


def test_no_git(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git gets a sentence."""
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(NotFoundError, match="no git"):
        Repository.around(store)


def test_no_repository(tmp_path: Path) -> None:
    """A folder in none; the hint says how to have one."""
    with pytest.raises(NotFoundError, match="git repository") as caught:
        Repository.around(tmp_path)
    assert "git init" in caught.value.hint


def test_inside_a_bare_repository(tmp_path: Path) -> None:
    """There are no files there."""
    git(tmp_path, "init", "-q", "--bare", "bare.git")

    with pytest.raises(NotFoundError, match="working tree"):
        Repository.around(tmp_path / "bare.git")


def test_a_repository_of_somebody_else(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git refuses it; the message says what to do."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    with pytest.raises(StorageError, match="another user") as caught:
        Repository.around(store)
    assert "safe.directory" in caught.value.hint


def test_git_that_does_not_end(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped, and the error says which command it was."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 20\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git_command, "TIMEOUT_S", 0.2)

    with pytest.raises(StorageError, match="git rev-parse took longer"):
        Repository.around(store)


def test_files_that_are_kept_elsewhere(store: Path, tmp_path: Path) -> None:
    """A repository whose configuration points to another place is not asked."""
    (tmp_path / "elsewhere").mkdir()
    git(store, "config", "core.worktree", str(tmp_path / "elsewhere"))

    with pytest.raises(NotFoundError):
        Repository.around(store)


def test_the_environment_of_another_git_is_left_out(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called from a hook of another repository, the folder's own is meant."""
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    repository = Repository.around(store)
    assert repository.top == str(store.resolve())
    assert [one.subject for one in repository.commits("HEAD")] == ["begin"]
    assert repository.uncommitted() == ()


# --- hostile repositories ---------------------------------------------------------------------------------------------


def everything(store: Path) -> None:
    """Asks all there is to ask."""
    repository = Repository.around(store / "team")
    repository.branch()
    repository.uncommitted()
    repository.commits("HEAD")
    repository.ignores("new.md")
    repository.attribute("merge", "a.md")
    repository.setting("merge.x.driver")
    repository.set("lamina.test", "1")
    repository.fetched_at()


@pytest.mark.parametrize(
    ("settings", "attributes"),
    [
        ({"core.fsmonitor": "{}"}, ""),
        ({"filter.f.clean": "{}", "filter.f.required": "true"}, "*.md filter=f"),
        ({"filter.f.process": "{}"}, "*.md filter=f"),
        ({"diff.external": "{}", "diff.d.textconv": "{}", "diff.d.command": "{}"}, "*.md diff=d"),
        ({"log.showSignature": "true", "gpg.program": "{}", "gpg.ssh.program": "{}"}, ""),
        ({"core.pager": "{}", "pager.log": "{}", "pager.status": "{}", "core.askPass": "{}"}, ""),
        ({"alias.status": "!{}", "alias.log": "!{}", "alias.config": "!{}"}, ""),
    ],
    ids=["fsmonitor", "clean", "process", "diff", "signature", "pager", "alias"],
)
def test_a_hostile_configuration_runs_nothing(
    store: Path, tmp_path: Path, settings: dict[str, str], attributes: str
) -> None:
    """Whatever program the repository's configuration names, asking git does not start it."""
    proof = tmp_path / "ran"
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n", encoding="utf-8")
    program.chmod(0o755)
    if "gpg.program" in settings:
        signed = git(store, "cat-file", "commit", "HEAD").replace(
            "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n", 1
        )
        made = subprocess.run(
            ["git", "-C", str(store), "hash-object", "-t", "commit", "-w", "--stdin"],
            input=signed,
            capture_output=True,
            text=True,
            check=True,
        )
        git(store, "update-ref", "HEAD", made.stdout.strip())
    for name, value in settings.items():
        git(store, "config", name, value.format(program))
    if attributes:
        (store / ".git" / "info" / "attributes").write_text(attributes + "\n", encoding="utf-8")
    for hook in ("post-index-change", "reference-transaction"):
        (store / ".git" / "hooks" / hook).symlink_to(program)
    write(store / "team", a="z\n", new="new\n")  # the same size, so that git has to look into it

    everything(store)
    assert not proof.exists()

    if set(settings) & {"core.fsmonitor", "filter.f.clean"}:  # the trap works where nobody disarms it
        git(store, "status", code=None)
        assert proof.exists()


def test_a_filter_that_cannot_be_turned_off_is_refused(store: Path, tmp_path: Path) -> None:
    """A name with = cannot be overridden, so git is not asked at all."""
    with (store / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write(f'[filter "a=b"]\n\tclean = touch {tmp_path / "ran"}\n')

    with pytest.raises(StorageError, match="filter"):
        everything(store)
    assert not (tmp_path / "ran").exists()


def test_a_partial_clone_fetches_nothing(store: Path, tmp_path: Path) -> None:
    """Objects that a partial clone lacks are not asked for, by whatever command its configuration names."""
    proof = tmp_path / "ran"
    git(store, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=tree:0", f"file://{store}", str(clone))
    git(clone, "config", "remote.origin.uploadpack", f"touch {proof}; git-upload-pack")
    git(clone, "config", "protocol.allow", "always")

    with pytest.raises(StorageError):
        Repository.around(clone, "team").commits("HEAD")
    assert not proof.exists()
    git(clone, "log", "--name-status", "HEAD", "--", "team", code=None)
    assert proof.exists()  # the trap works


def test_asking_writes_nothing(store: Path) -> None:
    """Reading does not refresh git's index, so that it is never in the way of the user's own git."""
    index = store / ".git" / "index"
    write(store / "team", a="a\n")
    before = index.read_bytes()
    os.utime(store / "team" / "a.md", (1, 1))

    repository = Repository.around(store / "team")
    assert repository.uncommitted() == ()
    assert repository.branch().name == "main"

    assert index.read_bytes() == before
    git(store, "status")
    assert index.read_bytes() != before
