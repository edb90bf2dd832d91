from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lamina
from lamina import AlreadyExistsError, InvalidInputError, NotFoundError, Patterns, Store

START = datetime(2026, 5, 1, tzinfo=UTC)
FORMS = ("json", "jsonl", "csv", "markdown")
word = st.text(alphabet="abcÄ|\"'`<>\\,;é→ 中0159.e-+_:/@#[]{}", min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
events = st.lists(
    st.fixed_dictionaries(
        {
            "steps": st.lists(word, min_size=1, max_size=3),
            "type": st.sampled_from(("TestingPattern", "my type", "x/y")),
            "success": st.booleans(),
        },
        optional={
            "files": st.lists(word, max_size=2),
            "tools": st.lists(word, max_size=2),
            "session": st.sampled_from(
                ("s1", "no", "yes", "-", "123", "1e5", "0.5", "null", "[1]", "{}", '"q"', "a|b", "٣")
            ),
            "description": word,
            "at": st.integers(0, 10**6).map(lambda seconds: START + timedelta(seconds=seconds)),
            "duration": st.floats(0, 1e6).map(lambda value: round(value, 6)),
        },
    ),
    max_size=8,
)


@contextmanager
def another(folder: Path) -> Iterator[Store]:
    """Open another store."""
    with lamina.open(folder, embedder="none", durability="relaxed") as opened:
        yield opened


def dumped(store: Store) -> bytes:
    """Every pattern and use of a store."""
    return b"".join(store.patterns.exported("jsonl"))


@pytest.mark.parametrize("form", FORMS)
@given(recorded=events)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_form_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, form: str, recorded: list[dict[str, Any]]
) -> None:
    """Export, import, export: nothing is lost, nothing is counted twice, and the second export equals the first."""
    folder = tmp_path_factory.mktemp("exchange")
    with another(folder / "one") as one, another(folder / "two") as two:
        one.patterns.record_many(recorded)
        path = one.patterns.export(folder / f"out{'' if form == 'markdown' else '.' + form}")
        if recorded:
            report = two.patterns.import_file(path)
            assert report.verified
            assert report.uses == len(recorded)
            assert two.patterns.import_file(path).uses == 0
        assert dumped(two) == dumped(one)
        assert two.verify("full").ok


@pytest.mark.parametrize("form", FORMS)
def test_uses_that_differ_in_files_only_are_two(tmp_path: Path, form: str) -> None:
    """Uses of one moment are told apart by their files and tools as well."""
    with another(tmp_path / "one") as one, another(tmp_path / "two") as two:
        for files, tools in ((["x.py"], []), ([], ["x.py"]), ([], [])):
            one.patterns.record(["a"], type="T", success=True, at=START, session="s", files=files, tools=tools)
        path = one.patterns.export(tmp_path / f"out{'' if form == 'markdown' else '.' + form}")
        two.patterns.record(["a"], type="T", success=True, at=START, session="s", files=["y.py"])

        assert two.patterns.import_file(path).uses == 3
        assert two.patterns.import_file(path).known == 3
        assert two.patterns.query().all()[0].files == ("x.py", "y.py")


def test_an_import_is_read_again(p: Patterns, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified is said only after the source was compared with the store: a use that got lost is told."""
    from lamina.patterns import exchange

    usual = exchange._store

    def losing(catalog: Any, batch: Any, counts: Any, held: Any) -> None:
        usual(catalog, batch, counts, held)
        with catalog.write("losing a use") as writer:
            writer.db.execute("DELETE FROM pattern_use WHERE seq = (SELECT max(seq) FROM pattern_use)")

    use = {"at": "2026-05-01T00:00:00Z", "success": True}
    (tmp_path / "x.json").write_text(
        json.dumps([{"type": "T", "steps": ["a"], "uses": [use, {**use, "files": ["f"]}]}])
    )
    monkeypatch.setattr(exchange, "_store", losing)
    report = p.import_file(tmp_path / "x.json")

    assert not report.verified
    assert "1 of 2 uses are not in the store" in report.problems[0]
    monkeypatch.undo()
    again = p.import_file(tmp_path / "x.json")
    assert (again.verified, again.uses) == (True, 1)


def test_an_unknown_ending_is_no_form(p: Patterns, tmp_path: Path) -> None:
    """A name that means none of the forms is refused rather than written as JSON."""
    with pytest.raises(InvalidInputError, match="none of the forms"):
        p.export(tmp_path / "p.foo")
    assert p.export(tmp_path / "p.foo", format="csv").is_file()
    assert not list(tmp_path.glob("*.json"))


def test_exports_replace_only_when_asked(p: Patterns, tmp_path: Path) -> None:
    """A file or folder that is there stays as it is."""
    p.record(["a"], type="T", success=True)
    for name in ("x.json", "folder"):
        p.export(tmp_path / name)
        with pytest.raises(AlreadyExistsError):
            p.export(tmp_path / name)
        p.export(tmp_path / name, replace=True)
    with pytest.raises(InvalidInputError):
        p.export(tmp_path / "y.json", format="pickle")


def test_a_bad_entry_is_a_problem_and_the_rest_is_kept(p: Patterns, tmp_path: Path) -> None:
    """What makes no sense is named with its place."""
    path = tmp_path / "x.jsonl"
    good = {"type": "T", "steps": ["a"], "uses": [{"at": "2026-05-01T00:00:00Z", "success": True}]}
    path.write_text("\n".join(json.dumps(x) for x in ({"type": "T"}, good, {**good, "steps": "b"}, 7)) + "\n{torn")
    report = p.import_file(path)

    assert (report.patterns, report.uses, report.verified) == (1, 1, False)
    assert [problem.split(":")[1].strip() for problem in report.problems][:3] == ["line 1", "line 3", "line 4"]
    with pytest.raises(NotFoundError):
        p.import_file(tmp_path / "nothing.json")


def test_markdown_is_for_people(p: Patterns, tmp_path: Path) -> None:
    """A file a pattern under its type, and an index that links them."""
    p.record(["open <it>", "edit"], type="TestingPattern", success=True, description="how to", at=START)
    folder = p.export(tmp_path / "patterns")
    index = (folder / "PATTERNS.md").read_text()
    (page,) = (folder / "testingpattern").iterdir()
    text = page.read_text()

    assert f"testingpattern/{page.name}" in index
    assert "# open &lt;it> → edit" in text
    assert "1. open &lt;it>" in text
    assert "Used once, worked 1 (21% to 100% with 95 % confidence), last on 2026-05-01." in text


def test_graphml_is_a_graph_of_files(p: Patterns) -> None:
    """Files are nodes, uses together the weight of edges; odd characters keep it well-formed."""
    p.record(["a"], type="T", success=True, files=["x<&>.py", "y.py"])
    root = ET.fromstring(b"".join(p.exported("graphml")))
    space = "{http://graphml.graphdrawing.org/xmlns}"

    assert [node.findtext(f"{space}data") for node in root.iter(f"{space}node")] == ["x<&>.py", "y.py"]
    assert [edge.findtext(f"{space}data") for edge in root.iter(f"{space}edge")] == ["1"]


def test_a_mirror_follows_every_change(p: Patterns, tmp_path: Path) -> None:
    """The folder says what the store says after every change, and files that are no pattern's are left alone."""
    folder = tmp_path / "mirror"
    one = p.record(["a"], type="T", success=True)
    mirror = p.mirror(folder)
    (folder / "t" / "notes.md").write_text("mine")
    p.record(["b"], type="T", success=True)
    p.record_many([{"steps": ["c"], "type": "U", "success": False}] * 12)

    def names() -> set[str]:
        return {path.relative_to(folder).as_posix().split("-")[0] for path in folder.rglob("*.md")}

    assert names() == {"PATTERNS.md", "t/notes.md", "t/a", "t/b", "u/c"}
    p.delete(one.id)
    assert names() == {"PATTERNS.md", "t/notes.md", "t/b", "u/c"}
    p.prune()
    assert names() == {"PATTERNS.md", "t/notes.md", "t/b"}
    p.undo()
    assert names() == {"PATTERNS.md", "t/notes.md", "t/b", "u/c"}
    assert mirror.refresh() == 0


def test_a_mirror_that_fails_does_not_lose_the_use(p: Patterns, tmp_path: Path) -> None:
    """The catalog leads: a folder that cannot be written is told, and caught up with later."""
    folder = tmp_path / "mirror"
    mirror = p.mirror(folder)
    (folder / "t").write_text("in the way")
    p.record(["a"], type="T", success=True)

    assert p.query().count() == 1
    assert mirror.problem is not None
    (folder / "t").unlink()
    p.record(["a"], type="T", success=True)
    assert [mirror.problem] == [None]
    assert len(list((folder / "t").iterdir())) == 1


def test_a_mirror_in_the_way_is_told_after_every_kind_of_change(p: Patterns, tmp_path: Path) -> None:
    """Where the folder became a file, no change is refused or hides another error: it is made, and told."""
    folder = tmp_path / "mirror"
    mirror = p.mirror(folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    folder.write_text("in the way")
    calls: tuple[Any, ...] = (
        lambda: p.record(["a"], type="T", success=True),
        lambda: p.record_many([{"steps": ["b"], "type": "T", "success": False}] * 12),
        p.learn,
        p.prune,
        p.undo,
        lambda: p.delete(p.query().of_type("T").all()[0].id),
    )
    for call in calls:
        mirror.problem = None
        call()
        assert str(folder) in str(mirror.problem)
    with pytest.raises(InvalidInputError, match="Event 0"):
        p.record_many([{"steps": []}])
    folder.unlink()
    p.record(["c"], type="T", success=True)
    assert mirror.problem is None
    assert mirror.refresh() == 0


def aircher(folder: Path) -> Path:
    """Make a file store of aircher."""
    memory = folder / ".aircher" / "memory"
    (memory / "patterns").mkdir(parents=True)
    (memory / "sessions").mkdir()
    entry = {
        "pattern_id": "pattern_1",
        "pattern_type": "DebuggingStrategy",
        "description": "read log → fix → run tests",
        "context": "backend",
        "success_rate": 0.75,
        "usage_count": 4,
        "first_learned": "2026-01-01T00:00:00Z",
        "last_reinforced": "2026-02-01T00:00:00Z",
        "files_involved": ["a.py"],
        "tools_involved": ["read", "edit"],
        "conditions": ["high_quality_outcome"],
    }
    twin = {**entry, "pattern_id": "pattern_2", "description": "no arrows here"}
    third = {**twin, "pattern_id": "pattern_3", "description": "no arrows here either"}
    (memory / "patterns" / "debugging.json").write_text(json.dumps([entry, twin, third, {"x": 1}]))
    session = {"session_id": "session_7", "started_at": "2026-01-01T00:00:00Z", "conversation_context": []}
    (memory / "sessions" / "session_7.json").write_text(json.dumps(session))
    return folder


def test_the_older_file_store_is_migrated(p: Patterns, store: Store, tmp_path: Path) -> None:
    """Counts, times, files and what has no field arrive; what differs stays apart; a second time adds nothing."""
    place = aircher(tmp_path)
    report = p.migrate(place)
    again = p.migrate(place)
    pattern = next(x for x in p.query().all() if x.steps == ("read log", "fix", "run tests"))

    assert (report.patterns, report.uses, report.sessions) == (3, 12, 1)
    assert not report.verified  # one entry was none, and it is named
    assert "no pattern_id" in report.problems[0]
    assert (again.patterns, again.uses, again.known, again.sessions) == (0, 0, 12, 0)
    assert (pattern.uses, pattern.successes, pattern.files, pattern.origin) == (4, 3, ("a.py",), "imported")
    assert pattern.context["conditions"] == ["high_quality_outcome"]
    assert pattern.first_used == datetime(2026, 1, 1, tzinfo=UTC)
    assert store.sessions.count() == 1


@pytest.mark.parametrize(
    ("change", "told", "uses"),
    [
        ({"usage_count": 250_000}, "usage_count is 250,000; 100,000 of these uses were carried over", 100_000),
        ({"usage_count": "many"}, "usage_count is", 0),
        ({"success_rate": 87}, "success_rate is 87, not a share", 0),
        ({"first_learned": "bad"}, "first_learned is", 4),
        ({"first_learned": "bad", "last_reinforced": None}, "4 uses are left out", 0),
        ({"files_involved": ["a.py", 5]}, "files_involved has entries that are no names", 4),
    ],
)
def test_a_migration_names_what_it_cannot_carry(
    p: Patterns, tmp_path: Path, change: dict[str, Any], told: str, uses: int
) -> None:
    """A figure that makes no sense is named, invents no uses, and the pattern comes along with what it said."""
    folder = aircher(tmp_path) / ".aircher" / "memory"
    entry = json.loads((folder / "patterns" / "debugging.json").read_text())[0] | change
    (folder / "patterns" / "debugging.json").write_text(json.dumps([entry]))
    report = p.migrate(tmp_path)
    pattern = p.query().all()[0]

    assert not report.verified
    assert any(told in problem for problem in report.problems)
    assert pattern.uses == report.uses == uses
    assert pattern.first_used is None or pattern.first_used.year == 2026
    assert all(pattern.context[name] == value for name, value in change.items() if value and name != "files_involved")


def test_a_migration_looks_for_its_sessions(p: Patterns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns and calls of sessions that did not arrive are told."""
    from lamina.patterns import migrate
    from lamina.sessions.importing import import_path as usual

    folder = aircher(tmp_path) / ".aircher" / "memory"
    (folder / "patterns" / "debugging.json").unlink()
    turn = {"user_query": "fix it", "tools_used": ["edit", "bash"], "outcome_quality": 0.9}
    session = {"session_id": "s7", "started_at": "2026-01-01T00:00:00Z", "conversation_context": [turn, turn]}
    (folder / "sessions" / "session_7.json").write_text(json.dumps(session))
    assert p.migrate(tmp_path).verified

    def losing(catalog: Any, *arguments: Any) -> Any:
        report = usual(catalog, *arguments)
        with catalog.write("losing calls") as writer:
            writer.db.execute("UPDATE session SET calls = calls - 1")
        return report

    monkeypatch.setattr(migrate, "import_path", losing)
    report = p.migrate(tmp_path)
    assert not report.verified
    assert report.problems == ("session s7: 1 of 4 calls are missing",)


def test_uses_of_what_was_merged_are_claimed_once(tmp_path: Path) -> None:
    """Near-duplicates whose uses look alike lose none by an import after one was merged into the other."""
    steps = [("open the file", "run the tests", "commit it all"), ("open the file", "run the tests", "commit it")]

    def record(store: Store, days: range) -> None:
        for day in days:
            for one in steps:
                at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day)
                store.patterns.record(one, type="T", success=True, session=f"run-{day}", at=at, files=["x.py"])

    with lamina.open(tmp_path / "a", embedder="none") as one, lamina.open(tmp_path / "b", embedder="none") as other:
        record(one, range(4))
        other.patterns.import_file(one.patterns.export(tmp_path / "first.json"))
        assert other.patterns.prune(similarity=0.7, unused_days=10_000).merge
        record(one, range(4, 9))
        later = one.patterns.export(tmp_path / "later.json")
        report = other.patterns.import_file(later)
        again = other.patterns.import_file(later)

        assert (report.uses, report.known, report.verified) == (10, 8, True)
        assert (again.uses, again.known, again.verified) == (0, 18, True)
        assert [pattern.uses for pattern in other.patterns.query()] == [18]
