"""The index of a memory directory, ``MEMORY.md``: read, and edited without touching what people wrote.

A pointer is a list item whose first thing is a link to a relative target, with the indented lines below it.
Everything else is prose: headings, quotes, tables, list items without a link, links within a sentence, fenced code and
comments. An edit changes pointer lines only; bytes that it does not name stay as they are, whatever their encoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lamina.errors import InvalidInputError
from lamina.folder.pointers import (
    LONGEST_LINE,
    SEPARATOR,
    Link,
    Pointer,
    encode_target,
    escape_title,
    fitting_hook,
    indent_of,
    pointer_line,
    read_link,
    target_key,
)

__all__ = ["INDEX_NAME", "OVERFLOW_NAME", "Index", "Pointer", "joined", "pointer_line", "split_lines"]

INDEX_NAME = "MEMORY.md"
OVERFLOW_NAME = "MEMORY.more.md"
"""The index that takes the pointers for which ``MEMORY.md`` has no room; it lies beside it and is no memory."""
_MORE_HOOK = "did not fit here; `lamina recall` finds them"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(?:(`{3,})[^`]*|(~{3,}).*)$")
_REMEMBERED = 200_000  # characters: eight indexes of that length are some ten megabytes
_NUMBER = re.compile(r"\d[\d,.]*")
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Index:
    """An index as it stands in its file; every edit returns a new one.

    Args:
        lines: The lines with their endings, without a byte order mark; a byte that is not UTF-8 is a lone surrogate.
        pointers: The pointers to memories, in order.
        more: The pointers to the overflow index; one is usual.
        bom: The file begins with a byte order mark.
        unclosed: Number of the line that opens a code fence or comment which nothing closes, else None.
    """

    lines: tuple[str, ...]
    pointers: tuple[Pointer, ...]
    more: tuple[Pointer, ...]
    bom: bool
    unclosed: int | None

    @classmethod
    def parse(cls, data: bytes) -> Index:
        """Return the index that a file holds. Any bytes are one; ``data`` gives them back."""
        return _index_of(data.decode("utf-8", "surrogateescape"))

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return (_BOM * self.bom + "".join(self.lines)).encode("utf-8", "surrogateescape")

    @property
    def text(self) -> str:
        """The text to read: without a byte order mark, and with U+FFFD for what is not UTF-8."""
        return "".join(self.lines).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets of the pointers, in order, each once, as ``target_key`` gives them."""
        return tuple(dict.fromkeys(target_key(pointer.target) for pointer in self.pointers))

    @property
    def newline(self) -> str:
        r"""The line ending of new lines: ``\r\n`` where the file's first line has it, else ``\n``."""
        return "\r\n" if self.lines and self.lines[0].endswith("\r\n") else "\n"

    @property
    def conflicts(self) -> tuple[tuple[int, int], ...]:
        """The merge conflicts that nobody has solved: number of the first line, and of the one after the last."""
        found: list[tuple[int, int]] = []
        start: int | None = None
        for number, line in enumerate(self.lines):
            if line.startswith("<<<<<<< ") and start is None:
                start = number
            elif line.startswith(">>>>>>> ") and start is not None:
                found.append((start, number + 1))
                start = None
        return tuple(found)

    def find(self, target: str) -> tuple[Pointer, ...]:
        """Return the pointers to a target."""
        key = target_key(target)
        return tuple(pointer for pointer in self.pointers if target_key(pointer.target) == key)

    def with_pointer(self, title: str, target: str, hook: str = "") -> Index:
        """Return the index with a pointer after its last one, in that one's style; unchanged if the target has one.

        Raises:
            InvalidInputError: The target is no relative path, or is an index of this folder.
        """
        return self if self.find(target) else self.with_pointers([(title, target, hook)])

    def with_pointers(self, entries: Iterable[tuple[str, str, str]]) -> Index:
        """Return the index with pointers ``(title, target, hook)`` after its last one, in that one's style.

        Raises:
            InvalidInputError: A target is no relative path, or is an index of this folder.
        """
        least = min((pointer.indent for pointer in self.pointers), default=0)
        model = next((pointer for pointer in reversed(self.pointers) if pointer.indent == least), None)
        link = read_link(self.lines[model.line]) if model else None
        prefix = link.prefix if link else "- "
        blocks = []
        for title, target, hook in entries:
            if target_key(target) in (INDEX_NAME, OVERFLOW_NAME):
                raise InvalidInputError(
                    f"{target} is an index, not a memory.", hint="Give the memory's file another name."
                )
            blocks.append([pointer_line(title, target, hook, prefix=prefix)])
        return self.with_blocks(blocks)

    def with_blocks(self, blocks: Iterable[Sequence[str]]) -> Index:
        """Return the index with pointers after its last one, each given as its lines without endings."""
        new = [line for block in blocks for line in block]
        if not new:
            return self
        at = self._end_of_pointers(min(indent_of(line) for line in new))
        lines = list(self.lines)
        endings = [self.newline] * len(new)
        if at and at == len(lines) and not lines[-1].endswith(("\r", "\n")):
            lines[-1] += self.newline
            endings[-1] = ""  # a missing last newline stays missing
        lines[at:at] = [line + ending for line, ending in zip(new, endings, strict=True)]
        return self._with_lines(lines)

    def without(self, target: str) -> Index:
        """Return the index without the pointers to a target; prose that names it stays."""
        return self.without_pointers(self.find(target))

    def without_pointers(self, gone: Collection[Pointer]) -> Index:
        """Return the index without some of its pointers and the lines that belong to them."""
        drop = {number for pointer in gone for number in pointer.lines}
        if not drop:
            return self
        kept = [line for number, line in enumerate(self.lines) if number not in drop]
        last = self.lines[-1]
        if kept and len(self.lines) - 1 in drop and not last.endswith(("\r", "\n")):
            kept[-1] = kept[-1].rstrip("\r\n") or kept[-1]  # a missing last newline stays missing
        return self._with_lines(kept)

    def renamed(self, old_target: str, new_target: str) -> Index:
        """Return the index with the pointers to a file led to its new place; nothing else of the lines changes.

        Raises:
            InvalidInputError: The new target is no relative path.
        """

        def rename(line: str, _: Pointer) -> str:
            link = read_link(line)
            if link is None:
                return line
            start, end = link.target_span
            return line[:start] + encode_target(new_target, link.suffix) + line[end:]

        return self._rewritten(self.find(old_target), rename)

    def retitled(self, target: str, *, old: tuple[str, str], new: tuple[str, str]) -> Index:
        """Return the index with a memory's new title and hook; what people wrote by hand stays.

        Args:
            target: The memory's file.
            old: Title and hook from which the pointer was generated; a part that says anything else was written by
                hand.
            new: Title and hook of now.
        """

        def retitle(line: str, pointer: Pointer) -> str:
            one_line = len(pointer.lines) == 1  # a hook of several lines was written by hand
            return _retitled(line, old, new, hook_too=one_line)

        return self._rewritten(self.find(target), retitle)

    def with_more(self, count: int) -> Index:
        """Return the index with its one line that names the overflow index and how many pointers that holds.

        The line is made, updated or, for 0, removed. Only its number changes where people have worded it anew.
        """
        if not count:
            return self.without_pointers(self.more)
        title = f"{count:,} more {'memory' if count == 1 else 'memories'}"
        if not self.more:
            return self.with_blocks([[pointer_line(title, OVERFLOW_NAME, _MORE_HOOK)]])

        def recount(line: str, _: Pointer) -> str:
            link = read_link(line)
            if link is None:
                return line
            start, end = link.title_span
            number = _NUMBER.search(link.title)
            generated = re.fullmatch(r"[\d,.]+ more memor(?:y|ies)", link.title)
            if number and not generated:
                return line[:start] + _NUMBER.sub(f"{count:,}", line[start:end], count=1) + line[end:]
            return line[:start] + title + line[end:]

        single = self.without_pointers(self.more[1:])
        return single._rewritten(single.more, recount)  # noqa: SLF001 - another of this class

    def _end_of_pointers(self, indent: int) -> int:
        """Return the line before which a new pointer goes, so that it takes no line below it for its own."""
        if self.pointers:
            at = self.pointers[-1].lines[-1] + 1
        elif self.more:
            return self._beyond_conflict(self.more[0].line)
        else:
            return self._beyond_conflict(len(self.lines) if self.unclosed is None else self.unclosed)
        while at < len(self.lines) and read_link(self.lines[at]) is None and _continues(self.lines[at], indent):
            at += 1
        return self._beyond_conflict(at)

    def _beyond_conflict(self, at: int) -> int:
        """Return the line after a merge conflict that a line lies in: whoever solves it keeps one of its sides."""
        for start, stop in self.conflicts:
            if start < at < stop:
                return stop
        return at

    def _rewritten(self, pointers: Iterable[Pointer], change: Callable[[str, Pointer], str]) -> Index:
        lines = list(self.lines)
        for pointer in pointers:
            lines[pointer.line] = change(lines[pointer.line], pointer)
        return self if tuple(lines) == self.lines else self._with_lines(lines)

    def _with_lines(self, lines: Iterable[str]) -> Index:
        return _index_of(_BOM * self.bom + "".join(lines))


def _index_of(text: str) -> Index:
    """Return the index that a text is."""
    return _read(text) if len(text) <= _REMEMBERED else _read.__wrapped__(text)


@lru_cache(maxsize=8)  # what one edit leaves, the next one reads: reading it is most of what an edit costs
def _read(text: str) -> Index:
    bom = text.startswith(_BOM)
    lines = split_lines(text[1:] if bom else text)
    found, unclosed = _scan(lines)
    return Index(
        lines=lines,
        pointers=tuple(pointer for pointer in found if pointer.target != OVERFLOW_NAME),
        more=tuple(pointer for pointer in found if pointer.target == OVERFLOW_NAME),
        bom=bom,
        unclosed=unclosed,
    )


def joined(private: str, team: str) -> str:
    """Return both scopes' indexes as one text; a remark says where the team's links begin."""
    remark = f"<!-- team/{INDEX_NAME}: links below are relative to team/ -->\n\n"
    return "\n\n".join(part for part in (private.rstrip() if team else private, team and remark + team) if part)


def split_lines(text: str) -> tuple[str, ...]:
    r"""Return the lines of a text with their endings, which are ``\n``, ``\r\n`` and a lone ``\r`` as in CommonMark."""
    return tuple(_LINE.findall(text))


def _scan(lines: Sequence[str]) -> tuple[list[Pointer], int | None]:
    """Return the pointers among lines, and where a fence or comment opens that nothing closes.

    An indented line belongs to the nearest pointer above it that is less indented, with nothing but pointers and such
    lines between: so it belongs to the same one when pointers between are gone.
    """
    found: list[tuple[Link, list[int]]] = []
    open_: list[tuple[int, list[int]]] = []  # the pointers that a line may belong to: indentation, lines
    closing: Callable[[str], object] | None = None
    opened = 0
    for number, line in enumerate(lines):
        if closing is not None:
            if closing(line):
                closing = None
            continue
        link = read_link(line)
        is_pointer = link is not None and link.target != INDEX_NAME
        if is_pointer or (open_ and link is None and _continues(line, open_[0][0])):
            indent = indent_of(line)
            while open_ and open_[-1][0] >= indent:
                open_.pop()
            if link is not None:
                found.append((link, [number]))
                open_.append((indent, found[-1][1]))
                continue
            open_[-1][1].append(number)
        else:
            open_.clear()
            closing, opened = _opening(line), number
    pointers = [_pointer(link, [lines[number] for number in numbers], numbers) for link, numbers in found]
    return pointers, None if closing is None else opened


def _pointer(link: Link, lines: Sequence[str], numbers: Sequence[int]) -> Pointer:
    if len(lines) == 1:
        return Pointer(numbers[0], link.title, link.target, link.hook, lines[0], tuple(numbers))
    hook = " ".join(filter(None, [link.hook, *(line.strip() for line in lines[1:])]))
    raw = "".join(line if line.endswith(("\n", "\r")) else f"{line}\n" for line in lines[:-1]) + lines[-1]
    return Pointer(numbers[0], link.title, link.target, hook, raw, tuple(numbers))


def _continues(line: str, indent: int) -> bool:
    """Whether a line belongs to the pointer above it, whose bullet is ``indent`` columns in."""
    if line[:1] not in " \t" or not line.strip() or indent_of(line) <= indent:
        return False
    return not line.lstrip().startswith("<!--") and _FENCE.match(line.rstrip("\r\n")) is None


def _opening(line: str) -> Callable[[str], object] | None:
    """Return what recognises the end of the fence or comment that a line opens, or None where it opens none."""
    bare = line.strip()
    if bare.startswith("<!--"):
        return None if "-->" in bare else re.compile("-->").search
    fence = _FENCE.match(line.rstrip("\r\n")) if "```" in bare or "~~~" in bare else None
    if fence is None:
        return None
    mark = fence[1] or fence[2]
    return re.compile(rf"[ \t]*{re.escape(mark[0])}{{{len(mark)},}}\s*$").match


def _retitled(line: str, old: tuple[str, str], new: tuple[str, str], *, hook_too: bool) -> str:
    link = read_link(line)
    if link is None:
        return line
    was = read_link(pointer_line(old[0], link.target, old[1], prefix=link.prefix))
    now = read_link(pointer_line(new[0], link.target, new[1], prefix=link.prefix))
    if was is None or now is None:
        return line
    ending = line[len(line.rstrip("\r\n")) :]
    start, end = link.title_span
    head = line[: link.end]
    if link.title == was.title:
        head = line[:start] + escape_title(now.title) + line[end : link.end]
    if not hook_too or link.hook != was.hook:
        return head + line[link.end :]
    separator = link.separator if link.separator.strip() else SEPARATOR
    title = now.title if link.title == was.title else link.title
    hook = fitting_hook(title, new[1], LONGEST_LINE - len(head) - len(separator))
    if hook == link.hook:
        return head + line[link.end :]
    return head + (separator + hook if hook else "") + ending
