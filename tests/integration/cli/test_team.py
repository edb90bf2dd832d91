"""`lamina team`: what git says of the shared folder, and how its indexes come to merge."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.cli.commands import team as team_command

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

Cli = Any
_SOURCE = str(Path(__file__).resolve().parents[3] / "src")


@pytest.fixture(autouse=True)
def identity(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone to commit as."""
    (clean_environment / ".gitconfig").write_text(
        "[user]\n\tname = Ana\n\temail = ana@example.org\n[init]\n\tdefaultBranch = main\n", encoding="utf-8"
    )
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str, code: int = 0) -> str:
    """Runs git as a person does."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def share(place: Path, title: str) -> None:
    """Adds a memory for the team."""
    with lamina.open(place, embedder="none") as store:
        store.memories.add(f"About {title}.", title=title, description=title, type="project", scope="team")


@pytest.fixture(params=["store", "larger", "alone"])
def shared(request: pytest.FixtureRequest, place: Path) -> tuple[Path, str]:
    """A store with one team memory, committed, in each of the three ways; the repository and the files' prefix."""
    share(place, "Alpha")
    root, prefix = {"store": (place, "team/"), "larger": (place.parent, "store/team/"), "alone": (place / "team", "")}[
        request.param
    ]
    git(root, "init", "-q")
    git(root, "add", prefix or ".")
    git(root, "commit", "-qm", "begin")
    return root, prefix


def test_status_wherever_the_repository_is(cli: Cli, place: Path, shared: tuple[Path, str]) -> None:
    """The store is the repository, or lies in one, or team/ alone is one: paths are relative to team/."""
    root, _ = shared
    share(place, "Beta")
    (place / "private.md").write_text("mine\n", encoding="utf-8")

    document = cli("team", "status", "--json").json

    assert document["repository"] == str(root)
    assert {one["path"]: one["change"] for one in document["uncommitted"]} == {
        "MEMORY.md": "changed",
        "project_beta.md": "new",
    }
    assert {one["path"]: (one["change"], one["authors"]) for one in document["recent"]} == {
        "MEMORY.md": ("new", ["Ana"]),
        "project_alpha.md": ("new", ["Ana"]),
    }
    shown = cli("team", "status").out
    assert "new       project_beta.md" in shown
    assert "Ana" in shown
    assert "private.md" not in shown
    assert "git push -u" in shown


def test_init_wherever_the_repository_is(cli: Cli, place: Path, shared: tuple[Path, str]) -> None:
    """A dry run changes nothing; the first run sets up both halves; the second finds nothing to do."""
    root, prefix = shared
    file = place / "team" / ".gitattributes"
    planned = cli("team", "init", "--dry-run", "--json").json
    assert not file.exists()
    git(root, "config", "merge.lamina-index.driver", code=1)

    done = cli("team", "init", "--json").json
    again = cli("team", "init", "--json").json

    for document in (planned, done):
        assert document["added"] == ["MEMORY.md merge=lamina-index", "MEMORY.more.md merge=lamina-index"]
        assert document["configured"]
        assert document["to_commit"] == [f"{prefix}.gitattributes"]
    assert file.read_bytes() == b"MEMORY.md merge=lamina-index\nMEMORY.more.md merge=lamina-index\n"
    assert git(root, "check-attr", "merge", f"{prefix}deep/MEMORY.md").endswith("merge: lamina-index\n")
    assert git(root, "config", "--local", "merge.lamina-index.driver").endswith(" team merge-driver %O %A %B\n")
    assert (again["added"], again["configured"]) == ([], False)
    assert again["to_commit"] == [f"{prefix}.gitattributes"]
    git(root, "add", f"{prefix}.gitattributes")
    git(root, "commit", "-qm", "merge driver")
    assert cli("team", "init").out.startswith("Everything is set up already.")


def test_init_keeps_the_attributes_that_are_there(cli: Cli, place: Path) -> None:
    """Lines are added after people's own, whose bytes, endings and rights stay; what already holds is not repeated."""
    share(place, "Alpha")
    git(place, "init", "-q")
    file = place / "team" / ".gitattributes"
    file.write_bytes(b"# ours\r\n*.png binary\r\nMEMORY.md  merge=lamina-index")
    file.chmod(0o664)

    assert cli("team", "init", "--json").json["added"] == ["MEMORY.more.md merge=lamina-index"]
    assert file.read_bytes() == (
        b"# ours\r\n*.png binary\r\nMEMORY.md  merge=lamina-index\r\nMEMORY.more.md merge=lamina-index\r\n"
    )
    assert file.stat().st_mode & 0o777 == 0o664


def test_init_wins_over_an_earlier_rule(cli: Cli, place: Path) -> None:
    """A rule for all markdown files would hide ours, so ours goes after it."""
    share(place, "Alpha")
    git(place, "init", "-q")
    (place / "team" / ".gitattributes").write_text("MEMORY.md merge=lamina-index\n*.md merge=union\n", encoding="utf-8")

    assert len(cli("team", "init", "--json").json["added"]) == 2
    assert git(place, "check-attr", "merge", "team/MEMORY.md").endswith("merge: lamina-index\n")


def test_init_says_where_git_listens_to_another(cli: Cli, place: Path) -> None:
    """.git/info/attributes wins over every file of the tree; that is said."""
    share(place, "Alpha")
    git(place, "init", "-q")
    (place / ".git" / "info" / "attributes").write_text("MEMORY.md merge=union\n", encoding="utf-8")

    assert any("info/attributes" in notice for notice in cli("team", "init", "--json").json["notices"])


def test_init_makes_the_folder(cli: Cli, place: Path) -> None:
    """A store without team/ gets one, and a dry run leaves it away."""
    cli("init")
    git(place, "init", "-q")
    assert cli("team", "init", "--dry-run", "--json").json["made_folder"]
    assert not (place / "team").exists()

    assert cli("team", "init", "--json").json["made_folder"]
    assert (place / "team" / ".gitattributes").is_file()


def test_private_memories_in_the_repository_are_pointed_out(cli: Cli, place: Path, tmp_path: Path) -> None:
    """`git add .` would take them; where they are ignored, or lie outside of the repository, nothing is said."""
    share(place, "Alpha")
    git(place, "init", "-q")
    assert any("Private" in notice for notice in cli("team", "init", "--json").json["notices"])

    (place / ".gitignore").write_text("/*.md\n", encoding="utf-8")
    assert cli("team", "init", "--json").json["notices"] == []


def test_an_ignored_team_folder_is_pointed_out(cli: Cli, place: Path) -> None:
    """What git ignores is not shared."""
    share(place, "Alpha")
    git(place, "init", "-q")
    (place / ".gitignore").write_text("team/\n", encoding="utf-8")

    assert any("ignores" in notice for notice in cli("team", "status", "--json").json["notices"])


@pytest.mark.parametrize("command", ["status", "init"])
def test_what_is_missing_is_said(cli: Cli, place: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store, no repository, no git: exit code 3 each, with what to do."""
    assert "lamina init" in cli("team", command, "--json", code=3).error["hint"]
    share(place, "Alpha")
    assert "git init" in cli("team", command, "--json", code=3).error["hint"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no git" in cli("team", command, "--json", code=3).error["message"]
    assert not (place / "team" / ".gitattributes").exists()


def test_a_link_in_place_of_the_folder_is_refused(cli: Cli, place: Path, tmp_path: Path) -> None:
    """Links are not followed, here as elsewhere."""
    cli("init")
    (tmp_path / "elsewhere").mkdir()
    (place / "team").symlink_to(tmp_path / "elsewhere")

    assert "symbolic link" in cli("team", "status", "--json", code=2).error["message"]


def test_status_between_two_clones(cli: Cli, place: Path, tmp_path: Path) -> None:
    """What waits to be pushed, what was fetched and waits to be merged, and by whom; nothing is fetched by itself."""
    share(place, "Alpha")
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    git(place, "init", "-q")
    git(place, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(place, "add", "team")
    git(place, "commit", "-qm", "begin")
    assert [one["subject"] for one in cli("team", "status", "--json").json["unpushed"]] == ["begin"]
    git(place, "push", "-qu", "origin", "HEAD")
    git(tmp_path, "clone", "-q", "origin.git", "bo")
    share(tmp_path / "bo", "Viaduct")
    git(tmp_path / "bo", "add", "team")
    git(tmp_path / "bo", "commit", "-qm", "Bo's", "--author", "Bo <bo@example.org>")
    git(tmp_path / "bo", "push", "-q")
    share(place, "Harbour")
    git(place, "add", "team")
    git(place, "commit", "-qm", "Ana's")

    before = cli("team", "status", "--json").json
    git(place, "fetch", "-q")
    after = cli("team", "status", "--json").json
    shown = cli("team", "status").out

    assert (before["unmerged"], before["fetched_at"]) == ([], None)
    assert [(one["author"], one["subject"]) for one in after["unpushed"]] == [("Ana", "Ana's")]
    (theirs,) = after["unmerged"]
    assert (theirs["author"], theirs["email"]) == ("Bo", "bo@example.org")
    assert {one["path"]: one["change"] for one in theirs["files"]} == {
        "MEMORY.md": "changed",
        "project_viaduct.md": "new",
    }
    assert after["fetched_at"] is not None
    assert after["notices"] == []
    for part in ("Not pushed", "To merge", "Bo, ", "project_viaduct.md", "main, origin/main, fetched"):
        assert part in shown


def test_recent_changes_follow_a_file(cli: Cli, place: Path) -> None:
    """A file that was renamed within the time is told once, with everyone who changed it; --since narrows."""
    share(place, "Alpha")
    git(place, "init", "-q")
    git(place, "add", "team")
    old = {"GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z"}
    subprocess.run(["git", "-C", str(place), "commit", "-qm", "old"], env={**os.environ, **old}, check=True)
    file = place / "team" / "project_alpha.md"
    file.write_text(file.read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    git(place, "commit", "-qam", "edit", "--author", "Bo <bo@example.org>")
    git(place, "mv", "team/project_alpha.md", "team/alpha.md")
    git(place, "commit", "-qm", "rename")

    (recent,) = cli("team", "status", "--json").json["recent"]
    everything = cli("team", "status", "--since", "2025-12-31", "--json").json["recent"]

    assert (recent["path"], recent["change"], recent["was"]) == ("alpha.md", "renamed", "project_alpha.md")
    assert (recent["authors"], recent["commits"], recent["last"]["subject"]) == (["Ana", "Bo"], 2, "rename")
    assert {one["path"]: one["change"] for one in everything} == {"alpha.md": "new", "MEMORY.md": "new"}


def test_text_of_a_repository_cannot_act_on_the_terminal(cli: Cli, place: Path) -> None:
    """Names, subjects and authors are shown with their control characters visible."""
    share(place, "Alpha")
    (place / "team" / "\x1b[2Jx.md").write_text("x\n", encoding="utf-8")
    git(place, "init", "-q")
    git(place, "add", "team")
    git(place, "commit", "-qm", "\x1b]0;title\x07", "--author", "\x1b[31mEve <e@example.org>")
    (place / "team" / "\x1b[2Jy.md").write_text("y\n", encoding="utf-8")

    assert "\x1b" not in cli("team", "status").out


# --- the driver -------------------------------------------------------------------------------------------------------


def versions(folder: Path, base: str, ours: str, theirs: str) -> list[str]:
    """Writes the three files that git gives to a driver."""
    paths = [folder / name for name in ("base", "ours", "theirs")]
    for path, text in zip(paths, (base, ours, theirs), strict=True):
        path.write_text(text, encoding="utf-8")
    return [str(path) for path in paths]


def test_driver_merges_into_ours(cli: Cli, tmp_path: Path) -> None:
    """Both pointers are there, the other two files stay, and the exit code is 0."""
    one, two, three = (f"- [{name}]({name.lower()}.md) — {name}\n" for name in ("One", "Two", "Three"))

    cli("team", "merge-driver", *versions(tmp_path, one, one + two, one + three))

    assert sorted((tmp_path / "ours").read_text().splitlines(keepends=True)) == sorted([one, two, three])
    assert (tmp_path / "theirs").read_text() == one + three


def test_driver_leaves_a_true_conflict(cli: Cli, tmp_path: Path) -> None:
    """Exit code 1, and both sides between markers."""
    cli(
        "team",
        "merge-driver",
        *versions(tmp_path, "- [A](a.md) — a\n", "- [A](a.md) — b\n", "- [A](a.md) — c\n"),
        code=1,
    )

    text = (tmp_path / "ours").read_text()
    assert text.index("<<<<<<<") < text.index("— b") < text.index("=======") < text.index("— c") < text.index(">>>>>>>")


def test_driver_that_cannot_read_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    """A missing file is an error, which git takes for a conflict; ours stays."""
    base, ours, theirs = versions(tmp_path, "", "ours\n", "theirs\n")

    cli("team", "merge-driver", base, ours, theirs + "x", code=3)
    assert Path(ours).read_text() == "ours\n"


def test_driver_loads_no_store(tmp_path: Path) -> None:
    """It starts fast: neither the store nor its catalog, embedder or settings are imported."""
    paths = versions(tmp_path, "", "- [A](a.md)\n", "- [B](b.md)\n")
    code = (
        "import sys; from lamina.cli import main; code = main({!r});"
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)"
    ).format(["team", "merge-driver", *paths])

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": _SOURCE},
        capture_output=True,
        text=True,
        check=True,
    )

    heavy = {"numpy", "apsw", "tokenizers", "rich", "ruamel", "lamina.store", "lamina.memories", "lamina.storage"}
    assert not set(done.stderr.split()) & heavy


def test_driver_is_not_in_the_help(cli: Cli) -> None:
    """It is for git."""
    assert "merge-driver" not in cli("team", "--help").out


@pytest.mark.parametrize("name", ["plain", "with space", "quo'te", "per%Ocent", "$(touch x)"])
def test_driver_command_survives_the_shell_of_git(
    cli: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Wherever the program lies, git starts it in a real merge; nothing in its path is taken for a command."""
    folder = tmp_path / name
    folder.mkdir()
    program = folder / "lamina"
    python = shlex.quote(sys.executable)
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(_SOURCE)} exec {python} -m lamina.cli "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv(
        "PATH", ":".join(part for part in os.environ["PATH"].split(":") if not Path(part, "lamina").exists())
    )
    share(place, "Alpha")
    git(place, "init", "-q")
    cli("team", "init")
    git(place, "add", "team")
    git(place, "commit", "-qm", "begin")
    index = place / "team" / "MEMORY.md"
    begin = index.read_text(encoding="utf-8")
    git(place, "checkout", "-qb", "other")
    index.write_text(begin + "- [B](b.md)\n", encoding="utf-8")
    git(place, "commit", "-qam", "b")
    git(place, "checkout", "-q", "main")
    index.write_text(begin + "- [C](c.md)\n", encoding="utf-8")
    git(place, "commit", "-qam", "c")

    git(place, "merge", "-q", "--no-edit", "other")

    assert sorted(index.read_text(encoding="utf-8").splitlines()[-2:]) == ["- [B](b.md)", "- [C](c.md)"]
    assert not (place / "x").exists()


def test_the_program_is_named_shortly_where_it_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lamina` where the shell finds it, else how this one was started, else Python with the module."""
    program = tmp_path / "lamina"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert team_command._program() == str(program)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert team_command._program() == f"{shlex.quote(sys.executable)} -m lamina.cli"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert team_command._program() == "lamina"
