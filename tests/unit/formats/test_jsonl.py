"""JSON lines in and out."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import InvalidInputError
from lamina.formats import ReadOptions, Record, read, write
from lamina.formats.fields import MAX_TEXT, SETTABLE
from lamina.types import MEMORY_TYPES, Memory

_NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def read_all(data: bytes, **options: Any) -> tuple[list[Record], list[InvalidInputError]]:
    """Reads every record of ``data`` and every problem."""
    problems: list[InvalidInputError] = []
    records = list(read(io.BytesIO(data), "jsonl", ReadOptions(name="notes.jsonl", **options), problems.append))
    return records, problems


def one_problem(line: bytes) -> InvalidInputError:
    """The one problem of a file that holds ``line`` second, between two good ones."""
    records, problems = read_all(b'{"text": "first"}\n' + line + b'\n{"text": "third"}\n')

    assert [record.item["text"] for record in records] == ["first", "third"]
    assert len(problems) == 1
    assert problems[0].message.startswith("Line 2 of notes.jsonl: ")
    assert problems[0].details["line"] == 2
    return problems[0]


def test_a_line_is_a_memory_and_keeps_its_number() -> None:
    """Each object becomes the arguments of one add; empty lines count but give nothing."""
    records, problems = read_all(b'{"text": "one"}\n\n  \n{"text": "two", "tags": ["a", "b"], "importance": 1}\n')

    assert problems == []
    assert [Record(1, {"text": "one"}), Record(4, {"text": "two", "tags": ("a", "b"), "importance": 1.0})] == records


def test_bom_crlf_and_a_missing_last_newline_are_read() -> None:
    """Files as Windows writes them read like any other."""
    records, problems = read_all(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}')

    assert problems == []
    assert [record.item["text"] for record in records] == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"text": "caf\xe9"}', "byte 14 (0xe9) is not UTF-8"),
        (b'{"text": "x", "text": "y"}', "the key 'text' is there twice"),
        (b'{"text": "x", "importance": NaN}', "NaN is no JSON number"),
        (b'{"text": "x", "importance": 1e999}', "importance is inf"),
        (b'{"text": "x", "importance": 2}', "importance is 2."),
        (b'{"text": "x", "importance": true}', "importance is True"),
        (b'{"text": "x", "importance": "high"}', "importance is 'high'"),
        (b'{"text": "x", "position": 1.5}', "position is 1.5"),
        (b'{"text": "x", "position": 1e300}', "position is 1e+300"),
        (b'{"text": "x", "type": "note"}', "'note' is no type of memory"),
        (b'{"text": "x", "scope": "a b"}', "'a b' is no scope name"),
        (b'{"text": "x", "scope": "/"}', "'/' is no scope name"),
        (b'{"text": "x", "tags": [1]}', "1 is no tag"),
        (b'{"text": "x", "tags": {"a": 1}}', "tags is an object, not a list"),
        (b'{"text": "x", "title": ["t"]}', "title is a list, not a string"),
        (b'{"text": "x", "thread": 7}', "thread is a int, not a string"),
        (b'{"text": "x", "created_at": "last week"}', "created_at must be a time"),
        (b'{"text": "x", "created_at": 1e15}', "is not seconds since 1970"),
        (b'{"text": "x", "created_at": "0001-01-01T00:00:00+10:00"}', "created_at must be a time"),
        (b'{"text": "x", "metadata": "k=v"}', "metadata is a str, not a mapping"),
        (b'{"text": "\\ud800"}', "lone surrogate"),
        (b'{"text": "  \\n"}', "text is empty"),
        (b'{"text": ""}', "text is empty"),
        (b'{"text": null}', "there is no text"),
        (b'{"content": "x"}', "'content' is no field of a memory"),
        (b'{"text": "x", "mood": 1}', "'mood' is no field of a memory"),
        (b"{}", "there is no text; the record has nothing"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"text": "x", "position": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_are_read(line: bytes, expected: str) -> None:
    """One bad line costs itself: the message says which line, and what is wrong."""
    assert expected in one_problem(line).message


def test_a_text_beyond_the_limit_is_a_problem() -> None:
    """Sizes are checked before the store sees them."""
    line = json.dumps({"text": "x" * (MAX_TEXT + 1)}).encode()

    assert "10,000,001 characters" in one_problem(line).message


def test_a_line_without_end_is_passed_over_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond the limit is a problem, and reading goes on after it."""
    monkeypatch.setattr("lamina.formats.lines.MAX_LINE_BYTES", 100)

    assert "longer than" in one_problem(b'{"text": "' + b"x" * 1000 + b'"}').message


def test_without_a_handler_the_first_problem_stops() -> None:
    """The default for on_problem raises, which is what --strict does."""
    records = read(io.BytesIO(b'{"text": "one"}\nnonsense\n'), "jsonl")

    assert next(records).item["text"] == "one"
    with pytest.raises(InvalidInputError, match="Line 2 of standard input: not JSON"):
        next(records)


@pytest.mark.parametrize(
    "data", ['{"text": "x"}'.encode("utf-16"), b'{"text": "x\0"}', '{"text": "x"}'.encode("utf-16-le")]
)
def test_a_file_that_is_not_utf8_text_is_refused_whole(data: bytes) -> None:
    """UTF-16 and binary files get one clear error, not one a line."""
    with pytest.raises(InvalidInputError, match=r"Line 1 of notes\.jsonl: the file is"):
        read_all(data)


def test_keys_are_mapped_and_the_rest_kept_when_asked() -> None:
    """--map names fields, --unknown says what happens to other keys."""
    line = b'{"content": "x", "who": "Ann", "text": "other", "n": 1, "metadata": {"k": 2}}'
    fields = {"text": "content", "source": "who"}

    kept, _ = read_all(line, fields=fields, unknown="metadata")
    dropped, _ = read_all(line, fields=fields, unknown="ignore")
    _, refused = read_all(line, fields=fields)

    assert kept[0].item == {"text": "x", "source": "Ann", "metadata": {"k": 2, "text": "other", "n": 1}}
    assert dropped[0].item == {"text": "x", "source": "Ann", "metadata": {"k": 2}}
    assert "'text' is no field" in refused[0].message


def test_defaults_fill_only_what_a_line_leaves_open() -> None:
    """A default is for records that do not say it themselves; null is not saying."""
    records, _ = read_all(
        b'{"text": "x"}\n{"text": "y", "scope": "team", "type": null}', defaults={"scope": "a", "type": "user"}
    )

    assert [record.item for record in records] == [
        {"scope": "a", "type": "user", "text": "x"},
        {"scope": "team", "type": "user", "text": "y"},
    ]


def test_times_without_offset_are_utc_and_numbers_are_seconds() -> None:
    """The two ways to write a time in a file."""
    records, _ = read_all(
        b'{"text": "x", "created_at": "2026-03-01T09:30:00"}\n'
        b'{"text": "x", "created_at": "2026-03-01T10:30:00+01:00"}\n'
        b'{"text": "x", "created_at": 1772357400}\n'
    )

    assert [record.item["created_at"] for record in records] == [_NOW] * 3


def test_what_the_store_keeps_itself_is_read_past() -> None:
    """An exported line brings its id and counters for reference; add takes none of them."""
    records, problems = read_all(b'{"id": "abcdefgh", "text": "x", "uses": 3, "updated_at": "2026-01-01", "helped": 0}')

    assert problems == []
    assert records[0].item == {"text": "x"}


_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
_solid = _words.filter(lambda text: bool(text.strip()))
_line = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _words, lambda inner: st.lists(inner, max_size=3)
)
_times = st.integers(0, 2**57).map(lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros))
memories = st.builds(
    Memory,
    id=st.just("0123456789"),
    text=_solid,
    title=st.none() | _line,
    description=st.none() | _line,
    type=st.sampled_from(MEMORY_TYPES),
    scope=st.sampled_from(["private", "team", "user/alice"]),
    tags=st.lists(_line, max_size=3, unique=True).map(tuple),
    importance=st.floats(0, 1),
    source=st.none() | _line,
    thread=st.none() | _line,
    position=st.none() | st.integers(0, 2**52),
    created_at=_times,
    updated_at=_times,
    valid_until=st.none() | _times,
    metadata=st.dictionaries(_line, _json, max_size=3),
)


def settable(memory: Memory) -> dict[str, Any]:
    """The fields that a round trip keeps, as ``add`` takes them; what is not set is left out."""
    values = {name: getattr(memory, name) for name in SETTABLE}
    return {name: value for name, value in values.items() if value is not None}


@given(st.lists(memories, max_size=4))
def test_what_is_written_reads_back_the_same(kept: list[Memory]) -> None:
    """JSON lines keep every field that add can set, character for character."""
    records, problems = read_all(b"".join(write(kept, "jsonl")))

    assert problems == []
    assert [settable(memory) for memory in kept] == [record.item for record in records]


@given(st.binary(max_size=200))
def test_any_bytes_give_records_or_our_errors(data: bytes) -> None:
    """No input makes the reader fail in a way of its own."""
    for name in ("jsonl", "text", "csv"):
        with contextlib.suppress(InvalidInputError):
            for record in read(io.BytesIO(data), name, None, lambda error: None):
                record.item["text"].encode("utf-8")


def test_numbers_and_times_are_written_as_the_contract_says() -> None:
    """Times are ISO 8601 in UTC with Z; ids are text; nothing is escaped that need not be."""
    memory = Memory(id="abcdefgh", text="café", created_at=_NOW, updated_at=_NOW, metadata={"n": 1})

    (line,) = write([memory], "jsonl")

    value = json.loads(line)
    assert value["created_at"] == "2026-03-01T09:30:00.000000Z"
    assert (value["id"], value["text"], value["metadata"], value["valid_until"]) == ("abcdefgh", "café", {"n": 1}, None)
    assert "café".encode() in line


def test_unknown_formats_are_named() -> None:
    """A format nobody knows is an error that lists those that are."""
    with pytest.raises(InvalidInputError, match="Use one of text, jsonl, csv"):
        read(io.BytesIO(), "xml")
    with pytest.raises(InvalidInputError, match="Use one of jsonl, csv, markdown"):
        write([], "text")
