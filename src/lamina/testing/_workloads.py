"""Numbered workloads over the public face, for the kill, fault and crash rigs.

:class:`Ledger` checks what they leave.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lamina.fs import Operation, observe
from lamina.store import Store
from lamina.store import open as open_store
from lamina.testing._faults import Acknowledge
from lamina.types import Memory

__all__ = ["FILE_OPERATIONS", "OPERATIONS", "FileScribe", "Scribe", "file_step", "file_work", "mixed_work", "words"]

OPERATIONS = ("add", "add_many", "update", "delete", "purge", "supersede", "feedback")
FILE_OPERATIONS = (
    *("add", "add_many", "update", "retitle", "delete", "purge", "supersede"),
    *("move", "rename", "to_row", "to_file"),
)
"""Writes on memories that are files; ``to_row`` and ``to_file`` change what a memory is."""

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


class FileScribe(Scribe):
    """Writes memories that are markdown files, in both file scopes; see :class:`Scribe`."""

    def add(self) -> None:
        """Add one memory as a file."""
        text, title, scope = self._text(), self._title(), self._rng.choice(("private", "team"))

        def add() -> dict[str, Any]:
            memory = self.store.memories.add(
                text, title=title, type=self._rng.choice(("project", "reference")), scope=scope
            )
            return {"ids": [memory.id], "paths": [memory.path]}

        self._do({"op": "add", "texts": [text], "titles": [title], "scopes": [scope]}, add)

    def add_many(self) -> None:
        """Add a batch of memories as files of both scopes."""
        texts = [self._text(6) for _ in range(self._rng.randint(2, 5))]
        titles = [self._title() for _ in texts]
        scopes = [self._rng.choice(("private", "team")) for _ in texts]
        items = [
            {"text": text, "title": title, "type": "project", "scope": scope}
            for text, title, scope in zip(texts, titles, scopes, strict=True)
        ]

        def add() -> dict[str, Any]:
            ids = self.store.memories.add_many(items)
            return {"ids": ids, "paths": [self.store.memories.get(id).path for id in ids]}

        self._do({"op": "add", "texts": texts, "titles": titles, "scopes": scopes}, add)

    def retitle(self) -> None:
        """Give a memory another title, which its pointer shows."""
        id, title = self._choose(), self._title()
        self._do({"op": "retitle", "id": id, "title": title}, lambda: self._place(id, title=title))

    def move(self) -> None:
        """Move a memory's file to the other scope; a row becomes a file."""
        id = self._choose()
        scope = "private" if self.store.memories.get(id).scope == "team" else "team"
        self._do({"op": "move", "id": id, "scope": scope}, lambda: self._place(id, scope=scope, type="project"))

    def to_row(self) -> None:
        """Make a memory a row."""
        files = self._files()
        if not files:
            self.add()
            return
        id = self._rng.choice(files).id
        self._do({"op": "move", "id": id, "scope": "agent/a"}, lambda: self._place(id, scope="agent/a"))

    def to_file(self) -> None:
        """Make a memory that is a row a file, and or a file a row where none is."""
        rows = [id for id in self.mine if self.store.memories.get(id).path is None]
        if not rows:
            self.to_row()
            return
        id = self._rng.choice(rows)
        self._do({"op": "move", "id": id, "scope": "team"}, lambda: self._place(id, scope="team"))

    def rename(self) -> None:
        """Give a memory's file another name."""
        files = self._files()
        if not files:
            self.add()
            return
        memory = self._rng.choice(files)
        name = f"renamed_{self._rng.getrandbits(40):x}.md"
        path = f"team/{name}" if memory.scope == "team" else name

        def rename() -> dict[str, Any]:
            return {"path": self.store.memories.rename(memory.id, path).path}

        self._do({"op": "rename", "id": memory.id, "path": path}, rename)

    def _place(self, id: str, **changes: Any) -> dict[str, Any]:
        return {"path": self.store.memories.update(id, **changes).path}

    def _files(self) -> list[Memory]:
        return [memory for memory in map(self.store.memories.get, self.mine) if memory.path is not None]

    def _title(self) -> str:
        return f"{self._rng.choice(_VOCABULARY).capitalize()} {self._rng.getrandbits(40):x}"


def file_work(
    folder: Path,
    acknowledge: Acknowledge,
    *,
    run: int = 0,
    steps: int = 1_000_000,
    most: int = 60,
) -> None:
    """As :func:`mixed_work`, with memories that are files.

    Args:
        folder: Of the store; made if missing.
        acknowledge: See :class:`Scribe`.
        run: Decides texts and choices.
        steps: How many writes.
        most: Memories from which on more are deleted than added.
    """
    rng = random.Random(f"files/{run}/choice")
    with open_store(folder, embedder="none") as store:
        mine = [memory.id for memory in store.memories.list(limit=None)]
        scribe = FileScribe(store, acknowledge, label=f"f{run}", seed=run, mine=mine)
        for _ in range(steps):
            scribe.step(rng.choice((*FILE_OPERATIONS, "add", "add")) if len(scribe.mine) < most else "delete")


def file_step(
    folder: Path, acknowledge: Acknowledge, *, operation: str, die_at: int | None = None, run: int = 0
) -> None:
    """Do one write on memories that are files, and die by ``SIGKILL`` right before one of its operations.

    Operations of the catalog are not counted: SQLite's commit is atomic, so what a kill within it leaves is what one
    before or behind it leaves.

    Args:
        folder: Of the store.
        acknowledge: See :class:`Scribe`.
        operation: One of :data:`FILE_OPERATIONS`, or ``open`` to open the store and do no more.
        die_at: Which operation on files is the last that is not done, from 0; None to live on.
        run: Decides texts and choices.
    """
    count = 0

    def die(step: Operation) -> None:
        nonlocal count
        if os.path.basename(step.path).startswith("catalog.db"):
            return
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    if operation == "open":
        with observe(die), open_store(folder, embedder="none"):
            acknowledge({"begin": 0, "op": "upkeep"})
            acknowledge({"done": 0})
        return
    with open_store(folder, embedder="none") as store:
        mine = sorted(memory.id for memory in store.memories.list(limit=None))
        scribe = FileScribe(store, acknowledge, label=f"step{run}", seed=run, mine=mine)
        with observe(die):
            scribe.step(operation)


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
