"""``lamina index``: what an agent loads, and whether it is in order."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lamina
from lamina.cli.quick import loaded, print_index

Cli = Any
Add = Callable[..., str]


@pytest.fixture
def add(cli: Cli) -> Add:
    """Adds a memory that is a file; returns its id."""

    def run(title: str, text: str = "A text of its own.", *options: str, type: str = "project") -> str:
        return str(cli("add", text, "--title", title, "--type", type, *options).out.strip())

    return run


def test_the_index_is_the_file(cli: Cli, place: Path, add: Add) -> None:
    """Standard output is MEMORY.md byte for byte, and nothing else."""
    add("Deploy day")
    answer = cli("index")
    assert answer.out == (place / "MEMORY.md").read_text()
    assert "project_deploy_day.md" in answer.out
    assert answer.err == ""


def test_team_stands_below_private(cli: Cli, place: Path, add: Add) -> None:
    """Both indexes are printed, private first; --scope prints one."""
    add("Mine")
    add("Ours", "A text for all.", "--scope", "team")
    both = cli("index").out
    assert both.index("project_mine.md") < both.index("team/") < both.index("project_ours.md")
    assert cli("index", "--scope", "team").out == (place / "team" / "MEMORY.md").read_text()
    assert "ours" not in cli("index", "--scope", "private").out


def test_a_long_index_is_cut_and_says_so(cli: Cli, place: Path, add: Add) -> None:
    """Beyond its limits the best-ranked pointers are printed, a note names the excess, and the file stays."""
    add("First")
    index = place / "MEMORY.md"
    index.write_text(index.read_text() + "".join(f"- [N{number}](n{number}.md) — x\n" for number in range(300)))
    before = index.read_bytes()
    answer = cli("index")
    assert len(answer.out.splitlines()) <= 200
    assert "WARNING" in answer.out.splitlines()[-1]
    assert "note:" in answer.err
    assert "limit: 200" in answer.err
    assert index.read_bytes() == before


def test_no_index_is_said(cli: Cli, place: Path) -> None:
    """A store without files has an empty index, and standard error says what makes one."""
    cli("init")
    answer = cli("index")
    assert answer.out == ""
    assert "lamina add" in answer.err


def test_memory_that_is_off_loads_nothing(cli: Cli, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAMINA_ENABLED=0 empties the index and says why."""
    add("Deploy day")
    monkeypatch.setenv("LAMINA_ENABLED", "0")
    answer = cli("index")
    assert answer.out == ""
    assert "turned off" in answer.err


def test_json_has_text_and_measures(cli: Cli, add: Add) -> None:
    """The document carries the text, and each index with its measures."""
    add("Deploy day")
    document = cli("index", "--json").json
    assert document["text"].startswith("# Memory")
    assert [(view["scope"], view["pointers"]) for view in document["indexes"]] == [("private", 1), ("team", 0)]


def test_a_scope_without_files_is_refused(cli: Cli, add: Add) -> None:
    """A scope of rows has no index; that is an error and not an empty answer."""
    add("Deploy day")
    assert "no index" in cli("index", "--scope", "user/ana", code=2).err
    assert "no index" in cli("index", "--check", "--scope", "user/ana", code=2).err


def test_options_that_contradict(cli: Cli) -> None:
    """--check and --fix exclude each other, and --dry-run goes with --fix alone."""
    cli("index", "--check", "--fix", code=2)
    cli("index", "--dry-run", code=2)
    cli("index", "--instructions", "--check", code=2)


def test_instructions(cli: Cli, place: Path) -> None:
    """--instructions prints the prompt, with the folder in it."""
    cli("init")
    answer = cli("index", "--instructions")
    assert str(place) in answer.out
    assert cli("index", "--instructions", "--json").json["instructions"].strip() == answer.out.strip()


# --- check and fix ---------------------------------------------------------------------------------------------------


def test_check_of_an_index_in_order(cli: Cli, add: Add) -> None:
    """Nothing wrong: 0, and what was looked at is counted."""
    add("Deploy day")
    answer = cli("index", "--check")
    assert "nothing is wrong" in answer.out
    assert "1 pointer, 1 file" in answer.out


def _break(place: Path) -> None:
    """An orphan, a dangling and a doubled pointer, and a file that nobody merged."""
    index = place / "MEMORY.md"
    index.write_text(
        index.read_text() + "- [Gone](gone.md) — x\n- [Again](project_deploy_day.md) — y\n", encoding="utf-8"
    )
    (place / "orphan.md").write_text("---\nname: Orphan\ntype: project\n---\n\nA body.\n")
    (place / "fought.md").write_text("---\nname: F\n---\n\n<<<<<<< a\n1\n=======\n2\n>>>>>>> b\n")


def test_check_groups_by_file_the_worst_first(cli: Cli, place: Path, add: Add) -> None:
    """Problems end with 7, stand below their file, and a conflict comes before a pointer; nothing is written."""
    add("Deploy day")
    _break(place)
    before = {path.name: path.read_bytes() for path in place.glob("*.md")}
    answer = cli("index", "--check", code=7)
    lines = answer.out.splitlines()
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert heads[:3] == ["fought.md", "MEMORY.md", "orphan.md"]
    assert "4 problems" in answer.out
    assert "lamina index --fix mends 3" in answer.out
    assert {path.name: path.read_bytes() for path in place.glob("*.md")} == before


def test_check_as_json(cli: Cli, place: Path, add: Add) -> None:
    """The document counts problems by code, and says that it is not in order."""
    add("Deploy day")
    _break(place)
    document = cli("index", "--check", "--json", code=7).json
    assert document["ok"] is False
    assert document["counts"] == {"conflict-markers": 1, "dangling": 1, "doubled": 1, "orphan": 1}


def test_notes_alone_end_with_zero(cli: Cli, place: Path, add: Add) -> None:
    """A link to nothing and a long memory are told, and are no failure."""
    add("Deploy day", "See [[nothing-yet]].\n" + "long " * 1000)
    answer = cli("index", "--check")
    assert "note: link-to-nothing" in answer.out
    assert "note: oversized" in answer.out
    document = cli("index", "--check", "--json").json
    assert document["ok"] is True
    assert document["counts"] == {"link-to-nothing": 1, "oversized": 1}


def test_fix_says_what_it_did(cli: Cli, place: Path, add: Add) -> None:
    """A dry run changes no byte; --fix mends pointers, leaves the conflict, and ends with 7 because of it."""
    add("Deploy day")
    _break(place)
    before = (place / "MEMORY.md").read_bytes()
    planned = cli("index", "--fix", "--dry-run")
    assert "would do" in planned.out
    assert (place / "MEMORY.md").read_bytes() == before
    done = cli("index", "--fix", code=7)
    assert done.out.count("done  ") == planned.out.count("would do  ") == 3
    text = (place / "MEMORY.md").read_text()
    assert "gone.md" not in text
    assert text.count("project_deploy_day.md") == 1
    assert "orphan.md" in text
    (place / "fought.md").unlink()
    assert "nothing is wrong" in cli("index", "--check").out


def test_fix_of_an_index_in_order(cli: Cli, place: Path, add: Add) -> None:
    """Nothing to mend is said, and nothing is written."""
    add("Deploy day")
    before = (place / "MEMORY.md").stat()
    assert "nothing that a program can mend" in cli("index", "--fix").out
    after = (place / "MEMORY.md").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


# --- the quick way ---------------------------------------------------------------------------------------------------


def test_the_quick_way_in_a_process(process: Cli, cli: Cli, place: Path, add: Add) -> None:
    """Through a pipe the answer is the command's own, and neither click nor the catalog was loaded for it."""
    add("Deploy day")
    assert process("index").out == cli("index").out
    assert process("--store", str(place), "index", "--scope", "private").out == cli("index").out
    probe = (
        "import sys; from lamina.cli import main; code = main(['index']); "
        "print([m for m in ('click', 'apsw', 'numpy', 'ruamel', 'rich') if m in sys.modules], file=sys.stderr); "
        "sys.exit(code)"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "args",
    [
        ["index", "--check"],
        ["index", "--json"],
        ["index", "-h"],
        ["index", "--store"],
        ["index", "--scope", "a", "--scope", "b"],
        ["add", "index"],
        ["--store", "index"],
        ["index", "index"],
    ],
)
def test_the_quick_way_answers_nothing_else(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is more than the plain command is left to it."""
    assert print_index(args) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "latin", "nul", "long", "missing"])
def test_the_quick_way_leaves_odd_indexes_alone(cli: Cli, place: Path, add: Add, kind: str) -> None:
    """An index that is no plain text of its size is the store's to judge."""
    add("Deploy day")
    index = place / "MEMORY.md"
    assert loaded(str(place), None) is not None
    moved = place / "aside.txt"
    index.rename(moved)
    data: dict[str, bytes] = {"latin": b"caf\xe9\n", "nul": b"a\0b\n", "long": b"- x\n" * 201}
    if kind == "link":
        index.symlink_to(moved)
    elif kind == "folder":
        index.mkdir()
    elif kind == "pipe":
        os.mkfifo(index)
    elif kind in data:
        index.write_bytes(data[kind])
    assert loaded(str(place), None) is None


_LINE = st.sampled_from(
    [
        "# Head",
        "",
        "prose",
        "- [A](a.md) — x",
        "- [B](b.md)",
        "```",
        "<!-- c -->",
        "é" * 50,
        "- [A](a.md)",
        "> q",
        "\ufeff",
    ]
)
_INDEX = st.lists(_LINE, max_size=230).flatmap(
    lambda lines: st.sampled_from(["\n", "\r\n"]).map(lambda end: end.join(lines).encode())
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(private=_INDEX, team=st.none() | _INDEX, scope=st.sampled_from([None, "private", "team"]))
def test_the_quick_way_says_what_the_store_says(
    tmp_path_factory: pytest.TempPathFactory, private: bytes, team: bytes | None, scope: str | None
) -> None:
    """Whatever two indexes hold, the quick answer is the store's own, notices included."""
    folder: Any = tmp_path_factory.getbasetemp() / "quick"
    with lamina.open(folder) as store:
        (folder / "MEMORY.md").write_bytes(private)
        (folder / "team").mkdir(exist_ok=True)
        other = folder / "team" / "MEMORY.md"
        other.unlink(missing_ok=True)
        if team is not None:
            other.write_bytes(team)
        found = loaded(str(folder), scope)
        if found is None:
            return
        text, notices = found
        assert text == store.memories.index(scope)
        names = ["private", "team"] if scope is None else [scope]
        assert notices == [notice for name in names for notice in store.memories.index_view(name).notices]


def test_near_duplicates_are_a_note(cli: Cli) -> None:
    """Two files that say almost the same are named once, and are no failure."""
    text = "The staging database listens on port 5433 since the move of March, and only inside the office network."
    cli("add", text, "--type", "project", "--title", "One")
    cli("add", text + " Ask Ana.", "--type", "project", "--title", "Two")

    answer = cli("index", "--check", "--json")

    assert 1 == answer.json["counts"]["near-duplicate"]
    assert answer.json["ok"]
