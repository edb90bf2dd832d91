"""Passages: nothing is lost between them, none is too long, and they begin where a reader would begin."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.search.passages import cut

PROSE = st.lists(
    st.sampled_from(
        [
            "word",
            "A sentence. ",
            "Is it? ",
            "\n",
            "\n\n",
            "\n# Head\n",
            " ",
            "\t",
            "\u3002",
            "文字",
            "\u2003",
            "e\u0301",
            "🦊",
        ]
    ),
    max_size=120,
).map("".join)
TEXTS = PROSE | st.text(max_size=300)
SIZES = st.integers(1, 60) | st.just(1000)


def _pieces(text: str, size: int) -> list[str]:
    return [text[start:stop] for start, stop in cut(text, size)]


@given(TEXTS, SIZES)
def test_every_character_is_in_exactly_one_passage(text: str, size: int) -> None:
    """Passages stand in order, do not overlap, and only white space lies outside of them."""
    end = 0
    for start, stop in cut(text, size):
        assert end <= start < stop <= len(text)
        assert not text[end:start].strip()
        end = stop
    assert not text[end:].strip()


@given(TEXTS, SIZES)
def test_passages_are_no_longer_than_a_quarter_over_their_size(text: str, size: int) -> None:
    """A passage has at most 1.25 times the size asked for, and only the last may have more than the size."""
    lengths = [stop - start for start, stop in cut(text, size)]
    assert all(length <= 1.25 * size for length in lengths)
    assert all(length <= size for length in lengths[:-1])


@given(TEXTS, SIZES)
def test_passages_neither_begin_nor_end_with_white_space(text: str, size: int) -> None:
    """A passage is its own strip, and never empty."""
    assert all(piece and piece == piece.strip() for piece in _pieces(text, size))


@given(TEXTS, SIZES)
def test_a_text_that_is_short_enough_is_one_passage(text: str, size: int) -> None:
    """Up to a quarter over the size nothing is cut."""
    if len(text) <= size + size // 4:
        assert [text.strip()] * bool(text.strip()) == _pieces(text, size)


@pytest.mark.parametrize(("length", "lengths"), [(100, [100]), (125, [125]), (126, [100, 26]), (226, [100, 100, 26])])
def test_a_quarter_over_is_the_limit(length: int, lengths: list[int]) -> None:
    """One character more than 1.25 times the size is one too many."""
    assert lengths == [len(piece) for piece in _pieces("x" * length, 100)]


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "\u2003\u3000\t", " " * 50_000])
def test_white_space_alone_has_no_passage(text: str) -> None:
    """What holds nothing to find gives nothing."""
    assert [] == cut(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        # Size 40 each: the best mark that stands late enough wins, whatever comes after it.
        ("x" * 12 + "\n# Two\n" + "y" * 8 + "\n\n" + "z" * 40, ["x" * 12, "# Two\n" + "y" * 8, "z" * 40]),
        ("x" * 20 + "\n\n" + "y" * 8 + "\n" + "z" * 30, ["x" * 20, "y" * 8 + "\n" + "z" * 30]),
        ("x" * 25 + "\n" + "Yes. " + "z" * 30, ["x" * 25, "Yes. " + "z" * 30]),
        ("x" * 25 + ". " + "y " + "z" * 30, ["x" * 25 + ".", "y " + "z" * 30]),
        ("x" * 25 + '?") ' + "y" * 30, ["x" * 25 + '?")', "y" * 30]),
        ("字" * 25 + "。" + "文" * 30, ["字" * 25 + "。", "文" * 30]),
        ("x" * 25 + " " + "y" * 30, ["x" * 25, "y" * 30]),
        ("x" * 25 + "\t" + "y" * 30, ["x" * 25, "y" * 30]),
        ("x" * 60, ["x" * 40, "x" * 20]),
    ],
    ids=["heading", "paragraph", "line", "sentence", "quoted", "ideographic", "word", "tab", "one huge word"],
)
def test_cuts_at_the_best_place(text: str, pieces: list[str]) -> None:
    """Headings before paragraphs, lines, sentences and words; a huge word is cut where the size ends."""
    assert pieces == _pieces(text, 40)


@pytest.mark.parametrize(
    ("mark", "share"), [("\n# ", 0.25), ("\n\n", 0.35), ("\n", 0.5)], ids=["heading", "paragraph", "line"]
)
def test_a_break_that_stands_too_early_is_passed_over(mark: str, share: float) -> None:
    """A passage never shrinks to the few words before an early break."""
    early = int(200 * share) - 1
    assert len(_pieces("x" * early + mark + "y" * 400, 200)[0]) > 150
    assert early + 1 == len(_pieces("x" * (early + 1) + mark + "y" * 400, 200)[0])


def test_one_huge_word_is_cut_into_full_pieces() -> None:
    """Without any place to cut every passage but the last has the full size."""
    lengths = [stop - start for start, stop in cut("x" * 10_250, 1000)]
    assert [1000] * 9 + [1250] == lengths


@pytest.mark.parametrize(
    "unit", ["x", " ", "\n", "\n\n", "\n#", ".", '."', ". ", "word ", "🦊", "\u3002", "A line of a log.\n"]
)
def test_two_megabytes_take_a_moment(unit: str) -> None:
    """Time grows with the length alone, whatever the text is made of."""
    text = unit * (2_000_000 // len(unit))
    start = time.process_time()
    cut(text)
    assert time.process_time() - start < 1.0
