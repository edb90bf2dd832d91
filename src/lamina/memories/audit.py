"""The audit of indexes and files: orphans, dangling and doubled pointers, what is too long, old or leads nowhere."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lamina import fs
from lamina.errors import InvalidInputError, LaminaError
from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME, Index
from lamina.folder.limits import measure, over, usage_notices
from lamina.folder.links import Places, links
from lamina.folder.overflow import fit, refill, settle
from lamina.folder.pointers import LONGEST_LINE, Pointer, pointer_line, target_key
from lamina.folder.scan import scan
from lamina.framing import MEMORY_BYTES, MEMORY_LINES
from lamina.memories.adoption import label
from lamina.memories.context import Context
from lamina.memories.folder import MAX_FILE_BYTES, Folder, scope_of
from lamina.memories.pointers import (
    Edit,
    Ranks,
    adder,
    index_place,
    limits_of,
    new_index,
    read_index,
    write_indexes,
)
from lamina.storage import mirror
from lamina.storage.records import Record, now_micros
from lamina.types import FILE_SCOPES, IndexReport, Problem

__all__ = ["check_index", "fix_index"]

STALE_DAYS = 180
"""A memory that was neither changed nor recalled for so long may no longer be true."""
MOST_COMPARED = 2_000
"""Memories from which on near-duplicates are not looked for: a millisecond each."""
_MICROS_A_DAY = 86_400_000_000
_FIXABLE = "`lamina index --fix` mends it."


@dataclass(slots=True)
class _Place:
    """One folder with an index."""

    place: str
    index: Index | None
    more: Index | None

    @property
    def name(self) -> str:
        return f"{self.place}/{INDEX_NAME}" if self.place else INDEX_NAME

    def files(self) -> Iterator[tuple[str, Index]]:
        if self.index is not None:
            yield self.name, self.index
        if self.more is not None:
            yield posixpath.join(self.place, OVERFLOW_NAME), self.more


@dataclass(slots=True)
class _Audit:
    """What is there, and what was found so far."""

    context: Context
    folder: Folder
    scopes: tuple[str, ...]
    records: dict[str, Record]
    """Memories that are files, by path."""
    places: list[_Place]
    problems: list[Problem] = field(default_factory=list)
    pointed: dict[str, str] = field(default_factory=dict)
    """``{path: where its first pointer stands}``"""
    orphans: list[str] = field(default_factory=list)
    pointers: int = 0

    def tell(self, code: str, where: str, message: str, hint: str = _FIXABLE) -> None:
        self.problems.append(Problem(code=code, where=where, message=f"{where}: {message}", hint=hint))


def check_index(context: Context, scope: str | None) -> IndexReport:
    """Audit the indexes; nothing is changed."""
    audit = _audit(context, scope)
    checked = {
        "indexes": sum(place.index is not None for place in audit.places),
        "pointers": audit.pointers,
        "files": len(audit.records),
    }
    return IndexReport(problems=tuple(audit.problems), checked=checked)


def fix_index(context: Context, scope: str | None, *, dry_run: bool) -> IndexReport:
    """Mend what can be mended: pointers alone are touched, never prose, never a memory's file."""
    folder = context.folder
    fixed: list[str] = []
    if dry_run:
        fixed += [_would(sentence) for sentence in _mend(_audit(context, scope), write=False)]
        report = check_index(context, scope)
        return IndexReport(problems=report.problems, fixed=tuple(fixed), checked=report.checked)
    for name in _scopes(context, scope):
        context.check_writes_to(name)
    with folder.changing(context, context.settings.busy_timeout):
        audit = _audit(context, scope)
        folder.journal.write({"op": "index", "places": [entry.place for entry in audit.places]})
        fixed += _mend(audit, write=True)
        folder.journal.clear()
    report = check_index(context, scope)
    return IndexReport(problems=report.problems, fixed=tuple(fixed), checked=report.checked)


def _scopes(context: Context, scope: str | None) -> tuple[str, ...]:
    if scope is not None:
        if scope not in FILE_SCOPES:
            raise InvalidInputError(f"Scope {scope!r} has no index.", hint=f"Name {' or '.join(FILE_SCOPES)}.")
        context.check_sees(scope)
    return tuple(name for name in FILE_SCOPES if context.allows(name) and scope in (None, name))


def _audit(context: Context, scope: str | None) -> _Audit:
    folder = context.folder
    scopes = _scopes(context, scope)
    found = scan(folder.root, ignore=context.settings.ignore)
    with context.catalog.read("auditing the indexes") as reader:
        seqs = [row[0] for row in reader.db.execute("SELECT seq FROM memory WHERE path IS NOT NULL AND valid_to = 0")]
        records = {str(record.path): record for record in reader.records(seqs).values() if record.scope in scopes}
        told = mirror.stamps(reader.db)
    audit = _Audit(context, folder, scopes, records, [])
    audit.problems += [problem for problem in found.problems if scope_of(problem.where) in scopes]
    for path, (_, _, text) in sorted(told.items()):
        if text and scope_of(path) in scopes:
            audit.problems += mirror.untold(path, text)
    places = {folder.scope_folder(name) for name in scopes}
    places |= {posixpath.dirname(path) for path in found.indexes if scope_of(path) in scopes}
    for place in sorted(places):
        _look_at(audit, place)
    _find_orphans(audit)
    _look_at_memories(audit)
    _find_duplicates(audit)
    return audit


def _look_at(audit: _Audit, place: str) -> None:
    """Read the index of a folder and its overflow, and check their pointers."""
    held: dict[str, Index | None] = {}
    for name in (INDEX_NAME, OVERFLOW_NAME):
        try:
            data = read_index(audit.folder, place, name)
            held[name] = None if data is None else Index.parse(data)
        except InvalidInputError as error:
            audit.tell("index-unusable", posixpath.join(place, name), error.message, error.hint)
            held[name] = None
    entry = _Place(place, held[INDEX_NAME], held[OVERFLOW_NAME])
    audit.places.append(entry)
    for name, index in entry.files():
        for start, stop in index.conflicts:
            audit.tell(
                "conflict-markers",
                f"{name}:{start + 1}",
                f"lines {start + 1} to {stop} are a merge conflict that nobody has solved",
                "Keep what belongs there and remove the marker lines.",
            )
        for pointer in index.pointers:
            _check_pointer(audit, place, name, pointer)
    if entry.index is not None:
        limits = limits_of(audit.context)
        for notice in usage_notices(entry.index, limits, name=entry.name):
            if over(entry.index.data, limits):
                hint = "`lamina index --fix` moves the lowest-ranked pointers to an overflow index."
                audit.problems.append(Problem(code="index-long", where=entry.name, message=notice, hint=hint))
            else:
                audit.problems.append(Problem(code="index-near-limit", where=entry.name, message=notice))


def _path_of(place: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(place, target))


def _check_pointer(audit: _Audit, place: str, name: str, pointer: Pointer) -> None:
    audit.pointers += 1
    where = f"{name}:{pointer.line + 1}"
    path = _path_of(place, pointer.target)
    if _dangles(audit, path):
        audit.tell("dangling", where, f"the pointer leads to {pointer.target}, which is not there")
        return
    if path in audit.pointed:
        audit.tell("doubled", where, f"{path} has a pointer already, at {audit.pointed[path]}")
    audit.pointed.setdefault(path, where)
    record = audit.records.get(path)
    if record is not None and _outdated(record):
        audit.tell("outdated", where, f"the memory in {path} {_outdated(record)}")
    length = len(pointer.raw.splitlines()[0])
    if length > LONGEST_LINE:
        hint = _FIXABLE if record is not None and _repeated(pointer.hook, record) else "Shorten it by hand."
        audit.tell(
            "long-line", where, f"the line has {length} characters; about {LONGEST_LINE} are read with ease", hint
        )


def _dangles(audit: _Audit, path: str) -> bool:
    if path.startswith("../") or path == ".." or posixpath.isabs(path):
        return True
    return not os.path.lexists(audit.folder.at(path))


def _outdated(record: Record) -> str:
    if record.superseded_by is not None:
        return f"was replaced by {record.superseded_by}"
    if record.valid_until is not None and record.valid_until <= now_micros():
        return "is no longer valid"
    return ""


def _repeated(hook: str, record: Record) -> bool:
    """Return whether what a hook says stands in its memory too, so that shortening it loses nothing."""
    said = " ".join(hook.split())
    return any(said in " ".join(text.split()) for text in (record.description or "", record.text))


def _find_orphans(audit: _Audit) -> None:
    indexed = {entry.place for entry in audit.places if entry.index is not None}
    for path, record in sorted(audit.records.items()):
        if path in audit.pointed or _outdated(record):
            continue
        audit.orphans.append(path)
        place = index_place(audit.folder, path)
        what = "no index points to it" if place in indexed else "there is no index that could point to it"
        audit.tell("orphan", path, what)


def _look_at_memories(audit: _Audit) -> None:
    """Tell of memories that are old, long, or link to nothing."""
    places = Places({path: record.title or "" for path, record in audit.records.items()})
    now = now_micros()
    for path, record in sorted(audit.records.items()):
        days = (now - max(record.valid_from, record.used_at)) // _MICROS_A_DAY
        if days > STALE_DAYS:
            audit.tell("stale", path, f"neither changed nor recalled for {days:,} days", "Check that it still holds.")
        data = record.text.encode("utf-8")
        lines, size = measure(data)
        if lines > MEMORY_LINES or size > MEMORY_BYTES:
            message = (
                f"{lines:,} lines and {size:,} bytes; {MEMORY_LINES} lines and {MEMORY_BYTES:,} bytes are shown at once"
            )
            audit.tell("oversized", path, message, "Split it, so that each part can be found and shown whole.")
        before = _lines_before(audit, path, record) if "[" in record.text else 0
        for link in links(record.text):
            if places.resolve(link, path=path) is None and not _leads_to_file(audit, path, link.target, link.kind):
                hint = "That is no error: the memory may still be written."
                audit.tell(
                    "link-to-nothing", f"{path}:{before + link.line}", f"{link.target!r} is no memory here", hint
                )


def _find_duplicates(audit: _Audit) -> None:
    """Tell of memories that say almost the same; each pair once, where there are not too many to compare."""
    if len(audit.records) > MOST_COMPARED:
        return
    from lamina.memories.drafts import bands_of  # numpy comes with it
    from lamina.memories.similar import similar_to

    by_id = {record.id: path for path, record in audit.records.items()}
    with audit.context.catalog.read("looking for near-duplicates") as reader:
        for path, record in sorted(audit.records.items()):
            bands = bands_of(record, reader.passages_of(record.seq))
            for other in similar_to(audit.context, reader, record, bands):
                if other in by_id and path < by_id[other]:
                    hint = "Keep one of them, or let one replace the other: `lamina update`, `lamina forget`."
                    audit.tell("near-duplicate", path, f"says almost the same as {by_id[other]}", hint)


def _lines_before(audit: _Audit, path: str, record: Record) -> int:
    """Return how many lines of a file stand before its text."""
    try:
        data = fs.read_file(audit.folder.absolute(path), max_bytes=MAX_FILE_BYTES, follow=False)
        whole = data.decode("utf-8").replace("\r\n", "\n")
    except (LaminaError, UnicodeDecodeError):
        return 0
    at = whole.rfind(record.text.rstrip("\n"))
    return whole.count("\n", 0, at) if at > 0 else 0


def _leads_to_file(audit: _Audit, path: str, target: str, kind: str) -> bool:
    """Return whether a relative link leads to a file that is no memory, such as an index."""
    return kind == "relative" and not _dangles(audit, _path_of(posixpath.dirname(path), target))


# --- mending ---------------------------------------------------------------------------------------------------------


def _mend(audit: _Audit, *, write: bool) -> list[str]:
    """Mend every index, and say what was done; without ``write`` what would be done."""
    said: list[str] = []
    orphans: dict[str, list[tuple[str, str, str]]] = {}
    for path in audit.orphans:
        orphans.setdefault(index_place(audit.folder, path), []).append((path, *label(audit.records[path])))
    entries = {entry.place: entry for entry in audit.places}
    blocked = {posixpath.dirname(problem.where) for problem in audit.problems if problem.code == "index-unusable"}
    seen: set[str] = set()
    for place in sorted({*entries, *orphans}):
        entry = entries.get(place) or _Place(place, None, None)
        if place in blocked or _has_conflict(entry) or (entry.index is None and place not in orphans):
            continue
        done: list[str] = []
        claimed: set[str] = set()
        edit = _whole_edit(audit, entry, orphans.get(place, ()), _mender(audit, place, seen, claimed, done), done)
        if write:
            write_indexes(audit.folder, place, edit)
        else:
            edit(entry.index or new_index(place), entry.more)
        seen |= claimed
        said += done
    return said


def _whole_edit(
    audit: _Audit, entry: _Place, orphans: Sequence[tuple[str, str, str]], mend: Edit, done: list[str]
) -> Edit:
    """Return what mends an index, adds what has no pointer, and brings it within its limits or fills it up."""
    ranks, limits = Ranks(audit.context, entry.place), limits_of(audit.context)
    add = adder(audit.context, entry.place, orphans, {})

    def edit(index: Index, more: Index | None) -> tuple[Index, Index | None]:
        index, more = add(*mend(index, more))
        done.extend(f"{entry.name}: added a pointer to {path}" for path, _, _ in orphans)
        act = fit if over(index.data, limits) else refill
        placed = act(index, more, limits, ranks, name=entry.name)
        told = [notice for notice in placed.notices if placed.moved and ("moved" in notice or "came" in notice)]
        done.extend(f"{entry.name}: {notice}" for notice in told)
        return placed.index, placed.overflow

    return edit


def _has_conflict(entry: _Place) -> bool:
    """Return whether people have to solve a merge conflict first: mending would change one of its sides."""
    return any(index.conflicts for _, index in entry.files())


def _would(sentence: str) -> str:
    """Return what was done as what would be done."""
    for done, planned in (
        (": removed ", ": would remove "),
        (": added ", ": would add "),
        (": shortened ", ": would shorten "),
    ):
        if done in sentence:
            return sentence.replace(done, planned, 1)
    return sentence.replace(" moved to ", " would move to ", 1).replace(" came back ", " would come back ", 1)


def _mender(audit: _Audit, place: str, seen: set[str], claimed: set[str], done: list[str]) -> Edit:
    """Return what takes away dangling, doubled and outdated pointers of an index and shortens what is too long.

    Args:
        audit: What is there.
        place: The index's folder.
        seen: Files that have a pointer in another index.
        claimed: Gets the files whose pointer stays here.
        done: Gets what was done, one sentence each.
    """

    def mend(index: Index, more: Index | None) -> tuple[Index, Index | None]:
        done.clear()
        claimed.clear()
        index = one(posixpath.join(place, INDEX_NAME), index)
        if more is not None:
            more = one(posixpath.join(place, OVERFLOW_NAME), more)
        settled = settle(index, more)
        return settled.index, settled.overflow

    def one(name: str, index: Index) -> Index:
        gone: list[Pointer] = []
        short: list[tuple[Pointer, str]] = []
        for pointer in index.pointers:
            path = _path_of(place, pointer.target)
            key = target_key(path)
            record = audit.records.get(path)
            if _dangles(audit, path):
                gone.append(pointer)
                done.append(f"{name}: removed the pointer to {pointer.target}, which is not there")
            elif key in claimed or key in seen:
                gone.append(pointer)
                done.append(f"{name}: removed a second pointer to {pointer.target}")
            elif record is not None and _outdated(record):
                gone.append(pointer)
                done.append(f"{name}: removed the pointer to {pointer.target}, which {_outdated(record)}")
            else:
                claimed.add(key)
                line = _shortened(pointer, record)
                if line is not None:
                    short.append((pointer, line))
                    done.append(f"{name}: shortened the line of {pointer.target}; its file says the whole")
        lines = list(index.lines)
        for pointer, line in short:
            ending = lines[pointer.line][len(lines[pointer.line].rstrip("\r\n")) :]
            lines[pointer.line] = line + ending
        mended = Index.parse((("\ufeff" if index.bom else "") + "".join(lines)).encode("utf-8", "surrogateescape"))
        numbers = {pointer.line for pointer in gone}
        return mended.without_pointers([pointer for pointer in mended.pointers if pointer.line in numbers])

    return mend


def _shortened(pointer: Pointer, record: Record | None) -> str | None:
    """Return a pointer's line in its usual length, where nothing is lost by that."""
    lines = pointer.raw.splitlines()
    if record is None or len(lines) != 1 or len(lines[0]) <= LONGEST_LINE or not _repeated(pointer.hook, record):
        return None
    line = pointer_line(pointer.title, pointer.target, pointer.hook)
    return line if len(line) < len(lines[0]) else None
