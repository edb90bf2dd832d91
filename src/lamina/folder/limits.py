"""What an index may measure, and the cut that is loaded where a file is longer than that.

An agent loads ``MEMORY.md`` every time, so it has two limits that hold together: lines, and bytes of UTF-8 (a text of
Chinese is three times as long in bytes as in characters). A cut leaves out the lowest-ranked pointers first, prose
last, and says in its own last line what it left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lamina.folder.index import INDEX_NAME, Index, split_lines
from lamina.folder.pointers import Pointer, target_key

__all__ = ["Cut", "Limits", "Rank", "cut", "lowest_first", "measure", "over", "usage_notices"]

Rank = Callable[[str], Any]
"""Gives a target's rank; what sorts higher is more important. It is asked once for each target."""
_SHARES = (90, 75)  # per cent of a limit from which a notice is due


@dataclass(frozen=True, slots=True)
class Limits:
    """What an index may measure; both hold.

    Args:
        lines: Lines; the last counts without a line ending too.
        bytes: Bytes of UTF-8.
    """

    lines: int = 200
    bytes: int = 25_000

    def share(self, per_cent: int) -> Limits:
        """Return a part of these limits, rounded down."""
        return Limits(self.lines * per_cent // 100, self.bytes * per_cent // 100)


@dataclass(frozen=True, slots=True)
class Cut:
    """An index as an agent loads it.

    Args:
        text: The text, within the limits; the whole where it fits.
        lines: Lines of the whole.
        bytes: Bytes of the whole.
        left_out: Targets of the pointers that are not in ``text``, in the order of the file.
        over_lines: The whole has too many lines.
        over_bytes: The whole has too many bytes.
        warning: The last line of ``text``, which says what is left out; empty where nothing is.
    """

    text: str
    lines: int
    bytes: int
    left_out: tuple[str, ...]
    over_lines: bool
    over_bytes: bool
    warning: str


def measure(data: bytes) -> tuple[int, int]:
    r"""Return the lines and bytes of a file.

    Lines are counted as ``wc -l`` does, plus a last one without an ending; a lone ``\r`` ends a line too.
    """
    ends = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
    return ends + bool(data and not data.endswith((b"\n", b"\r"))), len(data)


def over(data: bytes, limits: Limits) -> bool:
    """Return whether a file exceeds either limit."""
    lines, size = measure(data)
    return lines > limits.lines or size > limits.bytes


def usage_notices(index: Index, limits: Limits, *, name: str = INDEX_NAME) -> tuple[str, ...]:
    """Return what to tell people when an index comes near its limits: nothing, or one line from 75 % on.

    Args:
        index: The index.
        limits: Its limits.
        name: How the file is called in the message.
    """
    lines, size = measure(index.data)
    if lines > limits.lines or size > limits.bytes:
        return (f"{name} is {_excess(lines, size, limits)}.",)
    shares = [
        (count * 100 // limit, f"{limit:,} {unit}")
        for count, limit, unit in ((lines, limits.lines, "lines"), (size, limits.bytes, "bytes"))
        if limit and count * 100 // limit >= _SHARES[-1]
    ]
    if not shares:
        return ()
    notice = f"{name} is at {' and '.join(f'{share} % of its {what}' for share, what in shares)}."
    if max(shares)[0] >= _SHARES[0]:
        notice += " Beyond that, its lowest-ranked pointers move to an overflow index."
    return (notice,)


def cut(index: Index, limits: Limits, rank: Rank, *, name: str = INDEX_NAME) -> Cut:
    """Return an index within its limits, with a warning as its last line if anything had to be left out.

    Pointers go first, the lowest-ranked before the others, and the rest keeps its order. Where the prose alone is too
    long, its last lines go, then whole lines until the bytes fit, then characters of the only line.

    Args:
        index: The index.
        limits: What the text may measure, its warning included.
        rank: Gives a target's rank; higher is more important.
        name: How the file is called in the warning.
    """
    text = index.text
    lines, size = measure(text.encode())
    over_lines, over_bytes = lines > limits.lines, size > limits.bytes
    if not (over_lines or over_bytes):
        return Cut(text, lines, size, (), over_lines, over_bytes, "")
    whole = Index.parse(text.encode())
    newline = whole.newline

    def warning(pointers: int, *, prose: bool) -> str:
        return f"> WARNING: {name} is {_excess(lines, size, limits)}. {_left_out(pointers, prose=prose)}"

    reserve = len(warning(len(whole.pointers), prose=True).encode()) + 2 * len(newline)
    room = Limits(limits.lines - 1, limits.bytes - reserve)
    gone: list[Pointer] = []
    rest_lines, rest_size = lines, size
    for group in lowest_first(whole.pointers, rank):
        if rest_lines <= room.lines and rest_size <= room.bytes:
            break
        for pointer in group:
            taken = measure(pointer.raw.encode())
            rest_lines, rest_size = rest_lines - taken[0], rest_size - taken[1]
        gone += group
    kept = "".join(whole.without_pointers(gone).lines)
    shown = _head(kept, room)
    left_out = tuple(dict.fromkeys(pointer.target for pointer in sorted(gone, key=lambda pointer: pointer.line)))
    said = warning(len(gone), prose=len(shown) < len(kept))
    if shown and not shown.endswith(("\n", "\r")):
        shown += newline
    result = shown + said + newline
    if over(result.encode(), limits):  # no room even for the warning
        result = _head(said, limits)
    return Cut(result, lines, size, left_out, over_lines, over_bytes, said)


def lowest_first(pointers: Iterable[Pointer], rank: Rank) -> list[list[Pointer]]:
    """Return pointers in the order in which they make room, those to one target together.

    Equal ranks are told apart by the target, so that two clones of a folder decide alike, whatever order their lines
    have.
    """
    groups: dict[str, list[Pointer]] = {}
    for pointer in pointers:
        groups.setdefault(target_key(pointer.target), []).append(pointer)
    ranks = {key: rank(group[0].target) for key, group in groups.items()}
    return [groups[key] for key in sorted(sorted(groups), key=ranks.__getitem__)]


def _head(text: str, room: Limits) -> str:
    """Return the beginning of a text within limits: whole lines, or the first characters where no line fits."""
    lines = split_lines(text)[: max(room.lines, 0)]
    size = 0
    for number, line in enumerate(lines):
        size += len(line.encode())
        if size > room.bytes:
            kept = "".join(lines[:number])
            return kept or line.encode()[: max(room.bytes, 0)].decode("utf-8", "ignore")
    return "".join(lines)


def _left_out(pointers: int, *, prose: bool) -> str:
    parts = []
    if pointers:
        parts.append(f"{pointers:,} {'pointer is' if pointers == 1 else 'pointers are'} left out here")
    if prose:
        parts.append("the end of its text is left out" if not pointers else "so is the end of its text")
    said = ", and ".join(parts)
    return f"{said[:1].upper()}{said[1:]}; `lamina recall` finds the memories, `lamina list` names them."


def _excess(lines: int, size: int, limits: Limits) -> str:
    parts = []
    if lines > limits.lines:
        parts.append(f"{lines:,} lines (limit: {limits.lines:,})")
    if size > limits.bytes:
        has, most = (f"{count / 1024:,.1f} KB" for count in (size, limits.bytes))
        if has == most:  # rounded, the numbers would contradict each other
            has, most = f"{size:,} bytes", f"{limits.bytes:,} bytes"
        parts.append(f"{has} (limit: {most})")
    return " and ".join(parts)
