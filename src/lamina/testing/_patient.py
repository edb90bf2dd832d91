"""The store that the corruption matrix damages: every page kind, a log and a trained dictionary."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from lamina.store import open as open_store
from lamina.testing._paths import TinyEmbedder
from lamina.testing._workloads import words
from lamina.types import Memory

__all__ = ["Patient", "make_patient"]


@dataclass(frozen=True, slots=True)
class Patient:
    """A store and what it holds."""

    folder: Path
    memories: dict[str, Memory]
    queries: dict[str, str]
    """Queries with the id of the memory that each finds."""


def make_patient(folder: Path, *, memories: int = 120, dictionary: bool = False) -> Patient:
    """Make a store with memories, their past, tags, threads and metadata.

    Args:
        folder: Where.
        memories: How many.
        dictionary: Compress the bodies with a trained dictionary, which takes 1,000 memories at least.
    """
    rng = random.Random(memories)
    count = max(memories, 1_200) if dictionary else memories
    with open_store(folder, embedder=TinyEmbedder()) as store:
        ids = store.memories.add_many(
            {
                "text": words(rng, f"unique{number}", rng.randint(6, 60)),
                "title": f"Title {number}",
                "tags": [f"tag{number % 5}"],
                "metadata": {"number": number},
                "thread": f"thread{number % 7}",
                "position": number,
            }
            for number in range(count)
        )
        for id in ids[:15]:
            store.memories.update(id, title="changed")
        for id in ids[15:25]:
            store.memories.delete(id)
        store.memories.supersede(ids[30], ids[31])
        if dictionary:
            store.optimize()
        held = {memory.id: memory for memory in store.memories.list(limit=None)}
        queries = {f"unique{number}": ids[number] for number in range(count // 3, count // 2, count // 30)}
    return Patient(folder, held, queries)
