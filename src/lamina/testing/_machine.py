"""Random walks over the public face, compared with the model at every step; needs hypothesis."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lamina.errors import ConflictError, InvalidInputError, NotFoundError
from lamina.store import Store
from lamina.store import open as open_store
from lamina.testing._crashfs import CrashFS
from lamina.testing._disk import Loss
from lamina.testing._model import MemoriesModel, told, told_change
from lamina.testing._paths import TinyEmbedder
from lamina.types import CURATED_TYPES, FILE_SCOPES, MEMORY_TYPES, Memory

__all__ = ["MemoriesMachine"]

_TOPICS = ("harbour", "lantern", "meadow", "pickaxe", "quartz")
_PAST = datetime(2001, 2, 3, tzinfo=UTC)
_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
_EXTRA = st.one_of(
    st.just(""),
    st.sampled_from(["Grüße, 世界 🙂", "line\nbreak\ttab", "'quote' \"double\" %_*", "nul \x00 inside", "x " * 900]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["A title", "Über"]),
        "type": st.sampled_from(MEMORY_TYPES),
        "scope": st.sampled_from(["private", "team", "user/alice"]),
        "tags": st.lists(st.sampled_from(["red", "green", "blue"]), max_size=3, unique=True),
        "importance": st.sampled_from([0.0, 0.25, 1.0]),
        "thread": st.sampled_from(["t1", "t2"]),
        "position": st.integers(0, 5),
        "valid_until": st.sampled_from([_PAST, _FUTURE]),
        "metadata": st.dictionaries(st.sampled_from(["k", "päth"]), st.sampled_from([1, "v", None]), max_size=2),
    },
)
_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.sampled_from(["private", "team", "user/bob"]),
        "type": st.sampled_from(["record", "project"]),
        "tags": st.sampled_from([["red"], ["red", "blue"], ["unknown"]]),
        "where": st.sampled_from([{"k": "v"}, {"k": 1}]),
    },
)
_NUMBER = st.integers(0, 10_000)


class MemoriesMachine(RuleBasedStateMachine):
    """Adds, changes, forgets, recalls, reopens and crashes at random; every answer is the model's.

    ``MemoriesMachine.TestCase`` is a unittest of it; ``counts`` gathers how often each thing was done.
    """

    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.model = MemoriesModel()
        self.scratch = Path(tempfile.mkdtemp(prefix="lamina-machine-"))
        self.generation = 0
        self.words = 0
        self.moments: list[datetime] = []
        self.store: Store
        self.second: Store | None = None
        self.crash: CrashFS

    @initialize()
    def start(self) -> None:
        """Make the store."""
        self._begin(self.scratch / "store-0")

    # --- writes ------------------------------------------------------------------------------------------------------

    @rule(topic=st.sampled_from(_TOPICS), extra=_EXTRA, options=_OPTIONS, old=st.booleans(), through=st.booleans())
    def add(self, topic: str, extra: str, options: dict[str, Any], old: bool, through: bool) -> None:
        """One memory, now or with a time in the past."""
        text = self._text(topic, extra)
        if old:
            options = {**options, "created_at": _PAST}
        memory = self._handle(through).memories.add(text, **options)
        assert memory.text == text
        assert all(_plain(getattr(memory, name)) == _plain(value) for name, value in options.items())
        self.model.add(memory)
        self._count("writes")

    @rule(topics=st.lists(st.sampled_from(_TOPICS), min_size=1, max_size=6), through=st.booleans())
    def add_many(self, topics: list[str], through: bool) -> None:
        """A batch."""
        texts = [self._text(topic, "") for topic in topics]
        handle = self._handle(through)
        ids = handle.memories.add_many([*texts[:1], *({"text": text, "tags": ["red"]} for text in texts[1:])])
        assert len(ids) == len(texts)
        for id, text in zip(ids, texts, strict=True):
            memory = handle.memories.get(id)
            assert memory.text == text
            self.model.add(memory)
        self._count("writes")

    @precondition(lambda self: bool(self.model.current()))
    @rule(which=_NUMBER, topic=st.sampled_from(_TOPICS), extra=_EXTRA, options=_OPTIONS, through=st.booleans())
    def update(self, which: int, topic: str, extra: str, options: dict[str, Any], through: bool) -> None:
        """Some fields, with or without the text."""
        id = self._pick(which)
        changes: dict[str, Any] = dict(options)
        if which % 3:
            changes["text"] = self._text(topic, extra)
        if not changes:
            with pytest.raises(InvalidInputError):
                self.store.memories.update(id)
            return
        memory = self._handle(through).memories.update(id, **changes)
        before = self.model.lives[id].now
        assert before is not None
        kept = {name: _stored(value) for name, value in changes.items()}
        if any(getattr(before, name) != value for name, value in kept.items()):
            expected = self.model.change(id, "update", memory.updated_at, **kept)
        else:
            expected = before
        assert told(memory) == expected
        self._count("writes")

    @precondition(lambda self: bool(self.model.current()))
    @rule(which=_NUMBER, through=st.booleans())
    def delete(self, which: int, through: bool) -> None:
        """Out of sight, still in the history."""
        id = self._pick(which)
        report = self._handle(through).memories.delete(id)
        assert not report.purged
        assert report.removed["row"] == 1
        self.model.delete(id, self.store.memories.history(id)[-1].at)
        with pytest.raises(NotFoundError):
            self.store.memories.get(id)
        self._count("writes")

    @precondition(lambda self: bool(self.model.lives))
    @rule(which=_NUMBER, through=st.booleans())
    def purge(self, which: int, through: bool) -> None:
        """Out of every place, also of what was deleted before."""
        id = sorted(self.model.lives)[which % len(self.model.lives)]
        revisions = len(self.model.lives[id].stages)
        report = self._handle(through).memories.delete(id, purge=True)
        assert report.purged
        assert report.removed["row"] + report.removed["history"] == revisions
        self.model.purge(id)
        for ask in (self.store.memories.get, self.store.memories.history):
            with pytest.raises(NotFoundError):
                ask(id)
        self._count("writes")

    @precondition(lambda self: len(self.model.current()) > 1)
    @rule(one=_NUMBER, two=_NUMBER, through=st.booleans())
    def supersede(self, one: int, two: int, through: bool) -> None:
        """One replaces another, where that makes no circle."""
        old, new = self._pick(one), self._pick(two)
        memories = self._handle(through).memories
        held = self.model.lives[old].now
        assert held is not None
        if old == new:
            with pytest.raises(InvalidInputError):
                memories.supersede(old, new)
        elif held.superseded_by == new:
            assert told(memories.supersede(old, new)) == held
        elif held.superseded_by is not None or self._leads(new, old):
            with pytest.raises(ConflictError):
                memories.supersede(old, new)
        else:
            memory = memories.supersede(old, new)
            assert told(memory) == self.model.change(old, "supersede", memory.updated_at, superseded_by=new)
        self._count("writes")

    @precondition(lambda self: bool(self.model.current()))
    @rule(which=_NUMBER, outcome=st.sampled_from(["helped", "hurt", "used"]), through=st.booleans())
    def feedback(self, which: int, outcome: Any, through: bool) -> None:
        """An outcome."""
        id = self._pick(which)
        memory = self._handle(through).memories.feedback(id, outcome)
        self.model.count(id, outcome)
        assert told(memory) == self.model.lives[id].now
        self._count("writes")

    # --- reads -------------------------------------------------------------------------------------------------------

    @rule(filters=_FILTERS, limit=st.integers(1, 5))
    def list_and_count(self, filters: dict[str, Any], limit: int) -> None:
        """Filters, order and paging."""
        wanted = [memory for memory in self.model.current().values() if self.model.matches(memory, filters)]
        memories = self.store.memories
        assert memories.count(**filters) == len(wanted)
        found: list[Memory] = []
        while page := memories.list(**filters, limit=limit, after=found[-1].id if found else None):
            found += page
        assert [told(memory) for memory in found] == wanted
        self._count("reads")

    @precondition(lambda self: bool(self.model.lives))
    @rule(which=_NUMBER)
    def history(self, which: int) -> None:
        """Every change, in order."""
        id = sorted(self.model.lives)[which % len(self.model.lives)]
        for found, wanted in zip(self.store.memories.history(id), self.model.changes(id), strict=True):
            assert told_change(found) == wanted, (told_change(found), wanted)
        self._count("reads")

    @rule(topic=st.sampled_from(_TOPICS), filters=_FILTERS, through=st.booleans())
    def recall_words(self, topic: str, filters: dict[str, Any], through: bool) -> None:
        """By one word: exactly the memories that hold it."""
        self._compare_recall(topic, None, filters, through)

    @precondition(lambda self: bool(self.moments))
    @rule(topic=st.sampled_from(_TOPICS), filters=_FILTERS, which=_NUMBER, through=st.booleans())
    def recall_as_of(self, topic: str, filters: dict[str, Any], which: int, through: bool) -> None:
        """By one word, at an earlier moment: the texts that were valid then."""
        self._compare_recall(topic, self.moments[which % len(self.moments)], filters, through)

    @rule(
        query=st.sampled_from(["harbour and lantern", "what about the meadow?", "the"]),
        mode=st.sampled_from(["hybrid", "vector"]),
    )
    def recall_anything(self, query: str, mode: Any) -> None:
        """In the other modes no hit is anything but what the catalog confirms."""
        allowed = self.model.recallable(None, datetime.now(UTC))
        hits = self.store.memories.recall(query, mode=mode, limit=1000)
        assert len({hit.memory.id for hit in hits}) == len(hits)
        for hit in hits:
            assert told(hit.memory) == allowed.get(hit.memory.id)
        self._count("recalls")

    @rule()
    def remember_moment(self) -> None:
        """A moment between two changes, to ask about later."""
        time.sleep(0.000_01)
        self.moments.append(datetime.now(UTC))
        time.sleep(0.000_01)

    # --- life and death ----------------------------------------------------------------------------------------------

    @rule()
    def reopen(self) -> None:
        """Close both handles and open the store again."""
        self._close()
        self.store = self._open(self.crash.root)
        self._count("reopens")

    @rule()
    def second_handle(self) -> None:
        """Open another handle on the same store, or close it."""
        if self.second is None:
            self.second = self._open(self.crash.root)
        else:
            self.second.close()
            self.second = None

    @rule(loss=st.sampled_from(["all", "nothing", "random"]), seed=_NUMBER)
    def crash_and_go_on(self, loss: Loss, seed: int) -> None:
        """The power goes; work goes on with what is left, which must be everything."""
        self.generation += 1
        image = self.crash.image(self.scratch / f"store-{self.generation}", seed=seed, loss=loss)
        self._stop()
        self._begin(Path(image.path))
        self._count("crashes")

    @rule(level=st.sampled_from(["structure", "sample", "full"]))
    def verify(self, level: Any) -> None:
        """The store finds nothing wrong with itself."""
        report = self.store.verify(level)
        assert report.ok, report.problems
        self._count("verifies")

    @rule(what=st.sampled_from(["repair", "optimize", "reindex"]))
    def upkeep(self, what: str) -> None:
        """What keeps a store fit changes none of its answers."""
        getattr(self.store, what)()
        self._count("upkeeps")

    @invariant()
    def everything_is_there(self) -> None:
        """After each step the list is the model's."""
        if hasattr(self, "store"):
            found = self.store.memories.list(limit=None)
            assert [told(memory) for memory in found] == list(self.model.current().values())
            for memory in found:
                filed = memory.scope in FILE_SCOPES and memory.type in CURATED_TYPES
                assert (memory.path is not None) == filed, memory
                assert memory.path is None or Path(self.crash.root, memory.path).is_file(), memory

    def teardown(self) -> None:
        """Verify, and clean up."""
        try:
            if hasattr(self, "store"):
                report = self.store.verify("structure")
                assert report.ok, report.problems
                self._stop()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _compare_recall(self, topic: str, moment: datetime | None, filters: dict[str, Any], through: bool) -> None:
        allowed = self.model.recallable(moment, datetime.now(UTC))
        wanted = {
            id: memory
            for id, memory in allowed.items()
            if self.model.matches(memory, filters) and topic in memory.text.split(" ", 2)[0]
        }
        hits = self._handle(through).memories.recall(topic, mode="text", limit=1000, as_of=moment, **filters)
        found = {hit.memory.id: hit.memory for hit in hits}
        assert len(found) == len(hits)
        assert {id: memory.text for id, memory in found.items()} == {id: memory.text for id, memory in wanted.items()}
        if moment is None:
            assert {id: told(memory) for id, memory in found.items()} == wanted
        self._count("recalls")

    def _text(self, topic: str, extra: str) -> str:
        self.words += 1
        return f"{topic} number{self.words} {extra}"

    def _pick(self, which: int) -> str:
        ids = sorted(self.model.current())
        return ids[which % len(ids)]

    def _leads(self, start: str, to: str) -> bool:
        """Return whether the memories that replaced ``start`` lead to ``to``."""
        at: str | None = start
        while at is not None:
            life = self.model.lives.get(at)
            memory = life.now if life else None
            if memory is None:
                return False
            at = memory.superseded_by
            if at == to:
                return True
        return False

    def _handle(self, second: bool) -> Store:
        return self.second if second and self.second is not None else self.store

    def _begin(self, folder: Path) -> None:
        self.crash = CrashFS(folder)
        self.crash.__enter__()
        self.store = self._open(folder)

    def _open(self, folder: Path | str) -> Store:
        return open_store(folder, embedder=TinyEmbedder())

    def _close(self) -> None:
        if self.second is not None:
            self.second.close()
            self.second = None
        self.store.close()

    def _stop(self) -> None:
        self._close()
        self.crash.__exit__(None, None, None)

    def _count(self, what: str) -> None:
        type(self).counts[what] += 1


def _stored(value: Any) -> Any:
    """Return an argument as a memory has it."""
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
