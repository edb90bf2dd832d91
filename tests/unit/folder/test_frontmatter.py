"""Front matter as lines, and values as YAML: nothing is lost in taking apart, and readers agree on what is written."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lamina.errors import InvalidInputError
from lamina.folder.frontmatter import MAX_FRONT, split_entries, split_file
from lamina.folder.quoting import check_json, same, write_key, write_scalar, write_value
from lamina.folder.values import MAX_DEPTH, fold, read_datetime, read_value, resolve, unquote, word

MARKS = list("-?:,[]{}#&*!|>'\"%@`=<~ \t\n\r.0123456789eExXoObB_+ynT\\é\ufeff\u2028\x85\x07")
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(st.sampled_from(MARKS)).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


def _load(text: str, version: tuple[int, int]) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(StringIO(text))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([
    "---", "...", "\n", "\r\n", "\r", " ", "\t", "name: x", "#", "- a", "'k': |", "  deep: 1", "\ufeff", "]", "é", ":",
])).map("".join))  # fmt: skip
def test_a_file_that_was_taken_apart_is_whole_again(content: str) -> None:
    """Whatever a file holds, its parts together are the file."""
    assert content == split_file(content).join()


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from([(1, 1), (1, 2)]))
def test_readers_agree_on_a_written_string(text: str, version: tuple[int, int]) -> None:
    """Readers of YAML 1.1 and 1.2 and this one take it for the same string, as a value and within a list."""
    assert text == _load(f"key: {write_scalar(text)}\n", version)["key"]
    assert [text, "a"] == _load(f"key: {write_value([text, 'a'])}\n", version)["key"]
    assert (text, ()) == read_value(write_scalar(text), ())
    assert (text, ()) == read_value(write_scalar(text), (), word)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_a_written_value_is_read_back(value: Any) -> None:
    """By this reader and by a YAML reader, with numbers that stay ints or floats."""
    found, notes = read_value(write_value(value), ())
    assert same(value, found)
    assert not notes
    assert same(value, _load(f"key: {write_value(value)}\n", (1, 2))["key"])


@pytest.mark.parametrize(
    "text",
    [
        "word", "Two words", "C# and F#", "a:b", "http://x/y#z", "-x", "?x", "2024 plan", "3 of 4", "v1.2.3", "it's",
        'say "x"', "é", "a, b", "[a", "(see the docs)", "x [y] {z}", "10 %", "a & b", "10.0.0.1", "=x", "nobody",
    ],
)  # fmt: skip
def test_text_stays_plain_where_it_can(text: str) -> None:
    """Text is quoted only where a reader would take it for something else."""
    assert (text if text != "[a" else '"[a"') == write_scalar(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " x", "x ", "yes", "No", "ON", "null", "~", "true", "1", "-1.5", "1e5", "1_000", "0o17", "017", "0b1",
        "0x1F",
        "1:30", "190:20:30", ".5", ".inf", "-.INF", ".nan", "2024-01-01", "2024-1-1 10:00:00", "=", "<<", "a: b", "a:",
        "a #b", "#a", "- a", "-", "? a", "*a", "&a", "!a", "%a", "@a", "`a`", "|", ">", "'a'", '"a"', "{a}", "a\tb",
        "a\nb", "\ufeffa", "a\u2028b",
    ],
)  # fmt: skip
def test_text_is_quoted_where_it_must_be(text: str) -> None:
    """Words, numbers, times and marks that mean something to a reader of YAML 1.1 or 1.2."""
    assert write_scalar(text).startswith('"')


@pytest.mark.parametrize("number", [1e-7, 1e22, -1.5e-300, 0.1, 1.0, -0.0, 5])
def test_numbers_are_numbers_in_yaml_1_1_too(number: float) -> None:
    """YAML 1.1 takes an exponent for a number only behind a decimal point."""
    assert same(number, _load(f"key: {write_scalar(number)}\n", (1, 1))["key"])


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("", None), ("~", None), ("Null", None), ("true", True), ("FALSE", False), ("tRUE", "tRUE"), ("yes", "yes"),
        ("0", 0), ("-7", -7), ("+7", 7), ("007", "007"), ("0x1F", 31), ("0o17", 15), ("1_000", "1_000"),
        ("9223372036854775808", "9223372036854775808"), ("9" * 5000, "9" * 5000), ("1.5", 1.5), ("1e5", 1e5),
        (".5", 0.5),
        ("5.", 5.0), ("1e999", "1e999"), (".inf", ".inf"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("2024-01-01 10:00:00", "2024-01-01T10:00:00"), ("2024-01-01t10:00:00 +02:00", "2024-01-01T10:00:00+02:00"),
        ("2024-13-45", "2024-13-45"), ("-", "-"), ("9c42fe2a-bd64", "9c42fe2a-bd64"), ("v1", "v1"),
    ],
)  # fmt: skip
def test_what_a_plain_scalar_means(plain: str, value: Any) -> None:
    """The core schema of YAML 1.2, where nothing is lost: what is no JSON value stays text."""
    assert same(value, resolve(plain))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"a" rest', ("a", " rest")), ("'it''s'", ("it's", "")), (r'"\x41\u00e9\U0001F600\n\/\\"', ("Aé😀\n/\\", "")),
        (r'"\ud83d\ude00"', ("😀", "")), (r'"\ud800"', None), (r'"\q"', None), (r'"\UFFFFFFFF"', None), ('"open', None),
        ("'open", None), ('""', ("", "")),
    ],
)  # fmt: skip
def test_quotes(text: str, found: tuple[str, str] | None) -> None:
    """Both kinds of quotes with their escapes, and what stands after them; None where there is no end or sense."""
    assert found == unquote(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-02", date(2024, 1, 2)), ("2024-01-02 03:04", datetime(2024, 1, 2, 3, 4)),  # noqa: DTZ001
        ("2024", None),
        ("tomorrow", None), ("", None), ("2024-02-30", None),
    ],
)  # fmt: skip
def test_dates(text: str, moment: datetime | date | None) -> None:
    """A day, a time, or nothing."""
    assert moment == read_datetime(text)


def test_folding() -> None:
    """A line end is a space, empty lines are line ends, white space around lines goes."""
    assert "a b\n\nc" == fold(["a", "  b\n", "\n", "\n", "\tc\r\n", "\n"])
    assert "" == fold([])


def test_deep_values_are_text() -> None:
    """As many levels as metadata may have are read; more are kept as text and reported, and refused when written."""
    fits = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.loads(fits) == read_value(fits, ())[0]
    for deep in (f"[{fits}]", "{a: " * 60 + "1" + "}" * 60):
        value, notes = read_value(deep, ())
        assert deep == value
        assert notes
    nested: Any = 1
    for _ in range(MAX_DEPTH + 2):
        nested = [nested]
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        check_json(nested)


def test_checked_json_is_plain() -> None:
    """Times become ISO strings and tuples lists; what JSON cannot hold is refused."""
    times = (date(2024, 1, 2), datetime(2024, 1, 2, tzinfo=UTC))
    assert {"a": ["2024-01-02", "2024-01-02T00:00:00+00:00"]} == check_json({"a": times})
    for bad in (math.nan, math.inf, 2**63, b"x", {1: 2}, {"\ud800": 1}, "\ud800", {"a": object()}):
        with pytest.raises(InvalidInputError):
            check_json(bad)


def test_keys() -> None:
    """A plain name stays plain, one that YAML takes for something else is quoted, one beyond YAML's limit refused."""
    assert ("node_type", '"yes"', '"a b"', '"1"') == tuple(map(write_key, ("node_type", "yes", "a b", "1")))
    with pytest.raises(InvalidInputError):
        write_key("k" * 1_001)


def test_entries() -> None:
    """A key's line with the lines that continue it; comments and blank lines between are entries too."""
    lines = ["# top\n", "a: 1\n", "\n", "  more\n", "b:\n", "- x\n", "# end\n", "'c d' :\tx\n"]
    entries = split_entries(lines) or []
    assert [(None, 1), ("a", 3), ("b", 2), (None, 1), ("c d", 1)] == [(e.key, len(e.lines)) for e in entries]
    assert lines == [line for entry in entries for line in entry.lines]
    assert "x" == entries[-1].first


@pytest.mark.parametrize("lines", [["words\n"], ["- a\n"], ["  a: 1\n"], ["a: 1\n", "\n", "A paragraph.\n"]])
def test_lines_that_are_no_mapping(lines: list[str]) -> None:
    """Something before the first key, or a paragraph after a gap: the lines are text."""
    assert split_entries(lines) is None


def test_the_longest_front_matter() -> None:
    """One of the limit is read, one character more is text."""
    fits = "a: " + "x" * (MAX_FRONT - 4) + "\n"
    assert split_file(f"---\n{fits}---\n").opening
    longer = split_file(f"---\nx{fits}---\n")
    assert not longer.opening
    assert longer.problem
