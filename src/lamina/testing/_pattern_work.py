"""Processes that record, query, prune, learn and delete patterns of one store at once, until they are killed.

Started as ``python -m lamina.testing._pattern_work FOLDER ROLE NAME SECONDS``. A recorder says on standard output, a
line each, the number of a use before it is written (``try N``) and when it is durable (``done N``); every use has a
moment of its own, so that it can be told from all others afterwards.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lamina.errors import LockedError, NotFoundError
from lamina.store import Store
from lamina.store import open as open_store

__all__ = ["DELETED_TYPE", "PATTERN_START", "RECORDERS_APART", "moment_of"]

PATTERN_START = datetime(2026, 1, 1, tzinfo=UTC)
RECORDERS_APART = 10_000_000
"""Microseconds between the first uses of two recorders."""
DELETED_TYPE = "U"
"""Patterns of this type are deleted now and then; those of all others are not."""
_STEPS = (
    ["open the file", "edit it", "run its tests"],
    ["open the file", "edit it", "run all tests"],
    ["open a file", "edit it", "run its tests"],
    ["open a file", "edit it", "run all tests"],
    ["open a file now", "edit it", "run all tests"],
    ["guess", "hope"],
    ["read the log", "fix the cause", "run its tests"],
)


def moment_of(recorder: int, number: int) -> datetime:
    """Return the moment of a recorder's use."""
    return PATTERN_START + timedelta(microseconds=recorder * RECORDERS_APART + number)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _record(store: Store, rng: random.Random, recorder: int, first: int) -> int:
    """Record one use, or a few at once; return the number of the next."""
    count = rng.choice((1, 1, 1, 25))
    _say(f"try {first} {count}")
    events = [
        {
            "steps": rng.choice(_STEPS),
            "type": "T",
            "success": rng.random() < 0.5,
            "files": [f"f{rng.randrange(5)}.py"],
            "session": f"s{recorder}-{rng.randrange(4)}",
            "at": moment_of(recorder, number),
        }
        for number in range(first, first + count)
    ]
    if count == 1:
        store.patterns.record(**events[0])  # type: ignore[arg-type]
    else:
        store.patterns.record_many(events)
    _say(f"done {first} {count}")
    return first + count


def _query(store: Store, rng: random.Random) -> None:
    patterns = store.patterns
    found = patterns.query().with_file(f"f{rng.randrange(5)}.py").limit(10).all()
    assert all(0 <= pattern.successes <= pattern.uses for pattern in found)
    for pattern in found[:2]:
        try:
            counted = sum(day.count for day in patterns.usage(pattern.id).by_day())
            assert counted >= 0
            patterns.related(pattern.id, min_correlation=0.1)
        except NotFoundError:
            continue  # it was pruned in between
    patterns.suggest(["open the file"])


def _prune(store: Store, rng: random.Random) -> None:
    plan = store.patterns.prune(max_upper=rng.choice((0.0, 0.6)), unused_days=10_000, similarity=0.7)
    if plan.id is not None and rng.random() < 0.7:
        store.patterns.undo(plan.id)
    time.sleep(0.02)


def _learn(store: Store, rng: random.Random) -> None:
    """Say something of a few sessions, and learn from what is there."""
    for _ in range(3):
        id = f"learn-{rng.randrange(30)}"
        run = store.sessions.start(id)
        for tool in rng.choice((("Read", "Edit", "Bash"), ("Read", "Edit"), ("Grep", "Read"), ("Edit", "Bash"))):
            run.call(tool, ok=rng.random() < 0.8)
        if rng.random() < 0.5:
            store.sessions.end(id, outcome=rng.choice(("success", "failure")))
    store.patterns.learn(min_support=2)
    time.sleep(0.02)


def _delete(store: Store, rng: random.Random) -> None:
    """Record patterns that are like each other, so that they are merged, and delete one of them."""
    for _ in range(rng.randrange(1, 6)):
        store.patterns.record(rng.choice(_STEPS), type=DELETED_TYPE, success=rng.random() < 0.5, session="shared")
    found = store.patterns.query().of_type(DELETED_TYPE).all()
    if found and rng.random() < 0.4:
        try:
            store.patterns.delete(rng.choice(found).id)
        except NotFoundError:
            return  # it was pruned in between
    time.sleep(0.02)


def _work(folder: str, role: str, name: str, seconds: float) -> None:
    rng = random.Random(f"{role}{name}{time.time_ns()}")
    until = time.monotonic() + seconds
    recorder, _, first = name.partition(":")
    number = int(first or 0)
    roles: dict[str, Callable[[Store, random.Random], None]] = {
        "query": _query,
        "prune": _prune,
        "learn": _learn,
        "delete": _delete,
    }
    with open_store(folder, embedder="none") as store:
        while time.monotonic() < until:
            try:
                if role == "record":
                    number = _record(store, rng, int(recorder), number)
                else:
                    roles[role](store, rng)
            except LockedError:
                continue  # it was not free in time; nothing was written


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
