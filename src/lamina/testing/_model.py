"""A model of ``store.memories`` in plain Python: what every answer must be, without an index, a file or a vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from lamina.types import Change, Memory

__all__ = ["Life", "MemoriesModel", "Stage", "told"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A memory between two changes."""

    memory: Memory
    begins: datetime
    ends: datetime | None = None
    action: str | None = None
    """What ended it."""


@dataclass(slots=True)
class Life:
    """All stages of a memory, oldest first."""

    stages: list[Stage] = field(default_factory=list)

    @property
    def now(self) -> Memory | None:
        """The memory as it is, or None where it was deleted."""
        last = self.stages[-1]
        return last.memory if last.ends is None else None

    def at(self, moment: datetime) -> Memory | None:
        """Return the memory as it was at a moment."""
        for stage in self.stages:
            if stage.begins <= moment and (stage.ends is None or moment < stage.ends):
                return stage.memory
        return None


class MemoriesModel:
    """What a store must answer; fed with the same operations, and with the times that the store reports."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}

    def add(self, memory: Memory) -> None:
        """A memory was added."""
        assert memory.id not in self.lives, f"id {memory.id} was given twice"
        self.lives[memory.id] = Life([Stage(told(memory), memory.created_at)])

    def change(self, id: str, action: str, at: datetime, **changes: Any) -> Memory:
        """A memory was updated or superseded; return how it must look now."""
        life = self.lives[id]
        before = life.stages[-1]
        assert before.ends is None
        after = replace(before.memory, updated_at=at, **changes)
        life.stages[-1] = replace(before, ends=at, action=action)
        life.stages.append(Stage(after, at))
        return after

    def count(self, id: str, outcome: str) -> None:
        """An outcome was told; it makes no history."""
        stage = self.lives[id].stages[-1]
        counts = {outcome: getattr(stage.memory, outcome) + 1} if outcome != "used" else {}
        self.lives[id].stages[-1] = replace(stage, memory=replace(stage.memory, **counts))

    def delete(self, id: str, at: datetime) -> None:
        """A memory was deleted; its history stays."""
        stages = self.lives[id].stages
        stages[-1] = replace(stages[-1], ends=at, action="delete")

    def purge(self, id: str) -> None:
        """A memory was scrubbed."""
        del self.lives[id]

    def current(self) -> dict[str, Memory]:
        """Return all memories that are there, newest first."""
        found = [memory for life in self.lives.values() if (memory := life.now) is not None]
        found.sort(key=lambda memory: (memory.created_at, memory.id), reverse=True)
        return {memory.id: memory for memory in found}

    def deleted(self) -> list[str]:
        """Return the ids that have a history and no memory."""
        return [id for id, life in self.lives.items() if life.now is None]

    def recallable(self, moment: datetime | None, now: datetime) -> dict[str, Memory]:
        """Return what recall may answer from: now, or as of a moment."""
        found = {}
        for id, life in self.lives.items():
            memory = life.now if moment is None else life.at(moment)
            if memory is None or memory.superseded_by is not None:
                continue
            if memory.valid_until is None or memory.valid_until > (moment or now):
                found[id] = memory
        return found

    def changes(self, id: str) -> Iterator[tuple[str, Memory | None, Memory | None]]:
        """Yield ``(action, before, after)`` of a memory's history, oldest first."""
        stages = self.lives[id].stages
        yield "add", None, _uncounted(stages[0].memory)
        for stage, following in zip(stages, [*stages[1:], None], strict=True):
            if stage.action is not None:
                yield stage.action, _uncounted(stage.memory), _uncounted(following.memory if following else None)

    def matches(self, memory: Memory, filters: Mapping[str, Any]) -> bool:
        """Return whether a memory passes filters: ``scope``, ``type``, ``tags`` and ``where`` with equality."""
        where = filters.get("where") or {}
        return (
            filters.get("scope") in (None, memory.scope)
            and filters.get("type") in (None, memory.type)
            and set(filters.get("tags") or ()) <= set(memory.tags)
            and all(memory.metadata.get(key) == value for key, value in where.items())
        )


def told(memory: Memory) -> Memory:
    """Return a memory without what a model cannot know: uses, likenesses, notices, and the name of its file."""
    return replace(memory, uses=0, similar=(), notices=(), path=None)


def told_change(change: Change) -> tuple[str, Memory | None, Memory | None]:
    """Return a change as :meth:`MemoriesModel.changes` has it."""
    return change.action, _uncounted(change.before), _uncounted(change.after)


def _uncounted(memory: Memory | None) -> Memory | None:
    """Return a memory without its counts: they are the memory's, and no revision has its own."""
    return None if memory is None else replace(told(memory), helped=0, hurt=0)
