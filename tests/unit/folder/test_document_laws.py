"""Laws of memory files: what is written is read back, and an edit changes what it was asked to and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lamina.folder.document import Document, edit_document, parse_document, render_document
from lamina.folder.frontmatter import split_file
from lamina.folder.quoting import same

NAMES = [field.name for field in fields(Document) if field.name != "problems"]


def _parse(data: bytes) -> Document:
    return parse_document(data, name="a.md")


def _said(document: Document) -> dict[str, Any]:
    return {name: getattr(document, name) for name in NAMES}


def _yaml(data: bytes, version: tuple[int, int] = (1, 2)) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    front = data.decode().split("\n---\n")[0].removeprefix("---\n")
    return yaml.load(StringIO(front))


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.one_of(
    st.text(CHARACTERS, min_size=1),
    st.lists(
        st.sampled_from(
            ["---", "...", "\n", "\r", "\r\n", "\t", " ", "# a", "name: x", "```", "=======", "é", "\ufeff"]
        ),
        min_size=1,
    ).map("".join),
)
LINES = st.one_of(
    st.text(CHARACTERS, min_size=1, max_size=40),
    st.lists(
        st.sampled_from(list("-?:,[]{}#&*!|>'\"%@`=<~ \t\n.0123456789eExXoO_+ynT\\\ufeff\u2028\x85")), min_size=1
    ).map("".join),
    st.sampled_from(["yes", "No", "null", "~", "1:30", "0o17", "1_000", "2024-01-01", "2024-01-01 10:00:00", ".inf",
                     "1e5", "=", "<<", "Fix #12", "a: b", "a:", "- x", "[WIP] x", "'tis", "true", "0x1F", "007"]),
).filter(lambda line: line.strip())  # fmt: skip
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - zones follow
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False), st.text(CHARACTERS, max_size=10), LINES,
)  # fmt: skip
METADATA = st.dictionaries(
    st.one_of(st.sampled_from(["type", "name", "title", "date", "metadata", "a", "b", "yes", "1"]), LINES),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "title": LINES, "description": LINES, "type": LINES, "id": LINES, "source": LINES, "thread": LINES,
    "superseded_by": LINES, "tags": st.lists(LINES, max_size=4).map(tuple), "importance": st.floats(0, 1),
    "position": st.integers(0, 2**53), "created_at": MOMENTS, "valid_until": MOMENTS, "metadata": METADATA,
}  # fmt: skip
SAID = st.fixed_dictionaries({"text": TEXTS}, optional=FIELDS)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXTS,
        **{name: values if name in ("metadata", "tags") else st.none() | values for name, values in FIELDS.items()},
    },
)


@settings(max_examples=250, deadline=None)
@given(SAID)
def test_what_is_rendered_is_read_back(said: dict[str, Any]) -> None:
    """Every field and the text come back as they were, and nothing is off about the file."""
    document = _parse(render_document(**said))
    assert Document(**said) == document


@settings(max_examples=150, deadline=None)
@given(SAID.filter(lambda said: said["text"].strip()), st.sampled_from([(1, 1), (1, 2)]))
def test_what_is_rendered_is_yaml(said: dict[str, Any], version: tuple[int, int]) -> None:
    """A YAML 1.1 and a YAML 1.2 reader find the same strings under the names that people know."""
    document = Document(**{**said, "metadata": {}})
    front = _yaml(render_document(**{**said, "metadata": {}}), version) or {}
    for key in ("description", "type", "id", "source", "thread", "superseded_by"):
        assert getattr(document, key) == front.get(key)
    assert document.title == front.get("name")
    assert list(document.tags) == front.get("tags", [])


@settings(max_examples=100, deadline=None)
@given(METADATA)
def test_metadata_is_yaml(metadata: dict[str, Any]) -> None:
    """A YAML reader finds the metadata as a mapping of the same keys and values."""
    assume(metadata)
    assert repr(metadata) == repr(_yaml(render_document(text="x", metadata=metadata))["metadata"])


PIECES = st.sampled_from([
    "name: a\n", "title: b  \n", "name:\n", "name: null\n", 'name: "q # x"\n', "description: >\n  folded\n  text\n",
    "description: Fix #12: use C#\n", "type: project # why\n", "type:\n", "importance: 0.8 # high\n",
    "importance: high\n", "tags: a, b\n", "tags:\n  - a\n  - b\n", "tags: [a, 'b']\n", "tags: []\n", "# comment\n",
    "\n", "unknown: 1\n", "unknown:\tx # y\n", "other: [1, {a: 2}]\n", "bad: [1\n", "created: 2024-01-02\n",
    "date: 2023-01-01\n", "created_at: 2024-05-01T10:00:00+02:00\n", "position: 3\n", "id: abcdefgh\n",
    "metadata:\n  type: user\n  k: v # c\n", "metadata:\n\ttype: user\n\tdeep:\n\t\ta: 1\n",
    "metadata: {type: x, k: 1}\n",
    "metadata: text\n", "metadata:\n", "metadata:\n  # nothing\n", "metadata:\n  type: [a]\n  unknown: 2\n",
    '"quoted": 1\n', "source: a # b\n", "bad2: a: b\n", "  # indented\n", "tags: {a: 1}\n", "thread: [a\n",
    "id: x: y\n",
])  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Files as people and tools leave them."""
    body = draw(st.sampled_from(["\n", "", "\n\n"])) + draw(TEXTS | st.just("")) + draw(st.sampled_from(["\n", ""]))
    front = ""
    if draw(st.integers(0, 4)):
        front = f"---{draw(st.sampled_from(['', '  ']))}\n" + "".join(draw(st.lists(PIECES, max_size=7)))
        front += draw(st.sampled_from(["---\n", "---  \n", "...\n"]))
    content = front + body
    ends = draw(st.sampled_from(["\n", "\n", "\r\n", "mixed", "front"]))
    if ends == "mixed":
        content = content.replace("\n", "\r\n", draw(st.integers(1, 8)))
    elif ends == "front":
        content = front.replace("\n", "\r\n") + body
    else:
        content = content.replace("\n", ends)
    return (draw(st.sampled_from(["", "", "\ufeff"])) + content).encode()


@settings(max_examples=400, deadline=None)
@given(files())
def test_an_edit_of_nothing_changes_no_byte(data: bytes) -> None:
    """No change, or a change to what is said already, gives the same bytes back."""
    document = _parse(data)
    assert data == edit_document(data, {})
    assert data == edit_document(data, _said(document))


@settings(max_examples=500, deadline=None)
@given(files(), CHANGES)
@example(b"---\r\nname: x\n---\r\n\r\na\r\nb\r\n", {"title": None})
@example(b"abc", {"text": "a\r\nb"})
@example(b"abc", {"text": "---\nname: x\n---\n"})
@example(b"---\n# c\nname: x\n---\n", {"title": None})
@example(b"---\nname: x\ntitle: y\n---\n", {"title": None})
@example(b"---\nmetadata:\n  type: user\n---\n", {"metadata": {"type": "x"}})
def test_an_edit_changes_what_it_was_asked_to(data: bytes, changes: dict[str, Any]) -> None:
    """The edited file says what the file said with the changes applied, and is the same when edited again."""
    edited = edit_document(data, changes)
    assert _said(replace(_parse(data), **changes)) == _said(_parse(edited))
    assert edited == edit_document(edited, changes)


OWN_KEYS = {"title": {"name", "title"}, "created_at": {"created_at", "created", "date"}, "type": {"type", "metadata"}}


@settings(max_examples=300, deadline=None)
@given(files(), CHANGES)
def test_an_edit_keeps_what_it_does_not_concern(data: bytes, changes: dict[str, Any]) -> None:
    """Entries of other keys, comments and the body stay byte for byte and in order."""
    old, document = split_file(data.decode()), _parse(data)
    new = split_file(edit_document(data, changes).decode())
    own: set[str | None] = {key for name in changes for key in OWN_KEYS.get(name, {name})}
    for key, value in document.metadata.items():
        if not same(value, changes.get("metadata", document.metadata).get(key, ...)):
            own.add(key)
    if "type" in changes.get("metadata", ()):
        own.add("type")  # it has to be said above `metadata` then
    lines = [line for entry in old.entries if entry.key not in own for line in entry.lines]
    left = iter([line for entry in new.entries for line in entry.lines])
    assert all(line in left for line in lines)
    assert old.bom == new.bom
    if "text" not in changes:
        assert old.body + old.final == new.body + new.final
