from __future__ import annotations

import dataclasses
import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import CorruptionError, InvalidInputError
from lamina.storage import records
from lamina.storage.records import Record, from_micros, new_id, now_micros, to_micros
from lamina.types import MEMORY_TYPES

# --- ids -------------------------------------------------------------------------------------------------------------


def test_ids_of_one_thread_are_sorted() -> None:
    """Ids of a loop are unique, of 18 characters, and sort in the order in which they were made."""
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {len(id) for id in ids} == {18}
    assert set("".join(ids)) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_ids_tell_the_time() -> None:
    """The first ten characters are the millisecond, so ids of different moments sort whoever made them."""
    before = now_micros() // 1000
    id = new_id()
    moment = 0
    for character in id[:10]:
        moment = moment * 32 + records._ALPHABET.index(character)
    assert before <= moment <= before + 60_000


def test_ids_of_threads() -> None:
    """Threads that make ids at once never make the same, and each sees its own sorted."""
    made: list[list[str]] = [[] for _ in range(6)]
    begin = threading.Barrier(6)

    def work(mine: list[str]) -> None:
        begin.wait(10)
        mine += [new_id() for _ in range(3_000)]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in made:
        assert mine == sorted(mine)
    everything = [id for mine in made for id in mine]
    assert len(everything) == len(set(everything)) == 18_000


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_ids_of_forked_processes() -> None:
    """Children that begin with the parent's state make other ids than it and than each other."""
    new_id()
    ends = []
    for _ in range(4):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover (another process)
            os.close(reading)
            os.write(writing, " ".join(new_id() for _ in range(200)).encode())
            os._exit(0)
        os.close(writing)
        ends.append((reading, child))
    ids = [new_id() for _ in range(200)]
    for reading, child in ends:
        with os.fdopen(reading) as pipe:
            mine = pipe.read().split()
        assert mine == sorted(mine)
        assert len(mine) == 200
        ids += mine
        os.waitpid(child, 0)
    assert len(set(ids)) == len(ids)


def test_ids_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back gives no id twice and none that sorts before the last one."""
    ids = records._Ids()
    clock = [5_000_000_000, 5_000_000_000, 1_000_000_000, 0, 6_000_000_000]
    monkeypatch.setattr("lamina.storage.records.time.time_ns", lambda: clock.pop(0))
    made = [ids.next() for _ in range(5)]
    assert made == sorted(set(made))


# --- times -----------------------------------------------------------------------------------------------------------

ZONES = st.one_of(st.none(), st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))))


@given(moment=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), zone=ZONES)  # noqa: DTZ001
def test_times_round_trip(moment: datetime, zone: timezone | None) -> None:
    """Every moment of the years 1 to 9999 comes back to the microsecond; without a zone it is read as UTC."""
    given_moment = moment.replace(tzinfo=zone)
    back = from_micros(to_micros(given_moment))
    assert back == (given_moment if zone else moment.replace(tzinfo=UTC))
    assert back.tzinfo is UTC


def test_times_at_the_ends() -> None:
    """The first and the last moment of the calendar, the epoch, and their order."""
    ends = [datetime.min.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    micros = [to_micros(moment) for moment in ends]
    assert micros == sorted(micros)
    assert micros[1] == 0
    assert [from_micros(number) for number in micros] == ends
    for number in (micros[0] - 1, micros[2] + 1, 2**63, -(2**63)):
        with pytest.raises(CorruptionError):
            from_micros(number)


@given(one=st.datetimes(), two=st.datetimes())
def test_times_keep_their_order(one: datetime, two: datetime) -> None:
    """Stored numbers compare like the moments that they stand for."""
    assert (to_micros(one) < to_micros(two)) is (one < two)


@pytest.mark.parametrize("value", [None, 0, 1.5, "2024-01-01", datetime(2024, 1, 1, tzinfo=UTC).date()])
def test_no_time(value: Any) -> None:
    """What is no datetime is refused by the name of its field."""
    with pytest.raises(InvalidInputError, match="since"):
        to_micros(value, "since")


# --- fingerprints ----------------------------------------------------------------------------------------------------

BASE = Record(
    id="memory-1",
    text="some text",
    type="record",
    scope="private",
    created_at=1_000,
    valid_from=2_000,
    thread="thread",
    position=3,
    source="source",
    valid_until=9_000,
    superseded_by="memory-2",
    title="title",
    description="description",
    tags=("a", "b"),
    metadata={"k": [1, {"x": None}]},
    path="memory/one.md",
)
CHANGED: dict[str, list[Any]] = {
    "id": ["memory-2"],
    "text": ["some texT", "some text ", "", "some\ntext"],
    "type": [name for name in MEMORY_TYPES if name != "record"],
    "scope": ["team"],
    "created_at": [1_001, -1_000, 0],
    "valid_from": [2_001],
    "valid_to": [3_000, 3_001],
    "ended": ["update", "delete", "supersede"],
    "revision": [2],
    "importance": [0.5000001, 0.0, 1.0],
    "thread": [None, "thread 2"],
    "position": [None, 0, -3],
    "source": [None, "source 2"],
    "valid_until": [None, 9_001],
    "superseded_by": [None, "memory-3"],
    "title": [None, "Title"],
    "description": [None, "Description"],
    "tags": [(), ("a",), ("b", "a"), ("ab",), ("a", "b", "c")],
    "metadata": [{}, {"k": [1, {"x": False}]}, {"k": [1.0, {"x": None}]}, {"k": ["1", {"x": None}]}, {"l": 1}],
    "path": [None, "memory/two.md"],
}
OUTSIDE = {"uses", "helped", "hurt", "used_at", "seq"}


def test_every_field_is_accounted_for() -> None:
    """Each field of a record is either in its fingerprint or known to stay out, so that a new one is not forgotten."""
    assert {field.name for field in dataclasses.fields(Record)} == set(CHANGED) | OUTSIDE


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_fingerprint_covers(name: str) -> None:
    """Another value in a field that says something is another fingerprint, and no two of them are the same."""
    variants = [dataclasses.replace(BASE, **{name: value}).fingerprint() for value in CHANGED[name]]
    assert len({BASE.fingerprint(), *variants}) == len(variants) + 1


def test_fingerprint_leaves_out() -> None:
    """Statistics and the row's number are not part of it."""
    other = dataclasses.replace(BASE, uses=5, helped=2, hurt=1, used_at=77, seq=12)
    assert other.fingerprint() == BASE.fingerprint()


def test_fingerprint_tells_neighbours_apart() -> None:
    """The same words in another field are another fingerprint."""
    one = dataclasses.replace(BASE, title="same", description=None)
    two = dataclasses.replace(BASE, title=None, description="same")
    assert one.fingerprint() != two.fingerprint()


def test_fingerprint_is_what_it_was() -> None:
    """It is stored beside every row, so it may never change; and it fits a signed 64-bit column."""
    assert BASE.fingerprint() == FINGERPRINT
    assert -(2**63) <= BASE.fingerprint() < 2**63


FINGERPRINT = -1500684165273805025
