from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina import DependencyError, InvalidInputError, NotFoundError, Sessions, Store
from lamina.sessions import storing
from lamina.sessions.readers import lines as line_reader
from lamina.sessions.values import Call, Turn

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def message(kind: str, uuid: str, content: Any, **more: Any) -> str:
    """One line of a transcript."""
    line = {"type": kind, "uuid": uuid, "sessionId": "s1", "cwd": "/code/app", "timestamp": "2026-03-01T10:00:00Z"}
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
    call = [{"type": "tool_use", "id": "t9", "name": "Read", "input": {"file_path": "/code/app/a.py"}}]
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
    with pytest.raises(InvalidInputError, match="is no file of sessions"):
        s.import_file(tmp_path / "x.json")
    with pytest.raises(NotFoundError):
        s.import_file(tmp_path / "nothing.jsonl")


def test_our_own_lines_come_back_the_same(s: Sessions, store: Store, tmp_path: Path) -> None:
    """Sessions written as lines and read into another store are written the same again."""
    import lamina

    with s.start("run-1", agent="me", project="/work", title="t", metadata={"a": 1}) as run:
        run.turn("user", "hello")
        run.call("Edit", arguments={"file_path": "/code/a.py"}, error="no", duration=0.25)
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


# --- what comes later ------------------------------------------------------------------------------------------------


def lines(path: Path, *records: Any) -> Path:
    """Write records as JSON lines, as they are where they are text already."""
    path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records))
    return path


def own(session: str, *tools: str, **end: Any) -> list[dict[str, Any]]:
    """A session in our own form, with its end where something is said of it."""
    records: list[dict[str, Any]] = [{"type": "session", "id": session, "at": "2026-01-01T00:00:00Z"}]
    records += [{"type": "call", "tool": tool, "ok": True} for tool in tools]
    return [*records, {"type": "end", **end}] if end else records


def test_a_late_result_finds_a_call_that_was_archived(s: Sessions, tmp_path: Path) -> None:
    """A result that comes when its call is packed away is kept, as it would be from scratch."""
    path = tmp_path / "s.jsonl"
    call = [{"type": "tool_use", "id": "t9", "name": "Bash", "input": {"command": "make"}}]
    lines(path, message("user", "1", "go"), message("assistant", "4", call))
    s.import_file(path)
    s.archive(["s1"])
    result = [{"type": "tool_result", "tool_use_id": "t9", "content": "Exit code 2\nboom", "is_error": True}]
    lines(path, message("user", "1", "go"), message("assistant", "4", call), message("user", "5", result))
    report = s.import_file(path)
    last = list(s.events("s1"))[-1]

    assert isinstance(last, Call)
    assert (last.ok, last.exit, last.error) == (False, 2, "Exit code 2\nboom")
    assert (s.get("s1").errors, s.get("s1").archived, report.unknown) == (1, True, {})


def many(count: int, *, calls: bool) -> list[str]:
    """Lines of a long transcript: turns, or calls and then their results."""
    if not calls:
        return [message("user", str(number), f"text {number}") for number in range(count)]
    uses: list[dict[str, Any]] = [
        {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {"command": "make"}}
        for number in range(count)
    ]
    results = [{"type": "tool_result", "tool_use_id": use["id"], "content": "fine"} for use in uses]
    return [
        message("assistant" if place < count else "user", str(place), [part])
        for place, part in enumerate(uses + results)
    ]


@pytest.mark.parametrize("calls", [False, True])
def test_a_session_may_be_archived_between_the_batches_of_an_import(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: bool
) -> None:
    """What another process adds and packs away meanwhile is not added again, and late results find it."""
    monkeypatch.setattr(storing, "_BATCH_RECORDS", 30)
    path = lines(tmp_path / "s.jsonl", *many(40, calls=calls))
    seen = 0
    with lamina.open(tmp_path / "store", embedder="none") as other:

        def archive(_read: int, _total: int) -> None:
            nonlocal seen
            seen += 1
            if seen == 37:
                if not calls:
                    other.sessions.import_file(path)
                other.sessions.archive(["s1"])

        report = store.sessions.import_file(path, progress=archive)
    events = list(store.sessions.events("s1"))
    session = store.sessions.get("s1")

    assert (len(events), session.turns + session.calls, report.unknown) == (40, 40, {})
    assert [event.ok for event in events if isinstance(event, Call)] == [True] * (40 if calls else 0)
    assert store.verify("full").ok


def test_a_session_may_be_deleted_between_the_batches_of_an_import(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the deletion is a session again, and a second import brings back the rest."""
    monkeypatch.setattr(storing, "_BATCH_RECORDS", 30)
    path = lines(tmp_path / "s.jsonl", *many(40, calls=False))
    seen = 0
    with lamina.open(tmp_path / "store", embedder="none") as other:

        def delete(_read: int, _total: int) -> None:
            nonlocal seen
            seen += 1
            if seen == 37:
                other.sessions.delete("s1")

        store.sessions.import_file(path, progress=delete)
    rest = store.sessions.get("s1").turns
    store.sessions.import_file(path)

    assert 0 < rest < 40
    assert store.sessions.get("s1").turns == 40


@pytest.mark.parametrize("archived", [False, True])
def test_an_export_brings_the_outcome_that_a_call_lacked(
    s: Sessions, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, archived: bool
) -> None:
    """A call that was exported before its result gets it from the next export, packed away or not."""
    call = message("assistant", "4", [{"type": "tool_use", "id": "t9", "name": "Bash", "input": {"command": "make"}}])
    result = [{"type": "tool_result", "tool_use_id": "t9", "content": "Exit code 2\nboom", "is_error": True}]
    with lamina.open(tmp_path_factory.mktemp("a") / "a", embedder="none") as origin:
        own_lines = tmp_path / "own.jsonl"
        for part in ((call,), (call, message("user", "5", result, timestamp="2026-03-01T10:00:05Z"))):
            origin.sessions.import_file(lines(tmp_path / "s.jsonl", *part))
            before = own_lines.read_text() if own_lines.exists() else ""
            own_lines.write_text("".join(origin.sessions.lines()))
            s.import_file(own_lines)
            if archived:
                s.archive(["s1"])
        expected = list(origin.sessions.events("s1"))
    both = tmp_path / "both.jsonl"
    both.write_text(before + own_lines.read_text())
    with lamina.open(tmp_path_factory.mktemp("b") / "b", embedder="none") as third:
        third.sessions.import_file(both)
        at_once = list(third.sessions.events("s1"))

    assert list(s.events("s1")) == at_once == expected
    assert [event.ok for event in expected if isinstance(event, Call)] == [False]
    assert s.get("s1").errors == 1


def test_our_own_export_adds_nothing_where_it_came_from(s: Sessions, tmp_path: Path) -> None:
    """An export names its events, whatever they came from, so that importing it is no second copy."""
    s.import_file(lines(tmp_path / "s.jsonl", transcript()))
    run = s.start("live")
    run.turn("user", "hello")
    run.call("Edit", arguments={"file_path": "a.py"})
    path = tmp_path / "own.jsonl"
    path.write_text("".join(s.lines()))
    report = s.import_file(path)

    assert (report.new_sessions, report.turns, report.calls, report.known) == (0, 0, 0, 4)
    assert path.read_text() == "".join(s.lines())


def test_a_session_may_be_archived_while_it_is_read(s: Sessions, tmp_path: Path) -> None:
    """Whoever reads on gets every event, once and in order."""
    turns = [{"type": "turn", "text": str(number)} for number in range(1_000)]
    s.import_file(lines(tmp_path / "big.jsonl", {"type": "session", "id": "big"}, *turns))
    reading = s.events("big")
    seen = [next(reading)]
    s.archive(["big"])
    seen += reading

    assert [event.position for event in seen] == list(range(1_000))


def test_a_trajectory_that_grows_stays_one_session(s: Sessions, tmp_path: Path) -> None:
    """A run that is imported while it lasts is the same one later, and its outcome is noted then."""
    steps = [{"action": f"step{number}", "observation": f"done {number}", "thought": "so"} for number in range(9)]
    path = tmp_path / "run.traj"
    for count in (2, 6, 9):
        path.write_text(json.dumps({"trajectory": steps[:count], "info": {}}))
        s.import_file(path)
    path.write_text(json.dumps({"trajectory": steps, "info": {"exit_status": "submitted"}}))
    s.import_file(path)
    (session,) = s.list()

    assert (session.turns, session.calls, session.outcome) == (9, 9, "success")


def test_variables_before_a_command_are_not_its_tool(s: Sessions, tmp_path: Path) -> None:
    """The tool of an action is the program that it runs."""
    path = tmp_path / "run.traj"
    actions = ["CI=1 LANG='en US' pytest -q tests/test_a.py", "ls src"]
    path.write_text(json.dumps({"trajectory": [{"action": action, "observation": "ok"} for action in actions]}))
    s.import_file(path)
    (session,) = s.list()
    calls = [event for event in s.events(session.id) if isinstance(event, Call)]

    assert [(call.tool, call.step) for call in calls] == [("pytest", "run-tests"), ("ls", "list")]
    assert (calls[0].arguments, calls[0].files) == (actions[0], ("tests/test_a.py",))


def test_a_grown_record_has_the_newer_verdict(s: Sessions, tmp_path: Path) -> None:
    """What a record that grew says of its session counts; one that is read again changes nothing."""
    path = tmp_path / "s.json"
    good = {"user_query": "one", "tools_used": ["edit"], "outcome_quality": 0.9}
    bad = {"user_query": "two", "tools_used": ["test"], "outcome_quality": 0.1}
    document: dict[str, Any] = {"session_id": "s1", "last_activity": "2026-01-01T01:00:00Z"}
    path.write_text(json.dumps({**document, "conversation_context": [good]}))
    s.import_file(path)
    document |= {"last_activity": "2026-01-01T03:00:00Z", "user_preferences": {"a": 1}}
    path.write_text(json.dumps({**document, "conversation_context": [good, bad]}))
    s.import_file(path)
    grown = s.get("s1")
    s.end("s1", outcome="success")
    s.import_file(path)

    assert (grown.outcome, grown.quality, grown.metadata) == ("failure", 0.5, {"user_preferences": {"a": 1}})
    assert grown.ended_at == datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert s.get("s1").outcome == "success"


@pytest.mark.parametrize("how", ["import", "end", "quality"])
def test_a_verdict_that_comes_later_is_learned(store: Store, tmp_path: Path, how: str) -> None:
    """Learning looks again at sessions whose outcome or quality changed after it."""
    s, p = store.sessions, store.patterns
    for number in range(4):
        s.import_file(lines(tmp_path / "o.jsonl", *own(f"r{number}", "alpha", "beta")))
    p.learn()
    before = p.query().all()
    for number in range(4):
        if how == "import":
            s.import_file(lines(tmp_path / "o.jsonl", *own(f"r{number}", "alpha", "beta", outcome="failure")))
        elif how == "end":
            s.end(f"r{number}", outcome="failure")
        else:
            s.end(f"r{number}", quality=0.1)
    report = p.learn()

    assert before
    assert report.new_sessions == 4
    assert [p.get(pattern.id).successes for pattern in before] == [0] * len(before)


@pytest.mark.parametrize("how", ["import", "end"])
def test_a_later_end_is_learned(store: Store, tmp_path: Path, how: str) -> None:
    """When a pattern was last used follows the end of its session, also one that moves after learning."""
    s, p = store.sessions, store.patterns
    for day in (2, 4):
        end = {"outcome": "success", "at": f"2026-01-0{day}T00:00:00Z"}
        s.import_file(lines(tmp_path / "o.jsonl", *own("r1", "alpha", "beta", **(end if how == "import" else {}))))
        s.import_file(lines(tmp_path / "o.jsonl", json.dumps({"type": "end", "session": "r1", **end})))
        if how == "end":
            s.end("r1", outcome="success", at=datetime(2026, 1, day, tzinfo=UTC))
        p.learn(min_support=1)

    assert {pattern.last_used for pattern in p.query().all()} == {s.get("r1").last_at}


def test_a_deleted_session_that_is_imported_again_is_learned_again(store: Store, tmp_path: Path) -> None:
    """What a deletion left of a session does not pass for what was learned."""
    s, p = store.sessions, store.patterns
    for number in range(4):
        s.import_file(lines(tmp_path / f"o{number}.jsonl", *own(f"r{number}", "alpha", "beta", outcome="success")))
    p.record(["x"], type="T", success=True, session="r0")
    p.learn()
    s.delete("r0")
    s.import_file(tmp_path / "o0.jsonl")

    assert p.learn().new_sessions == 1


# --- strange records and files ---------------------------------------------------------------------------------------

LONE = "\ud800"


@pytest.mark.parametrize(
    "record",
    [
        {"type": "user", "sessionId": LONE, "message": {"content": "x"}},
        {"type": "user", "cwd": f"/a{LONE}", "version": LONE, "message": {"content": LONE}},
        {"type": "summary", "sessionId": "s9", "summary": LONE},
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": LONE, "input": {LONE: LONE}}]}},
        {"type": "turn", "role": LONE, "text": "x", "key": LONE},
        {"type": "call", "tool": LONE, "files": [LONE, "a\nb", "x" * 100_000], "error": LONE},
        {"type": "session", "id": LONE, "agent": LONE, "title": LONE, "metadata": {LONE: LONE}},
        '{"type": "call", "tool": "t", "arguments": ' + "[" * 900 + '"password=a8b7c6d5e4f3"' + "]" * 900 + "}",
        '{"type": "session", "metadata": {"x": ' + "[" * 900 + "]" * 900 + "}}",
        '{"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "x", "content": '
        + "[" * 900
        + "]" * 900
        + "}]}}",
    ],
)
def test_one_strange_record_does_not_end_an_import(s: Sessions, tmp_path: Path, record: Any) -> None:
    """Lone surrogates and nesting by hundreds are cleaned, or counted; the lines behind are imported."""
    ours = re.search(r'"type": "(turn|call|session)"', record if isinstance(record, str) else json.dumps(record))
    end: Any = {"type": "turn", "text": "the end"} if ours else {"type": "user", "message": {"content": "the end"}}
    s.import_file(lines(tmp_path / "s.jsonl", record, end), format="lamina" if ours else "transcript")
    texts = [event.text for session in s.list() for event in s.events(session.id) if isinstance(event, Turn)]

    assert "the end" in texts
    assert all(json.loads(line) for line in s.lines())


def test_numbers_that_json_lacks_become_text(s: Sessions, tmp_path: Path) -> None:
    """NaN and infinity in arguments are text afterwards, so that every output is JSON."""
    s.import_file(lines(tmp_path / "s.jsonl", '{"type": "call", "tool": "t", "arguments": {"x": NaN, "y": -Infinity}}'))
    s.start("live").call("t", arguments={"x": float("inf")})
    calls = [event for session in s.list() for event in s.events(session.id) if isinstance(event, Call)]

    assert sorted(str(call.arguments) for call in calls) == ["{'x': 'inf'}", "{'x': 'nan', 'y': '-inf'}"]


def test_what_is_no_id_is_made_one(s: Sessions, tmp_path: Path) -> None:
    """Sessions whose records call them what no id may be can be got, listed, archived and deleted; two stay two."""
    for number, name in enumerate(("my session", "my_session", "my\nsession", "/abs", "caf\xe9", "x" * 300)):
        s.import_file(
            lines(tmp_path / f"{number}.jsonl", {"type": "user", "sessionId": name, "message": {"content": "hi"}})
        )
    s.import_file(lines(tmp_path / "my file name.jsonl", {"type": "user", "message": {"content": "hi"}}))
    ids = [session.id for session in s.list()]
    pages = [session.id for session in s.list(limit=3)]
    pages += [session.id for session in s.list(after=pages[-1])]
    s.archive(ids)

    assert len(set(ids)) == 7
    assert {"my_session", "caf\xe9"} < set(ids)
    assert pages == ids
    assert sum(1 for _ in s.lines()) == 14
    assert [s.delete(id).id for id in ids] == ids
    assert not any(char.isspace() for id in ids for char in id)


def test_only_regular_files_of_a_folder_are_read(s: Sessions, tmp_path: Path) -> None:
    """A link to nowhere, a pipe, an empty and an unreadable file are named, and everything else is imported."""
    lines(tmp_path / "z.jsonl", transcript())
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "nowhere.jsonl").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.jsonl")
    report = s.import_file(tmp_path)

    assert report.calls == 1
    assert sorted(report.problems) == [
        "empty.jsonl: it is empty.",
        "list.json: it is no file of sessions.",
        "nowhere.jsonl: it is no regular file, or a link to nowhere",
        "pipe.jsonl: it is no regular file, or a link to nowhere",
    ]
    with pytest.raises(NotFoundError, match="no regular file"):
        s.import_file(tmp_path / "pipe.jsonl")


def test_a_file_that_fails_midway_does_not_end_a_folder(
    s: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the failure is kept, the failure is named, and the next file is read."""
    lines(tmp_path / "a.jsonl", *own("first", "alpha", "beta"))
    lines(tmp_path / "b.jsonl", *own("second", "alpha"))
    whole = line_reader._parsed

    def failing(line: bytes, number: int, notes: Any) -> Any:
        if number == 3 and b"beta" in line:
            raise OSError(5, "Input/output error")
        return whole(line, number, notes)

    monkeypatch.setattr(line_reader, "_parsed", failing)
    monkeypatch.setattr("lamina.sessions.importing._detect", lambda _: "lamina")
    report = s.import_file(tmp_path)

    assert (report.calls, s.get("first").calls, s.get("second").calls) == (2, 1, 1)
    assert report.problems[0].startswith("a.jsonl: ")


def test_encodings_are_named_and_long_lines_counted_whole(
    s: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UTF-32 is not called UTF-16, and the size of a line that is left out is right."""
    path = tmp_path / "s.jsonl"
    for name in ("utf-16", "utf-32"):
        path.write_bytes('{"type": "user"}\n'.encode(name))
        with pytest.raises(InvalidInputError, match=f"looks like {name.upper()}"):
            s.import_file(path)
    monkeypatch.setattr(line_reader, "MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr(line_reader, "_SCAN", 700)
    lines(path, {"type": "turn", "text": "a"}, "x" * 2_999, {"type": "turn", "text": "b"})

    assert s.import_file(path).problems[0].startswith("line 2: 3,000 bytes")


def test_what_is_not_understood_has_a_place(s: Sessions, tmp_path: Path) -> None:
    """The report says where a strange record stands first, and the session its file in full."""
    lines(tmp_path / "a.jsonl", transcript(), {"type": "queue-operation"}, {"type": "queue-operation"})
    report = s.import_file(tmp_path)

    assert (report.unknown, report.unknown_at) == ({"queue-operation": 2}, {"queue-operation": "a.jsonl line 4"})
    assert s.get("s1").source == str((tmp_path / "a.jsonl").absolute())


def test_a_summary_before_the_first_message_is_its_title(s: Sessions, tmp_path: Path) -> None:
    """It makes no session of its own."""
    s.import_file(lines(tmp_path / "f.jsonl", {"type": "summary", "summary": "mend it"}, transcript()))

    assert [(session.id, session.title) for session in s.list()] == [("s1", "mend it")]


def test_the_later_duckdb_store(s: Sessions, tmp_path: Path) -> None:
    """Tasks become turns, tool executions calls, in the order of their times; odd durations are none."""
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    path = tmp_path / "episodic.duckdb"
    db = duckdb.connect(str(path))
    db.execute(
        "CREATE TABLE tool_executions(id INTEGER, timestamp TIMESTAMP, session_id VARCHAR, task_id VARCHAR, "
        "tool_name VARCHAR, parameters JSON, result JSON, success BOOLEAN, error_message TEXT, duration_ms DOUBLE)"
    )
    db.execute(
        "CREATE TABLE task_history(id INTEGER, task_id VARCHAR, session_id VARCHAR, description TEXT, intent VARCHAR, "
        "status VARCHAR, started_at TIMESTAMP, completed_at TIMESTAMP)"
    )
    db.execute(
        "INSERT INTO task_history VALUES (1, 't', 's1', 'fix it', 'ProjectFixing', 'completed', "
        "'2026-03-01 10:00:00', '2026-03-01 11:00:00')"
    )
    db.execute(
        "INSERT INTO tool_executions VALUES "
        "(2, '2026-03-01 10:02:00', 's1', 't', 'bash', '{\"command\": \"pytest\"}', NULL, false, '1 failed', 'inf'), "
        "(1, '2026-03-01 10:01:00', 's1', 't', 'edit_file', '{\"path\": \"a.py\"}', '\"ok\"', true, NULL, 12)"
    )
    db.close()
    report = s.import_file(path)
    turn, edit, test = s.events("s1")

    assert (report.turns, report.calls, s.import_file(path).known) == (1, 2, 3)
    assert isinstance(turn, Turn)
    assert isinstance(edit, Call)
    assert isinstance(test, Call)
    assert (edit.step, edit.files, edit.duration) == ("edit", ("a.py",), 0.012)
    assert (test.step, test.ok, test.error, test.duration) == ("run-tests", False, "1 failed", None)
    assert s.get("s1").outcome == "success"
