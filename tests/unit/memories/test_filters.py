from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina import InvalidInputError, Memories, Memory

SCOPES = ["private", "team", "user/alice", "user/bob"]
TYPES = ["user", "feedback", "project", "reference", "record"]
TAGS = ["red", "green", "blue"]
START = datetime(2024, 1, 1, tzinfo=UTC)
KEYS = ["n", "s", "list", "odd key.with[dots]\"'\\", "é"]


def _metadata(number: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if number % 2:
        values["n"] = [number % 7, -1.5, True, None, "3"][number % 5]
    if number % 3:
        values["s"] = ["alpha", "Beta", "gammaALPHA", "ÄRGER", ""][number % 5]
    if number % 5:
        values["list"] = [["a", "B"], [1, 2], [], ["alpha", 3]][number % 4]
    if number % 4 == 1:
        values[KEYS[3]] = number % 3
        values["é"] = {"inner": number % 2}
    return values


class Held(NamedTuple):
    """A store's memories, and the same as plain values."""

    m: Memories
    memories: list[Memory]

    def __repr__(self) -> str:
        return f"<{len(self.memories)} memories>"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """Eighty memories of every kind, and the same as plain values."""
    folder: Path = tmp_path_factory.mktemp("filters")
    with lamina.open(folder / "store", embedder="none", durability="relaxed") as store:
        ids = store.memories.add_many(
            {
                "text": f"apple number {number}",
                "scope": SCOPES[number % 4],
                "type": TYPES[number % 5],
                "tags": [tag for place, tag in enumerate(TAGS) if number >> place & 1],
                "created_at": START + timedelta(days=number // 2),
                "valid_until": START if number % 16 == 3 else None,
                "metadata": _metadata(number),
            }
            for number in range(80)
        )
        yield Held(store.memories, [store.memories.get(id) for id in ids])


# --- the oracle: the same filters in plain Python --------------------------------------------------------------------


def number(value: Any) -> bool:
    """Return whether a value is a number as JSON has them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(held: Any, value: Any) -> bool:
    """Return whether two JSON values are the same, true not being 1."""
    return ((number(held) and number(value)) or type(held) is type(value)) and held == value


def operation(values: dict[str, Any], key: str, name: str, operand: Any) -> bool:
    """Return whether one operator holds."""
    there, value = key in values, values.get(key)
    if name == "exists":
        return bool(there is operand)
    if name in ("eq", "ne"):
        return (there and equal(value, operand)) is (name == "eq")
    if name in ("in", "nin"):
        return (there and any(equal(value, item) for item in operand)) is (name == "in")
    if name in ("contains", "icontains"):
        fold = str.casefold if name == "icontains" else str
        if isinstance(value, list):
            if isinstance(operand, str):
                return any(isinstance(item, str) and fold(item) == fold(operand) for item in value)
            return any(number(item) and item == operand for item in value)
        return isinstance(value, str) and isinstance(operand, str) and fold(operand) in fold(value)
    comparable = (number(value) and number(operand)) or (isinstance(value, str) and isinstance(operand, str))
    if not comparable:
        return False
    return bool({"gt": value > operand, "gte": value >= operand, "lt": value < operand, "lte": value <= operand}[name])


def holds(values: dict[str, Any], where: dict[str, Any]) -> bool:
    """Return whether a whole filter holds."""
    for key, value in where.items():
        if key in ("AND", "$and", "OR", "$or", "NOT", "$not"):
            results = [holds(values, branch) for branch in value]
            kind = key.strip("$").upper()
            if not {"AND": all(results), "OR": any(results), "NOT": not all(results)}[kind]:
                return False
        elif isinstance(value, dict) and set(value) <= {"inner"}:
            if not (key in values and values[key] == value):
                return False
        elif isinstance(value, dict):
            if not all(operation(values, key, name.strip("$"), operand) for name, operand in value.items()):
                return False
        elif not (key in values if value == "*" else key in values and equal(values[key], value)):
            return False
    return True


def fits(memory: Memory, filters: dict[str, Any]) -> bool:
    """Return whether a memory passes every filter."""

    def listed(name: str) -> list[str]:
        value = filters[name]
        return [value] if isinstance(value, str) else list(value)

    return (
        ("scope" not in filters or memory.scope in listed("scope"))
        and ("type" not in filters or memory.type in listed("type"))
        and ("tags" not in filters or set(listed("tags")) <= set(memory.tags))
        and ("since" not in filters or memory.created_at >= filters["since"])
        and ("until" not in filters or memory.created_at < filters["until"])
        and ("where" not in filters or holds(dict(memory.metadata), filters["where"]))
    )


SCALARS = st.sampled_from([0, 1, 2, 3, 3.0, -1.5, True, None, "3", "alpha", "Beta", "ärger", "a", ""])
ORDERED = st.sampled_from([0, 2, 3.5, "alpha", "B", ""])
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["eq", "ne", "$eq", "$ne"]), SCALARS),
    st.tuples(st.sampled_from(["in", "nin", "$in"]), st.lists(SCALARS, max_size=3)),
    st.tuples(st.sampled_from(["gt", "gte", "lt", "lte", "$gte"]), ORDERED),
    st.tuples(st.sampled_from(["contains", "icontains"]), st.sampled_from(["a", "alpha", "ALPHA", "ärger", "b", 1, 3])),
    st.tuples(st.just("exists"), st.booleans()),
).map(lambda pair: {pair[0]: pair[1]})
ENTRIES = st.tuples(
    st.sampled_from([*KEYS, "missing"]), SCALARS | OPERATIONS | st.just("*") | st.just({"inner": 1})
).map(lambda pair: {pair[0]: pair[1]})
WHERE = st.recursive(
    ENTRIES,
    lambda inner: st.tuples(
        st.sampled_from(["AND", "OR", "NOT", "$and", "$or", "$not"]), st.lists(inner, min_size=1, max_size=2)
    ).map(lambda pair: {pair[0]: pair[1]}),
    max_leaves=4,
)
DAYS = st.integers(-2, 42).map(lambda day: START + timedelta(days=day))


def some(values: list[str]) -> st.SearchStrategy[Any]:
    """Return one name, or a list of names."""
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=3)


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "scope": some([*SCOPES, "nobody"]),
        "type": some(TYPES),
        "tags": some([*TAGS, "none"]),
        "since": DAYS,
        "until": DAYS,
        "where": WHERE,
    },
)


@settings(max_examples=120)
@given(filters=FILTERS)
def test_filters_equal_a_plain_python_oracle(held: Held, filters: dict[str, Any]) -> None:
    """List, count and recall keep exactly what the same filters in Python keep."""
    m, memories = held
    expected = {memory.id for memory in memories if fits(memory, filters)}
    assert expected == {memory.id for memory in m.list(**filters, limit=None)}
    assert len(expected) == m.count(**filters)
    valid = {memory.id for memory in memories if fits(memory, filters) and memory.valid_until is None}
    assert valid == {hit.memory.id for hit in m.recall("apple", limit=100, mode="text", **filters)}
    assert valid == {hit.memory.id for hit in m.recall("apple", limit=100, mode="text", as_of=FAR, **filters)}


@pytest.mark.parametrize("name", ["NOT", "$not"])
@pytest.mark.parametrize("inner", [{"missing": 1}, {"missing": "text"}, {"AND": [{"missing": 1}, {"n": {"lt": 9}}]}])
def test_not_holds_where_a_key_is_missing(held: Held, name: str, inner: dict[str, Any]) -> None:
    """NOT is the opposite of its filter also for a memory that does not have the key."""
    where = {name: [inner]}
    assert held.m.count(where=where) == sum(holds(dict(memory.metadata), where) for memory in held.memories) > 0


FAR = datetime(2100, 1, 1, tzinfo=UTC)

BAD: list[dict[str, Any]] = [
    {"scope": ""},
    {"scope": "no good"},
    {"scope": 5},
    {"scope": [None]},
    {"type": "note"},
    {"type": ["record", "x"]},
    {"type": 7},
    {"tags": [""]},
    {"tags": 3},
    {"tags": ["\ud800"]},
    {"since": "2024-01-01"},
    {"until": 5},
    {"where": ["n"]},
    {"where": "n = 1"},
    {"where": {1: 2}},
    {"where": {"n": {"between": [1, 2]}, "s": 1}},
    {"where": {"n": {"gt": None}}},
    {"where": {"n": {"gt": 1, "nope": 2}}},
    {"where": {"n": {"in": 5}}},
    {"where": {"n": {"exists": "yes"}}},
    {"where": {"n": float("nan")}},
    {"where": {"n": 2**64}},
    {"where": {"n": b"bytes"}},
    {"where": {"AND": []}},
    {"where": {"OR": [5]}},
    {"where": {"n": "\ud800"}},
]


@pytest.mark.parametrize("filters", BAD, ids=ascii)
def test_a_filter_without_meaning_is_refused(held: Held, filters: dict[str, Any]) -> None:
    """A filter that means nothing is an error with a hint in list, count, recall and explain_missing alike."""
    m, memories = held
    if filters == {"where": {"n": {"between": [1, 2]}, "s": 1}}:
        assert 0 == m.count(**filters), "an object that names no operator is a value to compare with"
        return
    for call in (
        lambda: m.list(**filters),
        lambda: m.count(**filters),
        lambda: m.recall("apple", **filters),
        lambda: m.explain_missing("apple", memories[0].id, **filters),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.hint


def test_empty_filters(held: Held) -> None:
    """No scope and no type keep nothing, no tag and an empty where keep everything."""
    m, _ = held
    assert 0 == m.count(scope=[]) == m.count(type=[])
    assert 80 == m.count(tags=[], where={})
    assert [] == m.recall("apple", scope=[]) == m.recall("apple", type=[])


# --- listing ---------------------------------------------------------------------------------------------------------


def test_list_is_newest_first_and_continues(held: Held) -> None:
    """Pages joined are the whole list: newest first, each memory once, at any page size and under any filter."""
    m, _ = held
    whole = m.list(limit=None, scope=["private", "team"])
    assert sorted(whole, key=lambda memory: (memory.created_at, memory.id), reverse=True) == whole
    for size in (1, 7, 100):
        joined: list[Memory] = []
        after = None
        while page := m.list(limit=size, after=after, scope=["private", "team"]):
            assert len(page) <= size
            joined += page
            after = page[-1].id
        assert whole == joined


def test_list_goes_on_while_others_add(plain: Memories) -> None:
    """What is added or deleted between two pages neither repeats nor drops what was there."""
    ids = [plain.add(f"number {number}").id for number in range(10)]
    first = plain.list(limit=4)
    plain.add("newer than all")
    plain.delete(first[-1].id)
    second = plain.list(limit=100, after=first[-1].id)
    assert list(reversed(ids)) == [memory.id for memory in [*first, *second]]


@pytest.mark.parametrize("limit", [0, -1, 1.5, "10", True, 10**5000], ids=["0", "-1", "1.5", "text", "true", "huge"])
def test_a_limit_must_be_a_whole_number(plain: Memories, limit: Any) -> None:
    """A limit that is none is refused in list and recall."""
    for call in (lambda: plain.list(limit=limit), lambda: plain.recall("x", limit=limit)):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.hint
