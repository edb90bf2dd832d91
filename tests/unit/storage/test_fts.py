from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.config import Settings
from lamina.search.text import HEAD_WEIGHT, TermStatistics, term_scores
from lamina.search.tokens import tokens
from lamina.storage import fts
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.filters import Filter
from lamina.storage.fts import TextStatistics
from lamina.storage.names import NameKind
from lamina.storage.records import TYPE_IDS, NewPassage, Record
from lamina.storage.writer import Draft, Indexed, Writer
from lamina.testing import make_draft

VOCABULARY = ["ab", "cd", "ef", "gh", "日本", "grüße", "2023·05", "s1", "t4", "x" * 64]
SCOPES = ["private", "team", "user/a"]
TYPES = ["user", "record", "project"]
NOW = Filter(expired=True)


class Text(NamedTuple):
    """One passage of a random corpus."""

    head: list[str]
    body: list[str]
    scope: str
    type: str


WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=12)
CORPUS = st.lists(
    st.builds(
        Text,
        head=st.one_of(st.just([]), WORDS),
        body=WORDS,
        scope=st.sampled_from(SCOPES),
        type=st.sampled_from(TYPES),
    ),
    min_size=1,
    max_size=14,
)


class Held(NamedTuple):
    """A catalog to which every example adds."""

    catalog: SqliteCatalog

    def __repr__(self) -> str:
        return "<catalog>"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """One catalog for all examples; each of them is undone."""
    catalog = SqliteCatalog(tmp_path_factory.mktemp("fts") / "store" / ".lamina", Settings(durability="relaxed"))
    yield Held(catalog)
    catalog.close()


class Undo(Exception):  # noqa: N818  (no error: it takes an example back)
    """Ends an example's transaction."""


def drafts(corpus: list[Text]) -> list[Draft]:
    """Return a memory of one passage for every text."""
    made = []
    for place, text in enumerate(corpus):
        record = Record(
            id=f"memory-{place}", text="x", type=text.type, scope=text.scope, created_at=1_000, valid_from=1_000
        )
        passage = NewPassage(start=0, stop=1, tokens=" ".join(text.body))
        made.append(Draft(record, [passage], " ".join(text.head)))
    return made


def insert(writer: Writer, corpus: list[Text]) -> dict[int, Text]:
    """Write a corpus; return its texts by passage."""
    made = drafts(corpus)
    writer.insert(made)
    return {writer.passages_of(draft.record.seq)[0][0]: text for draft, text in zip(made, corpus, strict=True)}


def search(writer: Writer, terms: list[str], condition: Filter = NOW, *, past: bool = False) -> dict[int, float]:
    """Return every match's score; the best come first."""
    found = writer.match(terms, condition, limit=1_000, head_weight=HEAD_WEIGHT, past=past)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    return dict(found)


def check_scores(writer: Writer, texts: dict[int, Text], found: dict[int, float]) -> None:
    """Compare FTS5's scores for the whole vocabulary with the sums of the shares that are explained."""
    statistics = TermStatistics(writer, VOCABULARY)
    assert set(found) == {id for id, text in texts.items() if text.head or text.body}
    for id, score in found.items():
        shares = term_scores(texts[id].head, texts[id].body, statistics, VOCABULARY)
        counts = Counter(texts[id].head + texts[id].body)
        assert {share.term: share.count for share in shares} == dict(counts)
        assert sum(share.score for share in shares) == pytest.approx(score, rel=1e-12, abs=0)


def flush(writer: Writer) -> None:
    """Let FTS5 write what it remembers, as a commit does; until then its statistics are those of the last commit."""
    writer.db.execute("SAVEPOINT flushing")
    writer.db.execute("RELEASE flushing")


def count_all(texts: dict[int, Text]) -> TextStatistics:
    """Count what the index should remember."""
    return TextStatistics(len(texts), sum(len(text.head) + len(text.body) + fts.MARKS for text in texts.values()))


# --- scores ----------------------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(corpus=CORPUS)
def test_scores_are_explained_exactly(held: Held, corpus: list[Text]) -> None:
    """The shares of all terms add up to FTS5's own score, and the statistics are what one counts by hand."""
    try:
        with held.catalog.write() as writer:
            texts = insert(writer, corpus)
            flush(writer)
            assert writer.text_statistics() == count_all(texts)
            for term in VOCABULARY:
                wanted = sum(term in text.head + text.body for text in corpus)
                assert writer.document_frequency(term) == wanted
            check_scores(writer, texts, search(writer, VOCABULARY))
            raise Undo
    except Undo:
        pass


@settings(max_examples=60)
@given(corpus=CORPUS, data=st.data())
def test_scores_after_removals(held: Held, corpus: list[Text], data: st.DataObject) -> None:
    """Ended and purged passages leave scores, statistics and frequencies as if they had never been there."""
    fates = data.draw(st.lists(st.sampled_from(["stay", "end", "purge"]), min_size=len(corpus), max_size=len(corpus)))
    try:
        with held.catalog.write() as writer:
            texts = insert(writer, corpus)
            for (id, text), fate in zip(list(texts.items()), fates, strict=True):
                row = writer.passages([id])[id]
                if fate == "end":
                    record = writer.records([row.memory])[row.memory]
                    writer.end(record, "delete", 5_000, {id: Indexed(" ".join(text.head), " ".join(text.body))})
                elif fate == "purge":
                    writer.purge([row.memory])
                if fate != "stay":
                    del texts[id]
            for _ in range(2):  # before and after the deleted tokens are merged away
                flush(writer)
                assert writer.text_statistics() == count_all(texts)
                for term in VOCABULARY:
                    wanted = sum(term in text.head + text.body for text in texts.values())
                    assert writer.document_frequency(term) == wanted
                check_scores(writer, texts, search(writer, VOCABULARY))
                writer.scrub_text()
            raise Undo
    except Undo:
        pass


@settings(max_examples=80)
@given(
    corpus=CORPUS,
    terms=st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3, unique=True),
    scopes=st.one_of(st.none(), st.lists(st.sampled_from([*SCOPES, "nowhere"]), max_size=2, unique=True)),
    types=st.one_of(st.none(), st.lists(st.sampled_from(TYPES), max_size=2, unique=True)),
)
def test_scopes_and_types_inside(
    held: Held, corpus: list[Text], terms: list[str], scopes: list[str] | None, types: list[str] | None
) -> None:
    """Scope and type leave out what they should, change no score, and agree with the same filter on rows."""
    try:
        with held.catalog.write() as writer:
            texts = insert(writer, corpus)
            numbers = None if scopes is None else [writer.name_id(NameKind.SCOPE, scope) or -1 for scope in scopes]
            condition = Filter(
                expired=True,
                scopes=None if numbers is None else tuple(numbers),
                types=None if types is None else tuple(TYPE_IDS[name] for name in types),
            )
            everything = search(writer, terms)
            wanted = {
                id
                for id, text in texts.items()
                if set(terms) & {*text.head, *text.body}
                and (scopes is None or text.scope in scopes)
                and (types is None or text.type in types)
            }
            found = search(writer, terms, condition)
            assert set(found) == wanted
            assert found == {id: pytest.approx(everything[id], rel=1e-12) for id in wanted}
            joined = Filter(expired=True, scopes=condition.scopes, types=condition.types, since=0)
            assert not joined.plain
            assert set(search(writer, terms, joined)) == wanted
            raise Undo
    except Undo:
        pass


def test_limit_and_nothing(catalog: SqliteCatalog) -> None:
    """At most ``limit`` passages come, the best ones; no terms, or a filter that allows nothing, find nothing."""
    with catalog.write() as writer:
        insert(writer, [Text([], ["ab"] * (place + 1) + ["cd"] * 9, "team", "record") for place in range(9)])
        best = list(search(writer, ["ab"]).items())
        assert writer.match(["ab"], NOW, limit=3, head_weight=HEAD_WEIGHT) == best[:3]
        assert writer.match([], NOW, limit=3, head_weight=HEAD_WEIGHT) == []
        for nothing in (Filter(expired=True, scopes=()), Filter(expired=True, types=())):
            assert writer.match(["ab"], nothing, limit=3, head_weight=HEAD_WEIGHT) == []
        assert writer.match(["absent"], NOW, limit=3, head_weight=HEAD_WEIGHT) == []


def test_statistics_of_large_numbers(catalog: SqliteCatalog) -> None:
    """Counts whose varints take more than one byte are read as they are."""
    with catalog.write() as writer:
        assert writer.text_statistics() == TextStatistics(0, 0)
        texts = insert(writer, [Text(["ab"] * 3, ["cd"] * 200, "team", "record") for _ in range(300)])
    with catalog.read() as reader:
        assert reader.text_statistics() == count_all(texts) == TextStatistics(300, 61_500)


@settings(max_examples=60)
@given(number=st.integers(0, 2**64 - 1))
def test_varints(number: int) -> None:
    """SQLite's varints of one to nine bytes are read back, alone and in a row."""
    if number >= 2**56:
        low, rest = number & 0xFF, number >> 8
        block = bytes([rest >> shift & 0x7F | 0x80 for shift in range(49, -1, -7)]) + bytes([low])
    else:
        parts = [number & 0x7F]
        while number >> 7 * len(parts):
            parts.append(number >> 7 * len(parts) & 0x7F | 0x80)
        block = bytes(reversed(parts))
    assert list(fts._varints(block * 2 + b"\x05")) == [number, number, 5]


# --- marks -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    text=st.one_of(
        st.text(), st.lists(st.sampled_from(["§s1", "§", "s1", "t4", " ", "a", '"', "\0", "§§t4", "ª"])).map("".join)
    )
)
def test_no_token_is_a_mark(text: str) -> None:
    """No text makes a token that begins like a mark, or that could end a quoted term or a token."""
    for token in tokens(text):
        assert not token.startswith("§")
        assert not set(token) & set('" \t\r\n\0')


def test_marks_are_not_found_as_words(catalog: SqliteCatalog) -> None:
    """A search for what looks like a mark finds nothing, and a text about one is found by its word alone."""
    with catalog.write() as writer:
        (id,) = insert(writer, [Text([], tokens("see §s1 and §t4"), "private", "record")])
        for mark in ("§s1", "§t4", "§s0", f"§t{TYPE_IDS['record']}"):
            assert writer.match([mark], NOW, limit=9, head_weight=1.0) == []
        assert list(search(writer, ["s1"])) == [id]


# --- the past --------------------------------------------------------------------------------------------------------


def test_the_past(catalog: SqliteCatalog) -> None:
    """What ended is out of the present, and found in the past just by the moments at which it was valid."""
    with catalog.write() as writer:
        for revision, (start, word) in enumerate([(1_000, "first"), (2_000, "second"), (3_000, "third")], 1):
            current = writer.current("memory-1")
            if current is not None:
                (passage,) = writer.passages_of(current.seq)
                writer.end(current, "update", start, {passage[0]: Indexed("", current.text)})
            writer.insert([make_draft("memory-1", f"{word} words", valid_from=start, revision=revision)])
    with catalog.read() as reader:
        assert reader.text_statistics().passages == 1
        for word, count in (("first", 0), ("second", 0), ("third", 1), ("words", 1)):
            assert len(reader.match([word], NOW, limit=9, head_weight=1.0)) == count
            assert reader.document_frequency(word) == count
        for moment, wanted in ((999, ""), (1_000, "first"), (1_999, "first"), (2_000, "second"), (3_000, "")):
            condition = Filter(as_of=moment)
            found = reader.match(["words"], condition, limit=9, head_weight=1.0, past=True)
            seqs = [row.memory for row in reader.passages(id for id, _ in found).values()]
            assert [record.text for record in reader.records(seqs).values()] == ([f"{wanted} words"] if wanted else [])
        for moment, count in ((2_999, 0), (3_000, 1)):  # the present, asked about the past
            assert len(reader.match(["words"], Filter(as_of=moment), limit=9, head_weight=1.0)) == count


def test_purged_from_the_past(catalog: SqliteCatalog) -> None:
    """A past revision that is purged is in neither index, nor are its tokens in any segment after a merge."""
    with catalog.write() as writer:
        writer.insert([make_draft("memory-1", "zzqqxx words"), make_draft("memory-2", "other words")])
        record = writer.current("memory-1")
        assert record is not None
        (passage,) = writer.passages_of(record.seq)
        writer.end(record, "delete", 2_000, {passage[0]: Indexed("", "zzqqxx words")})
        writer.purge([record.seq])
        writer.scrub_text()
        assert writer.match(["zzqqxx"], Filter(as_of=1_500), limit=9, head_weight=1.0, past=True) == []
        for table in (fts.NOW, fts.PAST):
            blocks = [bytes(block) for (block,) in writer.db.execute(f"SELECT block FROM {table}_data")]
            assert not any(b"zzqqxx" in block for block in blocks)
