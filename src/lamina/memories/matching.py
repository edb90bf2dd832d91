"""Which memory a file holds: by the id in its front matter, by its path, by its content; else it is a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lamina.folder.names import adopted_id
from lamina.memories.adoption import same, to_record
from lamina.memories.context import Context
from lamina.memories.folder import scope_of
from lamina.memories.revisions import Planned, plan, plan_new
from lamina.storage import mirror
from lamina.storage.mirror import FileRow
from lamina.storage.reader import Reader
from lamina.types import Problem

if TYPE_CHECKING:
    from lamina.memories.syncing import Changes, Look, Seen

__all__ = ["Filed", "Matched", "match"]


@dataclass(slots=True)
class Filed:
    """One file, and the memory that it holds."""

    seen: Seen
    row: FileRow
    """As it will be remembered."""
    was: str | None = None
    """Where the memory's file was; None for a new memory."""
    problems: tuple[Problem, ...] = ()
    changed: bool = False

    def plan(self, context: Context, reader: Reader) -> Planned | None:
        """Return the change of the memory that the file asks for; None where it says what the catalog has."""
        if self.seen.read is None or self.row.memory is None:
            return None
        before = reader.current(self.row.memory)
        path = self.row.path
        after, problems = to_record(
            self.seen.read, id=self.row.memory, path=path, scope=scope_of(path), mtime=self.seen.mtime, before=before
        )
        self.problems = (*self.problems, *problems)
        if before is None:
            self.changed = True
            return plan_new(context, after)
        if same(before, after):
            return None
        self.changed = True
        return plan(context, reader, before, after)

    def count(self, changes: Changes) -> None:
        """Add this file to the report."""
        path = self.row.path
        if self.row.memory is None or self.seen.read is None:
            return
        if self.was is None:
            changes.new.append(path)
        elif self.was != path:
            (changes.renamed if scope_of(self.was) == scope_of(path) else changes.moved).append((self.was, path))
        elif self.changed:
            changes.changed.append(path)


@dataclass(slots=True)
class Matched:
    """What is to be written."""

    files: list[Filed] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    """``(path, id)`` of memories without a file."""
    forgotten: list[str] = field(default_factory=list)
    """Files that are gone and held no memory."""


class _Matching:
    """Gives each file that was read its memory, once."""

    def __init__(self, reader: Reader, seen: Sequence[Seen], found: Look) -> None:
        self.reader = reader
        self.free: dict[str, str] = {}
        """``{id: path}`` of memories whose file is gone, or is one of those that were read."""
        changed = {one.found.path for one in seen if one.read is not None}
        gone = mirror.by_path(reader.db, found.vanished)
        self.vanished = [row for row in gone.values() if row.memory is not None]
        self.forgotten = [path for path in found.vanished if path not in gone or gone[path].memory is None]
        for row in self.vanished:
            self.free[str(row.memory)] = row.path
        for one in seen:
            if one.row is not None and one.row.memory is not None and one.found.path in changed and not one.row.leaving:
                self.free[one.row.memory] = one.found.path
        self.free |= {id: path for path, id in found.unseen.items()}
        self.held = {
            memory for path, (_, memory, _) in found.known.items() if memory is not None and memory not in self.free
        }
        self.given: dict[int, tuple[str, str | None]] = {}
        """``{number of the file: (id, where it was)}``"""
        self.taken: set[str] = set()
        self.doubled: dict[int, str] = {}

    def give(self, number: int, id: str, was: str | None) -> None:
        self.given[number] = id, was
        self.taken.add(id)

    def by_id(self, seen: Sequence[Seen]) -> None:
        """Follow the ids in front matter; where two files have one, the file that had it before keeps it."""
        order = sorted(
            range(len(seen)), key=lambda number: self.free.get(seen[number].id or "") != seen[number].found.path
        )
        for number in order:
            id = seen[number].id
            if id is None:
                continue
            if id in self.taken or id in self.held:
                self.doubled[number] = id
            elif id in self.free:
                self.give(number, id, self.free[id])
            else:
                current = self.reader.current(id)
                if current is None:
                    self.give(number, id, None)
                else:  # a memory that is no file
                    self.doubled[number] = id

    def by_path(self, seen: Sequence[Seen], unseen: dict[str, str]) -> None:
        """A file that has no id of its own keeps the memory that it had."""
        for number, one in enumerate(seen):
            row = one.row
            id = row.memory if row is not None and not row.leaving else unseen.get(one.found.path)
            if number not in self.given and one.read is not None and id is not None and id not in self.taken:
                self.give(number, id, one.found.path)

    def by_content(self, seen: Sequence[Seen]) -> None:
        """A file with another name and the content of one that is gone is that one: first whole, then by its text."""
        for name in ("hash", "body"):
            waiting: dict[bytes, list[FileRow]] = {}
            for row in self.vanished:
                if row.memory not in self.taken and (key := getattr(row, name)):
                    waiting.setdefault(key, []).append(row)
            for number, one in enumerate(seen):
                if number in self.given or one.read is None:
                    continue
                rows = waiting.get(getattr(one.read, name))
                if rows:
                    last = one.found.path.rsplit("/", 1)[-1]
                    row = next((row for row in rows if row.path.rsplit("/", 1)[-1] == last), rows[0])
                    rows.remove(row)
                    self.give(number, str(row.memory), row.path)

    def anew(self, seen: Sequence[Seen]) -> None:
        """Give everything else an id of its own, which follows from scope and path."""
        for number, one in enumerate(seen):
            if number in self.given or one.read is None:
                continue
            path, salt = one.found.path, 0
            while True:
                id = adopted_id(scope_of(path), path, salt)
                if id not in self.taken and id not in self.held and self.reader.current(id) is None:
                    break
                salt += 1
            self.give(number, id, None)


def match(reader: Reader, seen: Sequence[Seen], found: Look) -> Matched:
    """Decide which memory each file holds, and which memories have lost their file."""
    matching = _Matching(reader, seen, found)
    matching.by_id(seen)
    matching.by_path(seen, found.unseen)
    matching.by_content(seen)
    matching.anew(seen)
    result = Matched(forgotten=matching.forgotten)
    for number, one in enumerate(seen):
        result.files.append(_filed(number, one, matching))
    for id, path in matching.free.items():
        if id not in matching.taken:
            result.gone.append((path, id))
    return result


def _filed(number: int, one: Seen, matching: _Matching) -> Filed:
    path, row = one.found.path, one.row
    if one.read is None:
        kept = row if row is not None and not row.leaving else None
        if kept is not None and one.hash in (b"", kept.hash) and not one.problems:  # touched
            return Filed(one, replace(kept, stamp=one.stamp), path, mirror.untold(path, kept.problem))
        memory = kept.memory if kept is not None else None
        hash = one.hash or (kept.hash if kept is not None else b"")
        return Filed(
            one,
            FileRow(path=path, memory=memory, hash=hash, body=kept.body if kept else b"", stamp=one.stamp),
            path if memory else None,
            one.problems,
        )
    id, was = matching.given[number]
    problems = one.problems
    if number in matching.doubled:
        other = matching.doubled[number]
        message = f"{path} has the id {other}, which another memory has; it is kept apart as {id}"
        hint = "Give it another id, or remove the line: a copied file needs an id of its own."
        problems = (*problems, Problem(code="id-doubled", where=path, message=message, hint=hint))
    return Filed(
        one, FileRow(path=path, memory=id, hash=one.read.hash, body=one.read.body, stamp=one.stamp), was, problems
    )
