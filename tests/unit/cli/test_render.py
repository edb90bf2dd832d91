"""Memories for people: times, lines, colours, and nothing that acts on a terminal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.cli.output import to_json
from lamina.cli.paint import Paint, clean, columns, one_line
from lamina.cli.render import ago, hit_lines, matcher, memory_lines, short_line, size, snippet, wrap
from lamina.types import Explanation, Hit, Memory, TermMatch

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_PLAIN = Paint(enabled=False)


def memory(text: str = "The queue grew without bound.", **fields: object) -> Memory:
    """A memory as the store gives it."""
    known: dict[str, object] = {"id": "abcdefgh12", "text": text, "created_at": _NOW, "updated_at": _NOW}
    return Memory(**{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        (timedelta(seconds=3), "just now"),
        (timedelta(seconds=-3), "just now"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5, minutes=50), "5 hours ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=29), "29 days ago"),
        (timedelta(days=60), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(days=-2), "in 2 days"),
    ],
)
def test_ages_have_one_unit(past: timedelta, expected: str) -> None:
    """The largest unit that fits, rounded down."""
    assert ago(_NOW - past, _NOW) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (250_000, "250 KB"), (3.2e9, "3.2 GB"), (5e13, "50.0 TB")],
)
def test_sizes_have_three_digits(count: float, expected: str) -> None:
    """Bytes in powers of a thousand."""
    assert size(count) == expected


@given(st.text(max_size=300), st.integers(5, 60))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    """No line is wider than asked, wide characters counted twice; every character that is no space is kept."""
    lines = wrap(text, width)

    assert all(columns(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(max_size=200), st.integers(5, 40))
def test_one_line_fits_and_says_when_it_cuts(text: str, width: int) -> None:
    """One line, at most so wide, with a mark where something is missing."""
    line = one_line(text, width)

    assert "\n" not in line
    assert columns(line) <= width
    if not line.endswith("…"):
        assert line == " ".join(clean(text).split())


def test_control_characters_are_shown_and_do_not_act() -> None:
    """A memory that holds escape sequences cannot move the cursor, set a title or turn the writing direction."""
    evil = "a\x1b[2Jb\x07c\x9bd\u202ee\rf\tg\nh\x7f"

    shown = clean(evil)

    assert shown == "a\u241b[2Jb\u2407c\ufffdd\ufffdef\tg\nh\u2421"
    rows = [*memory_lines(memory(evil, title=evil[:9], tags=(evil[:9],), metadata={"k": evil}), _PLAIN)]
    rows += hit_lines(
        1, Hit(memory=memory(evil), score=1.0, why=evil), _PLAIN, width=80, matches=lambda word: True, rows=3
    )
    rows.append(short_line(memory(evil), _PLAIN, 80))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", "".join(rows).replace("\n", ""))


def test_a_hit_shows_the_part_of_the_text_that_answers() -> None:
    """Of a long text the lines with most of the asked words are shown, and what is left out is counted."""
    text = " ".join(
        ["filler words stand here"] * 100 + ["the password rotates every ninety days"] + ["and more follows"] * 100
    )

    lines, left = snippet(text, 60, 3, matcher("when does the password rotate?"))

    assert "password rotates" in " ".join(lines)
    assert lines[0].startswith("… ")
    assert lines[-1].endswith(" …")
    assert left == pytest.approx(len(text) - sum(map(len, lines)), abs=12)
    assert all(len(line) <= 60 for line in lines)


def test_a_hit_shows_the_passage_that_matched() -> None:
    """Of a text that is too long the passage is shown, marked where the text goes on, and not another place."""
    passage = "Keys are renewed each quarter."
    text = f"{'the password and its rotation ' * 40}\n\n{passage}\n\n{'and more follows ' * 40}"
    hit = Hit(memory=memory(text), score=1.0, why="meaning", passage=passage)

    shown = list(hit_lines(1, hit, _PLAIN, width=80, matches=matcher("rotate the password"), rows=3))

    assert shown[0] == f"1.  … {passage} …"
    assert f"(+{len(text) - len(passage):,} more characters" in shown[1]


def test_a_short_text_is_shown_whole() -> None:
    """Nothing is marked where nothing is missing."""
    assert snippet("A short text.", 60, 3, matcher("short")) == (["A short text."], 0)


def test_matched_words_are_marked_only_in_colour() -> None:
    """The words that the index matched, stems included, without the punctuation around them."""
    hit = Hit(memory=memory("Passwords (rotated) stay."), score=1.0, why="words")
    options = {"width": 80, "matches": matcher("rotate the password"), "rows": 3}

    plain = "\n".join(hit_lines(1, hit, _PLAIN, **options))  # type: ignore[arg-type]
    colored = "\n".join(hit_lines(1, hit, Paint(enabled=True), **options))  # type: ignore[arg-type]

    assert "\x1b" not in plain
    assert "\x1b[1;33mPasswords\x1b[0m (\x1b[1;33mrotated\x1b[0m) stay." in colored


def test_lists_mark_what_is_over() -> None:
    """A superseded or expired memory is listed as one."""
    past = datetime.now(UTC) - timedelta(days=2)

    assert "superseded The queue" in short_line(memory(superseded_by="other678"), _PLAIN, 80)
    assert "expired The queue" in short_line(memory(valid_until=past), _PLAIN, 80)
    assert len(short_line(memory("x" * 500), _PLAIN, 80)) <= 80


def test_json_has_every_field_and_utc_times() -> None:
    """Dataclasses, times, tuples and nested values come out as the contract says; nothing needs escaping by hand."""
    explanation = Explanation(
        terms=(TermMatch(term="queue", count=1, documents=2, score=0.5, word="queues"),),
        signals={"text": 1.0},
        weights={"text": 0.7},
        passage="The queue",
    )
    kept = memory(created_at=_NOW.astimezone(), metadata={"when": _NOW, "list": (1, 2)}, similar=("other678",))

    plain = to_json(Hit(memory=kept, score=0.5, why="w"))
    full = to_json(Hit(memory=kept, score=0.5, why="w", explanation=explanation))

    assert list(plain) == ["memory", "score", "why", "passage", "age"]
    assert plain["memory"]["created_at"] == "2026-03-01T12:00:00.000000Z"
    assert plain["memory"]["metadata"] == {"when": "2026-03-01T12:00:00.000000Z", "list": [1, 2]}
    assert "similar" not in plain["memory"]
    assert full["explanation"]["terms"] == [
        {"term": "queue", "count": 1, "documents": 2, "score": 0.5, "word": "queues"}
    ]
    json.dumps(full)
