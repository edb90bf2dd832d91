from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import InvalidInputError
from lamina.config import Settings
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.filters import Filter, compile_where
from lamina.storage.reader import Reader
from lamina.testing import make_draft

KEYS = [
    "n",
    "s",
    'quo"ted',
    "do.tted",
    "br[0]ack",
    "back\\slash",
    "é",
    "日本",
    "new\nline",
    " ",
    "$x",
    "'",
    "a b",
    "And",
]
TEXTS = [
    "",
    "alpha",
    "Alpha",
    "ALPHABET",
    "straße",
    "STRASSE",
    "İ",
    "%",
    "_",
    "*x",
    "1",
    "true",
    "null",
    "[1]",
    "nul\0x",
]
NUMBERS = [0, 1, -1, 1.0, 1.5, -0.25, 2**53, 2**62, 1e300, 3]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.integers(-5, 5), st.text(max_size=3)
).filter(lambda value: value != "*" and not (isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)))
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.lists(st.lists(SCALARS, max_size=2), max_size=2),
    st.dictionaries(st.sampled_from(["inner", "x"]), SCALARS, max_size=2),
)
METADATA = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5)
ORDERED = ["gt", "gte", "lt", "lte"]


def dollar(names: list[str]) -> st.SearchStrategy[str]:
    """Return operators, also with the leading dollar."""
    return st.sampled_from([*names, *(f"${name}" for name in names)])


OPERATIONS = st.one_of(
    st.tuples(dollar(["eq", "ne"]), VALUES),
    st.tuples(dollar(["in", "nin"]), st.lists(VALUES, max_size=3)),
    st.tuples(dollar(ORDERED), st.one_of(st.sampled_from(NUMBERS), st.sampled_from(TEXTS))),
    st.tuples(dollar(["contains", "icontains"]), st.one_of(st.sampled_from(NUMBERS), st.sampled_from(TEXTS))),
    st.tuples(dollar(["exists"]), st.booleans()),
)
CONDITION = st.one_of(VALUES, st.just("*"), st.lists(OPERATIONS, min_size=1, max_size=2).map(dict))
LEAF = st.dictionaries(st.sampled_from(KEYS), CONDITION, max_size=2)
WHERE = st.recursive(
    LEAF,
    lambda inner: st.dictionaries(
        st.sampled_from(["AND", "OR", "NOT", "$and", "$or", "$not", "or"]),
        st.one_of(inner, st.lists(inner, min_size=1, max_size=3)),
        min_size=1,
        max_size=2,
    ),
    max_leaves=6,
)


# --- the oracle: the same filters in plain Python --------------------------------------------------------------------


def is_number(value: Any) -> bool:
    """Return whether a value is a number as JSON has them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(held: Any, value: Any) -> bool:
    """Return whether a stored value equals a filter's: numbers by value, lists and objects as they are written."""
    if is_number(held) and is_number(value):
        return bool(held == value)
    if isinstance(held, (list, dict)) or isinstance(value, (list, dict)):
        return type(held) is type(value) and json.dumps(held) == json.dumps(value)
    return type(held) is type(value) and bool(held == value)


def contains(value: Any, operand: Any, *, folded: bool) -> bool:
    """Return whether a text holds a text, or a list an element."""

    def fold(text: str) -> str:
        return text.casefold() if folded else text

    if isinstance(value, list):
        if isinstance(operand, str):
            return any(isinstance(item, str) and fold(item) == fold(operand) for item in value)
        return any(is_number(item) and item == operand for item in value)
    return isinstance(value, str) and isinstance(operand, str) and fold(operand) in fold(value)


def ordered(value: Any, name: str, operand: Any) -> bool:
    """Return whether a comparison holds; numbers with numbers, texts with texts by their bytes."""
    if isinstance(value, str) and isinstance(operand, str):
        value, operand = value.encode(), operand.encode()
    elif not (is_number(value) and is_number(operand)):
        return False
    return bool({"gt": value > operand, "gte": value >= operand, "lt": value < operand, "lte": value <= operand}[name])


def operation(values: dict[str, Any], key: str, name: str, operand: Any) -> bool:
    """Return whether one operator holds."""
    there, value = key in values, values.get(key)
    if name == "exists":
        return there is operand
    if name in ("eq", "ne"):
        return (there and same(value, operand)) is (name == "eq")
    if name in ("in", "nin"):
        return (there and any(same(value, item) for item in operand)) is (name == "in")
    if name in ORDERED:
        return there and ordered(value, name, operand)
    return there and contains(value, operand, folded=name == "icontains")


NAMES = {"eq", "ne", "in", "nin", "contains", "icontains", "exists", *ORDERED}


def holds(values: dict[str, Any], where: dict[str, Any]) -> bool:
    """Return whether a whole filter holds."""
    for key, value in where.items():
        kind = key.removeprefix("$").upper() if key in ("AND", "OR", "NOT", "$and", "$or", "$not", "or") else ""
        if kind:
            results = [holds(values, branch) for branch in (value if isinstance(value, list) else [value])]
            fits = {"AND": all(results), "OR": any(results), "NOT": not all(results)}[kind]
        elif value == "*":
            fits = key in values
        elif isinstance(value, dict) and value and {name.removeprefix("$") for name in value} <= NAMES:
            fits = all(operation(values, key, name.removeprefix("$"), operand) for name, operand in value.items())
        else:
            fits = operation(values, key, "eq", value)
        if not fits:
            return False
    return True


# --- against a catalog -----------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A catalog to which every example adds."""

    catalog: SqliteCatalog

    def __repr__(self) -> str:
        return "<catalog>"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """One catalog for all examples; each of them is undone."""
    folder = tmp_path_factory.mktemp("filters") / "store" / ".lamina"
    catalog = SqliteCatalog(folder, Settings(durability="relaxed"))
    yield Held(catalog)
    catalog.close()


def found(reader: Reader, where: dict[str, Any]) -> set[str]:
    """Return the ids that a filter finds."""
    return {record.id for record in reader.page(Filter(expired=True, where=compile_where(where)), None, None)}


def answers(held: Held, documents: list[dict[str, Any]], *filters: dict[str, Any]) -> list[set[int]]:
    """Return which documents each filter finds."""

    class Undo(Exception):  # noqa: N818  (no error: it takes the example back)
        pass

    results: list[set[int]] = []
    try:
        with held.catalog.write() as writer:
            writer.insert([make_draft(f"memory-{place}", metadata=values) for place, values in enumerate(documents)])
            for where in filters:
                ids = found(writer, where)
                assert writer.count(Filter(expired=True, where=compile_where(where))) == len(ids)
                results.append({int(id.rpartition("-")[2]) for id in ids})
            raise Undo
    except Undo:
        return results


@settings(max_examples=150)
@given(documents=st.lists(METADATA, min_size=1, max_size=6), where=WHERE)
def test_like_plain_python(held: Held, documents: list[dict[str, Any]], where: dict[str, Any]) -> None:
    """A filter finds what the same filter in plain Python finds, and its negation finds exactly the rest."""
    wanted = {place for place, values in enumerate(documents) if holds(values, where)}
    yes, no = answers(held, documents, where, {"NOT": [where]})
    assert yes == wanted
    assert no == set(range(len(documents))) - wanted


@settings(max_examples=60)
@given(data=st.data(), values=METADATA.filter(bool))
def test_what_is_there_is_found(held: Held, data: st.DataObject, values: dict[str, Any]) -> None:
    """Every stored value is found by itself, by a list that holds it, and not by ``ne`` or ``nin``."""
    key = data.draw(st.sampled_from(sorted(values)))
    value = values[key]
    filters: list[dict[str, Any]] = [{key: {"eq": value}}, {key: {"in": [None, value]}}, {key: "*"}]
    filters += [{key: {"ne": value}}, {key: {"nin": [value]}}, {key: {"exists": False}}]
    assert answers(held, [values, {}], *filters) == [{0}, {0}, {0}, {1}, {1}, {1}]


@settings(max_examples=60)
@given(key=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6))
def test_any_key(held: Held, key: str) -> None:
    """Whatever a key holds (quotes, dots, brackets, backslashes), it is that key alone that is compared."""
    documents: list[dict[str, Any]] = [{key: 1}, {key + "x": 1}, {}, {key: 2}]
    filters: list[dict[str, Any]] = [{"AND": [{key: {"eq": 1}}]}] if key.lower() not in LOGIC else []
    assert answers(held, documents, *filters) == [{0}][: len(filters)]


LOGIC = {"and", "or", "not", "$and", "$or", "$not"}


@settings(max_examples=60)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_float(held: Held, value: float) -> None:
    """A stored number equals itself, whatever its digits."""
    assert answers(held, [{"n": value}], {"n": value}, {"n": {"lt": value}}, {"n": {"gte": value}}) == [{0}, set(), {0}]


CASES: list[tuple[dict[str, Any], set[int]]] = [
    ({"a": True}, {0}),
    ({"a": 1}, {1, 2}),
    ({"a": None}, {3}),
    ({"a": "1"}, {4}),
    ({"a": [1]}, {5}),
    ({"a": {"eq": "[1]"}}, {6}),
    ({"a": {"x": 1}}, {7}),
    ({"a": {"contains": 1}}, {5}),
    ({"a": {"contains": "1"}}, {4, 6}),
    ({"a": {"exists": False}}, {9}),
    ({"a": {"gt": 0}}, {1, 2}),
    ({"a": {"gt": ""}}, {4, 6}),
    ({"a": {"gte": 1, "lte": 1}}, {1, 2}),
    ({"a": {"in": []}}, set()),
    ({"a": {"nin": []}}, set(range(10))),
    ({}, set(range(10))),
    ({"NOT": {}}, set()),
    ({"NOT": [{"a": 1}, {"a": True}]}, set(range(10))),
    ({"a": {"$ne": None}}, set(range(10)) - {3}),
    ({"a": {"contains": "x"}}, set()),
]


@pytest.mark.parametrize(("where", "wanted"), CASES, ids=[json.dumps(where) for where, _ in CASES])
def test_kinds_are_told_apart(held: Held, where: dict[str, Any], wanted: set[int]) -> None:
    """True is not 1, "1" is not 1, the list [1] is not the text "[1]", null is not missing."""
    values: list[Any] = [True, 1, 1.0, None, "1", [1], "[1]", {"x": 1}, [[1], True, ["x"]]]
    assert answers(held, [*({"a": value} for value in values), {}], where) == [wanted]


def test_times(held: Held) -> None:
    """A datetime or a date in a filter compares with stored ones by the text that metadata keeps of them."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(hours=13 * place, microseconds=place % 2) for place in range(8)]
    documents = [{"when": moment.isoformat()} for moment in moments]
    border = moments[4]
    filters: list[dict[str, Any]] = [{"when": border}, {"when": {"in": [moments[1], border]}}]
    filters += [{"when": {name: border}} for name in ORDERED]
    assert answers(held, documents, *filters) == [{4}, {1, 4}, {5, 6, 7}, {4, 5, 6, 7}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}]
    assert answers(held, documents, {"when": {"gte": date(2024, 1, 3)}}) == [{4, 5, 6, 7}]


# --- what is refused -------------------------------------------------------------------------------------------------


def nested(levels: int) -> dict[str, Any]:
    """Return a filter of so many levels."""
    where: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        where = {"NOT": [where]}
    return where


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

BAD: list[Any] = [
    None,
    [],
    "a = 1",
    {1: 2},
    {"": 1},
    {"\ud800": 1},
    {"a\0b": 1},
    {"a": {"$like": 1}},
    {"a": {"eq": 1, "like": 2}},
    {"a": {"$eq": 1, "other": 2}},
    {"a": object()},
    {"a": b"bytes"},
    {"a": {1, 2}},
    {"a": "\ud800"},
    {"a": ["\ud800"]},
    {"a": {"x": "\ud800"}},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": [float("nan")]},
    {"a": 2**63},
    {"a": -(2**70)},
    {"a": 10**400},
    {"a": 10**5_000},
    {"a": {"gt": 10**5_000}},
    {"a": {"gt": None}},
    {"a": {"gt": True}},
    {"a": {"lte": [1]}},
    {"a": {"in": 1}},
    {"a": {"in": "text"}},
    {"a": {"nin": {"x": 1}}},
    {"a": {"in": [object()]}},
    {"a": {"exists": 1}},
    {"a": {"exists": None}},
    {"a": {"contains": None}},
    {"a": {"contains": True}},
    {"a": {"icontains": ["x"]}},
    {"a": {"contains": "\udfff"}},
    {"a": [object()]},
    {"a": DEEP},
    {"AND": []},
    {"OR": [1]},
    {"NOT": "a"},
    {"$or": [{"a": 1}, None]},
    nested(31),
    nested(5_000),
]


@pytest.mark.parametrize("where", BAD, ids=range(len(BAD)))
def test_refused(where: Any) -> None:
    """What has no meaning is refused with a hint, before any SQL is made."""
    with pytest.raises(InvalidInputError) as caught:
        compile_where(where)
    assert "docs/recall.md" in caught.value.hint


TOO_MANY: dict[str, dict[str, Any]] = {
    "keys": {f"k{place}": 1 for place in range(501)},
    "one list": {"a": {"in": list(range(501))}},
    "several lists": {f"k{place}": {"in": list(range(101))} for place in range(5)},
    "branches": {"OR": [{"a": place} for place in range(501)]},
    "nested branches": {"OR": [{"AND": [{"a": 1}, {"b": {"gt": 1, "lt": 9}}]} for _ in range(170)]},
    "empty branches": {"OR": [{} for _ in range(501)]},
    "empty lists": {f"k{place}": {"in": []} for place in range(501)},
    "operators": {f"k{place}": {"gt": 1, "lt": 2, "ne": 3} for place in range(167)},
    "stars": {f"k{place}": "*" for place in range(501)},
}


@pytest.mark.parametrize("where", TOO_MANY.values(), ids=TOO_MANY)
def test_too_many_conditions(where: dict[str, Any]) -> None:
    """More than 500 conditions are refused, however they are spread."""
    with pytest.raises(InvalidInputError, match="500"):
        compile_where(where)


JUST_ENOUGH: dict[str, tuple[dict[str, Any], bool]] = {
    "keys": ({f"k{place}": {"exists": False} for place in range(500)}, True),
    "one list": ({"a": {"in": list(range(500))}}, True),
    "branches": ({"OR": [{"a": place} for place in range(500)]}, True),
    "texts": ({"OR": [{"s": {"icontains": str(place)}} for place in range(500)]}, True),
    "negated": ({"NOT": [{"NOT": [{"a": place}]} for place in range(500)]}, True),
    "depth": (nested(30), True),
    "wide and deep": ({"OR": [nested(28), {"AND": [{"a": {"ne": place}} for place in range(400)]}]}, True),
}


@pytest.mark.parametrize(("where", "wanted"), JUST_ENOUGH.values(), ids=JUST_ENOUGH)
def test_the_most_that_is_allowed(held: Held, where: dict[str, Any], wanted: bool) -> None:
    """What is just within the bounds runs: SQLite's own bounds lie further out."""
    documents: list[dict[str, Any]] = [{"a": 1, "s": "1"}]
    assert answers(held, documents, where) == [{0} if holds(documents[0], where) else set()]
