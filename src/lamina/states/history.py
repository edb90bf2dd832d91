"""Looking at versions and naming them: open, list, log, tags, branches, restore, delete."""

from __future__ import annotations

from itertools import islice
from typing import Any

from lamina.errors import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError
from lamina.states.checks import check_name, check_text
from lamina.states.context import StatesContext
from lamina.states.manifest import Head, Manifest
from lamina.states.rows import (
    BRANCH,
    DOOMED,
    TAG,
    find_version,
    head_id,
    head_of,
    insert_version,
    labels_of,
    line_of,
    named,
    names_of,
    set_ref,
    state_named,
    version_of,
)
from lamina.states.state import State
from lamina.states.types import StateInfo, Version
from lamina.storage.records import from_micros, now_micros

__all__ = ["delete", "list_states", "log", "make_branch", "open_pair", "open_version", "restore", "tag"]


def open_version(context: StatesContext, name: str, ref: Any) -> State:
    """Open a version; see :meth:`lamina.States.open`."""
    context.settle()
    with context.catalog.read("opening a state") as reader:
        db = reader.db
        state = state_named(db, name)
        seq = find_version(db, state, name, ref)
        manifest = context.manifest(db, seq)
        version = version_of(db, seq, names_of(db, state))
    opened = _held(context, version, manifest)
    for branch in version.branches:  # whatever it was called: a change of these branches follows what was opened
        context.see(name, branch, seq, bytes.fromhex(version.id))
    return opened


def open_pair(context: StatesContext, name: str, a: Any, b: Any) -> tuple[State, State]:
    """Open two versions, of one moment."""
    with context.catalog.read("opening two versions") as reader:
        db = reader.db
        state = state_named(db, name)
        names = names_of(db, state)
        found = []
        for ref in (a, b):
            seq = find_version(db, state, name, ref)
            found.append((version_of(db, seq, names), context.manifest(db, seq)))
    first = _held(context, *found[0])
    try:
        return first, _held(context, *found[1])
    except BaseException:
        first.close()
        raise


def _held(context: StatesContext, version: Version, manifest: Manifest) -> State:
    """Return the opened version, once it is sure that nothing collects it: the lease first, then another look."""
    opened = State(context, version, manifest)
    with context.catalog.read("opening a state") as reader:
        sql = "SELECT gone FROM state_version WHERE id = ?"
        found = reader.db.execute(sql, (bytes.fromhex(version.id),)).fetchall()
    if not found or found[0][0] == DOOMED:
        opened.close()
        raise NotFoundError(
            f"Version {version.id[:12]} of state {version.name!r} was just removed.", hint="Open another one."
        )
    return opened


def list_states(context: StatesContext) -> list[StateInfo]:
    """Return the states of the store; see :meth:`lamina.States.list`."""
    found = []
    with context.catalog.read("listing states") as reader:
        db = reader.db
        rows = db.execute(
            "SELECT s.id, s.name, s.created_at, count(v.seq), max(v.created_at), max(v.seq), sum(v.damaged) "
            "FROM state s JOIN state_version v ON v.state = s.id AND v.gone = 0 GROUP BY s.id ORDER BY s.name"
        ).fetchall()
        for state, name, created, versions, updated, newest, damaged in rows:
            refs = labels_of(db, state)
            head = head_of(db, state, "main")
            sql = "SELECT id FROM state_version WHERE seq IN (?, ?) ORDER BY seq = ? DESC"
            id = db.execute(sql, (head, newest, head)).fetchall()[0][0]  # a head that is damaged away hides no state
            found.append(
                StateInfo(
                    name=name,
                    created_at=from_micros(created),
                    updated_at=from_micros(updated),
                    versions=versions,
                    branches=tuple(ref for kind, ref, _ in refs if kind == BRANCH),
                    tags=tuple(ref for kind, ref, _ in refs if kind == TAG),
                    head=id.hex(),
                    damaged=damaged,
                )
            )
    return found


def log(context: StatesContext, name: str, ref: Any, limit: int | None) -> list[Version]:
    """Return versions, the newest first; see :meth:`lamina.States.log`."""
    with context.catalog.read("reading the log of a state") as reader:
        db = reader.db
        state = state_named(db, name)
        names = names_of(db, state)
        if ref is None:
            sql = "SELECT seq FROM state_version WHERE state = ? AND gone = 0 ORDER BY seq DESC LIMIT ?"
            bound = -1 if limit is None else limit
            return [version_of(db, row[0], names) for row in db.execute(sql, (state, bound)).fetchall()]
        line = line_of(db, state, find_version(db, state, name, ref))
        return [version_of(db, seq, names) for seq, _, _ in islice(line, limit)]


def tag(context: StatesContext, name: str, ref: Any, label: str) -> Version:
    """Give a version a name that is never given again; see :meth:`lamina.States.tag`."""
    check_name(label, "The name of a tag")
    with context.catalog.write("tagging a version") as writer:
        db = writer.db
        state = state_named(db, name)
        seq = find_version(db, state, name, ref)
        used = named(db, state, label)
        if used == (TAG, seq):
            return version_of(db, seq, names_of(db, state))
        if used is not None:
            what = "a branch" if used[0] == BRANCH else "a tag" if used[1] is not None else "a tag once"
            raise AlreadyExistsError(
                f"{label!r} is {what} of state {name!r}, and a tag is never given again.", hint="Choose another name."
            )
        set_ref(db, state, TAG, label, seq)
        return version_of(db, seq, names_of(db, state))


def make_branch(context: StatesContext, name: str, label: str, ref: Any) -> Version:
    """Let a new branch begin at a version; see :meth:`lamina.States.branch`."""
    check_name(label, "The name of a branch")
    with context.catalog.write("making a branch") as writer:
        db = writer.db
        state = state_named(db, name)
        seq = find_version(db, state, name, ref)
        if named(db, state, label) is not None:
            raise AlreadyExistsError(
                f"State {name!r} has a branch or tag {label!r} already.", hint="Choose another name."
            )
        set_ref(db, state, BRANCH, label, seq)
        version = version_of(db, seq, names_of(db, state))
    context.see(name, label, seq, bytes.fromhex(version.id))
    return version


def restore(context: StatesContext, name: str, ref: Any, *, branch: str, message: str | None) -> Version:
    """Commit what a version was as a new one; see :meth:`lamina.States.restore`."""
    check_text(message, "message")
    with context.catalog.write("restoring a version") as writer:
        db = writer.db
        state = state_named(db, name)
        seq = find_version(db, state, name, ref)
        head = head_of(db, state, branch)
        if head is None:
            raise NotFoundError(f"State {name!r} has no branch {branch!r}.", hint="Make it with states.branch().")
        parent = head_id(db, head, name, branch)
        seen = context.seen(name, branch)
        if seen is not None and seen != parent:
            raise ConflictError(
                f"Branch {branch!r} of state {name!r} is at version {parent.hex()[:12]}, not at {seen.hex()[:12]}, "
                "which this handle last saw; nothing was written.",
                hint="Open the newest version first, then restore.",
            )
        old, newest = context.manifest(db, seq), context.manifest(db, head)
        made = Manifest(
            Head(
                name=name,
                parent=parent,
                created_at=max(now_micros(), newest.head.created_at + 1),
                message=message or f"restored {old.id().hex()[:12]}",
                step=old.head.step,
                metadata=old.head.metadata,
                creator=old.head.creator,
            ),
            old.arrays,
        )
        new, id = insert_version(db, state, made, (head, newest))
        set_ref(db, state, BRANCH, branch, new)
        version = version_of(db, new, names_of(db, state), 0)
    context.see(name, branch, new, id)
    context.keep_manifest(new, made)
    return version


def delete(context: StatesContext, name: str, ref: Any) -> int:
    """Delete a state, a name or a version; see :meth:`lamina.States.delete`."""
    with context.catalog.write("deleting of a state") as writer:
        db = writer.db
        state = state_named(db, name)
        if ref is None:
            db.execute("UPDATE state_version SET gone = 1 WHERE state = ? AND gone = 0", (state,))
            count = int(db.changes())
            db.execute("DELETE FROM state_ref WHERE state = ?", (state,))
            # The name is free for another state; versions that are still read keep theirs in their manifests.
            db.execute("UPDATE state SET name = name || char(0) || id WHERE id = ?", (state,))
            context.unsee(name)
            return count
        if isinstance(ref, str):
            label = named(db, state, ref)
            if label is not None and label[0] == BRANCH:
                _delete_branch(db, state, name, ref)
                context.unsee(name, ref)
                return 0
            if label is not None and label[1] is not None:
                set_ref(db, state, TAG, ref, None)
                return 0
        seq = find_version(db, state, name, ref)
        branches, tags = names_of(db, state).get(seq, ([], []))
        if branches or tags:
            raise InvalidInputError(
                f"That version of state {name!r} is {', '.join([*branches, *tags])}.",
                hint="Delete the names first; the newest version of a branch goes with the branch.",
            )
        db.execute("UPDATE state_version SET gone = 1 WHERE seq = ?", (seq,))
        return 1


def _delete_branch(db: Any, state: int, name: str, branch: str) -> None:
    sql = "SELECT count(*) FROM state_ref WHERE state = ? AND kind = ?"
    if db.execute(sql, (state, BRANCH)).fetchall()[0][0] == 1:
        raise InvalidInputError(
            f"{branch!r} is the only branch of state {name!r}.", hint="Delete the state, or make another branch first."
        )
    db.execute("DELETE FROM state_ref WHERE state = ? AND kind = ? AND name = ?", (state, BRANCH, branch))
