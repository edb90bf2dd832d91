"""Committing a state: what changed is found by hash, compared, encoded, made durable, and then named by one row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import ConflictError, InvalidInputError, LaminaError, NotFoundError
from lamina.states.checks import check_metadata, check_name, check_precision, check_step, check_text, flatten, to_array
from lamina.states.context import StatesContext
from lamina.states.draft import Draft, flush_reads
from lamina.states.encode import Planned, encode_shard
from lamina.states.layout import Layout, dtype_name, fitting
from lamina.states.losses import unmark_whole
from lamina.states.manifest import Array, Head, Manifest
from lamina.states.rows import (
    BRANCH,
    find_state,
    find_version,
    head_id,
    head_of,
    insert_version,
    labels_of,
    names_of,
    set_ref,
    version_of,
)
from lamina.states.settle import sync_packs
from lamina.states.shard import Shard
from lamina.states.types import Version
from lamina.storage.frames import Bytes
from lamina.storage.objects import Stored
from lamina.storage.records import now_micros

__all__ = ["Parent", "commit", "find_parent", "publish"]

_THREADS_FROM = 8 << 20
"""Bytes from which on shards are encoded by several threads; hashing and compressing let go of the interpreter."""
_THREADS = 2
"""More would wait for each other: hashing lets go of the interpreter every few microseconds. A commit of scattered rows
of a gigabyte took 0.70 s with one, 0.52 with two, 0.58 with three and 0.71 with four."""
_AHEAD = 2
"""Plans that wait for being written: as fast as four, with less memory."""
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Parent:
    """What a change follows."""

    state: int | None
    branch: str
    seq: int | None
    id: bytes | None
    manifest: Manifest | None


def commit(
    context: StatesContext,
    name: str,
    arrays: Mapping[str, Any],
    *,
    branch: str,
    parent: Any,
    message: str | None,
    step: int | None,
    metadata: Mapping[str, Any] | None,
    precision: Any,
    creator: str | None,
    progress: Callable[[int, int], None] | None = None,
) -> Version:
    """Commit a snapshot; see :meth:`lamina.States.commit`."""
    check_name(name)
    check_name(branch, "The name of a branch")
    given = {key: to_array(value, key) for key, value in sorted(flatten(arrays).items())}
    if not given:  # what emptied the mapping was hardly meant to be the newest version
        raise InvalidInputError(
            f"There are no arrays to commit to state {name!r}.",
            hint="Give one at least; for nothing of a kind, an array of no rows.",
        )
    precisions = check_precision(precision, list(given))
    facts = {
        "message": check_text(message, "message"),
        "step": check_step(step),
        "metadata": check_metadata(metadata),
        "creator": check_text(creator, "creator"),
    }
    planned = {key: _layout(value, key, precisions.get(key, "exact")) for key, value in given.items()}
    for _ in range(_TRIES):
        before = find_parent(context, name, branch, parent)
        with Draft(context) as draft:
            made = {
                key: _store(context, draft, key, array=value, layout=planned[key], before=before, progress=progress)
                for key, value in given.items()
            }
            draft.finish()
            version = publish(context, draft, name, before=before, arrays=made, facts=facts)
            if version is not None:
                return replace(
                    version, kept_exact=tuple(key for key in precisions if planned[key].precision == "exact")
                )
    raise ConflictError(
        f"What state {name!r} shares with older versions was removed again and again while it was being committed.",
        hint="Repeat the commit when no gc is running.",
    )


def find_parent(context: StatesContext, name: str, branch: str, parent: Any) -> Parent:
    """Return what a change of a branch follows.

    Args:
        context: Of the store.
        name: The state.
        branch: Its branch.
        parent: What the caller says; None is what this handle last saw of the branch, else its newest version.

    Raises:
        ConflictError: That is no longer the newest version of the branch.
        NotFoundError: The state has no such branch.
        CorruptionError: The branch's newest version is not there, or its manifest is damaged.
    """
    context.settle()
    with context.catalog.read("looking up a state") as reader:
        db = reader.db
        state = find_state(db, name)
        head = None if state is None else head_of(db, state, branch)
        if state is None or head is None:
            if state is not None and labels_of(db, state):
                raise NotFoundError(
                    f"State {name!r} has no branch {branch!r}.",
                    hint=f"Make it with store.states.branch({name!r}, {branch!r}, ref).",
                    name=name,
                )
            if parent is not None:
                raise NotFoundError(
                    f"There is no state {name!r} that has a version to follow.", hint="Leave parent= out.", name=name
                )
            context.unsee(name, branch)
            return Parent(state, branch, None, None, None)
        id = head_id(db, head, name, branch)
        wanted = context.seen(name, branch)
        if parent is not None:
            seq = find_version(db, state, name, parent)
            wanted = db.execute("SELECT id FROM state_version WHERE seq = ?", (seq,)).fetchall()[0][0]
        if wanted is not None and wanted != id:
            raise _conflict(name, branch, wanted, id)
        return Parent(state, branch, head, id, context.manifest(db, head))


def publish(
    context: StatesContext, draft: Draft, name: str, *, before: Parent, arrays: dict[str, Array], facts: dict[str, Any]
) -> Version | None:
    """Commit the rows of a version whose objects are durable; None where an object that it shares is gone.

    Raises:
        CorruptionError: An object that it shares lies in a pack that is not there, or was cut short.
        ConflictError: Someone else committed to the branch meanwhile; nothing was written.
    """
    if context.durable:
        sync_packs(context)
    reads = context.objects.take_reads() if context.used else None
    with context.catalog.write("committing a state") as writer:
        db = writer.db
        state = find_state(db, name)
        if state is None:
            sql = "INSERT INTO state (name, created_at) VALUES (?, ?) RETURNING id"
            state = int(db.execute(sql, (name, now_micros())).fetchall()[0][0])
        head = head_of(db, state, before.branch)
        if head != before.seq:
            found = db.execute("SELECT id FROM state_version WHERE seq = ?", (head,)).fetchall() if head else []
            raise _conflict(name, before.branch, before.id, found[0][0] if found else None)
        if not draft.insert(db):
            return None
        now = now_micros()
        if before.manifest is not None:
            now = max(now, before.manifest.head.created_at + 1)  # a clock that was set back does not turn time round
        manifest = Manifest(Head(name=name, parent=before.id, created_at=now, **facts), arrays)
        base = (before.seq, before.manifest) if before.seq is not None and before.manifest is not None else None
        seq, id = insert_version(db, state, manifest, base)
        set_ref(db, state, BRANCH, before.branch, seq)
        if reads:
            flush_reads(db, reads)
        if draft.healed:
            unmark_whole(db)
        version = version_of(db, seq, names_of(db, state), draft.written)
    context.see(name, before.branch, seq, id)
    context.keep_manifest(seq, manifest)
    return version


def _conflict(name: str, branch: str, wanted: bytes | None, found: bytes | None) -> ConflictError:
    return ConflictError(
        f"Branch {branch!r} of state {name!r} is at version {found.hex()[:12] if found else '(none)'}, not at "
        f"{wanted.hex()[:12] if wanted else '(none)'}, which this change follows; nothing was written.",
        hint="Open the newest version, apply the change to it and commit again, or commit to a branch of your own.",
        name=name,
        branch=branch,
        head=found.hex() if found else None,
        parent=wanted.hex() if wanted else None,
    )


def _layout(array: npt.NDArray[Any], name: str, precision: str) -> Layout:
    try:
        return Layout.of(array.dtype, array.shape, fitting(precision, array.dtype, array.shape))
    except InvalidInputError as error:
        raise InvalidInputError(f"Array {name!r}: {error.message}", hint=error.hint, array=name) from None


def _store(
    context: StatesContext,
    draft: Draft,
    name: str,
    *,
    array: npt.NDArray[Any],
    layout: Layout,
    before: Parent,
    progress: Callable[[int, int], None] | None,
) -> Array:
    """Encode and write one array; return what the manifest says of it."""
    old = _same_form(before, name, layout)
    found: dict[bytes, Stored] = {}
    if old is not None:
        found = context.objects.find(
            (address for entry in old.entries for address in entry.addresses()), missing_ok=True
        )
        found = _usable(context, draft, found)
        context.objects.prefetch_tables(found.values())
    made = Array(name, layout, dtype_name(array.dtype))
    rows = array.reshape(1) if array.ndim == 0 else array
    if not rows.flags.c_contiguous and layout.cells_a_row > layout.shard_cells:
        rows = np.ascontiguousarray(rows)

    def plan(number: int) -> Planned:
        held = None
        if old is not None and number < len(old.entries) and old.layout.cells_in(number) == layout.cells_in(number):
            entry = old.entries[number]
            if all(address in found for address in entry.addresses()):
                held = Shard(context.objects, layout, number, entry, found)
        try:
            content = shard_content(rows, layout, number)
            try:
                return encode_shard(context.objects, layout, content, held, draft.known)
            except LaminaError as error:
                if held is None or error.code not in ("corruption", "not-found"):
                    raise
                return encode_shard(context.objects, layout, content, None, draft.known)  # damage does not spread
        except InvalidInputError as error:
            raise InvalidInputError(f"Array {name!r}: {error.message}", hint=error.hint, array=name) from None

    threads = _THREADS if layout.cells * layout.cell >= _THREADS_FROM else 1
    for number, planned in enumerate(_in_order(plan, layout.shards, threads)):
        for encoded in planned.objects:
            draft.add(encoded)
        draft.reused.update(address for address in planned.entry.addresses() if address not in draft.new)
        made.entries.append(planned.entry)
        if progress is not None:
            progress(number + 1, layout.shards)
    return made


def _usable(context: StatesContext, draft: Draft, found: dict[bytes, Stored]) -> dict[bytes, Stored]:
    """Return the objects that may be built on: not known to be damaged, and their packs are there at full length."""
    packs = {stored.at.pack for stored in found.values()} - {0}
    broken: set[int] = set()
    if packs:
        with context.catalog.read("looking at packs") as reader:
            broken = draft.broken(reader.db, packs)
    return {address: stored for address, stored in found.items() if not stored.damaged and stored.at.pack not in broken}


def _same_form(before: Parent, name: str, layout: Layout) -> Array | None:
    """Return the parent's array, where its shards can be compared."""
    old = before.manifest.arrays.get(name) if before.manifest else None
    return old if old is not None and old.layout.same_cells(layout) else None


def shard_content(rows: npt.NDArray[Any], layout: Layout, number: int) -> Bytes:
    """Return the plain bytes of a shard; a view of the array where it is stored as it is."""
    first = number * layout.shard_cells
    last = first + layout.cells_in(number)
    per_row = layout.cells_a_row
    begin = first // per_row
    content = layout.encode(rows[begin : -(-last // per_row)])
    return content[(first - begin * per_row) * layout.cell : (last - begin * per_row) * layout.cell]


def _in_order(plan: Callable[[int], Planned], count: int, threads: int) -> Iterator[Planned]:
    """Yield the plans of all shards in order, a few made ahead by other threads where there is much to do."""
    if threads < 2 or count < 2:
        yield from map(plan, range(count))
        return
    waiting: deque[Future[Planned]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="lamina-encode") as pool:
        try:
            for number in range(count):
                waiting.append(pool.submit(plan, number))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
