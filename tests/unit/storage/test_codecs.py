from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina import CorruptionError
from lamina.config import Settings
from lamina.storage import codecs
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.codecs import FIRST_DICTIONARY, MAX_BODY_BYTES, PLAIN, RAW, BodyCodec, train_dictionary
from lamina.storage.filters import Filter
from lamina.testing import make_draft

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WORDS = ["harbour", "ledger", "window", "quiet", "Tuesday", "invoice", "garden", "Grüße", "müde", "naïve", "日本語"]


def sentences(number: int, seed: int = 1) -> list[str]:
    """Return texts that are alike enough for a dictionary to be trained on them."""
    chance = random.Random(seed)
    return [f"note {place}: the {' '.join(chance.choices(WORDS, k=12))} was signed" for place in range(number)]


DATA = train_dictionary(sentences(1_500))


def dictionaries(number: int) -> bytes | None:
    """Load the module's one dictionary."""
    return DATA if number == FIRST_DICTIONARY else None


CODEC = BodyCodec(dictionaries)
LONG = " ".join(sentences(40, seed=2))


def frame(text: str = LONG) -> bytes:
    """Return the compressed body of a text that is worth it."""
    codec, body = CODEC.encode(text, 0)
    assert codec == PLAIN
    return body


def with_size(body: bytes, size: int) -> bytes:
    """Return a frame whose header claims another size (RFC 8878, section 3.1.1.1)."""
    flags = body[4]
    at = 5 + (0 if flags & 0x20 else 1) + (0, 1, 2, 4)[flags & 3]
    old = {0: 1 if flags & 0x20 else 0, 1: 2, 2: 4, 3: 8}[flags >> 6]
    head = body[:4] + bytes([flags & 0x3F | 0xC0]) + body[5:at]
    return head + size.to_bytes(8, "little") + body[at + old :]


# --- round trips -----------------------------------------------------------------------------------------------------


def test_dictionary_is_trained() -> None:
    """Similar texts make a dictionary of the size asked for at most; too few make none."""
    assert DATA is not None
    assert 1_000 < len(DATA) <= codecs.DICTIONARY_BYTES
    assert train_dictionary([]) is None
    assert train_dictionary(["one text"]) is None


@settings(max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"])), times=st.integers(1, 60), number=st.sampled_from([0, 2]))
def test_round_trip(text: str, times: int, number: int) -> None:
    """Any text comes back character for character, and is never stored larger than it is."""
    whole = text * times
    codec, body = CODEC.encode(whole, number)
    assert codec in ({RAW, PLAIN} if number == 0 else {RAW, FIRST_DICTIONARY})
    assert len(body) <= len(whole.encode("utf-8"))
    assert CODEC.decode(codec, body, "x") == whole


@settings(max_examples=40)
@given(words=st.lists(st.sampled_from(WORDS), min_size=8, max_size=60))
def test_round_trip_with_a_dictionary(words: list[str]) -> None:
    """Texts like those of the training are stored with the dictionary, smaller than without, and come back."""
    text = f"note 7: the {' '.join(words)} was signed"
    codec, body = CODEC.encode(text, FIRST_DICTIONARY)
    assert codec == FIRST_DICTIONARY
    assert len(body) < len(text.encode("utf-8"))
    assert CODEC.decode(codec, body, "x") == text


def test_smaller_of_both() -> None:
    """A text that compression cannot shrink, or that is too short to try, is stored as it is."""
    noise = "".join(random.Random(5).choices([chr(code) for code in range(0x4E00, 0x9FFF)], k=1_000))
    for text, number in ((noise, 0), ("short", 2), ("", 2), (LONG[:300], 0)):
        codec, body = CODEC.encode(text, number)
        if text is noise and codec != RAW:  # three bytes a character leave a little to gain
            assert len(body) < len(noise.encode("utf-8"))
        else:
            assert (codec, body) == (RAW, text.encode("utf-8"))
    assert CODEC.encode(LONG, 0)[0] == PLAIN


# --- damage ----------------------------------------------------------------------------------------------------------


def test_truncated_frames() -> None:
    """A frame cut at any byte is corruption, never a shorter text."""
    body = frame()
    for length in range(len(body)):
        with pytest.raises(CorruptionError):
            CODEC.decode(PLAIN, body[:length], "memory x")


def test_bytes_behind_a_frame() -> None:
    """A second frame, or anything else behind the first, is corruption."""
    for tail in (frame(), frame("a" * 1_000), b"\0", b"junk"):
        with pytest.raises(CorruptionError, match="memory x"):
            CODEC.decode(PLAIN, frame() + tail, "memory x")


def test_lying_size() -> None:
    """A header that claims another size, none, or one without bounds is corruption, before anything is allocated."""
    size = len(LONG.encode("utf-8"))
    assert CODEC.decode(PLAIN, with_size(frame(), size), "x") == LONG
    for wrong in (0, 1, size - 1, size + 1, 10 * size, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 2**40, 2**63):
        with pytest.raises(CorruptionError):
            CODEC.decode(PLAIN, with_size(frame(), wrong), "memory x")
    maker = zstd.ZstdCompressor()
    unsized = maker.compress(LONG.encode()) + maker.flush()
    with pytest.raises(CorruptionError):
        CODEC.decode(PLAIN, unsized, "memory x")


def test_no_utf8() -> None:
    """Bytes that are no UTF-8 are corruption, raw and compressed."""
    for codec, body in ((RAW, b"\xff\xfe"), (PLAIN, zstd.compress(b"\xff" * 600))):
        with pytest.raises(CorruptionError):
            CODEC.decode(codec, body, "memory x")


@settings(max_examples=60)
@given(codec=st.integers(-1, 4), body=st.binary(max_size=64))
def test_any_bytes(codec: int, body: bytes) -> None:
    """Any bytes under any codec number are a text or a CorruptionError that names what it is about."""
    for data in (body, zstd.compress(body), frame()[: len(body)] + body):
        try:
            assert isinstance(CODEC.decode(codec, data, "memory x"), str)
        except CorruptionError as error:
            assert "memory x" in error.message  # noqa: PT017


@settings(max_examples=60)
@given(data=st.data())
def test_flipped_bytes(data: st.DataObject) -> None:
    """A flipped byte is a text or a CorruptionError (the fingerprint of the row tells a wrong text)."""
    number = data.draw(st.sampled_from([0, 2]))
    codec, good = CODEC.encode(LONG, number)
    body = bytearray(good)
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        text = CODEC.decode(codec, bytes(body), "x")
    except CorruptionError:
        return
    assert isinstance(text, str)


@pytest.mark.parametrize("data", [None, b"", b"1234567", b"no dictionary at all, though long enough"])
def test_missing_or_wrong_dictionary(data: bytes | None) -> None:
    """A body whose dictionary is missing or is none is corruption."""
    codec, body = CODEC.encode(sentences(3)[2], FIRST_DICTIONARY)
    other = BodyCodec(lambda _: data)
    with pytest.raises(CorruptionError, match="memory x"):
        other.decode(codec, body, "memory x")


# --- dictionaries of a store -----------------------------------------------------------------------------------------


def fill(catalog: SqliteCatalog, number: int = 1_500) -> dict[str, str]:
    """Write memories, train a dictionary, store them with it; return the texts by id."""
    texts = {f"memory-{place:05}": text for place, text in enumerate(sentences(number))}
    with catalog.write() as writer:
        writer.insert([make_draft(id, text) for id, text in texts.items()])
        trained = writer.train_dictionary()
        assert trained == FIRST_DICTIONARY
        assert writer.recode(trained) == number
    return texts


def read_all(catalog: SqliteCatalog, texts: dict[str, str]) -> None:
    """Check that every memory is readable and says what it should."""
    with catalog.read() as reader:
        for id, text in texts.items():
            record = reader.current(id)
            assert record is not None
            assert record.text == text


def change(catalog: SqliteCatalog, sql: str, *values: Any) -> None:
    """Damage rows of a catalog behind its back."""
    connection = apsw.Connection(str(catalog.path))
    connection.execute(sql, values)
    connection.close()


def test_two_handles(catalog: SqliteCatalog, folder: Path) -> None:
    """A handle reads bodies, and writes new ones, with a dictionary that another one trained after it was opened."""
    other = SqliteCatalog(folder, Settings())
    try:
        texts = fill(catalog)
        read_all(other, dict(list(texts.items())[:5]))
        with other.write() as writer:
            writer.insert([make_draft("memory-new", sentences(9, seed=8)[8])])
        with catalog.read() as reader:
            assert list(reader.db.execute("SELECT codec FROM memory WHERE id = 'memory-new'")) == [(2,)]
        read_all(catalog, {"memory-new": sentences(9, seed=8)[8]})
    finally:
        other.close()


def test_a_view_outlives_its_dictionary(catalog: SqliteCatalog, folder: Path) -> None:
    """A view that began before another handle retired the dictionary still reads every body of its moment."""
    texts = fill(catalog)
    other = SqliteCatalog(folder, Settings())
    try:
        with other.read() as reader:
            assert reader.count(Filter(expired=True)) == len(texts)
            with catalog.write() as writer:
                first = writer.current("memory-00000")
                assert first is not None
                writer.purge([first.seq])
                writer.retire_dictionaries([first.seq])
            record = reader.current("memory-00000")
            assert record is not None
            assert record.text == texts["memory-00000"]
    finally:
        other.close()


def test_undone_training(catalog: SqliteCatalog) -> None:
    """A dictionary whose transaction was undone is forgotten, and the next one of its number is another."""

    def train_and_fail() -> None:
        with catalog.write() as writer:
            writer.insert([make_draft(f"gone-{place}", text) for place, text in enumerate(sentences(1_200, seed=30))])
            assert writer.train_dictionary() == FIRST_DICTIONARY
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_and_fail()
    texts = fill(catalog)
    read_all(catalog, dict(list(texts.items())[:50]))
    catalog.close()
    again = SqliteCatalog(catalog.path.parent, Settings())
    try:
        read_all(again, dict(list(texts.items())[:50]))
    finally:
        again.close()


def test_second_copy(catalog: SqliteCatalog) -> None:
    """Where the first copy of a dictionary is damaged the second is used; where both are, it is corruption."""
    texts = fill(catalog)
    for damage in ("zeroblob(900)", "CAST(X'00' || substr(data, 2) AS BLOB)"):
        change(catalog, f"UPDATE dictionary SET data = {damage}")
        again = SqliteCatalog(catalog.path.parent, Settings())
        try:
            read_all(again, dict(list(texts.items())[:20]))
        finally:
            again.close()
    change(catalog, "UPDATE dictionary_copy SET data = substr(data, 1, 500)")
    again = SqliteCatalog(catalog.path.parent, Settings())
    try:
        with pytest.raises(CorruptionError, match="memory-00003"):
            read_all(again, {"memory-00003": ""})
    finally:
        again.close()


def test_numbers_are_never_used_twice(tmp_path: Path) -> None:
    """A dictionary's number is not given out again after everything was purged, and what comes after is readable."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        first = store.memories.add_many(f"{text} a" for text in sentences(6_000, seed=3))
        catalog = store._catalog
        with catalog.read() as reader:
            before = reader.newest_dictionary()
        assert before == FIRST_DICTIONARY
        with catalog.write() as writer:  # all but the first at once: one by one takes long
            last = writer.current(first[0])
            assert last is not None
            writer.purge([seq for seq in range(1, 6_001) if seq != last.seq])
            writer.db.execute("DELETE FROM band WHERE memory <> ?", (last.seq,))
            writer.db.execute("DELETE FROM use_count")
        store.memories.delete(first[0])
        store.memories.delete(first[0], purge=True)
        assert store.memories.count() == 0
        with catalog.read() as reader:
            assert reader.newest_dictionary() == 0
        ids = store.memories.add_many(sentences(12_000, seed=4))
        with catalog.read() as reader:
            assert reader.newest_dictionary() == before + 1
    with lamina.open(folder, embedder="none", create=False) as store:
        found = {memory.id: memory.text for memory in store.memories.list(limit=None)}
        assert [found[id] for id in ids] == sentences(12_000, seed=4)
        assert store.verify("full").ok
