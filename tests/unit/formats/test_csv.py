"""CSV in and out."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import InvalidInputError
from lamina.formats import ReadOptions, Record, read, write
from lamina.formats.fields import SETTABLE
from lamina.types import MEMORY_TYPES, Memory


def read_all(data: str | bytes, **options: Any) -> tuple[list[Record], list[InvalidInputError]]:
    """Reads every record of ``data`` and every problem."""
    problems: list[InvalidInputError] = []
    stream = io.BytesIO(data.encode("utf-8") if isinstance(data, str) else data)
    return list(read(stream, "csv", ReadOptions(name="notes.csv", **options), problems.append)), problems


def test_columns_are_fields_and_cells_are_parsed() -> None:
    """A header names fields; numbers, tags, times and metadata come out typed; empty cells are not given."""
    records, problems = read_all(
        "text,tags,importance,position,created_at,metadata,metadata.room,title\n"
        'hello,a;b,0.9,3,2026-03-01,"{""k"": 1}",blue,\n'
        'there,"a, b",,,,,,"A title"\n'
    )

    assert problems == []
    assert {
        "text": "hello",
        "tags": ("a", "b"),
        "importance": 0.9,
        "position": 3,
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
        "metadata": {"k": 1, "room": "blue"},
    } == records[0].item
    assert records[1].item == {"text": "there", "tags": ("a", "b"), "title": "A title"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found_in_the_header(delimiter: str) -> None:
    """Comma, semicolon and tab need no option."""
    records, _ = read_all(f"text{delimiter}source\nhello{delimiter}there\n")

    assert records[0].item == {"text": "hello", "source": "there"}


def test_a_record_begins_where_its_first_line_is() -> None:
    """Quoted line breaks, empty lines and a byte order mark do not shift the line numbers."""
    records, problems = read_all('\ufeff\n\ntext,importance\n"one\ntwo",1\n\nthree,7\nfour,1\n')

    assert [(record.line, record.item["text"]) for record in records] == [(4, "one\ntwo"), (8, "four")]
    assert [problem.details["line"] for problem in problems] == [7]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("x", "the row has 1 cells, the header has 2"),
        ("x,1,2", "the row has 3 cells"),
        ("x,high", "importance must be a number, not 'high'"),
        ("x,nan", "importance is nan"),
        (",1", "there is no text"),
        ('"x"y,1', "not CSV"),
        ("caf\udce9,1", "the cell 'text' is not UTF-8"),
    ],
)
def test_a_bad_row_costs_itself(row: str, expected: str) -> None:
    """The rows before and after a bad one are read."""
    data = f"text,importance\nfirst,1\n{row}\nthird,1\n".encode("utf-8", "surrogateescape")

    records, problems = read_all(data)

    assert [record.item["text"] for record in records] == ["first", "third"]
    assert [expected in problem.message for problem in problems] == [True]
    assert "Line 3 of notes.csv: " in problems[0].message


def test_a_quote_left_open_is_a_problem_and_not_a_giant_memory() -> None:
    """What follows an open quote is not taken for text."""
    records, problems = read_all('text\nfirst\n"second\nthird\n')

    assert [record.item["text"] for record in records] == ["first"]
    assert "Is a quote left open?" in str(problems[0])


@pytest.mark.parametrize(
    ("header", "options", "expected"),
    [
        ("content,source", {}, "no column is the text"),
        ("text,mood", {}, "the column 'mood' is no field"),
        ("text,text", {}, "the column 'text' is there twice"),
        ("text,source", {"fields": {"title": "name"}}, "there is no column 'name'"),
        ('"text', {}, "not CSV"),
    ],
)
def test_a_header_that_cannot_serve_stops_the_file(header: str, options: dict[str, Any], expected: str) -> None:
    """Every row would fail alike, so the header's own error is raised, once."""
    with pytest.raises(InvalidInputError, match=expected):
        read_all(f"{header}\nx,y\n", **options)


def test_columns_can_be_mapped_kept_or_dropped() -> None:
    """--map and --unknown work as they do for JSON lines."""
    data = "content,mood\nhello,good\n"

    kept, _ = read_all(data, fields={"text": "content"}, unknown="metadata")
    dropped, _ = read_all(data, fields={"text": "content"}, unknown="ignore")

    assert kept[0].item == {"text": "hello", "metadata": {"mood": "good"}}
    assert dropped[0].item == {"text": "hello"}


def test_long_cells_are_read() -> None:
    """The csv module's own limit of 131,072 characters is not ours."""
    records, problems = read_all(f"text\n{'x' * 200_000}\n")

    assert problems == []
    assert len(records[0].item["text"]) == 200_000


def test_an_empty_file_has_no_memories() -> None:
    """Nothing in, nothing out, no error."""
    assert read_all("") == ([], [])
    assert read_all("\n\n") == ([], [])


_solid = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)
_line = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30)
_times = st.integers(0, 2**57).map(lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros))
_memories = st.builds(
    Memory,
    id=st.just("0123456789"),
    text=_solid,
    title=st.none() | _line,
    type=st.sampled_from(MEMORY_TYPES),
    tags=st.lists(_line, max_size=3, unique=True).map(tuple),
    importance=st.floats(0, 1),
    source=st.none() | _line,
    position=st.none() | st.integers(0, 2**52),
    created_at=_times,
    updated_at=_times,
    metadata=st.dictionaries(_line, _solid, min_size=1, max_size=3),
)


@given(st.lists(_memories, max_size=3))
def test_what_is_written_reads_back_the_same(kept: list[Memory]) -> None:
    """CSV keeps every field that add can set; an empty list of tags is a cell that says nothing."""
    records, problems = read_all(b"".join(write(kept, "csv")))

    assert problems == []
    for memory, record in zip(kept, records, strict=True):
        expected = {name: getattr(memory, name) for name in SETTABLE}
        assert {name: value for name, value in expected.items() if value not in (None, ())} == record.item


def test_a_standard_reader_understands_what_is_written() -> None:
    """The first column is the id; tags join with semicolons unless one needs a list."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    kept = [
        Memory(id="aaaaaaaa", text='say "hi",\nthere', tags=("a", "b"), created_at=now, updated_at=now),
        Memory(id="bbbbbbbb", text="x", tags=("a;b",), created_at=now, updated_at=now),
    ]

    rows = list(csv.DictReader(io.StringIO(b"".join(write(kept, "csv")).decode(), newline="")))

    assert [row["id"] for row in rows] == ["aaaaaaaa", "bbbbbbbb"]
    assert [row["text"] for row in rows] == ['say "hi",\nthere', "x"]
    assert [row["tags"] for row in rows] == ["a;b", '["a;b"]']
