"""Golden stores: a small store of each format version, kept for ever, and all that it must still say.

::

    python -m lamina.testing._golden tests/golden
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from lamina.fs import make_dir, write_file
from lamina.store import Store
from lamina.store import open as open_store
from lamina.testing._paths import TinyEmbedder
from lamina.types import Memory

__all__ = ["build_golden", "describe_store"]

_BEGAN = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
_QUERIES = ("deploy friday", "Grüße", "orders endpoint", "gone")


def build_golden(folder: Path) -> Path:
    """Make a golden store of the format that this version writes.

    Args:
        folder: Gets ``format-N.db``, the catalog, ``format-N.json``, all that it must say, and ``format-N.packs``, what
            lies beside the catalog; none of them may exist.

    Returns:
        The catalog.
    """
    scratch = Path(tempfile.mkdtemp(prefix="lamina-golden-"))
    try:
        with open_store(scratch / "store", embedder=TinyEmbedder()) as store:
            _fill(store)
            _fill_states(store)
            _fill_patterns(store)
            moments = [change.at for change in store.memories.history(store.memories.list(limit=None)[-1].id)]
            expected = describe_store(store, [moments[0] + timedelta(seconds=1), *moments[1:]])
            version = store.stats()["format"]
        with open_store(scratch / "store", embedder="none") as store:
            store.optimize()  # folds the log into the catalog, which is then all there is
        target = folder / f"format-{version}.db"
        write_file(target, (scratch / "store" / ".lamina" / "catalog.db").read_bytes(), mode=0o644)
        text = json.dumps(expected, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        write_file(target.with_suffix(".json"), text.encode("utf-8"), mode=0o644)
        packs = target.with_suffix(".packs")
        make_dir(packs, mode=0o755)
        for pack in (scratch / "store" / ".lamina" / "packs").iterdir():
            write_file(packs / pack.name, pack.read_bytes(), mode=0o644)
        return target
    finally:
        shutil.rmtree(scratch)


def describe_store(store: Store, moments: list[datetime]) -> dict[str, Any]:
    """Return everything that a store says, as JSON values.

    Args:
        store: An open store.
        moments: Times for which recall is asked too.
    """
    memories = store.memories.list(limit=None)
    ids = {memory.id for memory in memories}
    past = {hit.memory.id for moment in moments for hit in store.memories.recall("gone", mode="text", as_of=moment)}
    states = {info.name: _plain_state(store, info.name) for info in store.states.list()}
    return {
        **({"states": states} if states else {}),  # formats 1 and 2 had none
        **_plain_patterns(store),
        "moments": [moment.isoformat() for moment in moments],
        "memories": [_plain(memory) for memory in memories],
        "history": {
            id: [
                {"action": change.action, "at": change.at.isoformat(), "fields": list(change.fields)}
                for change in store.memories.history(id)
            ]
            for id in sorted(ids | past)
        },
        "recall": {query: [hit.memory.id for hit in store.memories.recall(query, mode="text")] for query in _QUERIES},
        "recall_as_of": {
            moment.isoformat(): {
                query: sorted(hit.memory.text for hit in store.memories.recall(query, mode="text", as_of=moment))
                for query in _QUERIES
            }
            for moment in moments
        },
        "count": store.memories.count(),
        "tagged": [memory.id for memory in store.memories.list(tags=["ops"])],
        "where": [memory.id for memory in store.memories.list(where={"level": {"gte": 2}})],
    }


def _fill(store: Store) -> None:
    """One of everything that a catalog can hold."""
    add = store.memories.add
    first = add(
        "Deploy on friday is forbidden. Grüße, 世界 🙂 end",
        title="Deploys",
        description="When not to deploy",
        type="project",
        scope="crew",  # not a scope of files: the catalog alone must say all of it
        tags=["ops", "rule"],
        importance=0.9,
        source="https://example.org/rules",
        thread="meeting",
        position=0,
        created_at=_BEGAN,
        metadata={"level": 3, "deep": {"list": [1, None, "é"]}},
    )
    add("The orders endpoint answers 409 when busy.", created_at=_BEGAN + timedelta(days=1), metadata={"level": 1})
    add("a long text about the harbour. " * 200, created_at=_BEGAN + timedelta(days=2), thread="meeting", position=1)
    old = add("The orders endpoint answers 500 when busy.", created_at=_BEGAN + timedelta(days=3))
    add("It is over.", created_at=_BEGAN + timedelta(days=4), valid_until=_BEGAN + timedelta(days=5))
    gone = add("This one is gone.", created_at=_BEGAN + timedelta(days=6), scope="user/alice")
    given = add("With a vector of its own.", created_at=_BEGAN + timedelta(days=7), vector=[1, 0, 0, 0, 0, 0, 0, 1])
    store.memories.update(first.id, text="Deploy on friday is allowed again. Grüße", tags=["ops"])
    store.memories.supersede(old.id, given.id)
    store.memories.delete(gone.id)
    store.memories.feedback(given.id, "helped")
    scrubbed = add("Nobody may ever read this one.", created_at=_BEGAN)
    store.memories.delete(scrubbed.id, purge=True)


def _fill_states(store: Store) -> None:
    """Versions in the catalog and in a pack, in every form that a shard may have, with names."""
    import numpy as np

    from lamina.states import draft

    states = store.states
    steps = np.arange(3000)
    weights = (steps * 37 % 101 / 64 - 0.5).astype("<f4").reshape(-1, 4)
    arrays = {
        "weights": weights,
        "deep": {"mask": steps[:9] % 2 == 0, "none": np.zeros((0, 3), "<i2"), "one": np.float64(-0.0)},
        "sparse": np.where(steps % 97 == 0, steps, 0),
        "odd": np.array([np.nan, np.inf, -np.inf, 5e-324]),
    }
    first = states.commit("net", arrays, step=1, message="first", metadata={"lr": 0.5, "é": [None]}, creator="ann")
    states.update("net", {"weights": ([1, 700], np.full((2, 4), 9, "<f4"))})
    states.tag("net", first, "baseline")
    states.branch("net", "trial", first)
    kept = draft.INLINE_BYTES
    draft.INLINE_BYTES = 0  # what is larger than that lies in a pack
    try:
        states.commit("net", {"weights": weights[::-1].copy()}, branch="trial", parent=first)
        states.commit("small", {"half": weights, "byte": weights + 1}, precision={"half": "float16", "byte": "int8"})
    finally:
        draft.INLINE_BYTES = kept
    states.delete("small", states.tag("small", "main", "gone").tags[0])
    slots = states.slots("slots")
    slots.create({"short_term": weights[:8]})
    slots.put("short_term", [3], weights[:1], surprise=0.75, timestamp=1_709_208_000_000_000)


def _fill_patterns(store: Store) -> None:
    """A session with all that it may have, an archived one, and patterns with and without uses of them."""
    for number in range(2):
        run = store.sessions.start(f"run-{number}", agent="tester", project="/p", title="Ünïcode", at=_BEGAN)
        run.turn("user", "Fix the orders endpoint.", at=_BEGAN)
        run.call("edit", arguments={"path": "/p/a.py"}, files=["/p/a.py"], at=_BEGAN + timedelta(minutes=1))
        run.call("bash", arguments={"command": "pytest"}, ok=False, error="1 failed", at=_BEGAN + timedelta(minutes=2))
        run.end(outcome="success", quality=0.75, at=_BEGAN + timedelta(minutes=3))
    store.sessions.archive(["run-1"])
    record = store.patterns.record
    for day in range(3):
        record(
            ["edit a.py", "run tests"],
            type="fix",
            success=day > 0,
            files=["a.py"],
            tools=["pytest"],
            session="run-0",
            description="Edit, then test",
            at=_BEGAN + timedelta(days=day),
            duration=1.5,
        )
    record(["read", "wrïte"], type="own kind", success=True, at=_BEGAN)


def _plain_patterns(store: Store) -> dict[str, Any]:
    """Return sessions and patterns with all of their records; nothing where there are none, as before format 4."""
    sessions = sorted(store.sessions.lines())
    exported = b"".join(store.patterns.exported("jsonl")).decode("utf-8").splitlines()
    if not sessions:
        return {}
    return {"sessions": sessions, "patterns": [line for line in exported if '"exported_at"' not in line]}


def _plain_state(store: Store, name: str) -> list[dict[str, Any]]:
    found = []
    for version in store.states.log(name):
        with store.states.open(name, version) as state:
            arrays = {
                key: [str(state[key].dtype), list(state[key].shape), sha256(array.tobytes()).hexdigest()]
                for key, array in state.arrays().items()
            }
        facts = {key: _json(value) for key, value in asdict(version).items() if key not in ("written", "kept_exact")}
        found.append({**facts, "arrays": arrays})
    return found


def _plain(memory: Memory) -> dict[str, Any]:
    values = asdict(memory)
    return {name: _json(value) for name, value in values.items() if name not in ("uses", "similar", "notices")}


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


if __name__ == "__main__":
    print(build_golden(Path(sys.argv[1])))  # noqa: T201  (a tool's answer)
