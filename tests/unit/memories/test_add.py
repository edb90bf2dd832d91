from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lamina
from lamina import InvalidInputError, Memories, Store

ANY_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200).filter(lambda text: bool(text.strip()))
LINE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=60).map(str.strip)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SHARED = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "  spaces before and after \n",
        "a\0b\0",
        "one\r\ntwo\rthree\n",
        "🦊👩‍👩‍👧‍👦🏳️‍🌈",
        "مرحبا \u202eabc\u202c עולם",
        "e\u0301 and \u00e9, \ufeffbom, \u2028 line",
        "x",
        "\U0010ffff",
    ],
)
def test_text_comes_back_verbatim(m: Memories, text: str) -> None:
    """A text is kept character for character, whatever it holds."""
    assert text == m.get(m.add(text).id).text


@SHARED
@given(text=ANY_TEXT)
def test_any_valid_text_comes_back_verbatim(plain: Memories, text: str) -> None:
    """Every text that UTF-8 can hold survives the way in and out."""
    assert text == plain.get(plain.add(text).id).text


def test_a_megabyte_comes_back_verbatim(m: Memories) -> None:
    """A text of a million characters is one memory, found by its passages."""
    text = "".join(f"Line {number} of the long log.\n" for number in range(40_000))[:1_000_000]
    memory = m.add(text)
    assert text == m.get(memory.id).text
    assert [memory.id] == [hit.memory.id for hit in m.recall("line 29987", mode="text")]


@SHARED
@given(
    title=st.none() | LINE,
    description=st.none() | LINE,
    kind=st.sampled_from(["user", "feedback", "project", "reference", "record"]),
    scope=st.sampled_from(["private", "team", "user/alice", "agent/a-1@x:y+z"]),
    tags=st.lists(LINE.filter(bool), max_size=4, unique=True),
    importance=st.floats(0, 1),
    source=st.none() | LINE,
    thread=st.none() | LINE,
    position=st.none() | st.integers(0, 2**53),
    created_at=MOMENTS,
    valid_until=st.none() | MOMENTS,
    metadata=st.dictionaries(LINE.filter(bool), VALUES, max_size=4),
)
def test_every_field_comes_back(plain: Memories, kind: str, **fields: Any) -> None:
    """What add is given is what get returns; an empty line counts as none."""
    memory = plain.add("a text", type=kind, **fields)
    held = plain.get(memory.id)
    assert replace(memory, similar=(), notices=()) == held
    assert kind == held.type
    for name, value in fields.items():
        expected = tuple(value) if name == "tags" else value or None if isinstance(value, str) else value
        assert expected == getattr(held, name), name


def test_defaults_of_add(m: Memories) -> None:
    """A bare text is a private record of middle importance, made now, with an id of its own."""
    before = datetime.now(UTC)
    memory = m.add("Just a text.")
    after = datetime.now(UTC)
    assert ("record", "private", 0.5, (), {}, ()) == (
        memory.type,
        memory.scope,
        memory.importance,
        memory.tags,
        memory.metadata,
        memory.similar,
    )
    assert [None] * 8 == [
        getattr(memory, name)
        for name in (
            "title",
            "description",
            "source",
            "thread",
            "position",
            "valid_until",
            "superseded_by",
            "path",
        )
    ]
    assert before - timedelta(milliseconds=1) <= memory.created_at <= after
    assert memory.updated_at == memory.created_at
    assert (0, 0, 0) == (memory.uses, memory.helped, memory.hurt)
    assert len(memory.id) >= 8


def test_times_are_aware_and_naive_ones_are_utc(m: Memories) -> None:
    """A naive time is read as UTC, an aware one is the same moment in UTC."""
    naive = m.add("naive", created_at=datetime(2024, 5, 1, 12))  # noqa: DTZ001
    ahead = m.add("ahead", created_at=datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=5))))
    assert datetime(2024, 5, 1, 12, tzinfo=UTC) == naive.created_at
    assert datetime(2024, 5, 1, 7, tzinfo=UTC) == ahead.created_at
    assert UTC == ahead.created_at.tzinfo


def test_tags_lose_repetition_and_keep_order(m: Memories) -> None:
    """The same tag twice is one tag, and the order is the caller's."""
    assert ("b", "a", "c") == m.add("x", tags=["b", "a", "b ", "c"]).tags


def test_ids_sort_by_creation(m: Memories) -> None:
    """A later memory has a greater id."""
    ids = [m.add(f"number {number}").id for number in range(20)]
    assert sorted(ids) == ids
    assert len(set(ids)) == 20


def far(hours: int, year: int) -> datetime:
    """Return a moment that its zone pushes out of the years that UTC can say."""
    end = datetime.min if year == 1 else datetime.max  # noqa: DTZ901 - the zone comes next
    return end.replace(tzinfo=timezone(timedelta(hours=hours)))


FIELD_NAMES = lamina.Memory.__dataclass_fields__
BAD_FIELDS: list[tuple[str, Any]] = [
    ("text", ""),
    ("text", " \n\t\u2003"),
    ("text", None),
    ("text", b"bytes"),
    ("text", "a lone \ud800 surrogate"),
    ("text", "x" * 10_000_001),
    ("title", "two\nlines"),
    ("title", "x" * 301),
    ("title", 5),
    ("title", "\udfff"),
    ("description", "x" * 2001),
    ("type", "note"),
    ("type", None),
    ("type", ["record"]),
    ("type", 10**5000),
    ("scope", ""),
    ("scope", "../etc"),
    ("scope", "a//b"),
    ("scope", "a/../b"),
    ("scope", "/a"),
    ("scope", "a b"),
    ("scope", "ü"),
    ("scope", "x" * 201),
    ("scope", None),
    ("tags", "one"),
    ("tags", None),
    ("tags", [""]),
    ("tags", ["a\nb"]),
    ("tags", [1]),
    ("tags", ["x" * 101]),
    ("tags", [str(number) for number in range(101)]),
    ("tags", ["\ud800"]),
    ("importance", 1.01),
    ("importance", -0.1),
    ("importance", math.nan),
    ("importance", 10**400),
    ("importance", True),
    ("importance", "0.5"),
    ("importance", None),
    ("source", "a\0b"),
    ("thread", 3),
    ("position", -1),
    ("position", 1.5),
    ("position", True),
    ("position", 10**5000),
    ("created_at", "2024-01-01"),
    ("created_at", 1_700_000_000),
    ("created_at", far(14, 1)),
    ("valid_until", far(-14, 9999)),
    ("metadata", [1]),
    ("metadata", {1: "a"}),
    ("metadata", {"": "a"}),
    ("metadata", {"a": math.inf}),
    ("metadata", {"a": {"b": [math.nan]}}),
    ("metadata", {"a": object()}),
    ("metadata", {"a": {1, 2}}),
    ("metadata", {"a": 2**63}),
    ("metadata", {"a": 10**5000}),
    ("metadata", {"a": "\ud800"}),
    ("metadata", {"\ud800": 1}),
    ("metadata", {"a": "x" * 1_000_001}),
]


@pytest.mark.parametrize(
    ("field", "value"),
    BAD_FIELDS,
    ids=lambda value: value if isinstance(value, str) and value in FIELD_NAMES else type(value).__name__,
)
def test_a_bad_field_is_refused_by_name(plain: Memories, field: str, value: Any) -> None:
    """A value that may not be stored raises an error with a short message and a hint, and stores nothing."""
    values: dict[str, Any] = {"text": "fine", field: value}
    with pytest.raises(InvalidInputError) as caught:
        plain.add(**values)
    error = caught.value
    assert error.hint
    assert len(error.message) < 400, "a message must not repeat a huge value"
    json.dumps(error.to_dict())
    assert 0 == plain.count()


def test_metadata_that_holds_itself_is_refused(plain: Memories) -> None:
    """Endless nesting is an error of ours, not the interpreter's."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(InvalidInputError, match="nested"):
        plain.add("x", metadata=endless)


def test_tuples_and_times_in_metadata_become_json(m: Memories) -> None:
    """Metadata holds JSON values: a tuple comes back as a list, a time as text."""
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    assert {"a": [1, 2], "at": moment.isoformat()} == m.get(
        m.add("x", metadata={"a": (1, 2), "at": moment}).id
    ).metadata


# --- near-duplicates -------------------------------------------------------------------------------------------------

FACT = (
    "The staging database moved from port 5432 to port 5433 on the old machine last Tuesday, because the reporting "
    "service needed its own instance for the quarterly numbers"
)


def test_near_duplicates_are_told_and_kept(m: Memories) -> None:
    """The same text, and one with another word, name what was there; an unrelated text names nothing."""
    first = m.add(FACT)
    same = m.add(FACT)
    close = m.add(FACT.replace("Tuesday", "Wednesday"))
    other = m.add("Ana prefers tea with milk in the afternoon.")
    assert () == first.similar
    assert (first.id,) == same.similar
    assert {first.id, same.id} == set(close.similar)
    assert () == other.similar
    assert 4 == m.count()


def test_similar_names_the_likest_first(m: Memories) -> None:
    """An exact copy comes before one with another word, and the memory itself is not among them."""
    close = m.add(FACT.replace("Tuesday", "Wednesday"))
    first, same = m.add(FACT), m.add(FACT)
    assert (same.id, close.id) == m.similar(first.id)


def test_deleted_expired_and_superseded_are_no_duplicates(m: Memories) -> None:
    """Only what could be recalled is named as a near-duplicate."""
    gone, old, new = m.add(FACT), m.add(FACT), m.add(FACT + " and more")
    m.add(FACT, valid_until=datetime(2001, 1, 1, tzinfo=UTC))
    m.delete(gone.id)
    m.supersede(old.id, new.id)
    assert (new.id,) == m.add(FACT).similar


def test_get_and_list_say_nothing_of_duplicates(m: Memories) -> None:
    """``similar`` belongs to the moment of writing; a later look leaves it empty."""
    m.add(FACT)
    again = m.add(FACT)
    assert again.similar
    assert () == m.get(again.id).similar


# --- vectors of the caller's own -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector",
    [
        [1.0] * 255,
        [],
        [math.nan] * 256,
        [1.0] * 255 + [math.inf],
        [0.0] * 256,
        [[1.0] * 256],
        ["a"] * 256,
        "abc",
        1.5,
        object(),
        [None] * 256,
        [[1.0], [1.0, 2.0]],
    ],
    ids=["short", "none", "nan", "inf", "zero", "2-d", "words", "text", "scalar", "object", "nones", "ragged"],
)
def test_a_bad_vector_is_refused(m: Memories, vector: Any) -> None:
    """A vector that is no row of finite numbers of the store's dimensions is refused, in add and in recall."""
    m.add("something that is there")
    for call in (lambda: m.add("x", vector=vector), lambda: m.recall(vector=vector)):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.hint
    assert 1 == m.count()


def test_own_vectors_are_compared(plain: Memories) -> None:
    """Without an embedder the first vector sets the dimensions, and recall by vector finds the closest."""
    ids = [plain.add(f"axis {axis}", vector=np.eye(4)[axis] * 7).id for axis in range(4)]
    hits = plain.recall(vector=[0.1, 0.9, 0.3, 0.0], mode="vector", limit=2)
    assert ids[1] == hits[0].memory.id
    with pytest.raises(InvalidInputError, match="dimensions"):
        plain.add("another", vector=[1.0, 2.0])


def test_vector_mode_returns_as_many_as_were_asked_for(plain: Memories) -> None:
    """The nearest of all, as many as the limit says, however far they are."""
    ids = [plain.add(f"axis {axis}", vector=np.eye(4)[axis] * 7).id for axis in range(4)]
    hits = plain.recall(vector=[0.1, 0.9, 0.3, 0.0], mode="vector", limit=3)
    assert [ids[1], ids[2], ids[0]] == [hit.memory.id for hit in hits]


def test_vectors_of_two_sizes_in_one_batch_are_refused(plain: Memories) -> None:
    """The first vector of a store decides for those beside it as well; what came before the bad item is kept."""
    with pytest.raises(InvalidInputError, match="dimensions") as caught:
        plain.add_many([{"text": "three", "vector": [1, 2, 3]}, {"text": "two", "vector": [1, 2]}])
    assert {"item": 1, "added": 1} == {name: caught.value.details[name] for name in ("item", "added")}
    assert 1 == plain.count()


def test_own_vector_beside_the_embedders(m: Memories) -> None:
    """In a store with an embedder a caller's vector ranks by its own closeness, also in vector mode."""
    for number in range(8):
        m.add(f"A note about the weather in town number {number}.")
    wanted = np.random.default_rng(3).standard_normal(256)
    mine = m.add("Nothing in this text says so.", vector=wanted)
    for exact in (False, True):
        assert mine.id == m.recall(vector=wanted, mode="vector", exact=exact)[0].memory.id


@pytest.mark.parametrize("kind", ["list", "tuple", "float32", "float16", "int", "memoryview"])
def test_vectors_in_many_forms(plain: Memories, kind: str) -> None:
    """Anything that numpy reads as one row of numbers is a vector."""
    array = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    forms: dict[str, Any] = {
        "list": [1.0, 2.0, 3.0],
        "tuple": (1, 2, 3),
        "float32": array,
        "float16": array.astype(np.float16),
        "int": np.array([1, 2, 3]),
        "memoryview": memoryview(array.data),
    }
    memory = plain.add("x", vector=forms[kind])
    assert [memory.id] == [hit.memory.id for hit in plain.recall(vector=[1, 2, 3], mode="vector")]


@pytest.mark.parametrize("profile", ["precise", "balanced", "compact"])
def test_profiles_work_end_to_end(folder: Any, static: Any, profile: Any) -> None:
    """Each profile stores, finds, verifies and finds again after reopening."""
    texts = [
        "The kettle is broken and cannot boil water.",
        "Our invoices leave on the last working day.",
        "Ana moved to Lisbon.",
    ]
    for _ in range(2):
        with lamina.open(folder, profile=profile, embedder=static) as store:
            if not store.memories.count():
                store.memories.add_many(texts)
            for mode in ("hybrid", "vector"):
                assert texts[1] == store.memories.recall("when are invoices sent", mode=mode, exact=True)[0].memory.text
            assert store.verify("full").ok
            assert profile == store.stats()["profile"]


def test_a_store_may_hold_several_precisions(folder: Any, static: Any) -> None:
    """A store written under one profile goes on under another; every vector still counts."""
    for profile in ("precise", "compact", "balanced"):
        with lamina.open(folder, profile=profile, embedder=static) as store:
            store.memories.add(f"The {profile} lighthouse stands on the northern cape.")
            assert profile in store.memories.recall(f"the {profile} tower", mode="vector")[0].memory.text
            assert (store.memories.count(), 0) == (store.stats()["vectors"], store.stats()["vectors_waiting"])
            assert store.verify("full").ok


def test_repr_and_hits_text(store: Store) -> None:
    """A store says where it is; an answer as text frames each memory as data, with its id."""
    memory = store.memories.add("Ana likes tea.")
    assert str(store.location) in repr(store)
    assert f'<memory id="{memory.id}">\nAna likes tea.\n</memory>' in store.memories.recall("tea").text()
