"""Damage to a closed store, and a judge of what becomes of it: detected, repaired with losses named, or unaffected."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lamina.errors import LaminaError
from lamina.store import open as open_store
from lamina.store import repair as repair_store
from lamina.types import Memory, RepairReport

__all__ = ["Damage", "Verdict", "flip_bits", "judge", "overwrite", "truncate_file"]

Damage = Callable[[Path], None]
"""Changes the bytes of one file."""

CATALOG = Path(".lamina") / "catalog.db"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a damaged store did, before and after its repair."""

    before: Literal["detected", "unaffected"]
    """Whether reading or verifying told of the damage; ``unaffected`` means that all was as it had been."""
    errors: tuple[str, ...]
    """Codes of the errors that reading raised."""
    after: Literal["whole", "losses named"]
    lost: int
    """Memories that repair could not keep."""


def flip_bits(rng: random.Random, count: int, *, start: int = 0, stop: int | None = None) -> Damage:
    """Return damage that flips ``count`` random bits between two offsets."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        for _ in range(count):
            content[rng.randrange(start, min(stop or len(content), len(content)))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    return damage


def overwrite(offset: int, data: bytes) -> Damage:
    """Return damage that writes bytes at an offset, counted from the end where it is negative."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        at = offset if offset >= 0 else len(content) + offset
        content[at : at + len(data)] = data
        path.write_bytes(content)

    return damage


def truncate_file(size: int) -> Damage:
    """Return damage that keeps the first ``size`` bytes; a negative size cuts so many off the end."""

    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[:size])

    return damage


def judge(folder: Path, memories: Mapping[str, Memory], queries: Mapping[str, str], **options: Any) -> Verdict:
    """Use a damaged store in every way, repair it, and use it again.

    Args:
        folder: The store.
        memories: What it held, by id.
        queries: Queries, with the id of the memory that each finds in a whole store.
        **options: For ``lamina.open``.

    Returns:
        What happened.

    Raises:
        AssertionError: An answer was wrong, damage was not told, or a loss was not named.
        Exception: Anything that is not a ``LaminaError``.
    """
    errors, seen = _use(folder, memories, queries, options)
    told = bool(set(errors) - {"not-found"})
    whole = seen == set(memories)
    try:
        with open_store(folder, create=False, **options) as store:
            told |= not store.verify("full").ok
    except LaminaError as error:
        told = True
        errors.append(error.code)
    assert told or whole, f"{len(set(memories) - seen)} memories are out of sight, and nothing was told"
    try:
        report = repair_store(folder)
    except LaminaError as error:
        # No catalog is left to repair; the error says so.
        if error.code not in ("format", "corruption", "not-found"):
            raise
        return Verdict("detected", (*errors, error.code), "losses named", len(memories))
    errors_after, kept = _use(folder, memories, queries, options)
    assert set(errors_after) <= {"not-found"}, f"after the repair: {set(errors_after)}"
    with open_store(folder, create=False, **options) as store:
        store.repair()  # with an embedder, which lamina.repair does without, also vectors are compared and mended
        verified = store.verify("full")
        assert verified.ok, verified.problems
        store.memories.add("it takes writes again")
    lost = set(memories) - kept
    assert not lost or report.lost, f"{len(lost)} memories are gone, and repair names none"
    _check_named(lost, report)
    return Verdict("detected" if told else "unaffected", tuple(errors), "losses named" if lost else "whole", len(lost))


def _check_named(lost: set[str], report: RepairReport) -> None:
    """Each lost memory is named, or the table whose rows are lost is."""
    words = " ".join(f"{problem.where} {problem.message}" for problem in report.lost)
    unnamed = [id for id in lost if id not in words and "of table memory" not in words and "more" not in words]
    assert not unnamed, f"{len(unnamed)} lost memories are not named: {report.lost}"


def _use(
    folder: Path, memories: Mapping[str, Memory], queries: Mapping[str, str], options: Mapping[str, Any]
) -> tuple[list[str], set[str]]:
    """Read in every way; return the codes of errors, and the ids that could be read. A wrong answer fails."""
    errors: list[str] = []
    seen: set[str] = set()

    def look(memory: Memory) -> None:
        was = memories.get(memory.id)
        assert was is not None, f"a memory appeared that never was: {memory.id}"
        for name in (
            "text",
            "title",
            "tags",
            "metadata",
            "scope",
            "type",
            "created_at",
            "valid_until",
            "superseded_by",
        ):
            assert getattr(memory, name) == getattr(was, name), f"the {name} of {memory.id} is not what was written"
        seen.add(memory.id)

    try:
        with open_store(folder, create=False, **options) as store:
            for id in memories:
                try:
                    look(store.memories.get(id))
                    store.memories.history(id)
                except LaminaError as error:
                    errors.append(error.code)
            for query in queries:
                for mode in ("hybrid", "text"):
                    try:
                        for hit in store.memories.recall(query, mode=mode, limit=20):
                            look(hit.memory)
                    except LaminaError as error:
                        errors.append(error.code)
            try:
                listed = store.memories.list(limit=None)
                for memory in listed:
                    look(memory)
            except LaminaError as error:
                errors.append(error.code)
            try:
                store.stats()
            except LaminaError as error:
                errors.append(error.code)
    except LaminaError as error:
        errors.append(error.code)
    return errors, seen
