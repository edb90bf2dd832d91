"""Memory files as documents: the shapes that are read, what is refused, and the bytes that are written."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lamina.errors import InvalidInputError
from lamina.folder.document import Document, edit_document, parse_document, render_document

USUAL = b"""---
name: animation plan
description: Plan 012 - fix issue #12: use C# (see: docs)
type: project
id: 01hx3k2m9q
---

The body.
"""


def _parse(data: bytes) -> Document:
    return parse_document(data, name="a.md")


def test_usual_file() -> None:
    """The four usual keys, values whole whatever stands in them, and the body without its frame."""
    assert Document(
        title="animation plan",
        description="Plan 012 - fix issue #12: use C# (see: docs)",
        type="project",
        id="01hx3k2m9q",
        text="The body.",
    ) == _parse(USUAL)


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ("name: 'it''s'\n", {"title": "it's"}),
        ('name: "a \\"b\\" \\u00e9\\ud83d\\ude00" # c\n', {"title": 'a "b" é😀'}),
        ("title: t\n", {"title": "t"}),
        ("name: n\ntitle: t\n", {"title": "n", "metadata": {"title": "t"}}),
        ("name:\ntitle: t\n", {"title": "t"}),
        ("name: ~\ntitle: t\n", {"metadata": {"title": "t"}}),
        ("name: 2024\n", {"title": "2024"}),
        ("name: [WIP] the plan\n", {"title": "[WIP] the plan"}),
        ("name: 'tis the season\n", {"title": "'tis the season"}),
        ("name: *bold* claim\n", {"title": "*bold* claim"}),
        ("name: @home: `x`\n", {"title": "@home: `x`"}),
        ("description: #12 is fixed\n", {"description": "#12 is fixed"}),
        ("description: # one line\n", {}),
        ("description: one\n  two #3: four\n\n  five\n", {"description": "one two #3: four\nfive"}),
        ("description: >-\n  one\n  two\n", {"description": "one two"}),
        ("description: |\n  one\n  two\n", {"description": "one\ntwo"}),
        ('description: "one\n  two"\n', {"description": "one two"}),
        ("type:\tproject\n", {"type": "project"}),
        ("type: project # see: below\n", {"type": "project"}),
        ("type: yes\n", {"type": "yes"}),
        ("metadata:\n  type: project\n  node_type: memory\n", {"type": "project", "metadata": {"node_type": "memory"}}),
        ("metadata:\n\ttype: project\n\tdeep:\n\t\ta: 1\n", {"type": "project", "metadata": {"deep": {"a": 1}}}),
        ("metadata: {type: project, n: 1}\n", {"type": "project", "metadata": {"n": 1}}),
        ("type: user\nmetadata:\n  type: project\n", {"type": "user", "metadata": {"type": "project"}}),
        ("metadata: words\n", {"metadata": {"metadata": "words"}}),
        ("tags: [a, 'b, c', \"d\"]\n", {"tags": ("a", "b, c", "d")}),
        ("tags:\n  - a\n  - b c\n", {"tags": ("a", "b c")}),
        ("tags:\n- 1\n- true\n- 2024-01-01\n", {"tags": ("1", "true", "2024-01-01")}),
        ("tags: a, b\n", {"tags": ("a", "b")}),
        ("tags: [\n  a, # first\n  b\n]\n", {"tags": ("a", "b")}),
        ("importance: 0.8 # high\n", {"importance": 0.8}),
        ("importance: 1\n", {"importance": 1.0}),
        ("position: 12\n", {"position": 12}),
        ("date: 2026-03-01\n", {"created_at": datetime(2026, 3, 1, tzinfo=UTC)}),
        ("created: 2026-03-01 09:30\n", {"created_at": datetime(2026, 3, 1, 9, 30, tzinfo=UTC)}),
        ("created_at: 2026-03-01T09:30:00.5+02:00\n",
         {"created_at": datetime(2026, 3, 1, 7, 30, 0, 500_000, tzinfo=UTC)}),
        ("created_at: 2026-03-01T09:30:00Z\ndate: 2020-01-01\n",
         {"created_at": datetime(2026, 3, 1, 9, 30, tzinfo=UTC), "metadata": {"date": "2020-01-01"}}),
        ("a: 1\nb: 1.5\nc: true\nd: null\ne: x # y\nf: 007\n",
         {"metadata": {"a": 1, "b": 1.5, "c": True, "d": None, "e": "x", "f": "007"}}),
        ("seen: 2026-03-01 09:30:00\nlist: [2026-03-01]\n",
         {"metadata": {"seen": "2026-03-01T09:30:00", "list": ["2026-03-01"]}}),
        ("a: {b: [1, {c: d}]}\n", {"metadata": {"a": {"b": [1, {"c": "d"}]}}}),
        ("a: !!python/object/apply:os.system [ls]\n", {"metadata": {"a": ["ls"]}}),
        ("", {}),
        ("\n  \n", {}),
        ("# comment\nname: x\n", {"title": "x"}),
        ("name: x\n  # indented comment\ntype: y\n", {"title": "x", "type": "y"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "shape", ["---\n{}---\n\nbody\n", "---  \n{}...\t\nbody", "\ufeff---\n{}---\n\nbody\n", "crlf"]
)
def test_real_shapes(front: str, said: dict[str, Any], shape: str) -> None:
    """What people and tools write is read as they meant it, with no complaint."""
    content = f"---\n{front}---\n\nbody\n" if shape == "crlf" else shape.format(front)
    data = (content.replace("\n", "\r\n") if shape == "crlf" else content).encode()
    assert Document(text="body", **said) == _parse(data)


@pytest.mark.parametrize(
    ("front", "code", "said"),
    [
        ("name: a\nname: b\n", "duplicate-key", {"title": "a"}),
        ("k: 1\nmetadata:\n  k: 2\n", "duplicate-key", {"metadata": {"k": 1}}),
        ("a: {b: 1, b: 2}\n", "duplicate-key-within", {"metadata": {"a": {"b": 1}}}),
        ("importance: 1.5\n", "value", {}),
        ("importance: nan\n", "value", {}),
        ("importance: high\n", "value", {}),
        ("position: -1\n", "value", {}),
        ("created_at: Tuesday\n", "value", {}),
        ("created_at: 0001-01-01T00:00:00+10:00\n", "value", {}),
        ("tags: {a: 1}\n", "value", {}),
        ("type: [a]\n", "value", {}),
        ("a: [1, 2\n", "front-matter", {"metadata": {"a": "[1, 2"}}),
        ("a: b: c\n", "front-matter", {"metadata": {"a": "b: c"}}),
        ('a: "\\ud800"\n', "front-matter", {"metadata": {"a": '"\\ud800"'}}),
        ("a: *b\n", "front-matter", {"metadata": {"a": "*b"}}),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "front-matter", {"metadata": {"a": "[" * 60 + "]" * 60}}),
    ],
)
def test_what_is_off_is_reported_and_reading_goes_on(front: str, code: str, said: dict[str, Any]) -> None:
    """One problem with a code and the file's name; the first of two keys counts, raw text stays, a bad value goes."""
    document = _parse(f"---\n{front}id: abcdefgh\n---\n\nbody\n".encode())
    ((found, message),) = document.problems
    assert code.removesuffix("-within") in found or code == "duplicate-key-within"
    assert message.startswith("a.md: ")
    assert Document(id="abcdefgh", text="body", problems=document.problems, **said) == document


@pytest.mark.parametrize(
    "content",
    [
        "", "\n", "text", "---", "---\n\nA rule, then text.\n", "---\nA paragraph\n---\n", "--- \n- a\n---\n",
        "text\n---\nname: x\n---\n", "---\n# Heading\n---\n", "----\nname: x\n---\n", " ---\nname: x\n---\n",
    ],
)  # fmt: skip
def test_without_front_matter_the_file_is_text(content: str) -> None:
    """No opening line, or a rule with no keys under it: all of it but one line end is text, and that is no problem."""
    assert Document(text=content.removesuffix("\n")) == _parse(content.encode())


@pytest.mark.parametrize(
    "content",
    [
        "---\nname: x\n\nText.\n",
        "---\nname: x\n\nText of a paragraph\n\n---\n\nmore",
        "---\nname: x\n" + "a: b\n" * 20_000 + "---\n\nbody",
    ],
)
def test_front_matter_without_an_end_is_text(content: str) -> None:
    """One that is not closed, or is too long, is text as a whole, and reported."""
    document = _parse(content.encode())
    assert content.removesuffix("\n") == document.text
    assert ["front-matter"] == [code for code, _ in document.problems]
    assert document.title is None


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        ("", ""), ("\n", ""), ("\n\n", ""), ("\n\n\n", "\n"), ("a", "a"), ("\na", "a"), ("\n\na\n\n", "\na\n"),
        ("\n  a  \n", "  a  "), (" \na\n", " \na"), ("a\r\n", "a"), ("\r\na\r\r\n", "a\r"),
    ],
)  # fmt: skip
def test_the_frame_around_the_text(rest: str, text: str) -> None:
    """One empty line before and one line end after it are the frame's; everything else is text."""
    assert text == _parse(f"---\nname: x\n---\n{rest}".encode()).text


def test_line_ends() -> None:
    r"""\r\n everywhere reads as \n; mixed line ends stay as they are."""
    assert "a\nb\n\rc" == _parse(b"a\r\nb\r\n\rc\r\n").text
    assert "a\r\nb\nc" == _parse(b"a\r\nb\nc\n").text


CONFLICT = "<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> branch\n"


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"caf\xe9", {"reason": "not-utf8", "offset": 3}),
        (b"a\0b", {"reason": "binary", "offset": 1}),
        (f"a\n{CONFLICT}".encode(), {"reason": "conflict-markers", "line": 2}),
        (f"---\nname: x\n{CONFLICT}---\n\nbody\n".encode(), {"reason": "conflict-markers", "line": 3}),
        (CONFLICT.replace("\n", "\r\n").encode(), {"reason": "conflict-markers", "line": 1}),
        (f"---\na: |\n  ```\n---\n\n{CONFLICT}".encode(), {"reason": "conflict-markers", "line": 6}),
        (f"```\nx\n```\n{CONFLICT}".encode(), {"reason": "conflict-markers", "line": 4}),
        (CONFLICT.replace("ours", "```\nours").encode(), {"reason": "conflict-markers", "line": 1}),
    ],
)
def test_what_cannot_be_read(data: bytes, details: dict[str, Any]) -> None:
    """Bytes that are no text, and a merge that nobody finished, are refused with their place, by reader and editor."""
    for act in (_parse, lambda data: edit_document(data, {"title": "x"})):
        with pytest.raises(InvalidInputError) as caught:
            act(data)
        assert details == caught.value.details
        assert caught.value.hint


def test_a_nul_is_text_below_front_matter() -> None:
    """A memory's text may hold a NUL; a file without front matter that holds one is binary and refused."""
    data = render_document(text="before\0after", title="x", id="0123456789")

    assert "before\0after" == _parse(data).text
    with pytest.raises(InvalidInputError):
        _parse(b"before\0after")


@pytest.mark.parametrize(
    "content",
    [
        f"```\n{CONFLICT}```\n", f"~~~ text\n{CONFLICT}~~~\n", f"````\n```\n{CONFLICT}````\n",
        CONFLICT.replace("=======", "======= x"), CONFLICT.replace(">>>>>>> ", ">>>>>>>"), " " + CONFLICT,
        ">>>>>>> b\n=======\n<<<<<<< a\n", "Title\n=======\n",
    ],
)  # fmt: skip
def test_what_is_no_conflict(content: str) -> None:
    """An example in a fenced block, a heading's underline, markers in another order."""
    assert content.removesuffix("\n") == _parse(content.encode()).text


@pytest.mark.parametrize(
    "changes",
    [
        {"text": CONFLICT}, {"text": "\ud800"}, {"text": None}, {"title": "\udfff"}, {"title": 5},
        {"importance": 2}, {"importance": True}, {"position": 1.5}, {"tags": "a"}, {"tags": [1]}, {"nope": 1},
        {"problems": ()}, {"created_at": "2024"}, {"metadata": {"a": object()}}, {"metadata": {"a": float("nan")}},
        {"metadata": {"a": 2**64}}, {"metadata": {1: 2}}, {"metadata": {"k" * 2000: 1}}, {"metadata": [1]},
        {"description": "x" * 70_000}, {"created_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))},
    ],
)  # fmt: skip
def test_what_cannot_be_written(changes: dict[str, Any]) -> None:
    """A value that a file cannot say is refused, with a hint."""
    with pytest.raises(InvalidInputError) as caught:
        edit_document(USUAL, changes)
    assert caught.value.hint


def test_a_new_file_is_readable() -> None:
    """The usual keys in their order, plain where they can be, and only what is set."""
    data = render_document(
        title="Fix: the build", description="Use C# on ports 80-90, (see the docs)", type="project", id="01hx3k2m9q",
        tags=["build", "a, b"], importance=0.8, source="chat", thread="t1", position=3,
        created_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC), valid_until=datetime(2027, 1, 1), superseded_by="abcdefgh",  # noqa: DTZ001
        metadata={"node_type": "memory", "count": 1, "deep": {"a": ["x", 1.5]}, "words": ["a b", "c"], "yes": "no"},
        text="Body.\n\n**Why:** because.",
    )  # fmt: skip
    expected = """---
name: "Fix: the build"
description: Use C# on ports 80-90, (see the docs)
type: project
id: 01hx3k2m9q
tags: [build, "a, b"]
importance: 0.8
source: chat
thread: t1
position: 3
created_at: 2026-03-01T09:30:00Z
valid_until: 2027-01-01T00:00:00Z
superseded_by: abcdefgh
metadata:
  node_type: memory
  count: 1
  deep: {"a": ["x", 1.5]}
  words: [a b, c]
  "yes": "no"
---

Body.

**Why:** because.
"""
    assert expected == data.decode()
    assert b"---\nname: x\n---\n\nbody\n" == render_document(title="x", text="body")
    assert b"---\n---\n\nbody\n" == render_document(text="body")


RICH = """---
# about me
type: project   # the kind
'name':  "old"

custom: {a: 1}   # mine
tags:
  - a
  - b
metadata:
  # inside
  type: ignored
  first: 1   # one
  second:
    deep: 2
last: x
---

Text   \n
"""


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"title": "new"}, "'name':  \"old\"\n", "'name':  new\n"),
        ({"type": "user"}, "type: project   # the kind\n", "type: user   # the kind\n"),
        ({"tags": ("c",)}, "tags:\n  - a\n  - b\n", "tags: [c]\n"),
        ({"tags": ()}, "tags:\n  - a\n  - b\n", ""),
        ({"title": None}, "'name':  \"old\"\n", ""),
        ({"description": "d"}, "'name':  \"old\"\n", "'name':  \"old\"\ndescription: d\n"),
        ({"id": "abcdefgh"}, "   # the kind\n", "   # the kind\nid: abcdefgh\n"),
        ({"importance": 0.9}, "  - b\n", "  - b\nimportance: 0.9\n"),
        ({"text": "New"}, "\nText   \n\n", "\nNew\n"),
    ],
)
def test_an_edit_touches_only_its_lines(changes: dict[str, Any], before: str, after: str) -> None:
    """A change replaces its entry, a new one goes to its place, None removes; all other bytes stay."""
    assert RICH.count(before) == 1
    for newline in ("\n", "\r\n"):
        data = ("\ufeff" + RICH.replace("\n", newline)).encode()
        expected = ("\ufeff" + RICH.replace(before, after).replace("\n", newline)).encode()
        assert expected == edit_document(data, changes)


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"first": 2}, "  first: 1   # one\n", "  first: 2   # one\n"),
        ({"second": {"deep": 3}}, "  second:\n    deep: 2\n", '  second: {"deep": 3}\n'),
        ({"custom": 5}, "custom: {a: 1}   # mine\n", "custom: 5\n"),
        ({"last": "y: z"}, "last: x\n", 'last: "y: z"\n'),
        ({"new": [1]}, "    deep: 2\n", "    deep: 2\n  new: [1]\n"),
        ({"first": ...}, "  first: 1   # one\n", ""),
        ({"last": ...}, "last: x\n", ""),
    ],
)
def test_metadata_is_edited_where_it_stands(changes: Mapping[str, Any], before: str, after: str) -> None:
    """A key above `metadata` is changed there, one within it there, a new one goes into it, others keep their bytes."""
    metadata = {**_parse(RICH.encode()).metadata, **changes}
    wanted = {key: value for key, value in metadata.items() if value is not ...}
    assert RICH.count(before) == 1
    assert RICH.replace(before, after).encode() == edit_document(RICH.encode(), {"metadata": wanted})


def test_the_nested_type_is_edited_in_place() -> None:
    """A type that stands in `metadata` is changed there; None takes its line, and the mapping if it was all of it."""
    data = b"---\nname: x\nmetadata:\n  node: m\n  type: project # k\n---\n\nbody\n"
    assert data.replace(b"project", b"user") == edit_document(data, {"type": "user"})
    assert data.replace(b"  type: project # k\n", b"") == edit_document(data, {"type": None})
    alone = data.replace(b"  node: m\n", b"")
    assert b"---\nname: x\n---\n\nbody\n" == edit_document(alone, {"type": None})


def test_a_file_without_front_matter_gets_one() -> None:
    """When a field is set; the text stays, and so do the byte order mark and the line ends."""
    assert b"---\nname: x\n---\n\n# A\n" == edit_document(b"# A\n", {"title": "x"})
    assert b"\xef\xbb\xbf---\r\nname: x\r\n---\r\n\r\na\r\nb" == edit_document(b"\xef\xbb\xbfa\r\nb", {"title": "x"})
    assert b"new\n" == edit_document(b"old\n", {"text": "new"})


@pytest.mark.parametrize(
    "front",
    [
        "a: " + "[" * 30_000 + "\n",
        "a: " + "{x: " * 15_000 + "\n",
        "a:\n" + "".join(f"{'  ' * depth}- \n" for depth in range(1, 200)),
        "a: [&a [x, x], &b [*a, *a], &c [*b, *b], &d [*c, *c]]\n",
        "a: &a [*a]\n",
        "a:\n  <<: &x {<<: *x}\n",
        "a: " + "- " * 30_000 + "\n",
        "description: " + '"' * 60_000 + "\n",
        "a: '" + "x'y" * 20_000 + "\n",
        "a: " + "9" * 60_000 + "\n",
        ("a" * 150 + ": ") * 400 + "\n",
        "a: b" + " " * 60_000 + "c\n",
        "a: [b" + " " * 60_000 + "c]\n",
        "type: b" + " " * 60_000 + "c\n",
        "date: 2024" + " " * 60_000 + "c\n",
        "a" + " " * 60_000 + "c\n",
        "".join(f"a{number}: [x, {{b: c}}]\n" for number in range(2_000)),
        "? [a]\n: b\n",
    ],
)
def test_hostile_front_matter_is_bounded(front: str) -> None:
    """Depth, aliases, merges and long lines cost little and end in text and a problem, or a plain value."""
    start = time.perf_counter()
    document = _parse(f"---\nid: abcdefgh\n{front}---\n\nbody\n".encode())
    assert time.perf_counter() - start < 3
    assert "body" in document.text
    assert len(str(document.metadata)) < 200_000


@pytest.mark.parametrize("text", ["9" * 60_000 + "x", "9" * 60_000, "1" + " " * 60_000 + "x", "1:30" * 15_000])
def test_writing_long_values_is_quick(text: str) -> None:
    """To decide whether a long value can stay plain takes no more than looking at it."""
    start = time.perf_counter()
    assert text == _parse(render_document(text="x", description=text)).description
    assert time.perf_counter() - start < 1


def test_the_usual_file_needs_no_yaml_parser() -> None:
    """Reading, changing and writing usual files loads no YAML package, and reading one of 5 KB is quick."""
    code = f"""
import sys
from lamina.folder.document import edit_document, parse_document, render_document
data = {USUAL!r}
data = edit_document(data, {{"title": "a: b", "tags": ["x", "y, z"], "metadata": {{"k": [1, {{"a": "é"}}]}}}})
assert parse_document(data, name="x").metadata == {{"k": [1, {{"a": "é"}}]}}
parse_document(b"---\\nname: x\\nmetadata:\\n  type: user\\n  k: v\\ntags:\\n  - a\\n---\\n", name="x")
assert not any(name.startswith("ruamel") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    data = USUAL + b"A line of text, as there are many.\n" * 140
    rounds = []
    for _ in range(200):
        start = time.perf_counter()
        _parse(data)
        rounds.append(time.perf_counter() - start)
    assert min(rounds) < 300e-6


@pytest.mark.parametrize("name", ["title", "metadata"])
def test_a_change_of_nothing_else(name: str) -> None:
    """An edit through a description that YAML cannot read leaves that description's line alone."""
    data = b"---\ndescription: Fix: a #b [c\nx: [1\n---\n\nbody\n"
    edited = edit_document(data, {name: "t" if name == "title" else {"x": "[1", "new": 1}})
    assert b"description: Fix: a #b [c\nx: [1\n" in edited
