from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.cli.app import run
from lamina.cli.pattern_lines import bar, sparkline


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
