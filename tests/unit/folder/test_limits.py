"""An index and its limits: what moves to the overflow and back, and what is loaded of one that is too long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.folder.index import OVERFLOW_NAME, Index
from lamina.folder.limits import Limits, cut, measure, over, usage_notices
from lamina.folder.overflow import Placed, add_within, fit, refill, settle

Facts = set[tuple[str, str]]
SMALL = Limits(lines=12, bytes=600)
PROSE = st.sampled_from(
    ["# M\n", "\n", "prose\n", "- item\n", "日本語の文章\n", "```\n- [c](c.md)\n```\n", "  indented\n"]
)


@st.composite
def pointers(draw: st.DrawFn) -> str:
    """A pointer to one of 72 files, as people write them."""
    name = draw(st.text("abcdefgh", min_size=1, max_size=2))
    hook = draw(st.sampled_from(["", " — hook", " — 覚え書き🎈", ": " + "x" * 90, "\n  more", "\n  - note\n  more"]))
    return f"{draw(st.sampled_from(['- ', '* ', '  - ']))}[{name.upper()}]({name}.md){hook}\n"


FILES = st.lists(PROSE | pointers(), max_size=14).map("".join)
OVERFLOWS = st.none() | st.lists(pointers(), max_size=6).map(lambda lines: Index.parse("".join(lines).encode()))
RANKS: st.SearchStrategy[dict[str, int]] = st.dictionaries(st.text("abcdefgh", max_size=2), st.integers(0, 3))


def _index(text: str) -> Index:
    return Index.parse(text.encode())


def _facts(*indexes: Index | None) -> Facts:
    return {(one.title, one.target) for index in indexes if index is not None for one in index.pointers}


def _words(*indexes: Index | None) -> set[str]:
    """Return the lines of files without indentation, those that count the overflow left out."""
    lines = {line.strip().lstrip("-* ") for index in indexes if index is not None for line in index.lines}
    return {line for line in lines if line and OVERFLOW_NAME not in line}


def _prose(index: Index) -> str:
    return index.without_pointers([*index.pointers, *index.more]).text


def _rank(ranks: dict[str, int]) -> Any:
    return lambda target: ranks.get(target.removesuffix(".md"), 0)


def _number(target: str) -> int:
    return int(target.removesuffix(".md"))


def _agrees(placed: Placed) -> bool:
    """Whether the line that names the overflow says how many pointers that holds."""
    count = len(placed.overflow.pointers) if placed.overflow is not None else 0
    return [f"{count} more {'memory' if count == 1 else 'memories'}"] * bool(count) == [
        one.title for one in placed.index.more
    ]


@given(st.binary(max_size=60) | st.text("a\r\n", max_size=20).map(str.encode))
def test_lines_are_counted_as_readers_do(data: bytes) -> None:
    """Every ending counts once, and a last line without one counts too."""
    assert (len(data.splitlines()), len(data)) == measure(data)


@given(FILES, OVERFLOWS, RANKS, st.text("ijk", min_size=1, max_size=2), st.sampled_from(["", "hook", "長い" * 40]))
def test_adding_holds_the_limits_and_loses_nothing(
    text: str, overflow: Index | None, ranks: dict[str, int], name: str, hook: str
) -> None:
    """From any start within the limits: both hold, every pointer stands in one of the files, prose is untouched."""
    before = _index(text)
    placed = add_within(before, overflow, name, f"{name}.md", hook, limits=SMALL, rank=_rank(ranks))
    new = _facts(_index("").with_pointer(name, f"{name}.md", hook))
    assert _facts(before, overflow) | new == _facts(placed.index, placed.overflow)
    assert _words(before, overflow) <= _words(placed.index, placed.overflow)
    assert _prose(before) in (_prose(placed.index), _prose(placed.index) + "\n")
    if over(before.data, SMALL):
        assert before.with_pointer(name, f"{name}.md", hook) == placed.index
        assert "nothing is moved" in placed.notices[0]
    else:
        assert not over(placed.index.data, SMALL)
        assert _agrees(placed) or "no room even" in placed.notices[1] or "no room even" in placed.notices[0]


@given(FILES, OVERFLOWS, RANKS)
def test_what_moves_ranks_below_what_stays(text: str, overflow: Index | None, ranks: dict[str, int]) -> None:
    """No pointer that moved is more important than one that stayed; equal ranks give way by name."""
    before, rank = _index(text), _rank(ranks)
    placed = fit(before, overflow, SMALL, rank)
    stays = [(rank(target), target) for target in placed.index.targets]
    moved = [(rank(target), target) for target in placed.moved]
    assert not moved or not stays or max(moved) < min(stays)
    assert _facts(before, overflow) == _facts(placed.index, placed.overflow)
    assert _words(before, overflow) <= _words(placed.index, placed.overflow)
    prose_fits = not over(_prose(before).encode(), SMALL)
    assert prose_fits is not over(placed.index.data, SMALL) or not prose_fits


@given(FILES, OVERFLOWS, RANKS)
def test_refilling_brings_the_best_and_loses_nothing(text: str, overflow: Index | None, ranks: dict[str, int]) -> None:
    """What comes back ranks above what stays away, and the index does not pass 75 % through it."""
    before, rank = _index(text), _rank(ranks)
    placed = refill(before, overflow, SMALL, rank)
    assert _facts(before, overflow) == _facts(placed.index, placed.overflow)
    assert _words(before, overflow) <= _words(placed.index, placed.overflow)
    assert _agrees(placed)
    if placed.moved:
        assert not over(placed.index.data, SMALL.share(75))
    away = [one.target for one in placed.overflow.pointers] if placed.overflow else []
    waiting = [(rank(target), target) for target in away if target not in before.targets]
    back = [(rank(target), target) for target in placed.moved]
    assert not back or not waiting or min(back) > max(waiting)


@given(FILES, RANKS, st.integers(1, 12), st.integers(100, 600))
def test_a_cut_is_within_its_limits(text: str, ranks: dict[str, int], lines: int, size: int) -> None:
    """Whatever the file, the text that is loaded holds both limits, and names every pointer that it has not."""
    index, limits = _index(text), Limits(lines, size)
    found = cut(index, limits, _rank(ranks))
    assert not over(found.text.encode(), limits)
    assert (found.lines, found.bytes) == measure(index.data)
    assert (found.over_lines or found.over_bytes) is over(index.data, limits)
    if not over(index.data, limits):
        assert (text, "", ()) == (found.text, found.warning, found.left_out)
    elif "text is left out" not in found.warning and found.text.endswith(f"{found.warning}\n"):
        kept = _index(found.text)
        assert _facts(index) == _facts(kept) | {fact for fact in _facts(index) if fact[1] in found.left_out}
        assert not set(found.left_out) & set(kept.targets)


@given(st.binary(max_size=400), st.integers(0, 5), st.integers(0, 200))
def test_a_cut_holds_limits_that_have_no_room(data: bytes, lines: int, size: int) -> None:
    """Any bytes and the smallest limits give a text that can be encoded and holds them."""
    limits = Limits(lines, size)
    assert not over(cut(Index.parse(data), limits, len).text.encode(), limits)


def test_a_thousand_memories_one_by_one() -> None:
    """The index holds its limits throughout, the important and newest stay, and every memory is named once."""
    index, overflow = _index("# Memories\n\nHand-written.\n\n"), None
    writes = 0
    for number in range(1000):
        placed = add_within(
            index, overflow, f"Memory {number}", f"{number}.md", "日" * 20, limits=Limits(), rank=_number
        )
        index, overflow = placed.index, placed.overflow
        writes += bool(placed.moved)
        assert not over(index.data, Limits())
    assert overflow is not None
    assert {f"{number}.md" for number in range(1000)} == set(index.targets) | set(overflow.targets)
    assert 1000 == len(index.pointers) + len(overflow.pointers)
    assert f"{999}.md" == index.targets[-1]
    assert "# Memories\n\nHand-written.\n\n" == _prose(index)
    assert f"- [{len(overflow.pointers)} more memories](MEMORY.more.md)" in index.text
    assert writes < 60  # the overflow is written once for many additions


def test_the_new_pointer_is_ranked_like_the_others() -> None:
    """One that ranks lowest goes to the overflow at once."""
    index = _index("".join(f"- [M]({number}.md)\n" for number in range(10, 20)))
    placed = add_within(index, None, "New", "1.md", "hook", limits=Limits(10, 5000), rank=_number)
    assert ("10.md", "11.md", "1.md") == placed.moved
    assert placed.overflow is not None
    assert "- [New](1.md) — hook\n" in placed.overflow.text
    assert placed.overflow.text.startswith("# More memories\n\nPointers for which [MEMORY.md](MEMORY.md) has no room.")
    assert "3 pointers moved to MEMORY.more.md, which now holds 3; `lamina recall` finds them." == placed.notices[0]
    assert placed.index.text.endswith(
        "- [3 more memories](MEMORY.more.md) — did not fit here; `lamina recall` finds them\n"
    )


def test_an_index_that_people_made_too_long_is_left_alone() -> None:
    """It gets the new line and nothing else; a notice names the way out, which then moves."""
    index = _index("".join(f"- [M]({number}.md)\n" for number in range(30)))
    placed = add_within(index, None, "New", "99.md", "", limits=Limits(20, 5000), rank=_number)
    assert index.text + "- [New](99.md)\n" == placed.index.text
    assert (None, ()) == (placed.overflow, placed.moved)
    assert "MEMORY.md is 31 lines (limit: 20). It was too long before" in placed.notices[0]
    assert "`lamina index --fix`" in placed.notices[0]
    fixed = fit(placed.index, None, Limits(20, 5000), _number)
    assert 18 == measure(fixed.index.data)[0]
    assert tuple(f"{number}.md" for number in range(14)) == fixed.moved


def test_prose_never_moves() -> None:
    """Where prose alone fills or exceeds the limits, that is said, and pointers are still kept somewhere."""
    full = _index("prose\n" * 10)
    placed = add_within(full, None, "A", "a.md", "", limits=Limits(10, 5000), rank=len)
    assert full.data == placed.index.data
    assert placed.overflow is not None
    assert ("a.md",) == placed.overflow.targets
    assert "no room even for the line that names MEMORY.more.md" in placed.notices[1]
    long = _index("prose\n" * 20 + "- [A](a.md)\n")
    assert long == fit(long, None, Limits(10, 5000), len).index
    assert "prose alone" in fit(long, None, Limits(10, 5000), len).notices[0]


def test_long_prose_does_not_drive_out_every_pointer() -> None:
    """Where prose takes nearly all, half of the room that is left stays with the best pointers."""
    text = "prose\n" * 179 + "".join(f"- [M]({number}.md)\n" for number in range(22))
    placed = fit(_index(text), None, Limits(), _number)
    assert 190 == measure(placed.index.data)[0]
    assert tuple(f"{number}.md" for number in range(12, 22)) == placed.index.targets


def test_pointers_move_with_their_lines_and_line_endings_follow_the_file() -> None:
    """A hook of several lines stays whole; indentation goes; the target file's line endings are used."""
    index = _index("# M\r\n  * [A](a.md): first\r\n    second\r\n- [B](b.md)\r\n" + "prose\r\n" * 5)
    overflow = _index("# Kept by people\n\nTheir words.\n- [Z](z.md)\n")
    placed = fit(index, overflow, Limits(8, 5000), lambda target: target == "b.md")
    assert placed.overflow is not None
    assert "# Kept by people\n\nTheir words.\n- [Z](z.md)\n* [A](a.md): first\n  second\n" == placed.overflow.text
    assert placed.index.text.startswith("# M\r\n- [B](b.md)\r\n- [2 more memories](MEMORY.more.md)")


def test_a_pointer_that_stands_in_both_files_is_counted_once() -> None:
    """Moving a line that the overflow has already does not double it there, nor in the count."""
    index = _index("# M\n- [M](1.md)\n- [M](2.md)\n- [M](3.md)\n- [M](4.md)\n")
    placed = fit(index, _index("* [M](1.md)\n"), Limits(4, 5000), _number)
    assert placed.overflow is not None
    assert "* [M](1.md)\n- [M](2.md)\n- [M](3.md)\n" == placed.overflow.text
    assert placed.index.text.startswith("# M\n- [M](4.md)\n- [3 more memories](MEMORY.more.md)")


def test_refilling_everything_removes_the_overflow() -> None:
    """With room for all, the line that named the overflow goes, and so does a file that held nothing else."""
    index = _index("# M\n- [0](0.md)\n- [9](9.md)\n")
    cramped = fit(index, None, Limits(2, 5000), _number)
    assert ("0.md", "9.md") == cramped.moved
    back = refill(cramped.index, cramped.overflow, Limits(), _number)
    assert (index.text, None) == (back.index.text, None if back.overflow is None else back.overflow.text)
    assert ("2 pointers came back from MEMORY.more.md.",) == back.notices
    worded = _index("# Mine\n- [1](1.md)\n")
    kept = refill(index.with_more(1), worded, Limits(), _number).overflow
    assert kept is not None
    assert "# Mine\n" == kept.text


def test_settling_after_a_deletion() -> None:
    """The count follows the overflow; an empty one of ours is dropped."""
    index = _index("- [0](0.md)\n- [2 more memories](MEMORY.more.md)\n")
    overflow = _index("- [1](1.md)\n- [2](2.md)\n")
    one = settle(index, overflow.without("1.md"))
    assert "[1 more memory](MEMORY.more.md)" in one.index.text
    none = settle(one.index, overflow.without("1.md").without("2.md"))
    assert ("- [0](0.md)\n", None) == (none.index.text, none.overflow)


def test_a_target_in_the_overflow_is_not_added_again() -> None:
    """A memory has one pointer, in either file."""
    index, overflow = _index("- [2 more memories](MEMORY.more.md)\n"), _index("- [A](a.md)\n- [B](b.md)\n")
    placed = add_within(index, overflow, "A", "a.md", "", limits=Limits(), rank=len)
    assert (index, overflow) == (placed.index, placed.overflow)


@pytest.mark.parametrize(
    ("lines", "notice"),
    [
        (149, None),
        (150, "MEMORY.md is at 75 % of its 200 lines."),
        (
            180,
            "MEMORY.md is at 90 % of its 200 lines. Beyond that, its lowest-ranked pointers move to an overflow index.",
        ),
        (201, "MEMORY.md is 201 lines (limit: 200)."),
    ],
)
def test_notices_come_at_75_and_90_per_cent(lines: int, notice: str | None) -> None:
    """One line, from three quarters on."""
    assert ((notice,) if notice else ()) == usage_notices(_index("x\n" * lines), Limits())


def test_a_notice_counts_bytes_of_utf8() -> None:
    """A text of Chinese is measured as it is stored, and the file is called as the caller calls it."""
    index = _index("好" * 7700 + "\n")
    (notice,) = usage_notices(index, Limits(), name="team/MEMORY.md")
    assert notice.startswith("team/MEMORY.md is at 92 % of its 25,000 bytes.")


def test_a_cut_drops_the_lowest_ranked_and_says_so() -> None:
    """The rest keeps its order, headings stay, the last line names the limit, the number and the ways to find them."""
    text = "# M\n" + "".join(f"- [M]({number}.md)\n" for number in (5, 3, 9, 1, 7)) + "end\n"
    found = cut(_index(text), Limits(5, 5000), _number)
    assert (
        "# M\n- [M](9.md)\n- [M](7.md)\nend\n> WARNING: MEMORY.md is 7 lines (limit: 5). 3 pointers are left out here;"
        " `lamina recall` finds the memories, `lamina list` names them.\n"
    ) == found.text
    assert ("5.md", "3.md", "1.md") == found.left_out
    assert (True, False) == (found.over_lines, found.over_bytes)


def test_a_cut_names_the_limit_in_its_unit() -> None:
    """Kilobytes, bytes where those would look equal, both limits where both are exceeded."""
    wide = cut(_index("x" * 31_948 + "\n"), Limits(), len)
    assert "MEMORY.md is 31.2 KB (limit: 24.4 KB). The end of its text is left out;" in wide.warning
    assert (False, True) == (wide.over_lines, wide.over_bytes)
    assert "is 25,001 bytes (limit: 25,000 bytes)." in cut(_index("x" * 25_001), Limits(), len).warning
    both = cut(_index(("x" * 100 + "\n") * 412), Limits(), len, name="team/MEMORY.md").warning
    assert "team/MEMORY.md is 412 lines (limit: 200) and 40.6 KB (limit: 24.4 KB)." in both


def test_a_cut_of_prose_ends_at_a_line_or_between_characters() -> None:
    """Lines go first, then whole lines until the bytes fit; the only line is cut at a character."""
    lines = cut(_index("".join(f"line {number}\n" for number in range(300))), Limits(), len)
    assert 200 == measure(lines.text.encode())[0]
    assert "line 198\n> WARNING" in lines.text
    wide = cut(_index(("日本" * 100 + "\n") * 60), Limits(), len)
    assert 24_000 < len(wide.text.encode()) <= 25_000
    assert {"日本" * 100} == set(wide.text.splitlines()[:-1])
    one = cut(_index("日" * 10_000), Limits(), len)
    assert 24_700 < len(one.text.encode()) <= 25_000
    assert "\ufffd" not in one.text


def test_an_index_of_many_bytes_in_few_lines_is_cut_by_bytes() -> None:
    """The old way in which 197 KB passed as fewer than 200 lines is closed."""
    text = "".join(f"- [M{number}]({number}.md) — {'🎈' * 300}\n" for number in range(160))
    found = cut(_index(text), Limits(), _number)
    assert (False, True) == (found.over_lines, found.over_bytes)
    assert 160 == len(found.left_out) + len(_index(found.text).pointers)
    assert "159.md" not in found.left_out


def test_the_overflow_line_is_no_memory() -> None:
    """It neither moves nor is counted nor ranked."""
    index = _index("".join(f"- [M]({number}.md)\n" for number in range(8)) + "- [5 more memories](MEMORY.more.md)\n")
    asked: list[str] = []

    def rank(target: str) -> int:
        asked.append(target)
        return _number(target)

    cut(index, Limits(5, 5000), rank)
    fit(index, None, Limits(5, 5000), rank)
    assert OVERFLOW_NAME not in asked
    assert 16 == len(asked)
