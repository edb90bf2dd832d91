"""Front matter as lines: a file taken apart so that one entry can be changed and every other byte stays.

A file is a byte order mark, an opening ``---`` line, entries, a closing ``---`` or ``...`` line, an empty line, the
text and a line end; all but the text are optional. An entry is a key's line and the lines that continue it. Blank lines
and comments between entries are kept as entries without a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from lamina.folder.values import NULLS, fold, read_value, resolve, unquote, word

__all__ = ["MAX_FRONT", "Entry", "Parts", "split_entries", "split_file"]

MAX_FRONT: Final = 65_536
"""Characters of a front matter that is read; a longer one is text."""

BOM: Final = "\ufeff"

_OPENING = re.compile(r"---[ \t]*\r?\n")
_CLOSING = re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\r?\Z)", re.MULTILINE)
_KEY = re.compile(
    r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'|(?!-[ \t\r\n])[^\s#"',\[\]{}][^\n]{0,199}?)"""
    r"(?<![ \t])[ \t]*:(?:[ \t]+|(?=\r*\n)|\Z)"  # looking back keeps a long run of spaces linear
)
_BLOCK_SCALAR = re.compile(r"[|>][-+0-9]{0,2}(?:[ \t]+#.*)?")
_END = re.compile(r"\r?\n\Z")
_COMMENT = re.compile(r"(?:^|(?<![ \t])[ \t]+)#.*", re.DOTALL)


@dataclass(slots=True, kw_only=True)
class Entry:
    """A key with its value, as lines; or, with ``key`` None, blank lines and comments between entries.

    Attributes:
        key: The key without quotes.
        lines: As they stand in the file, with their line ends.
        head: The first line up to the value.
        indent: The white space before each line of the mapping that the entry belongs to.
    """

    key: str | None = None
    lines: list[str] = field(default_factory=list)
    head: str = ""
    indent: str = ""

    @property
    def first(self) -> str:
        """What stands on the key's line after it, without white space around it."""
        return self.lines[0][len(self.head) :].strip(" \t\r\n")

    @property
    def rest(self) -> list[str]:
        """The lines below the key's line, as far in as the mapping is."""
        return [line.removeprefix(self.indent) for line in self.lines[1:]]

    def is_empty(self) -> bool:
        """Whether nothing is said: no value and no lines but comments; an explicit null is something."""
        first = self.first
        return (not first or first == "#" or first.startswith("# ")) and not self._goes_on()

    def _goes_on(self) -> bool:
        return any((bare := line.strip(" \t\r\n")) and not bare.startswith("#") for line in self.lines[1:])

    def value(self) -> tuple[Any, tuple[str, ...]]:
        """Return the JSON value and what is off about it."""
        return read_value(self.first, self._continuation(), resolve)

    def words(self) -> tuple[Any, tuple[str, ...]]:
        """Return the value with scalars as they are written, and what is off about it."""
        return read_value(self.first, self._continuation(), word)

    def text(self) -> tuple[str | None, tuple[str, ...]]:
        """Return free text, whole: no ``#`` or ``:`` in it ends it, and only quotes and block scalars are YAML."""
        first, rest = self.first, self._continuation()
        if first[:1] in ('"', "'") and (rest or _ends_quoted(first)):
            value, notes = read_value(first, rest, word)
            if isinstance(value, str) and not notes:
                return value, ()
        elif _BLOCK_SCALAR.fullmatch(first) and rest:
            value, notes = read_value(first, rest, word)
            return (value.rstrip("\n") if isinstance(value, str) else None), notes
        if not rest:
            return (None if first in NULLS or first == "#" or first.startswith("# ") else first), ()
        lines = (first, *(line for line in rest if not line.lstrip(" \t").startswith("# ")))
        return fold(lines[1:] if first == "#" or first.startswith("# ") else lines), ()

    def _continuation(self) -> list[str]:
        return self.rest if len(self.lines) > 1 and self._goes_on() else []

    def replace(self, value: str, *, keep_comment: bool = False) -> None:
        """Say ``value``, written on one line, instead of what is said; ``keep_comment`` leaves a ``# …`` behind it."""
        comment = self._comment() if keep_comment else ""
        end = _END.search(self.lines[0])
        if not self.head.endswith((" ", "\t")):
            self.head += " "
        self.lines = [f"{self.head}{value}{comment}{end[0] if end else ''}"]

    def _comment(self) -> str:
        first = self.first
        if self._goes_on() or first[:1] in ("[", "{", "|", ">", "&", "*", "!"):
            return ""
        if first[:1] in ('"', "'"):
            quoted = unquote(first)
            found = _COMMENT.fullmatch(quoted[1]) if quoted else None
        else:
            found = None if ": " in first else _COMMENT.search(first)
        if found is None:
            return ""
        return found[0] if found[0][0] in " \t" else " " + found[0]

    def nested(self) -> tuple[list[Entry], str] | None:
        """Return the entries of the mapping in the lines below, and their indentation; None if it is none in lines."""
        if self.first and not self.first.startswith("#"):
            return None
        inner = self.lines[1:]
        for line in inner:
            bare = line.lstrip(" \t")
            if bare.strip("\r\n") and not bare.startswith("#"):
                indent = line[: len(line) - len(bare)]
                entries = split_entries(inner, indent) if indent else None
                return None if entries is None else (entries, indent)
        return ([Entry(lines=inner)] if inner else []), "  "


def _ends_quoted(text: str) -> bool:
    """Whether the text is one quoted string and at most a comment; else its quote is an apostrophe or an opening."""
    quoted = unquote(text)
    return quoted is not None and (not quoted[1].strip() or _COMMENT.fullmatch(quoted[1]) is not None)


def split_entries(lines: Iterable[str], indent: str = "") -> list[Entry] | None:
    """Return the entries of a mapping.

    Args:
        lines: With their line ends.
        indent: The white space that each entry's first line begins with.

    Returns:
        The entries, whose lines together are ``lines``; None where the lines are no mapping: something else stands
        before the first key, or after a gap.
    """
    entries: list[Entry] = []
    gap: list[str] = []
    current: Entry | None = None
    at = len(indent)
    for line in lines:
        bare = line.strip(" \t\r\n")
        if not bare or (bare[0] == "#" and line.startswith(("#", indent + "#"))):
            gap.append(line)
            continue
        if not line.startswith(indent):
            return None
        found = None if line[at] in " \t" else _KEY.match(line, at)
        if found is not None:
            if gap:
                entries.append(Entry(lines=gap))
                gap = []
            current = Entry(key=_key(found[1]), lines=[line], head=line[: found.end()], indent=indent)
            entries.append(current)
        elif current is None or (gap and line[at] not in " \t-]}"):
            return None
        else:
            current.lines += [*gap, line]
            gap = []
    if gap:
        entries.append(Entry(lines=gap))
    return entries


def _key(written: str) -> str:
    if written[0] in ('"', "'"):
        quoted = unquote(written)
        return written if quoted is None else quoted[0]
    return written


@dataclass(slots=True, kw_only=True)
class Parts:
    r"""A file taken apart; :meth:`join` puts it together again.

    Attributes:
        bom: The byte order mark, or nothing.
        opening: The opening line; empty where there is no front matter.
        entries: What stands between the opening and the closing line.
        closing: The closing line.
        blank: The empty line after it, or nothing.
        body: The text with the file's own line ends.
        final: The line end after the text, or nothing.
        crlf: Whether every line end of the file is ``\r\n``.
        body_line: The line of the file, counted from 1, on which the body begins.
        problem: Why something that looks like front matter is text, or empty.
    """

    bom: str
    opening: str = ""
    entries: list[Entry] = field(default_factory=list)
    closing: str = ""
    blank: str = ""
    body: str = ""
    final: str = ""
    crlf: bool = False
    body_line: int = 1
    problem: str = ""

    @property
    def text(self) -> str:
        r"""The body, with ``\n`` where the whole file has ``\r\n``."""
        return self.body.replace("\r\n", "\n") if self.crlf else self.body

    @property
    def newline(self) -> str:
        """The line end of lines that are added."""
        return "\r\n" if self.crlf or self.opening.endswith("\r\n") else "\n"

    def join(self) -> str:
        """Return the file's content."""
        front = "".join(line for entry in self.entries for line in entry.lines)
        return f"{self.bom}{self.opening}{front}{self.closing}{self.blank}{self.body}{self.final}"

    def set_text(self, text: str) -> None:
        """Replace the body; the empty line and the line end around it stay, or come where the text needs them."""
        newline = self.newline
        fresh = not self.body
        if self.opening:
            if not self.closing.endswith("\n"):
                self.closing += newline
            if not self.blank and (fresh or text.startswith(("\n", "\r\n"))):
                self.blank = newline
        self.body = text.replace("\n", "\r\n") if self.crlf else text
        if not self.final and ((fresh and self.opening) or text.endswith("\n")):
            self.final = newline
        if self.final == "\n" and text.endswith("\r"):
            self.final = "\r\n"  # or the text would lose its own to the line end

    def open_front(self) -> None:
        """Begin a front matter, empty, where there is none; the text stays."""
        if not self.opening:
            newline = "\r\n" if self.crlf else "\n"
            self.opening = self.closing = "---" + newline
            self.blank = newline


def split_file(content: str) -> Parts:
    """Return a file's content taken apart; whatever it holds, :meth:`Parts.join` gives it back."""
    bom = BOM if content.startswith(BOM) else ""
    parts = Parts(bom=bom)
    if "\r" in content:
        ends = content.count("\n")
        parts.crlf = ends > 0 and ends == content.count("\r\n")
    at = _split_front(content, parts)
    if parts.opening:
        if content.startswith("\n", at):
            parts.blank = "\n"
        elif content.startswith("\r\n", at):
            parts.blank = "\r\n"
        at += len(parts.blank)
        parts.body_line = content.count("\n", 0, at) + 1
    end = _END.search(content, max(at, len(content) - 2))
    parts.final = end[0] if end else ""
    parts.body = content[at : len(content) - len(parts.final)]
    return parts


def _split_front(content: str, parts: Parts) -> int:
    """Take the front matter, if there is one; return where the rest begins."""
    start = len(parts.bom)
    opening = _OPENING.match(content, start)
    if opening is None:
        return start
    closing = _CLOSING.search(content, opening.end())
    if closing is not None and closing.start() - opening.end() <= MAX_FRONT:
        entries = split_entries([f"{line}\n" for line in content[opening.end() : closing.start()].split("\n")[:-1]])
        has_key = bool(entries) and any(entry.key is not None for entry in entries or ())
        if entries is not None and (has_key or not content[opening.end() : closing.start()].strip(" \t\r\n")):
            parts.opening, parts.entries, parts.closing = opening[0], entries, closing[0]
            return closing.end()
    if _begins_with_key(content, opening.end()):
        if closing is not None and closing.start() - opening.end() > MAX_FRONT:
            parts.problem = f"the front matter has more than {MAX_FRONT:,} characters; it was read as text"
        else:
            parts.problem = "the front matter is not closed by a line of '---'; it was read as text"
    return start


def _begins_with_key(content: str, at: int) -> bool:
    for line in content[at : at + 4096].split("\n"):
        if line.strip(" \t\r") and not line.startswith("#"):
            return _KEY.match(line + "\n") is not None
    return False
