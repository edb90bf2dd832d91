"""Numbered workloads over the public face, for the kill, fault and crash rigs.

:class:`Ledger` checks what they leave.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lamina.store import Store
from lamina.store import open as open_store
from lamina.testing._faults import Acknowledge
from lamina.types import Memory

__all__ = ["OPERATIONS", "Scribe", "mixed_work", "words"]

OPERATIONS = ("add", "add_many", "update", "delete", "purge", "supersede", "feedback")

_SENTENCE = (
    "deploy window friday release rollback migration latency cache index budget meeting invoice contract garden tomato "
    "train ticket hotel bridge river mountain coffee printer password rotation backup window schema"
)
_VOCABULARY = _SENTENCE.split()


def words(rng: random.Random, label: str, count: int = 12) -> str:
    """Return a text of ordinary words that begins with a label of its own."""
    return f"{label} " + " ".join(rng.choice(_VOCABULARY) for _ in range(count))


class Scribe:
    """Writes to a store, and says before and after each write what it is.

    Args:
        store: An open store.
        acknowledge: Takes the messages that :class:`Ledger` replays.
        label: Begins every text, so that the texts of several scribes differ.
        seed: Decides texts and choices.
        mine: Ids that it may change, beside those it adds.
    """

    def __init__(
        self, store: Store, acknowledge: Acknowledge, *, label: str = "t", seed: int = 0, mine: Sequence[str] = ()
    ) -> None:
        self.store = store
        self.mine = list(mine)
        self._say = acknowledge
        self._label = label
        self._rng = random.Random(f"{label}/{seed}")
        self._number = 0

    def step(self, operation: str) -> None:
        """Do one write of :data:`OPERATIONS`; where nothing is there to change, add."""
        if operation not in ("add", "add_many") and len(self.mine) < 2:
            operation = "add"
        getattr(self, operation)()

    def add(self) -> None:
        """Add one memory."""
        text = self._text()
        tags = tuple(self._rng.sample(_VOCABULARY, 2))
        self._do(
            {"op": "add", "texts": [text]},
            lambda: {"ids": [self.store.memories.add(text, tags=tags, thread=self._label, position=self._number).id]},
        )

    def add_many(self) -> None:
        """Add a batch of memories."""
        texts = [self._text(6) for _ in range(self._rng.randint(2, 12))]
        self._do({"op": "add", "texts": texts}, lambda: {"ids": self.store.memories.add_many(texts)})

    def update(self) -> None:
        """Give a memory another text."""
        id, text = self._choose(), self._text()
        self._do({"op": "update", "id": id, "text": text}, lambda: _nothing(self.store.memories.update(id, text=text)))

    def delete(self) -> None:
        """Delete a memory."""
        id = self._choose(take=True)
        self._do({"op": "delete", "id": id}, lambda: _nothing(self.store.memories.delete(id)))

    def purge(self) -> None:
        """Scrub a memory, with its history."""
        id = self._choose(take=True)
        texts = [change.after.text for change in self.store.memories.history(id) if change.after is not None]

        def purge() -> dict[str, Any]:
            report = self.store.memories.delete(id, purge=True)
            later = ("write-ahead log", "unused room")  # then the bytes are promised for later
            busy = any(word in place for place in report.kept for word in later)
            return {"texts": [] if busy else list(dict.fromkeys(texts))[-20:]}  # one message fits 4,000 bytes

        self._do({"op": "purge", "id": id}, purge)

    def supersede(self) -> None:
        """Replace a memory by another that is not replaced itself."""
        free = [id for id in self.mine if self.store.memories.get(id).superseded_by is None]
        if len(free) < 2:
            self.add()
            return
        old, new = self._rng.sample(free, 2)
        self._do({"op": "supersede", "id": old, "by": new}, lambda: _nothing(self.store.memories.supersede(old, new)))

    def feedback(self) -> None:
        """Say that a memory helped."""
        id = self._choose()
        self._do({"op": "feedback", "id": id}, lambda: _nothing(self.store.memories.feedback(id, "helped")))

    def _do(self, message: dict[str, Any], action: Callable[[], dict[str, Any]]) -> None:
        self._number += 1
        self._say({"begin": self._number, **message})
        result = action()
        self.mine += result.get("ids", [])
        self._say({"done": self._number, **result})

    def _choose(self, *, take: bool = False) -> str:
        place = self._rng.randrange(len(self.mine))
        return self.mine.pop(place) if take else self.mine[place]

    def _text(self, count: int = 12) -> str:
        self._number += 1
        return words(self._rng, f"{self._label}x{self._number}x{self._rng.getrandbits(40):x}", count)


def mixed_work(
    folder: Path,
    acknowledge: Acknowledge,
    *,
    run: int = 0,
    steps: int = 1_000_000,
    writer: str = "w",
    embedder: str = "none",
) -> None:
    """Open the store and write for ever, all operations mixed, also on what earlier runs of the same writer added.

    Args:
        folder: Of the store; made if missing.
        acknowledge: See :class:`Scribe`.
        run: Decides texts and choices.
        steps: How many writes.
        writer: Its memories are those of this source, so that several writers share a store.
        embedder: Of the store.
    """
    rng = random.Random(f"{writer}/{run}/choice")
    with open_store(folder, embedder=embedder) as store:
        known: list[Memory] = store.memories.list(limit=None)
        mine = [memory.id for memory in known if memory.text.startswith(f"{writer}r")]
        scribe = Scribe(store, acknowledge, label=f"{writer}r{run}", seed=run, mine=mine)
        for _ in range(steps):
            scribe.step(rng.choice((*OPERATIONS, "add", "add")) if len(scribe.mine) < 150 else "delete")


def _nothing(_: object) -> dict[str, Any]:
    return {}
