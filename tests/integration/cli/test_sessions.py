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


def transcript(tmp_path: Path) -> Path:
    """A transcript of one line twice, and of a command that failed; and a session that only speaks."""
    said = {"type": "user", "sessionId": "leak1", "uuid": "1", "message": {"content": "hi"}}
    command = "curl -u me:hunter22 https://x.example/a.tgz; git clone https://x.example/r; export X=1; echo ok"
    used = {"type": "tool_use", "id": "c", "name": "Bash", "input": {"command": command}}
    came = {"type": "tool_result", "tool_use_id": "c", "content": "Exit code 6 no host", "is_error": True}
    lines = [
        said,
        said,
        {"type": "assistant", "sessionId": "leak1", "uuid": "2", "message": {"content": [used]}},
        {"type": "user", "sessionId": "leak1", "uuid": "3", "message": {"content": [came]}},
        {**said, "sessionId": "talk"},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_stands_twice_is_not_called_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line twice in a file is told as such, known events are those of an earlier import, and numbers fit words."""
    path = transcript(tmp_path)
    first, _ = call(tmp_path, capsys, "sessions", "import", str(path))
    again, _ = call(tmp_path, capsys, "sessions", "import", str(path), "--json")
    learned, _ = call(tmp_path, capsys, "patterns", "learn")

    assert first.startswith("2 new of 2 sessions: 2 turns, 1 call, 1 twice in the files\n")
    assert (json.loads(again)["known"], json.loads(again)["twice"]) == (4, 0)
    assert learned.startswith("learned from 1 new of 1 session (1 without calls): ")


def test_a_line_that_was_added_twice_is_told_of_a_session_that_grew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a session that was there, only what this import added itself stands twice."""
    path = transcript(tmp_path)
    call(tmp_path, capsys, "sessions", "import", str(path))
    more = json.dumps({"type": "user", "sessionId": "leak1", "uuid": "9", "message": {"content": "more"}}) + "\n"
    path.write_text(path.read_text() + more + more)
    told = json.loads(call(tmp_path, capsys, "sessions", "import", str(path), "--json")[0])

    assert (told["turns"], told["known"], told["twice"]) == (1, 4, 1)


def test_a_call_shows_its_command_and_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed command is shown with its error, masked and within the width; fetching is no search of the web."""
    call(tmp_path, capsys, "sessions", "import", str(transcript(tmp_path)))
    shown, _ = call(tmp_path, capsys, "sessions", "show", "leak1")
    line = shown.splitlines()[-1]

    assert "1 turn, 1 call, 1 error" in shown
    assert "-- Bash [fetch] curl -u me:[masked: password]" in line
    assert "Exit code 6" in line
    assert "hunter22" not in shown
    assert len(line) <= 100


def test_sessions_are_deleted_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Delete takes the beginning of an id, asks first, and a dry run changes nothing."""
    call(tmp_path, capsys, "sessions", "import", str(transcript(tmp_path)))
    _, said = call(tmp_path, capsys, "sessions", "delete", "leak", "--dry-run")
    call(tmp_path, capsys, "sessions", "delete", "leak1", code=2)
    assert "leak1" in said
    assert "leak1" in call(tmp_path, capsys, "sessions", "list")[0]
    done, _ = call(tmp_path, capsys, "sessions", "delete", "leak", "leak1", "--yes", "--json")

    assert json.loads(done) == {"dry_run": False, "deleted": ["leak1"]}
    assert "leak1" not in call(tmp_path, capsys, "sessions", "list")[0]
    call(tmp_path, capsys, "sessions", "delete", "leak1", "--yes", code=3)


def test_old_sessions_are_deleted_by_number_or_age(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Retain says what goes, asks first, keeps the newest, and wants to be told what to keep."""
    path = tmp_path / "s.jsonl"
    lines = []
    for number in range(3):
        at = f"2026-05-0{number + 1}T10:00:00Z"
        lines += [
            {"type": "session", "id": f"run-{number}", "at": at},
            {"type": "turn", "role": "user", "text": "hi", "at": at},
        ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    call(tmp_path, capsys, "sessions", "import", str(path))
    call(tmp_path, capsys, "sessions", "retain", code=2)
    call(tmp_path, capsys, "sessions", "retain", "--keep-last", "1", code=2)
    planned, _ = call(tmp_path, capsys, "sessions", "retain", "--keep-last", "1", "--dry-run")
    young, _ = call(tmp_path, capsys, "sessions", "retain", "--max-age-days", "1e300", "--dry-run", "--json")
    done, _ = call(tmp_path, capsys, "sessions", "retain", "--keep-last", "1", "--max-age-days", "1", "--yes")

    assert planned.startswith("would delete 2 sessions")
    assert "run-1" in planned
    assert json.loads(young)["sessions"] == []
    assert done.startswith("deleted 2 sessions")
    assert [line.split()[0] for line in call(tmp_path, capsys, "sessions", "list")[0].splitlines()] == ["run-2"]


def test_no_store_is_made_for_what_cannot_be_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is missing, or is none of the formats, leaves no store behind, and the message says which it is."""
    (tmp_path / "README.md").write_text("# hello\n")
    (tmp_path / "x.json").write_text("{}")
    path = transcript(tmp_path)

    def said(*arguments: str, code: int) -> str:
        err = call(tmp_path, capsys, *arguments, code=code)[1]
        assert not (tmp_path / "store").exists()
        return err.replace("\n", " ")

    assert "no file" in said("sessions", "import", str(tmp_path / "none"), code=3)
    told = said("sessions", "import", str(tmp_path / "README.md"), code=2)
    assert "README.md is no file of sessions." in told
    assert "transcript, trajectory, aircher, duckdb, lamina" in told
    assert "There is no" in said("patterns", "import", str(tmp_path / "e.txt"), code=3)
    assert "no list of patterns" in said("patterns", "import", str(tmp_path / "x.json"), code=2)
    assert "no file of a pattern" in said("patterns", "import", str(tmp_path / "README.md"), code=3)
    told = said("patterns", "import", str(path), code=2)
    assert "holds sessions, not patterns" in told
    assert "lamina sessions import" in told


def test_a_beginning_too_short_says_how_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three characters name no session, and the hint says that four do."""
    call(tmp_path, capsys, "sessions", "import", str(transcript(tmp_path)))
    _, said = call(tmp_path, capsys, "sessions", "show", "lea", code=3)
    _, long = call(tmp_path, capsys, "sessions", "show", "leap", code=3)

    assert "from 4 characters on" in said
    assert "leak1" in said
    assert "characters on" not in long
