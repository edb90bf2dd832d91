"""Plain text in, Markdown out, and how a format is told from a name."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from lamina.errors import InvalidInputError
from lamina.formats import ReadOptions, detect, read, write
from lamina.types import Memory

_STORY = (
    "# Heading\r\n\r\n## Part\r\n\r\nFirst paragraph,\r\nsecond line.\r\n\r\n\r\n"
    "Second one.\n\n```python\na = 1\n\nb = 2\n```\nafter the block\n\n# Last\n"
)


def texts(data: str, per: Literal["paragraph", "line", "file"], **options: Any) -> list[tuple[int, str]]:
    """Line and text of each memory."""
    stream = io.BytesIO(data.encode("utf-8"))
    return [(record.line, record.item["text"]) for record in read(stream, "text", ReadOptions(per=per, **options))]


def test_paragraphs_keep_their_heading_and_their_code() -> None:
    """A heading stays with what follows, a fenced block with empty lines stays whole, line ends become newlines."""
    assert texts(_STORY, "paragraph") == [
        (1, "# Heading\n\n## Part\n\nFirst paragraph,\nsecond line."),
        (9, "Second one."),
        (11, "```python\na = 1\n\nb = 2\n```\nafter the block"),
        (18, "# Last"),
    ]


def test_lines_are_trimmed_and_empty_ones_dropped() -> None:
    """With --per line each line that says something is a memory."""
    assert texts("  one \r\n\n \t\ntwo", "line") == [(1, "one"), (4, "two")]


def test_a_whole_file_is_one_memory_without_its_outer_empty_lines() -> None:
    """With --per file inner empty lines and indentation stay."""
    assert texts("\n  one\n\n\ttwo\n\n\n", "file") == [(2, "  one\n\n\ttwo")]


def test_nothing_but_white_space_gives_nothing() -> None:
    """An empty file is no memory and no error."""
    for per in ("paragraph", "line", "file"):
        assert texts(" \n\n\t\n", per) == []


def test_in_a_thread_each_memory_has_its_position() -> None:
    """Positions count from 0 and leave no gap; without a thread there are none."""
    stream = io.BytesIO(b"one\n\ntwo\n")

    records = list(read(stream, "text", ReadOptions(per="line", defaults={"thread": "t", "scope": "team"})))

    assert [record.item for record in records] == [
        {"thread": "t", "scope": "team", "position": 0, "text": "one"},
        {"thread": "t", "scope": "team", "position": 1, "text": "two"},
    ]
    assert list(next(iter(read(io.BytesIO(b"one"), "text"))).item) == ["text"]


def test_bytes_that_are_not_utf8_cost_their_paragraph() -> None:
    """The paragraph is named by its first line; the others are read."""
    problems: list[InvalidInputError] = []

    records = list(read(io.BytesIO(b"one\n\ncaf\xe9\n\ntwo\n"), "text", None, problems.append))

    assert [record.item["text"] for record in records] == ["one", "two"]
    assert [problem.message for problem in problems] == ["Line 3 of standard input: byte 4 (0xe9) is not UTF-8."]


def test_a_text_beyond_the_limit_is_refused_and_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much text is a problem with a way out, not a cut memory."""
    monkeypatch.setattr("lamina.formats.text.MAX_TEXT", 100)

    for size in (101, 500):
        with pytest.raises(InvalidInputError, match=r"longer than 100 characters\. Read it in parts"):
            texts("x" * size, "file")


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.jsonl", b"", "jsonl"),
        ("A.NDJSON", b"", "jsonl"),
        ("a.json", b"", "jsonl"),
        ("a.csv", b"{", "csv"),
        ("a.tsv", b"", "csv"),
        ("a.md", b"{", "text"),
        ("a.txt", b"{", "text"),
        (None, b' \n{"text"', "jsonl"),
        (None, b"\xef\xbb\xbf{", "jsonl"),
        ("notes", b"{", "jsonl"),
        (None, b"plain", "text"),
        (None, b"", "text"),
    ],
)
def test_the_format_is_told_from_the_name_and_then_the_content(name: str | None, head: bytes, expected: str) -> None:
    """A name that says it wins; without one an opening brace is JSON lines."""
    assert expected == detect(name, head)


def test_markdown_shows_title_facts_and_text() -> None:
    """The Markdown export is for people: heading, one line of facts, the text as it is."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    kept = [
        Memory(
            id="aaaaaaaa",
            text="Tabs.\n",
            title="Style",
            tags=("a", "b"),
            description="d",
            created_at=now,
            updated_at=now,
        ),
        Memory(id="bbbbbbbb", text="word " * 40, source="s", created_at=now, updated_at=now, valid_until=now),
    ]

    document = b"".join(write(kept, "markdown")).decode()

    first, second = document.split("\n\n## ")
    assert (
        first + "\n"
        == "## Style\n\n*record · private · 2026-03-01T00:00:00.000000Z · #a #b · aaaaaaaa*\n\n> d\n\nTabs.\n"
    )
    assert second.splitlines()[0].endswith("word…")
    assert "valid until 2026-03-01T00:00:00.000000Z" in second
