"""The index file: what is a pointer, and edits that touch nothing else."""

from __future__ import annotations

import time
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import InvalidInputError
from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME, Index, pointer_line
from lamina.folder.pointers import LONGEST_LINE, shorten, target_key

HAND_WRITTEN = """\
# What we know

Read this first; see [the guide](guide.md) for more.

## Building
- [Build](build.md) — make, then wait
* [Tests](sub/tests.md): run them twice
  - [Flaky ones](flaky.md) and why
    they fail on Mondays

> - [quoted](quoted.md)

| [cell](cell.md) |

- no link here, only [later](later.md)
- [Web](https://example.org/a.md) is elsewhere
- [Here](#building)

```
- [code](code.md)
```
<!-- - [hidden](hidden.md)
- [hidden too](hidden2.md) -->
+ [Last](last.md)
The end.
"""


def _index(text: str) -> Index:
    return Index.parse(text.encode())


def _facts(text: str) -> list[tuple[str, str, str]]:
    return [(pointer.title, pointer.target, pointer.hook) for pointer in _index(text).pointers]


LINES = st.one_of(
    st.sampled_from([
        "# Heading", "", "prose", "- [A](a.md)", "* [B](b.md) — hook", "  - [C](c.md)", "    more of it", "\tmore",
        "- item", "```", "~~~", "<!--", "-->", "> quote", "- [A](a.md): again", "- [more](MEMORY.more.md)", "- ```",
        "\ufeff", "\t", "- [x](MEMORY.md)", "  <!-- c -->", "  ```", "1. [N](n.md)", "      - [D](d.md)", "---",
    ]),
    st.text(max_size=12),
)  # fmt: skip
TEXTS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r", ""])), max_size=14).map(
    lambda lines: "".join(line + end for line, end in lines)
)
ONE_LINE = st.text(max_size=250)
TARGETS = st.text(min_size=1, max_size=40).filter(
    lambda target: (
        "\0" not in target
        and not target_key(target).startswith("/")
        and target_key(target) not in (".", INDEX_NAME, OVERFLOW_NAME)
    )
)


@given(st.binary(max_size=200) | TEXTS.map(str.encode))
def test_any_bytes_are_an_index_and_come_back(data: bytes) -> None:
    """What is not edited is byte for byte what was read: any encoding, any line endings."""
    assert data == Index.parse(data).data


@given(TEXTS, ONE_LINE, TARGETS, ONE_LINE)
def test_adding_and_removing_a_pointer_restores_the_file(text: str, title: str, target: str, hook: str) -> None:
    """A new pointer is found, changes no other, and leaves no trace when it is removed."""
    before = _index(text)
    added = before.with_pointer(title, target, hook)
    if before.find(target):
        assert added is before
        return
    (new,) = added.find(target)
    rest = [(one.title, one.target, one.hook) for one in added.pointers if one is not new]
    assert rest == [(one.title, one.target, one.hook) for one in before.pointers]
    assert added.without(target).data == before.data


@given(TEXTS)
def test_removing_every_pointer_leaves_the_prose(text: str) -> None:
    """What remains without pointers is the other lines, in order."""
    index = _index(text)
    owned = {number for pointer in index.pointers for number in pointer.lines}
    prose = "".join(line for number, line in enumerate(index.lines) if number not in owned)
    rest = index.without_pointers(index.pointers).data.decode().removeprefix("\ufeff" * index.bom)
    assert prose in (rest, rest + "\n", rest + "\r\n", rest + "\r")


@given(ONE_LINE, TARGETS, ONE_LINE)
def test_a_written_line_reads_back(title: str, target: str, hook: str) -> None:
    """The line is one pointer to the same target, on one line, and as long as a line may be unless its target is."""
    line = pointer_line(title, target, hook)
    assert 1 == len(line.splitlines())
    (pointer,) = _index(line).pointers
    assert target_key(target) == target_key(pointer.target)
    assert len(line) <= LONGEST_LINE or len(target) > 20
    shown = " ".join(title.split())
    if shown.isprintable() and 0 < len(shown) <= 20:
        assert shown == pointer.title


def test_what_is_a_pointer() -> None:
    """List items that begin with a relative link are; everything else is prose."""
    assert [
        ("Build", "build.md", "make, then wait"),
        ("Tests", "sub/tests.md", "run them twice"),
        ("Flaky ones", "flaky.md", "and why they fail on Mondays"),
        ("Last", "last.md", ""),
    ] == _facts(HAND_WRITTEN)


@pytest.mark.parametrize(
    ("line", "title", "target", "hook"),
    [
        ("- [A](a.md)", "A", "a.md", ""),
        ("- [A](./x/../a.md#part) - hook", "A", "a.md", "hook"),
        ("- [A](a.md?raw=1) \u2013 hook", "A", "a.md", "hook"),
        ("- [A](<my file.md>) — hook", "A", "my file.md", "hook"),
        ("- [A](my file.md): hook", "A", "my file.md", "hook"),
        ("- [A](my%20file%20%281%29.md)", "A", "my file (1).md", ""),
        ("- [A](a(1).md)", "A", "a(1).md", ""),
        ('- [A](a.md "a title") -- hook', "A", "a.md", "hook"),
        ("- [A \\] b](a.md)", "A ] b", "a.md", ""),
        ("- [A [b] c](a.md)", "A [b] c", "a.md", ""),
        ("- **[A](a.md)** — hook", "A", "a.md", "hook"),
        ("- [A](é/日本.md) — 覚え", "A", "é/日本.md", "覚え"),
        ("- [A](100%.md)", "A", "100%.md", ""),
        ("\t- [A](a.md)", "A", "a.md", ""),
        ("- [A](../up.md)", "A", "../up.md", ""),
    ],
)
def test_how_links_are_written(line: str, title: str, target: str, hook: str) -> None:
    """Markdown's spellings of one link: brackets, escapes, per cent, fragments, titles, emphasis, separators."""
    assert [(title, target, hook)] == _facts(line)


@pytest.mark.parametrize(
    "line",
    [
        "- [A](/etc/passwd)", "- [A](mailto:a@b.c)", "- [A]()", "- [A](#part)", "- [ ] [A](a.md)", "- [A][a.md]",
        "1. [A](a.md)", "[A](a.md)", "-[A](a.md)", "> - [A](a.md)", "- see [A](a.md)", "- [A](a%00.md)",
        "- [A](%2Fetc)", " " * 16 + "- [A](a.md)", "- [A](%FF.md)", "- [Index](MEMORY.md)",
    ],
)  # fmt: skip
def test_what_is_no_pointer(line: str) -> None:
    """Links elsewhere, without a path, in prose or deeper than lists go stay prose."""
    assert [] == _facts(line)


def test_a_line_that_is_not_utf8_is_prose() -> None:
    """A pointer whose bytes cannot be read is kept and not touched; the others are read."""
    data = b"- [A\xff](a.md)\n- [B](b.md)\n"
    index = Index.parse(data)
    assert ["b.md"] == [pointer.target for pointer in index.pointers]
    assert "- [A\ufffd](a.md)\n" == index.without("b.md").text


def test_a_new_pointer_follows_the_last_in_its_style() -> None:
    """Bullet, indentation and line endings are those of the list; what stands below stays below."""
    text = "\ufeff# M\r\n\r\n  * [A](a.md)\r\n    its second line\r\n\r\nAfter.\r\n"
    added = _index(text).with_pointer("B", "b.md", "why")
    assert text.replace("line\r\n", "line\r\n  * [B](b.md) — why\r\n") == added.data.decode()


def test_a_new_pointer_does_not_go_below_another_memory() -> None:
    """After a nested pointer the new one stands at the margin of the list."""
    added = _index("- [A](a.md)\n  * [B](b.md)\n").with_pointer("C", "c.md", "")
    assert "- [A](a.md)\n  * [B](b.md)\n- [C](c.md)\n" == added.text


def test_a_new_pointer_takes_no_line_for_its_own() -> None:
    """Indented prose behind a nested list stays prose, so that removing the new pointer does not remove it."""
    text = "- group\n    - [A](a.md)\n  text of the group\n"
    assert "text of the group" not in _index(text).pointers[0].raw
    index = _index(text).with_pointer("B", "b.md", "")
    assert "" == index.find("b.md")[0].hook
    assert text == index.without("b.md").text


@pytest.mark.parametrize("opening", ["```\ncode\n", "<!-- comment\n"])
def test_a_new_pointer_is_never_swallowed(opening: str) -> None:
    """In a file that ends in an open fence or comment it stands before that."""
    added = _index(f"# M\n{opening}").with_pointer("A", "a.md", "")
    assert f"# M\n- [A](a.md)\n{opening}" == added.text


def test_a_missing_last_newline_stays_missing() -> None:
    """Neither adding nor removing ends the last line."""
    index = _index("# M\r\n- [A](a.md)")
    added = index.with_pointer("B", "b.md", "")
    assert "# M\r\n- [A](a.md)\r\n- [B](b.md)" == added.text
    assert index.data == added.without("b.md").data


def test_a_pointer_is_not_doubled() -> None:
    """A target has one pointer, however the path is spelled."""
    index = _index("- [Old words](caf\u00e9.md)\n")
    for spelling in ("caf\u00e9.md", "./caf\u00e9.md", "cafe\u0301.md", "x/../caf\u00e9.md"):
        assert index is index.with_pointer("New words", spelling, "hook")


def test_removing_takes_every_pointer_and_its_lines_and_no_prose() -> None:
    """Doubled pointers go together, with what is indented below them; sentences and code that name the file stay."""
    text = "See [A](a.md).\n- [A](a.md)\n  more\n\n  apart\n```\n- [A](a.md)\n```\n- [B](b.md)\n* [A again](./a.md)\n"
    assert "See [A](a.md).\n\n  apart\n```\n- [A](a.md)\n```\n- [B](b.md)\n" == _index(text).without("a.md").text


def test_lines_below_belong_to_the_pointer_that_they_are_indented_under() -> None:
    """A line after a nested pointer is the outer one's, whether or not the nested one is removed."""
    text = "- [A](a.md)\n  - [B](b.md)\n    of b\n  of a\n    of a too\n"
    index = _index(text)
    assert ["of a of a too", "of b"] == [pointer.hook for pointer in index.pointers]
    assert "- [A](a.md)\n  of a\n    of a too\n" == index.without("b.md").text
    assert "  - [B](b.md)\n    of b\n" == index.without("a.md").text


def test_renaming_changes_the_target_alone() -> None:
    """Title, hook, style and fragment stay as people wrote them."""
    index = _index("*  **[ A ](./a.md#part 'x')** :  hand-written  \n- [B](b.md)\n")
    renamed = index.renamed("a.md", "dir/new name.md")
    assert "*  **[ A ](<dir/new name.md#part> 'x')** :  hand-written  \n- [B](b.md)\n" == renamed.text
    assert "dir/new name.md" == renamed.pointers[0].target


OLD, NEW = ("Old", "old hook"), ("New", "new hook")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("- [Old](a.md) — old hook", "- [New](a.md) — new hook"),
        ("* [Old](a.md): old hook", "* [New](a.md): new hook"),
        ("- [Mine](a.md) — old hook", "- [Mine](a.md) — new hook"),
        ("- [Old](a.md) — mine  ", "- [New](a.md) — mine  "),
        ("- [Mine](a.md): mine too", "- [Mine](a.md): mine too"),
        ("- [Old](a.md)", "- [New](a.md)"),
        ("- [Old](a.md) — old\n  hook", "- [New](a.md) — old\n  hook"),
    ],
)
def test_retitling_keeps_what_people_wrote(line: str, expected: str) -> None:
    """A part changes only where it still is the generated one."""
    assert f"{expected}\n" == _index(f"{line}\n").retitled("a.md", old=OLD, new=NEW).text


@given(*[st.text(max_size=120) for _ in range(4)], st.sampled_from(["\n", "\r\n", ""]))
def test_retitling_a_generated_line_generates_it_anew(title: str, hook: str, new: str, hook2: str, ending: str) -> None:
    """Where nobody touched the line, the result is the line of the new title and hook, shortened or left out alike."""
    line = pointer_line(title, "a.md", hook) + ending
    changed = Index.parse(line.encode()).retitled("a.md", old=(title, hook), new=(new, hook2))
    assert pointer_line(new, "a.md", hook2) + ending == changed.text


def test_the_line_that_names_the_overflow() -> None:
    """It is made after the pointers, counted anew in place, keeps the words of people, and goes when none is left."""
    index = _index("- [A](a.md)\n\nEnd.\n")
    made = index.with_more(1)
    line = "- [1 more memory](MEMORY.more.md) — did not fit here; `lamina recall` finds them\n"
    assert f"- [A](a.md)\n{line}\nEnd.\n" == made.text
    assert ("a.md",) == made.targets
    assert "[1,812 more memories](MEMORY.more.md)" in made.with_more(1812).text
    assert index.data == made.with_more(0).data
    assert f"- [A](a.md)\n- [B](b.md)\n{line}\nEnd.\n" == made.with_pointer("B", "b.md", "").text
    worded = _index("* [und 3 weitere](MEMORY.more.md): siehe dort\n- [2 more memories](MEMORY.more.md)\n")
    assert "* [und 12 weitere](MEMORY.more.md): siehe dort\n" == worded.with_more(12).text


@pytest.mark.parametrize("target", ["", ".", "/a.md", "a\0.md", "\ud800.md", INDEX_NAME, OVERFLOW_NAME, "./MEMORY.md"])
def test_a_target_that_cannot_be_pointed_to_is_refused(target: str) -> None:
    """Absolute and empty paths, null bytes, lone surrogates and the folder's own indexes are errors of ours."""
    with pytest.raises(InvalidInputError):
        _index("").with_pointer("A", target, "")


def test_written_lines() -> None:
    """The form that agents know; escapes, brackets for spaces, per cent for what a link ends at."""
    assert "- [Title](file.md) — hook" == pointer_line("Title", "file.md", "hook")
    assert "- [Title](file.md)" == pointer_line("Title", "file.md", " title. ")
    assert "- [two lines](<a b (1).md>) — h h" == pointer_line("two\nlines", "a b (1).md", "h\r\nh")
    assert "- [a\\[0\\] \\`x\\`](%23%3F%25%3A.md)" == pointer_line("a[0] `x`", "#?%:.md")
    assert "- [日本](日本.md) — 覚え書き" == pointer_line("日本", "日本.md", "覚え書き")
    assert "- [a](dir/a.md)" == pointer_line("", "dir/a.md", "")


def test_a_long_hook_ends_on_a_word() -> None:
    """The line has at most 200 characters and its hook ends with an ellipsis after a whole word."""
    hook = " ".join(f"word{number}" for number in range(60))
    line = pointer_line("Title", "file.md", hook)
    assert LONGEST_LINE - 10 < len(line) <= LONGEST_LINE
    assert line.endswith("…")
    assert line[:-1].rsplit(" ", 1)[1] in hook.split()
    assert "好" * 9 + "…" == shorten("好" * 30, 10)


def test_a_long_title_is_shortened_and_its_hook_left_out() -> None:
    """A title that fills the line leaves no room for a hook."""
    line = pointer_line("many words " * 40, "file.md", "hook")
    assert len(line) <= LONGEST_LINE
    assert line.endswith("…](file.md)")


@pytest.mark.parametrize("unit", ["[", "- [a](", "(", "\\", " ", "](", "- [a](b ", "'", "[]", "\t- ["])
def test_hostile_lines_are_read_quickly(unit: str) -> None:
    """Half a megabyte of what only looks like links takes no time."""
    data = f"- [a](b {unit * (500_000 // len(unit))}".encode()
    start = time.perf_counter()
    Index.parse(data)
    assert time.perf_counter() - start < 2


def test_targets_are_posix_paths() -> None:
    """A target that was written by ``pointer_line`` names the file in the index's folder."""
    for name in ("a b.md", "(x).md", "<y>.md", "ü#1.md", "50%.md", 'q"q.md', "back\\slash.md", "a:b.md", "team/c.md"):
        (pointer,) = _index(pointer_line("T", name)).pointers
        assert PurePosixPath(name) == PurePosixPath(pointer.target)
