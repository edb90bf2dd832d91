"""Three-way merge of an index: pointers as a set, prose by lines.

Two clones that add, change and delete memories change neighbouring lines of ``MEMORY.md``, where a merge by lines
conflicts at every turn. Here a pointer is an element keyed by its target, and a file is its prose, in which a run of
pointers leaves one mark. The prose merges by lines (the diff3 of Khanna, Kunal and Pierce, "A Formal Investigation of
Diff3", FSTTCS 2007, on the matching blocks of difflib); then every pointer of the merged set is put where its side
had it. Neither side is preferred: exchanging them changes nothing but the sides of a conflict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lamina.folder.index import OVERFLOW_NAME, Index, split_lines
from lamina.folder.pointers import Pointer, read_link, target_key

__all__ = ["Merged", "merge"]

_T = TypeVar("_T")
_Key = tuple[str, int]  # a target, and which of the pointers to it
_MORE: _Key = (OVERFLOW_NAME, 0)
_RUN = "\0"  # the mark of a run of pointers among lines of prose
_NUMBER = re.compile(r"\d[\d,.]*")
_OURS, _MIDDLE, _THEIRS = "<<<<<<< ours\n", "=======\n", ">>>>>>> theirs\n"


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge gives.

    Args:
        data: The merged file; where both sides said different things it has conflict markers as git writes them.
        conflicts: Places with markers; 0 if the file is whole.
    """

    data: bytes
    conflicts: int


@dataclass(frozen=True, slots=True)
class _Side:
    """A version of the file: its prose with marks, and its pointers by key, each with the number of its run."""

    prose: list[str]
    pointers: dict[_Key, str]
    runs: dict[_Key, int]


def merge(base: bytes, ours: bytes, theirs: bytes) -> Merged:
    """Merge two versions of an index that come from one.

    - A pointer that either side added is there once; one that a side deleted and the other left alone is gone; one that
      a side deleted and the other changed stays as it was changed.
    - Changes to different parts of one pointer (title, target's spelling, hook) are joined. Where both added a pointer
      to one target with other words, the longer words stay, since the memory's own file is merged beside it. Where both
      changed the same part of a pointer that there was, that is a conflict.
    - Prose that one side changed is taken from it; prose that both changed differently is a conflict.
    - The line that names the overflow index keeps the larger of the two numbers: how many there are is only known when
      that file is merged too, and the next edit of the index (``settle``, ``fit``) counts again.

    The overflow index merges the same way. Byte order mark, line endings and a missing last newline are merged like
    the rest: what one side changed is taken.

    Args:
        base: The version that both come from; empty where there was none.
        ours: One version.
        theirs: The other.

    Returns:
        The merged file. Which of its pointers stand in which order does not depend on which side is ours.
    """
    if theirs in (ours, base):
        return Merged(ours, 0)
    if ours == base:
        return Merged(theirs, 0)
    parsed = [Index.parse(data) for data in (base, ours, theirs)]
    bom = _either(*(index.bom for index in parsed))
    styles = [_style(index) for index in parsed]
    unended = _either(*(bool(index.lines) and not index.lines[-1].endswith(("\n", "\r")) for index in parsed))
    sides = [_side(index) for index in parsed]
    keys = _merged_keys(*sides)
    prose, slots, conflicts = _merged_prose(*sides, marks=True)
    if conflicts:  # where runs came, went or moved, their marks may match prose at the wrong place
        again = _merged_prose(*sides, marks=False)
        prose, slots, conflicts = again if again[2] < conflicts else (prose, slots, conflicts)
    placed: dict[int, list[_Key]] = {}
    where = {key: _slot(key, sides, slots) for key in keys}
    for slot in set(where.values()):
        placed[slot] = _ordered([key for key in keys if where[key] == slot], sides)
    texts: dict[_Key, str] = {}
    for key in keys:
        texts[key], clash = _text(key, *sides)
        conflicts += clash
    text = _assembled(prose, placed, texts)
    if unended:
        text = text.removesuffix("\n").removesuffix("\r")
    newline = _either(*styles)
    if newline == "\r\n":
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return Merged((("\ufeff" if bom else "") + text).encode("utf-8", "surrogateescape"), conflicts)


def _either(base: _T, ours: _T, theirs: _T) -> _T:
    """Return what a value becomes: the side that changed it wins, and base's where both did and differ."""
    if theirs in (ours, base):
        return ours
    return theirs if ours == base else base


def _style(index: Index) -> str:
    r"""Return the line ending of a file; ``\n`` where it has several, each of which then stays on its line."""
    endings = {line[len(line.rstrip("\r\n")) :] for line in index.lines} - {""}
    return "\r\n" if endings == {"\r\n"} else "\n"


def _side(index: Index) -> _Side:
    unix = _style(index) == "\r\n"
    prose: list[str] = []
    pointers: dict[_Key, str] = {}
    runs: dict[_Key, int] = {}

    def said(number: int) -> str:
        line = index.lines[number]
        line = line if line.endswith(("\n", "\r")) else f"{line}\n"
        return line.replace("\r\n", "\n") if unix else line

    owners = {number: one for one in (*index.pointers, *index.more) for number in one.lines}
    run = -1
    for number in range(len(index.lines)):
        pointer = owners.get(number)
        if pointer is None:
            prose.append(said(number))
            continue
        if prose[-1:] != [_RUN]:
            prose.append(_RUN)
            run += 1
        key = _key(pointer, pointers)
        if number == pointer.line and key not in pointers:  # else it is a second line that names the overflow index
            pointers[key] = "".join(said(number) for number in pointer.lines)
            runs[key] = run
    return _Side(prose, pointers, runs)


def _key(pointer: Pointer, known: Mapping[_Key, str]) -> _Key:
    if pointer.target == OVERFLOW_NAME:
        return _MORE
    target, number = target_key(pointer.target), 0
    while (target, number) in known:
        number += 1
    return target, number


def _merged_keys(base: _Side, ours: _Side, theirs: _Side) -> list[_Key]:
    def kept(key: _Key) -> bool:
        mine, other = ours.pointers.get(key), theirs.pointers.get(key)
        if mine is not None and other is not None:
            return True
        old = base.pointers.get(key)
        return (mine if mine is not None else other) not in (old, None)

    return [key for key in dict.fromkeys([*base.pointers, *ours.pointers, *theirs.pointers]) if kept(key)]


# Prose


def _merged_prose(
    base: _Side, ours: _Side, theirs: _Side, *, marks: bool
) -> tuple[list[str | int], list[list[int]], int]:
    """Merge the prose of two sides.

    Args:
        base: The version that both come from.
        ours: One side.
        theirs: The other.
        marks: Whether a run of pointers may hold its place like a line; that keeps changes on either side of it apart.

    Returns:
        The merged prose, in which a number stands for the pointers of that slot; for each version, the slot of each of
        its runs; and the number of conflicts.
    """
    sides = (base, ours, theirs)
    merged: list[str | int] = []
    slots: list[list[int]] = [[], [], []]
    conflicts = count = 0
    for chunk in _chunks(base.prose, ours.prose, theirs.prose, marks=marks):
        said = [[line for line in lines if line != _RUN] for lines in chunk]
        runs = [sum(line == _RUN for line in lines) for lines in chunk]
        first = count
        if said[1] != said[2] and said[0] not in said[1:]:
            conflicts += 1
            if any(runs):
                merged.append(count)
                count += 1
            merged += [_OURS, *said[1], _MIDDLE, *said[2], _THEIRS]
        else:
            taken = _chosen(chunk, said)
            if any(runs) and _RUN not in taken:
                merged.append(count)
                count += 1
            for line in taken:
                merged.append(count if line == _RUN else line)
                count += line == _RUN
        for version in range(len(sides)):
            slots[version] += [min(first + run, count - 1) for run in range(runs[version])]
    return merged, slots, conflicts


def _chosen(chunk: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> Sequence[str]:
    """Return the lines that a chunk without conflict becomes; the same whichever side is ours."""
    base, ours, theirs = chunk
    if said[1] != said[2]:
        return theirs if said[1] == said[0] else ours
    changed = sorted(tuple(lines) for lines in (ours, theirs) if lines != base)
    return changed[0] if changed else base  # the same words; only the runs between them may stand elsewhere


def _chunks(
    base: list[str], ours: list[str], theirs: list[str], *, marks: bool
) -> Iterable[tuple[list[str], list[str], list[str]]]:
    """Cut three versions into chunks: lines that all share, and between them what any of them changed."""
    mine, other = _matches(base, ours, marks=marks), _matches(base, theirs, marks=marks)
    b = o = t = 0
    for at in range(len(base)):
        if at in mine and at in other:
            yield base[b:at], ours[o : mine[at]], theirs[t : other[at]]
            yield [base[at]], [base[at]], [base[at]]
            b, o, t = at + 1, mine[at] + 1, other[at] + 1
    yield base[b:], ours[o:], theirs[t:]


def _matches(base: list[str], side: list[str], *, marks: bool) -> dict[int, int]:
    """Return which lines of a side are which of base; marks of runs are matched like lines, or not at all."""
    from difflib import SequenceMatcher

    old, new = ([at for at, line in enumerate(lines) if marks or line != _RUN] for lines in (base, side))
    matcher = SequenceMatcher(None, [base[at] for at in old], [side[at] for at in new], autojunk=False)
    return {
        old[block.a + step]: new[block.b + step]
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    }


# Pointers


def _slot(key: _Key, sides: Sequence[_Side], slots: Sequence[Sequence[int]]) -> int:
    base, ours, theirs = (
        lines[side.runs[key]] if key in side.runs else None for side, lines in zip(sides, slots, strict=True)
    )
    if ours is None or theirs is None:
        only = theirs if ours is None else ours
        assert only is not None  # what is merged stands in one of them
        return only
    if base in (ours, theirs):
        return theirs if ours == base else ours
    return min(ours, theirs)


def _ordered(keys: list[_Key], sides: Sequence[_Side]) -> list[_Key]:
    """Return the pointers of one slot in order: base's, and after the one that they followed, the new ones."""
    members = set(keys)
    base, ours, theirs = ([key for key in side.pointers if key in members] for side in sides)
    shared = members & set(base) & set(ours) & set(theirs)
    orders = [[key for key in side if key in shared] for side in (base, ours, theirs)]
    kept = orders[1] if orders[2] == orders[0] else orders[2] if orders[1] == orders[0] else min(orders[1:])
    groups: dict[_Key | None, list[list[_Key]]] = {}
    for side in (ours, theirs):
        before: _Key | None = None
        new: list[_Key] = []
        for key in side:
            if key in shared:
                before, new = key, []
            else:
                if not new:
                    groups.setdefault(before, []).append(new)
                new.append(key)
    result: dict[_Key, None] = {}
    for anchor in (None, *kept):
        if anchor is not None:
            result[anchor] = None
        for group in sorted(groups.get(anchor, ())):
            result |= dict.fromkeys(key for key in group if key not in result)
    order = list(result)
    if _MORE in result:  # pointers are added before the line that names the rest
        order.remove(_MORE)
        order.append(_MORE)
    return order


def _text(key: _Key, base: _Side, ours: _Side, theirs: _Side) -> tuple[str, int]:
    """Return the lines of a merged pointer, and 1 if they are a conflict."""
    old, mine, other = (side.pointers.get(key) for side in (base, ours, theirs))
    if mine is None or other is None:
        return (other or "" if mine is None else mine), 0
    if key == _MORE:
        return max(mine, other, key=lambda line: (_number(line), line != old, len(line), line)), 0
    if other in (mine, old):
        return mine, 0
    if mine == old:
        return other, 0
    parts = [_parts(text) for text in (mine, other)]
    was = _parts(old) if old is not None else None
    if was is not None and any(a != b and part not in (a, b) for part, a, b in zip(was, *parts, strict=True)):
        return f"{_OURS}{mine}{_MIDDLE}{other}{_THEIRS}", 1
    if was is not None:
        return "".join(_either(part, a, b) for part, a, b in zip(was, *parts, strict=True)), 0
    return max(mine, other, key=lambda text: (len(text), text)), 0


def _parts(text: str) -> tuple[str, str, str, str, str]:
    """Return a pointer as parts that people change apart: bullet, title, target, rest of the line, lines below."""
    first = split_lines(text)[0].rstrip("\r\n")
    link = read_link(first)
    assert link is not None
    start, end = link.title_span
    _, closes = link.target_span
    return first[:start], first[start:end], first[end:closes], first[closes:], text[len(first) :]


def _number(line: str) -> int:
    link = read_link(line)
    match = _NUMBER.search(link.title) if link else None
    return int(re.sub(r"\D", "", match[0])) if match else 0


def _assembled(prose: Sequence[str | int], placed: Mapping[int, Sequence[_Key]], texts: Mapping[_Key, str]) -> str:
    """Return the merged text.

    A pointer that the merged prose would swallow, in a fence that one side opened, goes to where it is one.
    """

    def text(left_out: set[_Key]) -> str:
        return "".join(
            item
            if isinstance(item, str)
            else "".join(texts[key] for key in placed.get(item, ()) if key not in left_out)
            for item in prose
        )

    whole = text(set())
    index = Index.parse(whole.encode("utf-8", "surrogateescape"))
    seen = {*index.targets, *(OVERFLOW_NAME for _ in index.more[:1])}
    swallowed = [key for key in texts if key[0] not in seen]
    if not swallowed:
        return whole
    rest = Index.parse(text(set(swallowed)).encode("utf-8", "surrogateescape"))
    rest = rest.with_blocks([line.rstrip("\r\n") for line in split_lines(texts[key])] for key in sorted(swallowed))
    return "".join(rest.lines)
