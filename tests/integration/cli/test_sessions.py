"""Sessions in the shell: what is told of an import, and ids by their beginning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamina.cli.app import run


def call(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Run a command in a folder's store; return what it says on both streams."""
    assert run(["--store", str(folder / "store"), *arguments]) == code
    said = capsys.readouterr()
    return said.out, said.err


def test_an_import_tells_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of strange record has its count and its place, on lines that a terminal holds."""
    path = tmp_path / "in" / "session-one.jsonl"
    path.parent.mkdir()
    message = {"type": "user", "sessionId": "session-one", "uuid": "1", "message": {"content": "hi"}}
    strange = {"type": "a rather long name of a record that nobody has heard of before, ever"}
    path.write_text("".join(json.dumps(line) + "\n" for line in (message, strange, strange)))
    first, _ = call(tmp_path, capsys, "sessions", "import", str(path.parent))
    again, _ = call(tmp_path, capsys, "sessions", "import", str(path.parent))

    assert first.startswith("1 new of 1 session: 1 turn, 0 calls\n")
    assert again.startswith("0 new of 1 session: 0 turns, 0 calls, 1 known already\n")
    assert "not understood: 2x a rather long" in first
    assert "(first session-one.jsonl line 2)" in first
    assert max(map(len, first.splitlines())) <= 100


def test_a_folder_of_which_nothing_can_be_read_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is named once, and the exit code is that of a failure."""
    path = tmp_path / "in"
    path.mkdir()
    (path / "a.jsonl").write_bytes(b"")
    (path / "b.json").write_text("5")
    _, said = call(tmp_path, capsys, "sessions", "import", str(path), code=1)

    assert (said.count("a.jsonl"), said.count("b.json")) == (1, 1)
    assert "a.jsonl: it is empty." in said


def test_an_id_may_be_named_by_its_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list begins with ids; show, export and archive take the beginning of one."""
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps({"type": "session", "id": id}) + "\n" for id in ("edge_cases", "other")))
    call(tmp_path, capsys, "sessions", "import", str(path))
    listed, _ = call(tmp_path, capsys, "sessions", "list")

    assert sorted(line.split()[0] for line in listed.splitlines()) == ["edge_cases", "other"]
    assert "edge_cases" in call(tmp_path, capsys, "sessions", "show", "edge")[0]
    assert call(tmp_path, capsys, "sessions", "export", "edge")[0].count("\n") == 1
    assert "archived 1" in call(tmp_path, capsys, "sessions", "archive", "edge")[0]
