from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.cli.app import run
from lamina.cli.paint import Paint, columns
from lamina.cli.pattern_lines import (
    bar,
    event_lines,
    learn_lines,
    pattern_table,
    plan_lines,
    session_line,
    sparkline,
    suggestion_lines,
    trend_lines,
    week_lines,
)
from lamina.patterns.reports import LearnReport, Merge, Plan, Removal, Suggestion, Trend, Week


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of sessions to import."""
    lines: list[dict[str, Any]] = []
    for number in range(4):
        lines.append({"type": "session", "id": f"s{number}", "at": f"2026-05-0{number + 1}T10:00:00Z", "title": "fix"})
        for tool in ("Grep", "Read", "Edit"):
            lines.append({"type": "call", "tool": tool, "arguments": {"file_path": "a.py"}, "ok": True})
        lines.append({"type": "call", "tool": "Bash", "arguments": {"command": "pytest -q"}, "ok": True})
        lines.append({"type": "end", "outcome": "success" if number else "failure"})
    (tmp_path / "sessions.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return tmp_path


def call(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run one command line and return what it answered."""
    assert run(["--store", str(folder / "store"), *arguments]) == code
    return capsys.readouterr().out


def document(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run one command line and return its JSON document."""
    return json.loads(call(folder, capsys, *arguments, "--json"))


def test_from_sessions_to_a_trend(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Import, learn, and the trend is there: three commands; importing and learning again add nothing."""
    imported = document(folder, capsys, "sessions", "import", str(folder / "sessions.jsonl"))
    learned = document(folder, capsys, "patterns", "learn")
    trends = document(folder, capsys, "patterns", "trends", "--until", "2026-05-20")

    assert (imported["new_sessions"], imported["calls"]) == (4, 16)
    assert learned["new_sessions"] == 4
    assert trends["trends"]
    assert document(folder, capsys, "sessions", "import", str(folder / "sessions.jsonl"))["calls"] == 0
    assert document(folder, capsys, "patterns", "learn")["uses"] == 0


def test_looking_at_patterns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """List, search, show, related, suggest, files and stats answer for people and for programs."""
    call(folder, capsys, "sessions", "import", str(folder / "sessions.jsonl"))
    call(folder, capsys, "patterns", "learn")
    listed = document(folder, capsys, "patterns", "list", "--type", "TestingPattern", "--file", "a.py", "-n", "2")
    found = document(folder, capsys, "patterns", "search", "testing", "edits")
    id = found["patterns"][0]["id"]
    shown = document(folder, capsys, "patterns", "show", id, "--tz", "Europe/Berlin")

    assert len(listed["patterns"]) == 2 < listed["total"]
    assert all({"edit", "run-tests"} <= set(pattern["steps"]) for pattern in found["patterns"])
    assert [entry["session"] for entry in shown["evidence"]] == ["s3", "s2", "s1", "s0"]
    assert shown["weeks"][0]["start"].startswith("2026-04-26T22:00")
    assert document(folder, capsys, "patterns", "related", id)["related"]
    assert document(folder, capsys, "patterns", "suggest", "search", "open")["suggestions"][0]["step"] == "edit"
    assert document(folder, capsys, "patterns", "stats")["patterns"] == lamina_count(folder)
    assert document(folder, capsys, "patterns", "files", "a.py")["files"] == []
    for command in ("list", "stats", "trends"):
        assert call(folder, capsys, "patterns", command) or command == "trends"
    assert "█" in call(folder, capsys, "patterns", "show", id)


def lamina_count(folder: Path) -> int:
    """How many patterns are in use."""
    with lamina.open(folder / "store", read_only=True, embedder="none") as store:
        return store.patterns.query().count()


def test_looking_at_sessions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """List pages, show has events and says how many it leaves out, export comes back, archive asks."""
    call(folder, capsys, "sessions", "import", str(folder / "sessions.jsonl"))
    first = document(folder, capsys, "sessions", "list", "-n", "3")
    rest = document(folder, capsys, "sessions", "list", "-n", "3", "--after", first["next"])
    shown = document(folder, capsys, "sessions", "show", "s1", "--events", "3")

    assert [x["id"] for x in (*first["sessions"], *rest["sessions"])] == ["s3", "s2", "s1", "s0"]
    assert (len(shown["events"]), shown["events_left_out"]) == (3, 1)
    assert call(folder, capsys, "sessions", "export", "s1").count("\n") == 6
    assert "Grep" in call(folder, capsys, "sessions", "show", "s1")
    assert document(folder, capsys, "sessions", "archive", "--older-than", "1d", "--dry-run")["sessions"]
    call(folder, capsys, "sessions", "archive", "--older-than", "1d", code=2)
    assert len(document(folder, capsys, "sessions", "archive", "--older-than", "1d", "--yes")["sessions"]) == 4


def test_pruning_asks_and_can_be_undone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal it needs --yes; a dry run changes nothing; undo brings all back."""
    with lamina.open(folder / "store", embedder="none") as store:
        for _ in range(12):
            store.patterns.record(["a bad idea"], type="T", success=False)
    plan = document(folder, capsys, "patterns", "prune", "--dry-run")
    call(folder, capsys, "patterns", "prune", code=2)
    done = document(folder, capsys, "patterns", "prune", "--yes")

    assert len(plan["remove"]) == len(done["remove"]) == 1
    assert lamina_count(folder) == 0
    assert document(folder, capsys, "patterns", "undo", done["id"])["remove"]
    assert lamina_count(folder) == 1
    call(folder, capsys, "patterns", "undo", code=3)


def test_export_import_and_delete(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What one store exports another imports; deleting asks first."""
    with lamina.open(folder / "store", embedder="none") as store:
        id = store.patterns.record(["an idea"], type="T", success=True).id
    path = folder / "out.csv"
    call(folder, capsys, "patterns", "export", "-o", str(path))
    assert json.loads(call(folder, capsys, "patterns", "export"))["format"] == "lamina-patterns-1"
    call(folder, capsys, "patterns", "export", "--format", "markdown", code=2)
    call(folder, capsys, "patterns", "delete", id, code=2)
    assert document(folder, capsys, "patterns", "delete", id, "--dry-run")["deleted"] == []
    assert document(folder, capsys, "patterns", "delete", id, "--yes")["deleted"] == [id]
    assert document(folder, capsys, "patterns", "import", str(path))["uses"] == 1
    assert lamina_count(folder) == 1


def test_sparklines_and_bars() -> None:
    """Heights are shares of the largest, gaps stay blank, bars fill their width."""
    assert sparkline([0, 0.5, None, 1.0], 1.0) == "▁▅ █"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert (bar(1.0, 4), bar(0.0, 4), bar(0.5, 4), bar(2.0, 4)) == ("████", "", "██", "████")


@pytest.mark.parametrize("width", [80, 100])
def test_lines_fit_the_terminal(folder: Path, width: int) -> None:
    """However long names, steps, reasons and titles are, no line is wider than the terminal."""
    plain, long = Paint(False), "a long step with words " * 9
    at = datetime(2026, 5, 1, tzinfo=UTC)
    with lamina.open(folder / "store", embedder="none") as store:
        for uses in (1, 12, 1_200, 120_000):
            store.patterns.record_many(
                {"steps": [long, f"{uses}", "中" * 99], "type": "T" * 60, "success": True, "session": "s"}
                for _ in range(uses if uses < 2_000 else 1)
            )
        run_ = store.sessions.start(id="11111111-2222-3333-4444-555555555555", title=long, at=at)
        run_.turn("role " * 20, long)
        run_.call("tool" * 40, error=long)
        run_.call("Edit", arguments={"file_path": long.replace(" ", "/")})
        found = store.patterns.query().all()
        events = list(store.sessions.events(run_.id))
        session = store.sessions.get(run_.id)
    id = found[0].id
    weeks = tuple(Week(start=at + timedelta(weeks=n), count=9, successes=n % 9) for n in range(40))
    trend = Trend(id=id, direction="rising", slope=-1.0, confidence=1.0, weeks=weeks)
    plan = Plan(remove=(Removal(id=id, reason=long),), merge=(Merge(id=id, into=id, similarity=0.9),))
    next_ = Suggestion(
        step=long, probability=1.0, support=999_999, success_rate=0.0, high=0.1, after=(long, long), patterns=()
    )
    lines = [
        *pattern_table(found, plain, width),
        *pattern_table(found, plain, width, [" 0.95    12  "] * len(found), "alike  both  "),
        *trend_lines([trend], {id: long}, plain, width),
        *plan_lines(plan, plain, width),
        *suggestion_lines([next_], plain, width),
        *week_lines(weeks, "Europe/Berlin", plain, width),
        session_line(session, plain, width),
        *(event_lines(event, plain, width) for event in events),
    ]
    assert [line for line in lines if columns(line) > width] == []
    assert "weeks (Europe/Berlin), the last 16 of 40" in lines


def test_the_type_tells_patterns_of_the_same_steps_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list has headings and a column for the type, and ids that are short and enough."""
    with lamina.open(folder / "store", embedder="none") as store:
        for kind in ("StepSequence", "EffectiveToolSequence"):
            id = store.patterns.record(["open", "edit"], type=kind, success=True).id
    head, *rows = call(folder, capsys, "patterns", "list").splitlines()

    assert head.split() == ["pattern", "worked", "uses", "used", "type", "steps"]
    assert {row.split()[4] for row in rows} == {"StepSequence", "EffectiveToolSequence"}
    short = next(row.split()[0] for row in rows if "EffectiveToolSequence" in row)
    assert id.startswith(short)
    assert id in call(folder, capsys, "patterns", "show", short)
    assert call(folder, capsys, "patterns", "related", short, "--min-correlation", "0") == ""
    assert document(folder, capsys, "patterns", "delete", short, "--yes")["deleted"] == [id]


def test_nothing_that_fits_is_told_apart_from_nothing_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A filter that fits nothing says how many patterns there are and what could be asked for."""

    def said(*arguments: str) -> str:
        assert run(["--store", str(folder / "store"), "patterns", *arguments]) == 0
        out, err = capsys.readouterr()
        assert out == ""
        return err.replace("\n", " ")

    with lamina.open(folder / "store", embedder="none") as store:
        pass
    assert "lamina patterns learn" in said("list")
    assert "There are no patterns" in said("trends")
    with lamina.open(folder / "store", embedder="none") as store:
        for step in "ab":
            store.patterns.record([step], type="TestingPattern", success=True, files=["a.py"], at=datetime.now(UTC))
    assert "None of 2 patterns fits. Types are: TestingPattern." in said("list", "--file", "x.py")
    assert "There are: TestingPattern." in said("list", "--type", "TestPattern")
    assert "None of 2 patterns fits" in said("search", "elephant")
    assert "No pattern was used with nope." in said("files", "nope")
    assert "No other file was used together with a.py." in said("files", "a.py")
    assert "All uses lie in one week" in said("trends")
    assert "No pattern was used from 2019-" in said("trends", "--until", "2020-01-01")


def test_filters_explain_themselves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every filter of the builder is an option, and --explain shows the SQL with the answer."""
    with lamina.open(folder / "store", embedder="none") as store:
        for n in range(4):
            for use in range(n + 1):
                at = datetime.now(UTC) - timedelta(days=100 * n)
                store.patterns.record([f"step {n}"], type="T", success=use % 2 == 0, at=at)

    def steps(*options: str) -> set[str]:
        found = document(folder, capsys, "patterns", "list", *options)["patterns"]
        return {pattern["steps"][0][-1] for pattern in found}

    assert steps("--min-uses", "3") == {"2", "3"}
    assert steps("--max-success-rate", "0.5") == {"1", "3"}
    assert steps("--min-effectiveness", "0.1") == {"0"}
    assert steps("--not-used-since", "150d") == {"2", "3"}
    assert steps("--origin", "learned") == set()
    told = document(folder, capsys, "patterns", "search", "step", "--explain")
    assert (told["total"], told["explain"]["sql"][:6]) == (4, "SELECT")
    assert told["explain"]["plan"]
    assert "walks: " in call(folder, capsys, "patterns", "list", "--explain")


def test_what_pruning_goes_by_can_be_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The least effectiveness, and age and quality of sessions to archive, are options."""
    old = datetime.now(UTC) - timedelta(days=60)
    with lamina.open(folder / "store", embedder="none") as store:
        store.patterns.record(["a"], type="T", success=True, at=old)
        run_ = store.sessions.start(id="old", at=old)
        run_.call("Edit", at=old)
        run_.end(quality=0.7, at=old)
    prune = ("patterns", "prune", "--dry-run", "--unused-days", "10")

    assert len(document(folder, capsys, *prune)["remove"]) == 1
    assert document(folder, capsys, *prune, "--min-effectiveness", "0.01")["remove"] == []
    assert document(folder, capsys, *prune)["archive"] == []
    assert document(folder, capsys, *prune, "--archive-max-quality", "0.8")["archive"] == ["old"]
    assert document(folder, capsys, *prune, "--archive-max-quality", "0.8", "--archive-days", "90")["archive"] == []


def test_json_means_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An export that is no JSON document goes to a file, or not at all; an unknown ending is no format."""
    with lamina.open(folder / "store", embedder="none") as store:
        store.patterns.record(["a"], type="T", success=True)
    for form in ("csv", "jsonl", "graphml"):
        call(folder, capsys, "patterns", "export", "--format", form, "--json", code=2)
        path = str(folder / f"out.{form}")
        assert document(folder, capsys, "patterns", "export", "-o", path, "--format", form) == {"path": path}
    assert document(folder, capsys, "patterns", "export")["patterns"]
    call(folder, capsys, "patterns", "export", "-o", str(folder / "p.foo"), code=2)
    assert not (folder / "p.foo").exists()


def test_exports_are_private_and_named_as_an_argument(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FILE and --output say the same; what is there is named with the option that replaces it; modes are 0600, 0700."""
    with lamina.open(folder / "store", embedder="none") as store:
        store.patterns.record(["a"], type="T", success=True, session="s", files=["secret.py"])
    path, plain = folder / "e.json", folder / "md"
    assert document(folder, capsys, "patterns", "export", str(path)) == {"path": str(path)}
    call(folder, capsys, "patterns", "export", str(plain))
    made = [path, plain, *plain.rglob("*")]
    for place in (path, plain):
        assert run(["--store", str(folder / "store"), "patterns", "export", str(place)]) != 0
        assert "--replace" in capsys.readouterr().err
        call(folder, capsys, "patterns", "export", "-o", str(place), "--replace")
    call(folder, capsys, "patterns", "export", str(path), "-o", str(path), code=2)

    assert len(made) == 5
    assert {place.stat().st_mode & 0o777 for place in made if place.is_dir()} == {0o700}
    assert {place.stat().st_mode & 0o777 for place in made if place.is_file()} == {0o600}


def test_numbers_fit_their_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of a kind is told in the singular, whatever the kind."""
    report = LearnReport(sessions=1, new_sessions=1, uses=1, min_support=1, found={"files": 1, "fixes": 1, "steps": 2})
    with lamina.open(folder / "store", embedder="none") as store:
        for _ in range(12):
            store.patterns.record(["a bad idea"], type="T", success=False)
    call(folder, capsys, "patterns", "prune", "--yes")

    assert list(learn_lines(report)) == [
        "learned from 1 new of 1 session: 0 new patterns, 0 updated, 1 use",
        "frequent in 1 session or more: 1 file, 1 fix, 2 steps",
    ]
    assert ": 1 pattern brought back, 0 parted again, 0 sessions unpacked" in call(folder, capsys, "patterns", "undo")


def test_recall_brings_patterns_when_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --include patterns those that fit come along; a recall without a question says what it lacks."""
    with lamina.open(folder / "store", embedder="none") as store:
        id = store.patterns.record(["run the deploy script"], type="T", success=True).id
        with pytest.raises(lamina.InvalidInputError, match="neither a query nor a vector"):
            store.memories.recall(include=["patterns"])
    told = document(folder, capsys, "recall", "how do I deploy", "--include", "patterns")

    assert [pattern["id"] for pattern in told["patterns"]] == [id]
    assert "patterns" not in document(folder, capsys, "recall", "how do I deploy")
    for both in (["--include", "memories,patterns"], ["--include", "memories", "--include", "patterns"]):
        assert document(folder, capsys, "recall", "how do I deploy", *both)["patterns"]
    call(folder, capsys, "recall", "how do I deploy", "--include", "memories,moods", code=2)
    assert "run the deploy script" in call(folder, capsys, "recall", "how do I deploy", "--include", "patterns")


def test_trends_show_what_moves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only patterns with a trend are shown, the surest first, with what the columns mean and how many are left out."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    with lamina.open(folder / "store", embedder="none") as store:
        store.patterns.record(["once"], type="T", success=True, at=start)
        for week in range(5):
            for use in range(20):
                at = start + timedelta(weeks=week, minutes=use)
                store.patterns.record(["better"], type="T", success=use < 2 + 4 * week, at=at)
                store.patterns.record(["a bit"], type="T", success=use < 10 + week // 2, at=at)
    arguments = ["--store", str(folder / "store"), "patterns", "trends", "--until", "2026-02-10"]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    head, first, second = out.splitlines()

    assert head.split() == ["weeks", "points/week", "sure", "pattern", "steps"]
    assert (first[0], first.split()[-1], second.split()[-1]) == ("▲", "better", "bit")
    assert "2 of 3 patterns" in err
    assert "points/week: " in err
    told = document(folder, capsys, *arguments[2:])
    assert (len(told["trends"]), told["patterns"], told["trends"][-1]["direction"]) == (3, 3, "unknown")
