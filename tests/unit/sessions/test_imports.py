from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lamina import DependencyError, InvalidInputError, NotFoundError, Sessions, Store
from lamina.sessions.readers import lines as line_reader
from lamina.sessions.values import Call, Turn

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def message(kind: str, uuid: str, content: Any, **more: Any) -> str:
    """One line of a transcript."""
    line = {"type": kind, "uuid": uuid, "sessionId": "s1", "cwd": "/work/app", "timestamp": "2026-03-01T10:00:00Z"}
    return json.dumps({**line, "message": {"role": kind, "content": content}, **more})


def transcript(*extra: str) -> str:
    """A transcript with a call that failed."""
    return "\n".join(
        (
            message("user", "1", "please test"),
            message(
                "assistant", "2", [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "pytest"}}]
            ),
            message(
                "user",
                "3",
                [{"type": "tool_result", "tool_use_id": "t1", "content": "Exit code 1\nfailed", "is_error": True}],
                timestamp="2026-03-01T10:00:05Z",
            ),
            *extra,
        )
    )


def test_a_transcript_gives_turns_calls_and_results(s: Sessions, tmp_path: Path) -> None:
    """A call gets the result that follows it, with its outcome and how long it took."""
    path = tmp_path / "s.jsonl"
    path.write_text(transcript() + "\n")
    report = s.import_file(path)
    turn, call = s.events("s1")

    assert (report.format, report.turns, report.calls, report.new_sessions) == ("transcript", 1, 1, 1)
    assert turn == Turn(position=0, at=datetime(2026, 3, 1, 10, tzinfo=UTC), role="user", text="please test")
    assert isinstance(call, Call)
    assert (call.step, call.ok, call.exit, call.duration, call.error) == (
        "run-tests",
        False,
        1,
        5.0,
        "Exit code 1\nfailed",
    )


def test_a_second_import_adds_what_is_new(s: Sessions, tmp_path: Path) -> None:
    """A file that grew adds its new lines alone, and a late result finds the call of the import before."""
    path = tmp_path / "s.jsonl"
    call = [{"type": "tool_use", "id": "t9", "name": "Read", "input": {"file_path": "/work/app/a.py"}}]
    path.write_text(transcript(message("assistant", "4", call)) + "\n")
    s.import_file(path)
    again = s.import_file(path)
    result = [{"type": "tool_result", "tool_use_id": "t9", "content": "text"}]
    path.write_text(transcript(message("assistant", "4", call), message("user", "5", result)) + "\n")
    grown = s.import_file(path)
    last = list(s.events("s1"))[-1]

    assert (again.turns, again.calls, again.known) == (0, 0, 3)
    assert (grown.turns, grown.calls) == (0, 0)
    assert isinstance(last, Call)
    assert (last.ok, last.result, last.files) == (True, "text", ("a.py",))
    assert s.get("s1").errors == 1


def test_an_import_into_an_archived_session_adds_nothing_twice(s: Sessions, tmp_path: Path) -> None:
    """What is packed away is known all the same."""
    path = tmp_path / "s.jsonl"
    path.write_text(transcript() + "\n")
    s.import_file(path)
    before = list(s.events("s1"))
    s.archive(["s1"])
    report = s.import_file(path)

    assert (report.turns, report.calls, report.known) == (0, 0, 2)
    assert list(s.events("s1")) == before


def test_bad_lines_are_told_and_harm_nothing(s: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torn, oversized, undecodable and strange lines are counted and named; all others are imported."""
    monkeypatch.setattr(line_reader, "MAX_LINE_BYTES", 2_000)
    path = tmp_path / "s.jsonl"
    bad = message("user", "7", "caf\xe9", timestamp="2026-03-01T10:01:00Z").replace("caf\\u00e9", "caf\xe9")
    parts = [
        transcript().encode(),
        b'{"type": "user", "message"',
        b'"only a string"',
        json.dumps({"type": "queue-operation"}).encode(),
        message("user", "8", "x" * 5_000).encode(),
        bad.encode("latin-1"),
        message("user", "9", "the end").encode(),
    ]
    path.write_bytes(b"\n".join(parts) + b"\n")
    report = s.import_file(path)
    texts = [event.text for event in s.events("s1") if isinstance(event, Turn)]

    assert texts == ["please test", "caf\ufffd", "the end"]
    assert report.unknown == {"a string": 1, "queue-operation": 1}
    assert [problem.split(":")[0] for problem in report.problems] == ["line 4", "line 7", "line 8"]


def test_a_torn_last_line_is_imported_when_it_is_whole(s: Sessions, tmp_path: Path) -> None:
    """A file that is still being written loses nothing."""
    path = tmp_path / "s.jsonl"
    whole = message("user", "4", "and more")
    path.write_text(transcript(whole[:40]))
    first = s.import_file(path)
    path.write_text(transcript(whole) + "\n")
    second = s.import_file(path)

    assert "still being written" in first.problems[0]
    assert (second.turns, second.problems) == (1, ())


def test_wrong_encodings_and_formats_are_refused_clearly(s: Sessions, tmp_path: Path) -> None:
    """UTF-16, no JSON at all, and a file that is not there each have a message that says so."""
    wide = tmp_path / "wide.jsonl"
    wide.write_text(transcript(), encoding="utf-16")
    with pytest.raises(InvalidInputError, match="UTF-16"):
        s.import_file(wide)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="none of the formats"):
        s.import_file(tmp_path / "x.json")
    with pytest.raises(NotFoundError):
        s.import_file(tmp_path / "nothing.jsonl")


def test_our_own_lines_come_back_the_same(s: Sessions, store: Store, tmp_path: Path) -> None:
    """Sessions written as lines and read into another store are written the same again."""
    import lamina

    with s.start("run-1", agent="me", project="/work", title="t", metadata={"a": 1}) as run:
        run.turn("user", "hello")
        run.call("Edit", arguments={"file_path": "/work/a.py"}, error="no", duration=0.25)
        run.end(outcome="failure", quality=0.25)
    s.start("run-2").turn("user", "never ended")
    lines = "".join(s.lines())
    path = tmp_path / "own.jsonl"
    path.write_text(lines)
    with lamina.open(tmp_path / "other", embedder="none") as other:
        report = other.sessions.import_file(path)

        assert report.format == "lamina"
        assert sorted("".join(other.sessions.lines()).splitlines()) == sorted(lines.splitlines())
        assert other.sessions.import_file(path).known == 3


def test_aircher_sessions(s: Sessions, tmp_path: Path) -> None:
    """A session of that store gives turns, a call for each tool, and a quality from those of its turns."""
    path = tmp_path / "session_1.json"
    turn = {
        "timestamp": "2026-03-01T10:00:00Z",
        "user_query": "fix it",
        "tools_used": ["read", "edit"],
        "files_involved": ["/app/a.py"],
        "outcome_quality": 0.9,
        "lessons_learned": ["read first"],
    }
    document = {"session_id": "session_1", "project_path": "/app", "started_at": "2026-03-01T10:00:00Z"}
    path.write_text(json.dumps({**document, "conversation_context": [turn, 7]}))
    report = s.import_file(path)
    session = s.get("session_1")

    assert (report.format, report.turns, report.calls, report.unknown) == (
        "aircher",
        2,
        2,
        {"a turn that is a number": 1},
    )
    assert (session.outcome, session.quality) == ("success", 0.9)
    assert [event.files for event in s.events("session_1") if isinstance(event, Call)] == [("a.py",), ("a.py",)]


def test_aircher_duckdb(s: Sessions, tmp_path: Path) -> None:
    """The DuckDB store's pieces of work become sessions with their actions as calls."""
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    path = tmp_path / "intelligence.duckdb"
    db = duckdb.connect(str(path))
    db.execute(
        "CREATE TABLE patterns(id TEXT, description TEXT, context TEXT, success BOOLEAN, timestamp TIMESTAMP, "
        "session_id TEXT)"
    )
    db.execute(
        "CREATE TABLE actions(pattern_id TEXT, sequence_index INT, tool TEXT, params TEXT, success BOOLEAN, "
        "duration_ms INT, result_summary TEXT)"
    )
    db.execute("CREATE TABLE files(pattern_id TEXT, file_path TEXT)")
    db.execute("INSERT INTO patterns VALUES ('p1', 'fix', 'ctx', true, '2026-03-01 10:00:00', 's1')")
    db.execute("INSERT INTO actions VALUES ('p1', 0, 'edit', '{\"file_path\": \"a.py\"}', true, 12, 'ok')")
    db.execute("INSERT INTO files VALUES ('p1', 'a.py')")
    db.close()
    report = s.import_file(path)
    again = s.import_file(path)
    call = list(s.events("s1"))[-1]

    assert (report.turns, report.calls, again.known) == (1, 1, 2)
    assert isinstance(call, Call)
    assert (call.tool, call.ok, call.duration, call.files) == ("edit", True, 0.012, ("a.py",))
    assert s.get("s1").outcome == "success"


def test_without_duckdb_the_hint_says_what_to_install(
    s: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DuckDB file without the package is an error that names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    path = tmp_path / "x.duckdb"
    path.write_bytes(b"duck")
    with pytest.raises(DependencyError, match="lamina\\[duckdb\\]"):
        s.import_file(path)


def test_a_folder_is_imported_whole(s: Sessions, tmp_path: Path) -> None:
    """Every file of a folder is read; one that is none of the formats is a problem, not the end."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "s.jsonl").write_text(transcript() + "\n")
    (tmp_path / "b.json").write_text("[]")
    seen: list[tuple[int, int]] = []
    report = s.import_file(tmp_path, progress=lambda done, total: seen.append((done, total)))

    assert (report.turns, report.calls) == (1, 1)
    assert "b.json" in report.problems[0]
    assert seen[-1][0] <= seen[-1][1]


@pytest.mark.skipif(not (SHARED / "transcripts").is_dir(), reason="the real transcripts are not at ../shared/data")
def test_real_transcripts(s: Sessions) -> None:
    """Four real transcripts import, what they hold of strange records is named, and a second time adds nothing."""
    first = s.import_file(SHARED / "transcripts")
    again = s.import_file(SHARED / "transcripts")

    assert (first.new_sessions, first.turns, first.calls) == (4, 24, 7)
    assert first.unknown["user message without content"] == 2
    assert (again.turns, again.calls, again.new_sessions) == (0, 0, 0)
