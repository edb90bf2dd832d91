"""Sync: the catalog follows the files. No file is written.

A look compares what the disk says of each file (size, times, inode) with what it said when the file was last read; only
where they differ is a file opened. Which memory a file holds is decided by the id in its front matter, then by its
path, then by its content, so that a renamed file keeps its memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lamina import fs
from lamina.errors import InvalidInputError, LaminaError, LockedError, NotFoundError, ReadOnlyError
from lamina.folder.scan import Found, Scan, scan
from lamina.memories.context import Context
from lamina.memories.folder import MAX_FILE_BYTES, Folder, scope_of, stamp_tuple
from lamina.storage import mirror
from lamina.storage.mirror import FileRow, Stamp
from lamina.types import Problem, SyncReport

if TYPE_CHECKING:  # numpy comes with them, and a folder that did not change needs none
    from lamina.memories.adoption import Read
    from lamina.memories.matching import Filed

__all__ = ["sync", "sync_at_open"]

WAIT_AT_OPEN = 0.2
"""Seconds that opening a store waits for whoever is changing its files."""
BATCH = 500
"""Files of one transaction."""
TICK_S = 0.025
"""A file system stamps times with the kernel's tick, 10 ms at most (CONFIG_HZ=100); :meth:`lamina.fs.Stamp.settled`
asks for two of them."""


@dataclass(slots=True)
class Look:
    """How the folder differs from what the catalog knows of it."""

    scan: Scan
    known: dict[str, tuple[Stamp, str | None, str | None]]
    changed: list[Found]
    """New files, and those that do not look as they did."""
    vanished: list[str]
    unseen: dict[str, str]
    """``{path: id}`` of memories whose file has no row, as after a repair."""
    left: bool = False
    """Whether a file is still there whose memory has moved elsewhere."""

    @property
    def differs(self) -> bool:
        """Whether anything is to be taken over."""
        return bool(self.changed or self.vanished or self.unseen)


@dataclass(slots=True)
class Seen:
    """One file that was opened."""

    found: Found
    hash: bytes = b""
    stamp: Stamp = mirror.UNSURE
    settled: bool = True
    """Whether a change after the reading would show in the stamp."""
    mtime: int = 0
    """Microseconds."""
    read: Read | None = None
    """None where it could not be read as a memory; then ``problems`` says why."""
    problems: tuple[Problem, ...] = ()
    row: FileRow | None = None
    """What the catalog knew of it."""

    @property
    def id(self) -> str | None:
        """The id that its front matter gives, where it may be one."""
        from lamina.memories.checks import check_id

        if self.read is None or self.read.document.id is None:
            return None
        try:
            return check_id(self.read.document.id)
        except InvalidInputError:
            return None


@dataclass(slots=True)
class Changes:
    """What was taken over so far."""

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    opened: int = 0


def sync(context: Context, *, wait: float | None = None) -> SyncReport:
    """Let the catalog follow the files.

    Args:
        context: Of the store.
        wait: Seconds to wait for whoever is changing files; the store's busy timeout when None.

    Raises:
        ReadOnlyError: The store is open for reading only.
        LockedError: Someone kept changing files for longer than the wait.
    """
    if context.catalog.read_only:
        raise ReadOnlyError("A store that is open for reading only cannot be synced.", hint="Open it for writing.")
    folder = context.folder
    found = look(context)
    if not (found.differs or found.left) and folder.journal.read() is None:
        return report(context, found, Changes())
    changes = Changes()
    with folder.changing(context, context.settings.busy_timeout if wait is None else wait):
        found = look(context)  # what was in flight a moment ago is done now
        if found.differs:
            apply(context, folder, found, changes)
            found = look(context)
    return report(context, found, changes)


def sync_at_open(context: Context) -> tuple[SyncReport | None, tuple[str, ...]]:
    """Let the catalog follow the files where that is possible at once.

    Returns:
        What was taken over, None where the catalog may be behind the files; and what a reader should know.
    """
    folder = context.folder
    try:
        if context.catalog.read_only:
            found = look(context)
            paths = [*(file.path for file in found.changed), *found.vanished]
            count = sum(context.allows(scope_of(path)) for path in paths)
            if count:
                changed = f"{_files(count)} changed since the last sync, which a store open for reading cannot follow."
                return None, (changed,)
            return report(context, found, Changes()), ()
        done = sync(context, wait=WAIT_AT_OPEN)
        return done, tuple(_told(done))
    except LockedError:
        return None, ("Someone is changing files of this store; answers come from what was there before.",)
    except (LaminaError, OSError) as error:
        message = error.message if isinstance(error, LaminaError) else str(error)
        told = f"The folder {folder.root} was not synced: {message} Answers come from what was there before."
        return None, (told,)


def look(context: Context) -> Look:
    """Compare the folder with what the catalog knows of it; no file is opened."""
    found = scan(context.folder.root, ignore=context.settings.ignore)
    with context.catalog.read("looking at the folder") as reader:
        known = mirror.stamps(reader.db)
        unseen = mirror.unseen(reader.db)
        leaving = {row.path: row.stamp for row in mirror.leaving(reader.db)}
    changed = []
    for path, file in found.files.items():
        was = known.get(path)
        stamp = stamp_tuple(file.stamp)
        if (was is None or was[0] != stamp) and leaving.get(path) != stamp:
            changed.append(file)
    vanished = [path for path in known if path not in found.files and found.covers(path)]
    gone = {path: id for path, id in unseen.items() if path in found.files or found.covers(path)}
    return Look(found, known, changed, vanished, gone, left=any(path in found.files for path in leaving))


def apply(context: Context, folder: Folder, found: Look, changes: Changes) -> None:
    """Take over what a look found; the folder is held by the caller."""
    from lamina.memories.matching import match

    seen = _read_all(context, folder, found.changed, changes)
    with context.catalog.read("finding whose files these are") as reader:
        plan = match(reader, seen, found)
    for start in range(0, len(plan.files), BATCH):
        _write_files(context, plan.files[start : start + BATCH], changes)
    _write_gone(context, plan.gone, plan.forgotten, changes)


def report(context: Context, found: Look, changes: Changes) -> SyncReport:
    """Return what was taken over, and what is wrong with files, as far as this handle may see it."""
    problems = [problem for problem in found.scan.problems if context.allows(scope_of(problem.where))]
    for path, (_, _, told) in sorted(found.known.items()):
        if told and context.allows(scope_of(path)):
            problems += mirror.untold(path, told)

    def mine(paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(path for path in paths if context.allows(scope_of(path))))

    def pairs(paths: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(pair for pair in paths if all(context.allows(scope_of(path)) for path in pair)))

    return SyncReport(
        new=mine(changes.new),
        changed=mine(changes.changed),
        renamed=pairs(changes.renamed),
        moved=pairs(changes.moved),
        deleted=mine(changes.deleted),
        problems=tuple(problems),
        files=len(mine(found.scan.files)),
        opened=changes.opened,
    )


def _read_all(context: Context, folder: Folder, changed: Sequence[Found], changes: Changes) -> list[Seen]:
    with context.catalog.read("looking at the folder") as reader:
        rows = mirror.by_path(reader.db, [file.path for file in changed])
    seen = [_read(folder, file, rows.get(file.path), changes) for file in changed]
    fresh = [number for number, one in enumerate(seen) if one is not None and not one.settled]
    if fresh:  # what was saved a moment ago may be saved again without showing it: read it when the clock has moved on
        time.sleep(TICK_S)
        for number in fresh:
            again = _read(folder, changed[number], rows.get(changed[number].path), changes)
            if again is not None and not again.settled:
                again.stamp = mirror.UNSURE
            seen[number] = again
    return [one for one in seen if one is not None]


def _read(folder: Folder, file: Found, row: FileRow | None, changes: Changes) -> Seen | None:
    """Open one file; return None where it went away meanwhile."""
    from lamina.memories.adoption import content_hash, read_memory

    changes.opened += 1
    seen = Seen(file, row=row)
    now = time.time_ns()
    try:
        data, stamp = fs.read_with_stamp(folder.absolute(file.path), max_bytes=MAX_FILE_BYTES)
    except NotFoundError:
        return None
    except LaminaError as error:
        seen.stamp = stamp_tuple(file.stamp)
        seen.problems = (_problem(error, file.path, "unreadable"),)
        return seen
    seen.stamp, seen.settled = stamp_tuple(stamp), stamp.settled(now)
    seen.mtime, seen.hash = stamp.mtime_ns // 1000, content_hash(data)
    if row is not None and row.hash == seen.hash and not row.leaving:
        return seen  # touched, and says what it said
    if not data.strip():
        # An editor that writes in place empties a file before it fills it; what was known of it stays until then.
        hint = "Write something into it, or remove it."
        seen.problems = (Problem(code="empty", where=file.path, message=f"{file.path} is empty", hint=hint),)
        return seen
    try:
        seen.read = read_memory(data, file.path)
        seen.problems = (*seen.read.problems, *_team_problems(seen.read, file))
    except InvalidInputError as error:
        seen.problems = (_problem(error, file.path, "unreadable"),)
    return seen


def _team_problems(read: Read, file: Found) -> Iterable[Problem]:
    """Tell what should not lie in a folder that is made to be committed."""
    if file.scope != "team":
        return
    from lamina.guard.secrets import find_secrets

    for secret in find_secrets(read.data.decode("utf-8", "replace")):
        message = f"{file.path}:{secret.line} looks as if it carried a secret ({secret.kind})"
        hint = "Take it out, change the secret, and clean the history of the repository."
        yield Problem(code="secret", where=file.path, message=message, hint=hint)
    if read.document.type == "user":
        message = f"{file.path} is of type user, which is about one person, and lies in the team's folder"
        yield Problem(code="user-in-team", where=file.path, message=message, hint="Move it to scope private.")


def _problem(error: LaminaError, path: str, code: str) -> Problem:
    reason = str(error.details.get("reason", code))
    return Problem(code=reason, where=path, message=error.message, hint=error.hint)


def _write_files(context: Context, files: Sequence[Filed], changes: Changes) -> None:
    from lamina.memories.revisions import vectorise, write_planned
    from lamina.memories.uses import write_uses

    with context.catalog.read("comparing files") as reader:
        planned = [file.plan(context, reader) for file in files]
    vectorise(context, [change for change in planned if change is not None])
    done: list[Filed] = []
    with context.catalog.write("taking over files") as writer:
        for file, change in zip(files, planned, strict=True):
            if change is not None and not write_planned(context, writer, change):
                continue  # someone changed the memory meanwhile; the next sync looks again
            if file.was is not None and file.was != file.row.path:
                mirror.remove(writer.db, file.was, file.row.memory)
            mirror.put(writer.db, replace(file.row, problem=mirror.told(file.problems)))
            done.append(file)
        write_uses(context, writer)
    for file in done:
        file.count(changes)


def _write_gone(context: Context, gone: Sequence[tuple[str, str]], forgotten: Sequence[str], changes: Changes) -> None:
    """End the memories whose files are gone, and forget rows of files that hold none."""
    from lamina.memories.revisions import plan_end, write_planned

    for start in range(0, len(gone), BATCH):
        part = gone[start : start + BATCH]
        ends = []
        with context.catalog.read("looking at what is gone") as reader:
            for _, id in part:
                record = reader.current(id)
                ends.append(None if record is None else plan_end(reader, record))
        with context.catalog.write("taking over files that are gone") as writer:
            for (path, id), end in zip(part, ends, strict=True):
                if end is not None and end.before is not None and end.before.path == path:
                    write_planned(context, writer, end)
                mirror.remove(writer.db, path, id)
        changes.deleted += [path for path, _ in part]
    if forgotten:
        with context.catalog.write("forgetting files that are gone") as writer:
            for path in forgotten:
                mirror.remove(writer.db, path)


def _told(report: SyncReport) -> Iterable[str]:
    if report.problems:
        first = report.problems[0]
        more = f" and {len(report.problems) - 1} more" if len(report.problems) > 1 else ""
        yield f"{first.message.rstrip('.')}{more}. `lamina sync` names them."


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
