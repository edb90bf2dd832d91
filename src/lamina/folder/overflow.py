"""Keeping an index within its limits: pointers that do not fit move to an index beside it, and back when there is room.

Only pointers move, never prose, and none is lost: what leaves ``MEMORY.md`` stands in ``MEMORY.more.md``, and one line
of ``MEMORY.md`` says how many and how to find them. An index that people made too long themselves is left as it is,
until they ask for ``fit``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME, Index, split_lines
from lamina.folder.limits import Limits, Rank, lowest_first, measure, over, usage_notices
from lamina.folder.pointers import Pointer, target_key

__all__ = ["Placed", "add_all_within", "add_within", "fit", "refill", "settle"]

_AFTER_MOVE = 90  # per cent of the limits that are left after a move, so that the next additions write one file only
_AFTER_REFILL = 75  # below the first notice
_ABOUT = (
    f"Pointers for which [{INDEX_NAME}]({INDEX_NAME}) has no room. `lamina recall` finds their memories,"
    " `lamina index --fix` brings pointers back when there is room."
)
_HEAD = ("# More memories", "", _ABOUT, "")


@dataclass(frozen=True, slots=True)
class Placed:
    """An index and its overflow after an edit.

    Args:
        index: What ``MEMORY.md`` is to hold.
        overflow: What ``MEMORY.more.md`` is to hold; None where there is to be no such file.
        moved: Targets whose pointers went from one to the other, in the order of the file that they left.
        notices: What people should be told, each one sentence or two.
    """

    index: Index
    overflow: Index | None
    moved: tuple[str, ...]
    notices: tuple[str, ...]


def add_within(
    index: Index,
    overflow: Index | None,
    title: str,
    target: str,
    hook: str,
    *,
    limits: Limits,
    rank: Rank,
    name: str = INDEX_NAME,
) -> Placed:
    """Add a pointer; where it does not fit, move the lowest-ranked ones, itself among them, to the overflow.

    Several move at once, down to 90 % of the limits. An index that was over its limits before gets its line and is
    otherwise left alone. A target that has a pointer in either file changes nothing.

    Args:
        index: The index before.
        overflow: The overflow before, None where there is no such file.
        title: The memory's title.
        target: Its file, relative to the index's folder.
        hook: What the line says besides; may be empty.
        limits: What ``MEMORY.md`` may measure.
        rank: Gives a target's rank; higher is more important.
        name: How the index is called in notices.

    Raises:
        InvalidInputError: The target is no relative path, or is an index of this folder.
    """
    return add_all_within(index, overflow, [(title, target, hook)], limits=limits, rank=rank, name=name)


def add_all_within(
    index: Index,
    overflow: Index | None,
    entries: Iterable[tuple[str, str, str]],
    *,
    limits: Limits,
    rank: Rank,
    name: str = INDEX_NAME,
) -> Placed:
    """Add several pointers, ``(title, target, hook)`` each, as :func:`add_within` adds one; they move at once, too.

    Raises:
        InvalidInputError: A target is no relative path, or is an index of this folder.
    """
    there = {*index.targets, *(overflow.targets if overflow is not None else ())}
    new: dict[str, tuple[str, str, str]] = {}
    for title, target, hook in entries:
        key = target_key(target)
        if key not in there:
            new.setdefault(key, (title, target, hook))
    if not new:
        return Placed(index, overflow, (), usage_notices(index, limits, name=name))
    added = index.with_pointers(new.values())
    if over(index.data, limits):
        notice = usage_notices(added, limits, name=name)[0]
        return Placed(
            added, overflow, (), (f"{notice} It was too long before, so nothing is moved; `lamina index --fix` does.",)
        )
    return fit(added, overflow, limits, rank, name=name)


def fit(index: Index, overflow: Index | None, limits: Limits, rank: Rank, *, name: str = INDEX_NAME) -> Placed:
    """Bring an index within its limits by moving its lowest-ranked pointers to the overflow, down to 90 %.

    Where the prose takes more than 80 %, pointers keep half of what it leaves.
    Where its prose alone is too long nothing moves, and a notice says so. Within the limits only the line that names
    the overflow is brought up to date.

    Args:
        index: The index before.
        overflow: The overflow before, None where there is no such file.
        limits: What ``MEMORY.md`` may measure.
        rank: Gives a target's rank; higher is more important.
        name: How the index is called in notices.
    """
    counted = settle(index, overflow)
    if not over(counted.index.data, limits):
        return Placed(counted.index, counted.overflow, (), usage_notices(counted.index, limits, name=name))
    held = _count(overflow)
    most = held + len(index.pointers)
    bare = index.without_pointers(index.pointers)
    named = not over(bare.with_more(most).data, limits)
    if not named and over(bare.with_more(0).data, limits):
        notice = usage_notices(index, limits, name=name) or usage_notices(counted.index, limits, name=name)
        return Placed(
            index, overflow, (), (f"{notice[0]} Its prose alone is that long: nothing is moved, shorten it by hand.",)
        )
    goal = _goal(measure(bare.with_more(most).data), limits) if named else limits
    groups = lowest_first(index.pointers, rank)
    moved = groups if not named else groups[: _how_many(index.with_more(most), groups, goal)]
    while True:
        gone = sorted((pointer for group in moved for pointer in group), key=lambda pointer: pointer.line)
        rest = index.without_pointers(gone).with_more(held + len(gone) if named else 0)
        if len(moved) == len(groups) or not over(rest.data, goal):
            break
        moved = groups[: len(moved) + 1]
    target = _with_pointers(Index.parse(_head(index.newline)) if overflow is None else overflow, gone)
    rest = rest.with_more(_count(target) if named else 0)  # a pointer that was in both is one now
    said = f"{_pointers(len(gone))} moved to {OVERFLOW_NAME}, which now holds {_count(target):,}"
    notices = [f"{said}; `lamina recall` finds them."]
    if not named:
        notices.append(f"{name} has no room even for the line that names {OVERFLOW_NAME}; shorten its prose by hand.")
    notices += usage_notices(rest, limits, name=name)
    return Placed(rest, target, _targets(gone), tuple(notices))


def refill(index: Index, overflow: Index | None, limits: Limits, rank: Rank, *, name: str = INDEX_NAME) -> Placed:
    """Bring pointers back from the overflow, the best-ranked first, until the index is at 75 % of its limits.

    They follow the index's last pointer in the order that they had. A target that has a pointer in the index already
    stays where it is, unless the two lines say the same: then the one in the overflow goes.

    Args:
        index: The index before.
        overflow: The overflow before, None where there is no such file.
        limits: What ``MEMORY.md`` may measure.
        rank: Gives a target's rank; higher is more important.
        name: How the index is called in notices.
    """
    if overflow is not None:
        there = {_said(pointer) for pointer in index.pointers}
        overflow = overflow.without_pointers([pointer for pointer in overflow.pointers if _said(pointer) in there])
    before = settle(index, overflow)
    goal = limits.share(_AFTER_REFILL)
    if overflow is None or not overflow.pointers:
        return Placed(before.index, before.overflow, (), usage_notices(before.index, limits, name=name))
    known = set(index.targets)
    groups = [
        group for group in reversed(lowest_first(overflow.pointers, rank)) if target_key(group[0].target) not in known
    ]
    fitting = len(groups)  # all of them may fit, without the line that names the rest
    placed, back = before, list[Pointer]()
    while fitting:
        chosen = sorted((pointer for group in groups[:fitting] for pointer in group), key=lambda pointer: pointer.line)
        tried = settle(_with_pointers(index, chosen), overflow.without_pointers(chosen))
        if not over(tried.index.data, goal):
            placed, back = tried, chosen
            break
        fitting = min(fitting - 1, _how_many_back(before.index, groups, goal))
    notices = [f"{_pointers(len(back))} came back from {OVERFLOW_NAME}."] if back else []
    notices += usage_notices(placed.index, limits, name=name)
    return Placed(placed.index, placed.overflow, _targets(back), tuple(notices))


def settle(index: Index, overflow: Index | None) -> Placed:
    """Make the two files agree after an edit of either: the line that names the overflow, and whether that still is.

    An overflow without pointers and without anything that people wrote becomes None: its file may go.
    """
    count = _count(overflow)
    if overflow is not None and not count and "".join(overflow.lines).split() in ([], " ".join(_HEAD).split()):
        overflow = None
    return Placed(index.with_more(count), overflow, (), ())


def _goal(prose: tuple[int, int], limits: Limits) -> Limits:
    """Return how far a move goes down: to 90 %, or to half of the room that the prose leaves if that is more."""
    most = limits.share(_AFTER_MOVE)
    lines, size = prose
    return Limits(max(most.lines, (lines + limits.lines + 1) // 2), max(most.bytes, (size + limits.bytes + 1) // 2))


def _how_many(index: Index, groups: list[list[Pointer]], goal: Limits) -> int:
    """Return how many groups must leave an index, at least, to bring it within a goal."""
    lines, size = measure(index.data)
    for count, group in enumerate(groups):
        if lines <= goal.lines and size <= goal.bytes:
            return count
        taken = _size(group)
        lines, size = lines - taken[0], size - taken[1]
    return len(groups)


def _how_many_back(index: Index, groups: list[list[Pointer]], goal: Limits) -> int:
    """Return how many groups an index can take, about, until it is at a goal."""
    lines, size = measure(index.data)
    for count, group in enumerate(groups):
        more = _size(group)
        lines, size = lines + more[0], size + more[1]
        if lines > goal.lines or size > goal.bytes:
            return count
    return len(groups)


def _size(group: Iterable[Pointer]) -> tuple[int, int]:
    sizes = [measure(pointer.raw.encode("utf-8", "surrogateescape")) for pointer in group]
    return sum(lines for lines, _ in sizes), sum(size for _, size in sizes)


def _with_pointers(index: Index, pointers: Iterable[Pointer]) -> Index:
    """Return an index with pointers of another after its own, as they were written; one that it has is not doubled."""
    there = {_said(pointer) for pointer in index.pointers}
    blocks = [_block(pointer) for pointer in pointers if _said(pointer) not in there]
    return index.with_blocks(blocks)


def _block(pointer: Pointer) -> list[str]:
    """Return a pointer's lines without endings, moved to the left margin."""
    lines = [line.rstrip("\r\n") for line in split_lines(pointer.raw)]
    margin = lines[0][: len(lines[0]) - len(lines[0].lstrip(" \t"))]
    return [line[len(margin) :] if line.startswith(margin) else f"  {line.lstrip()}" for line in lines]


def _said(pointer: Pointer) -> tuple[str, str, str]:
    return target_key(pointer.target), pointer.title, pointer.hook


def _count(overflow: Index | None) -> int:
    return len(overflow.pointers) if overflow is not None else 0


def _head(newline: str) -> bytes:
    return newline.join([*_HEAD, ""]).encode()


def _targets(pointers: Iterable[Pointer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pointer.target for pointer in pointers))


def _pointers(count: int) -> str:
    return f"{count:,} {'pointer' if count == 1 else 'pointers'}"
