from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lamina
from lamina import InvalidInputError, NotFoundError, Pattern, Patterns, Store
from lamina.patterns import planning
from lamina.search.outcomes import rank
from lamina.search.tokens import query_terms, tokens
from lamina.storage.records import to_micros

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = to_micros(datetime.now(UTC))
TYPES = ("A", "B", "C")
WORDS = ("open", "edit", "test", "deploy")
FILES = ("x.py", "y.py", "z.py")


@dataclass
class Use:
    """A use as the oracle remembers it."""

    steps: tuple[str, ...]
    type: str
    success: bool
    files: tuple[str, ...]
    tools: tuple[str, ...]
    session: str | None
    at: datetime


uses = st.lists(
    st.builds(
        Use,
        steps=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(tuple),
        type=st.sampled_from(TYPES),
        success=st.booleans(),
        files=st.lists(st.sampled_from(FILES), unique=True, max_size=2).map(tuple),
        tools=st.lists(st.sampled_from(("Edit", "Bash")), unique=True, max_size=2).map(tuple),
        session=st.sampled_from((None, "s1", "s2", "s3")),
        at=st.integers(0, 400).map(lambda hours: START + timedelta(hours=hours)),
    ),
    max_size=40,
)
questions = st.fixed_dictionaries(
    {},
    optional={
        "type": st.lists(st.sampled_from((*TYPES, "D")), min_size=1, max_size=2, unique=True),
        "file": st.sampled_from((*FILES, "none.py")),
        "tool": st.sampled_from(("Edit", "Bash", "No")),
        "since": st.integers(-10, 410).map(lambda hours: START + timedelta(hours=hours)),
        "rate": st.sampled_from((0.0, 0.3, 0.5, 1.0)),
        "uses": st.integers(0, 4),
        "session": st.sampled_from(("s1", "s2", "s9")),
        "text": st.sampled_from((*WORDS, "open edit", "nothing")),
        "sort": st.sampled_from(tuple(planning.ORDERS)),
        "limit": st.integers(1, 5),
    },
)


def ask(p: Patterns, question: dict[str, Any]) -> list[Pattern]:
    """Put a question to the builder."""
    query = p.query()
    if "type" in question:
        query = query.of_type(*question["type"])
    if "file" in question:
        query = query.with_file(question["file"])
    if "tool" in question:
        query = query.with_tool(question["tool"])
    if "since" in question:
        query = query.used_since(question["since"])
    if "rate" in question:
        query = query.min_success_rate(question["rate"])
    if "uses" in question:
        query = query.min_uses(question["uses"])
    if "session" in question:
        query = query.in_session(question["session"])
    if "text" in question:
        query = query.matching(question["text"])
    if "sort" in question:
        query = query.sort_by(question["sort"])
    counted = query.count()
    found = query.limit(question["limit"]).all() if "limit" in question else query.all()
    assert counted >= len(found)
    assert "limit" in question or counted == len(found)
    return found


def oracle(known: list[Use], question: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Every pattern that fits, by going through all uses."""
    groups: dict[tuple[str, tuple[str, ...]], list[Use]] = {}
    for use in known:
        groups.setdefault((use.type, use.steps), []).append(use)
    since = question.get("since")
    words = set(query_terms(question["text"])) if "text" in question else set()
    return [
        key
        for key, group in groups.items()
        if ("type" not in question or key[0] in question["type"])
        and all(
            name not in question
            or any(question[name] in getattr(use, f"{name}s") and (since is None or use.at >= since) for use in group)
            for name in ("file", "tool")
        )
        and (since is None or any(use.at >= since for use in group))
        and sum(use.success for use in group) / len(group) >= question.get("rate", 0)
        and len(group) >= question.get("uses", 0)
        and ("session" not in question or any(use.session == question["session"] for use in group))
        and words <= set(tokens(" ".join(key[1])))
    ]


def key_of(pattern: Pattern, order: str) -> tuple[float, ...]:
    """What a pattern is sorted by."""
    assert pattern.last_used is not None
    last = min(to_micros(pattern.last_used), NOW)
    return {
        "effectiveness": (rank(pattern.successes, pattern.uses, last),),
        "usage": (float(pattern.uses),),
        "success_rate": (pattern.success_rate, float(pattern.uses)),
        "last_used": (float(to_micros(pattern.last_used)),),
    }[order]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples."""
    folder: Path = tmp_path_factory.mktemp("query") / "store"
    with lamina.open(folder, embedder="none", durability="relaxed") as opened:
        yield opened


@pytest.mark.parametrize("few", [0, 2_000], ids=["walking", "narrowing"])
@given(known=uses, asked=st.lists(questions, min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_equal_those_of_brute_force(
    shared: Store, few: int, monkeypatch: pytest.MonkeyPatch, known: list[Use], asked: list[dict[str, Any]]
) -> None:
    """Whatever is recorded and asked, by either way of answering, the patterns are those that brute force finds."""
    monkeypatch.setattr(planning, "_LEAST", few)
    monkeypatch.setattr(planning, "_MOST", few)
    p = shared.patterns
    for pattern in p.query().all():
        p.delete(pattern.id)
    p.record_many(vars(use) for use in known)
    for question in asked:
        found = ask(p, question)
        wanted = oracle(known, question)
        order = question.get("sort", "effectiveness")
        keys = [key_of(pattern, order) for pattern in found]
        names = [(pattern.type, pattern.steps) for pattern in found]
        assert keys == sorted(keys, reverse=True)
        assert len(set(names)) == len(names)
        assert set(names) <= set(wanted)
        assert len(names) == min(len(wanted), question.get("limit", len(wanted)))
        if names and len(names) < len(wanted):  # what was left out is no better than what was given
            rest = {key: key_of(pattern, order) for pattern in ask(p, {**question, "limit": 1_000})
                    if (key := (pattern.type, pattern.steps)) not in names}  # fmt: skip
            assert all(key <= keys[-1] for key in rest.values())


def test_a_file_since_means_used_with_that_file_since(p: Patterns) -> None:
    """A later use with another file does not count."""
    p.record(["a"], type="T", success=True, files=["x.py"], at=START)
    p.record(["a"], type="T", success=True, files=["y.py"], at=START + timedelta(days=10))

    since = START + timedelta(days=5)
    assert p.query().with_file("x.py").used_since(since).all() == []
    assert len(p.query().with_file("y.py").used_since(since).all()) == 1


def test_plans_use_indexes(p: Patterns) -> None:
    """No query goes through the whole table, and explain says what it walks."""
    p.record_many(
        {"steps": [f"step {n}"], "type": f"T{n % 3}", "success": n % 2, "files": [f"f{n % 50}"]} for n in range(400)
    )
    ask_ = p.query()
    queries = (
        ask_,
        ask_.of_type("T1"),
        ask_.with_file("f7").used_since(START),
        ask_.min_success_rate(0.5).sort_by("usage"),
        ask_.matching("step 7"),
        ask_.sort_by("last_used"),
    )
    for query in queries:
        told = query.limit(5).explain()
        assert not [line for line in told.plan if line.startswith("SCAN") and "INDEX" not in line and "(" not in line
                    and not line.startswith(("SCAN t", "SCAN l", "SCAN c"))], told  # fmt: skip
        assert told.sql.count("SELECT p.seq") == 1
    assert ask_.with_file("f7").limit(5).explain().driver.startswith("link")
    assert ask_.limit(5).explain().driver == "order"


def test_queries_do_not_change_each_other(p: Patterns) -> None:
    """A query is a value: narrowing it gives a new one."""
    p.record(["a"], type="T", success=True)
    all_ = p.query()
    none = all_.of_type("U")

    assert (len(all_.all()), len(none.all())) == (1, 0)
    assert none.first() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_success_rate", 2),
        ("limit", 0),
        ("sort_by", "luck"),
        ("matching", " "),
        ("used_since", "now"),
        ("of_type", 3),
    ],
)
def test_questions_without_meaning_are_refused(p: Patterns, name: str, value: Any) -> None:
    """A bad argument is an error of ours before anything is read."""
    with pytest.raises(InvalidInputError):
        getattr(p.query(), name)(value)


@pytest.mark.parametrize("narrow", [False, True], ids=["walking", "narrowing"])
def test_a_clock_that_jumped_does_not_disturb_the_order(p: Patterns, narrow: bool) -> None:
    """A last use that lies ahead counts as now: years ahead are worth no more than a moment ago."""
    now = datetime.now(UTC)
    p.record(["ahead"], type="T", success=True, at=now + timedelta(days=3_650))
    p.record(["ahead, failed"], type="T", success=False, at=now + timedelta(days=3_650))
    for _ in range(30):
        p.record(["good"], type="T", success=True, at=now - timedelta(minutes=1))
    for _ in range(9):
        p.record(["old"], type="T", success=True, at=now - timedelta(days=365))
    query = p.query().of_type("T") if narrow else p.query()
    found = query.all()

    assert [pattern.steps[0] for pattern in found] == ["good", "ahead", "old", "ahead, failed"]
    assert [pattern.effectiveness for pattern in found] == sorted((x.effectiveness for x in found), reverse=True)
    assert [pattern.steps[0] for pattern in query.limit(2).all()] == ["good", "ahead"]
    assert [pattern.steps[0] for pattern in query.min_effectiveness(0.5).all()] == ["good"]
    assert query.min_effectiveness(0.1).count() == 2


def test_a_query_explains_itself_with_its_answer(p: Patterns) -> None:
    """With explain, the SQL, its plan and the patterns come together."""
    p.record(["a"], type="T", success=True)
    told = p.query().of_type("T").all(explain=True)

    assert [pattern.steps for pattern in told.patterns] == [("a",)]
    assert told.sql == p.query().of_type("T").explain().sql
    assert told.plan
    assert p.query().explain().patterns == ()


def test_a_beginning_of_an_id_is_enough(p: Patterns) -> None:
    """A beginning that no other id has names a pattern; one that several have names these."""
    ids = [p.record([f"step {n}"], type="T", success=True).id for n in range(20)]
    one = ids[0]

    assert p.get(one[:8]).id == p.explain(one[:8]).pattern.id == p.usage(one[:8]).id == one
    with pytest.raises(InvalidInputError, match="Several patterns begin with p") as several:
        p.get("p")
    assert "There are: p" in several.value.hint
    with pytest.raises(NotFoundError):
        p.get("pz")


@pytest.mark.parametrize("value", [5, None, b"x", ""])
def test_what_is_no_path_is_refused(p: Patterns, value: Any) -> None:
    """A number, nothing or bytes where a path belongs is an error of ours."""
    for call in (p.query().with_file, p.files_with, p.export, p.import_file, p.mirror, p.migrate):
        with pytest.raises(InvalidInputError):
            call(value)
    with pytest.raises(InvalidInputError):
        p.fitting(5)  # type: ignore[arg-type]
