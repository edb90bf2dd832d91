"""The ledger of a run: what a store must hold after it, whatever ended it.

A workload says ``{"begin": n, "op": ..., ...}`` before each write and ``{"done": n, ...}`` after it. The ledger replays
what was said: every finished write must be there exactly once, the one that was under way entirely or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lamina.store import Store
from lamina.store import open as open_store
from lamina.types import Memory

__all__ = ["Entry", "Ledger", "files_holding"]


_SETS = {
    "update": {"text": "text"},
    "retitle": {"title": "title"},
    "supersede": {"by": "superseded_by"},
    "move": {"scope": "scope", "path": "path"},
    "rename": {"path": "path"},
}
"""What a write changes of an entry: its fields by the words of the message."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A memory as it must be."""

    text: str
    changes: int = 1
    """Entries of its history."""
    superseded_by: str | None = None
    helped: int = 0
    title: str | None = None
    scope: str = "private"
    path: str | None = None
    """Of its file."""

    @staticmethod
    def of(memory: Memory, changes: int) -> Entry:
        """Return what a store says of a memory, in the ledger's terms."""
        return Entry(memory.text, changes, memory.superseded_by, memory.helped, memory.title, memory.scope, memory.path)


@dataclass(slots=True)
class Ledger:
    """What was promised, by memory."""

    entries: dict[str, Entry] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Ids that were deleted or purged."""
    purged: list[str] = field(default_factory=list)
    """Texts of completed purges."""
    pending: dict[str, Any] | None = None
    """The write that was under way at the end."""
    finished: int = 0

    @staticmethod
    def replayed(said: Iterable[Mapping[str, Any]], start: Ledger | None = None) -> Ledger:
        """Return the ledger after what a workload said, beginning with a copy of ``start``."""
        ledger = Ledger() if start is None else start.copy()
        for message in said:
            ledger.hear(message)
        return ledger

    def copy(self) -> Ledger:
        """Return an independent copy."""
        return Ledger(dict(self.entries), set(self.gone), list(self.purged), self.pending, self.finished)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take one message of a workload."""
        if "begin" in message:
            assert self.pending is None, "a write began inside another one"
            self.pending = dict(message)
        else:
            assert self.pending is not None, "a write ended that never began"
            assert self.pending["begin"] == message["done"], "a write ended that is not the one that began"
            self._apply({**self.pending, **message})
            self.pending = None
            self.finished += 1

    def _apply(self, op: Mapping[str, Any]) -> None:
        kind, id = op["op"], op.get("id", "")
        if kind == "add":
            assert len(op["ids"]) == len(op["texts"])
            nothing = [None] * len(op["texts"])
            fields = (op.get(name, nothing) for name in ("titles", "scopes", "paths"))
            for new, text, title, scope, path in zip(op["ids"], op["texts"], *fields, strict=True):
                assert new not in self.entries, f"id {new} was given twice"
                self.entries[new] = Entry(text, title=title, scope=scope or "private", path=path)
        elif kind in _SETS:
            changed = {name: op[key] for key, name in _SETS[kind].items() if key in op}
            self.entries[id] = replace(self.entries[id], changes=self.entries[id].changes + 1, **changed)
        elif kind == "feedback":
            self.entries[id] = replace(self.entries[id], helped=self.entries[id].helped + 1)
        elif kind in ("delete", "purge"):
            del self.entries[id]
            self.gone.add(id)
            if kind == "purge":
                self.purged += op["texts"]

    def settle(self, found: Mapping[str, Entry]) -> None:
        """Decide about the write that was under way from what is there: it happened as a whole, or not at all.

        Raises:
            AssertionError: It happened in part.
        """
        op, self.pending = self.pending, None
        if op is None:
            return
        if op["op"] == "add":
            new = {id: entry for id, entry in found.items() if id not in self.entries}
            if not new:
                return
            texts = [entry.text for entry in new.values()]
            assert sorted(texts) == sorted(op["texts"]), (
                f"a batch was written in part: {len(texts)} of {len(op['texts'])}"
            )
            if "titles" in op:  # the order is another one
                told = {text: rest for text, *rest in zip(op["texts"], op["titles"], op["scopes"], strict=True)}
                titles, scopes = zip(*(told[text] for text in texts), strict=True)
                op = {**op, "titles": titles, "scopes": scopes, "paths": [entry.path for entry in new.values()]}
            self._apply({**op, "ids": list(new), "texts": texts})
        elif op["op"] != "upkeep" and found.get(op["id"]) != self.entries[op["id"]]:
            there = {"path": found[op["id"]].path} if op["op"] == "move" and op["id"] in found else {}
            self._apply({**op, **there, "texts": []})  # an unfinished purge promises nothing about bytes yet

    def check(
        self,
        folder: Path,
        *,
        embedder: Any = "none",
        level: Any = "structure",
        further: Callable[[Store], object] | None = None,
    ) -> None:
        """Open the store and compare; the ledger then knows what became of the write under way.

        Args:
            folder: Of the store.
            embedder: As for :func:`lamina.open`.
            level: As for ``verify``.
            further: Checks more of the open store, such as :func:`check_folder`.

        Raises:
            AssertionError: Something acknowledged is lost, doubled or changed, or the store does not verify.
        """
        if not (folder / ".lamina" / "catalog.db").exists():
            assert not self.entries, f"the store is gone, and {len(self.entries)} memories with it"
            self.pending = None
            return
        with open_store(folder, embedder=embedder) as store:
            self.compare(store)
            report = store.verify(level)
            assert report.ok, report.problems
            if further is not None:
                further(store)
        held = files_holding(folder, self.purged)
        assert not held, f"purged texts are still in {held}"

    def compare(self, store: Store) -> None:
        """Compare with an open store; see :meth:`check`."""
        found: dict[str, Entry] = {}
        for memory in store.memories.list(limit=None):
            assert memory.id not in found, f"memory {memory.id} is doubled"
            found[memory.id] = Entry.of(memory, len(store.memories.history(memory.id)))
        self.settle(found)
        lost = sorted(set(self.entries) - set(found))
        extra = sorted(set(found) - set(self.entries))
        assert not lost, f"{len(lost)} acknowledged memories are lost: {lost[:5]}"
        assert not extra, f"{len(extra)} memories are there that nobody added: {extra[:5]}"
        wrong = [(id, self.entries[id], found[id]) for id in found if found[id] != self.entries[id]]
        assert not wrong, f"{len(wrong)} memories differ: {wrong[:3]}"
        assert store.memories.count() == len(found)


def files_holding(folder: Path, texts: Sequence[str]) -> dict[str, str]:
    """Return which file below a folder still holds the bytes of which of the texts (UTF-8), lock files left out."""
    found: dict[str, str] = {}
    wanted = [text.encode("utf-8") for text in texts]
    if not wanted:
        return found
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            content = path.read_bytes()
            for raw in wanted:
                if raw in content:
                    found[str(path.relative_to(folder))] = raw.decode("utf-8")[:80]
    return found
