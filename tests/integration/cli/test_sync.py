"""``lamina sync``, and how every command follows what people changed by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

Cli = Any


def _write(place: Path, name: str, text: str = "A body.", title: str = "A title") -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\nname: {title}\ntype: project\n---\n\n{text}\n", encoding="utf-8")
    return path


def _bytes(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*.md")}


def test_each_kind_of_change_is_named(cli: Cli, place: Path) -> None:
    """New, changed, renamed, moved between scopes and deleted files are told apart, and none is written."""
    cli("init")
    for name in ("a", "b", "c", "d"):
        _write(place, f"{name}.md", f"The body of {name}, unlike all others.", f"Title {name}")
    assert "4 changes taken over; 4 memory files." in cli("sync").out
    (place / "team").mkdir()
    _write(place, "a.md", "Another body of a.", "Title a")
    (place / "b.md").rename(place / "bb.md")
    (place / "c.md").rename(place / "team" / "c.md")
    (place / "d.md").unlink()
    _write(place, "e.md", "Something new altogether.", "Title e")
    before = _bytes(place)
    document = cli("sync", "--json").json
    assert document["new"] == ["e.md"]
    assert document["changed"] == ["a.md"]
    assert document["renamed"] == [{"from": "b.md", "to": "bb.md"}]
    assert document["moved"] == [{"from": "c.md", "to": "team/c.md"}]
    assert document["deleted"] == ["d.md"]
    assert (document["total"], document["ok"]) == (5, True)
    assert _bytes(place) == before


def test_nothing_to_do_is_one_line(cli: Cli, place: Path) -> None:
    """Where nothing changed, one line says so."""
    cli("init")
    _write(place, "a.md")
    cli("sync")
    assert cli("sync").out == "Nothing changed in 1 memory file.\n"


def test_problems_are_told_each_time(cli: Cli, place: Path) -> None:
    """A conflict that nobody resolved is told at every sync, below its file, and is no failure of the sync."""
    cli("init")
    (place / "fought.md").write_text("---\nname: F\n---\n\n<<<<<<< a\n1\n=======\n2\n>>>>>>> b\n")
    for _ in range(2):
        out = cli("sync").out
        assert out.splitlines()[0] == "fought.md"
        assert "conflict-markers" in out
        assert "1 problem." in out


def test_reading_follows_what_was_edited(cli: Cli, place: Path) -> None:
    """recall, list and get answer from the files as they are now, without a sync of one's own."""
    cli("init")
    path = _write(place, "port.md", "The staging database listens on 5432.", "Staging port")
    assert "5432" in cli("recall", "staging database port").out
    path.write_text(path.read_text().replace("5432", "5433"))
    answer = cli("recall", "staging database port")
    assert "5433" in answer.out
    assert "5432" not in answer.out
    assert answer.err == ""
    assert "port.md" in cli("list").out
    assert cli("status", "--json").json["files"] == 1


def test_reading_says_once_what_is_wrong(cli: Cli, place: Path) -> None:
    """A reading command that finds a new broken file says so on standard error, and answers."""
    cli("init")
    _write(place, "good.md", "A good body.")
    (place / "bad.md").write_bytes(b"---\nname: x\n---\ncaf\xe9\n")
    answer = cli("recall", "good body")
    assert "good.md" in answer.out
    assert "bad.md" in answer.err
    assert "lamina sync" in answer.err


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read(cli: Cli, place: Path) -> None:
    """Where nothing can be taken over, the answer comes from what was there, and says that it may be behind."""
    cli("init")
    path = _write(place, "port.md", "The port is 5432.")
    cli("sync")
    path.write_text(path.read_text().replace("5432", "5433"))
    engine = place / ".lamina"
    files = [engine, *engine.iterdir()]
    modes = [(file, file.stat().st_mode) for file in files]
    for file in reversed(files):
        file.chmod(0o500 if file.is_dir() else 0o400)
    try:
        assert "changed since the last sync" in cli("recall", "port").err
    finally:
        for file, mode in modes:
            file.chmod(mode)


def test_a_hit_shows_its_file_and_age(cli: Cli, place: Path) -> None:
    """A hit names the file it comes from, and how old that is when it is older than a day."""
    cli("init")
    path = _write(place, "old.md", "The archive is on tape.")
    old = path.stat().st_mtime - 47 * 86_400
    os.utime(path, (old, old))
    out = cli("recall", "where is the archive").out
    assert "old.md · 47 days old" in out
    assert cli("recall", "where is the archive", "--json").json["hits"][0]["age"] == "47 days old"


def test_init_takes_over_a_folder(cli: Cli, place: Path) -> None:
    """Init in a folder of markdown counts its files, changes none, and its advice fits."""
    _write(place, "a.md")
    before = _bytes(place)
    answer = cli("init")
    assert "Its 1 markdown file can be recalled; none was changed." in answer.out
    assert "lamina index --fix" in answer.out
    assert _bytes(place) == before
    document = cli("init", "--json").json
    assert (document["files"], document["index"], document["problems"]) == (1, False, [])


def test_status_shows_files_and_index(cli: Cli, place: Path) -> None:
    """Status says how full each index is, and how many files there are."""
    cli("add", "A text.", "--type", "project", "--title", "One")
    out = cli("status").out
    assert "MEMORY.md: 3 of 200 lines" in out
    document = cli("status", "--json").json
    assert document["indexes"][0]["pointers"] == 1
    assert document["files"] == 1


def test_many_changes_are_cut_and_counted(cli: Cli, place: Path) -> None:
    """Beyond fifty of a kind the rest is counted, and JSON has all."""
    cli("init")
    for number in range(60):
        _write(place, f"n{number:02}.md", f"Body number {number} of many.", f"Title {number}")
    out = cli("sync").out
    assert out.count("new  ") == 50
    assert "and 10 more" in out
    assert "60 changes" in out
