"""What every catalog must do, as tests that a catalog's author inherits."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lamina.errors import ClosedError, LaminaError, LockedError, NotFoundError, ReadOnlyError
from lamina.storage.catalog import Catalog
from lamina.storage.filters import Filter, compile_where
from lamina.storage.names import NameKind
from lamina.testing._drafts import EVERYTHING, end, ids, make_draft

__all__ = ["CatalogTests"]


class CatalogTests:
    """Contract of :class:`lamina.storage.catalog.Catalog`.

    Subclass it, and override :meth:`open_catalog`::

        class TestMine(CatalogTests):
            def open_catalog(self, folder, **options):
                return MyCatalog(folder, **options)
    """

    def open_catalog(self, folder: Path, *, read_only: bool = False, create: bool = True) -> Catalog:
        """Open the catalog that lives in ``folder``; several handles on one folder see the same catalog."""
        raise NotImplementedError("a catalog's contract tests must override open_catalog()")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where the catalog lives."""
        return tmp_path / "store" / ".lamina"

    @pytest.fixture
    def catalog(self, folder: Path) -> Iterator[Catalog]:
        """An empty, writable catalog."""
        catalog = self.open_catalog(folder)
        yield catalog
        catalog.close()

    # --- opening -----------------------------------------------------------------------------------------------------

    def test_speaks_the_protocol(self, catalog: Catalog) -> None:
        """It has every part of the protocol, and a new one may be written and is empty."""
        assert isinstance(catalog, Catalog)
        assert not catalog.read_only
        with catalog.read() as reader:
            assert ids(reader) == []
            assert reader.count(EVERYTHING) == 0

    def test_missing(self, folder: Path) -> None:
        """Where there is none, one is made only if that is wanted, and refusing leaves nothing behind."""
        for options in ({"create": False}, {"read_only": True}):
            with pytest.raises(NotFoundError):
                self.open_catalog(folder, **options)
            assert not folder.exists() or not any(folder.iterdir())

    def test_reopening_keeps_everything(self, folder: Path) -> None:
        """What was written is there for the next handle, bit for bit."""
        text = "Grüße 🙂 \x00 nul, \u2028 and a very long tail " + "x" * 200_000
        first = self.open_catalog(folder)
        with first.write() as writer:
            writer.insert(
                [
                    make_draft(
                        "memory-1",
                        text,
                        type="project",
                        scope="user/alice",
                        tags=("b", "a"),
                        metadata={"n": 1, "deep": {"x": [None, True, "é"]}},
                        title="T",
                        description="D",
                        source="file://x",
                        thread="thread 1",
                        position=-3,
                        importance=0.25,
                        valid_until=2**52,
                        codes=bytes(range(8)),
                    )
                ]
            )
            writer.set_meta("key", "value")
        first.close()
        second = self.open_catalog(folder, create=False)
        try:
            with second.read() as reader:
                record = reader.current("memory-1")
                assert record is not None
                assert record.text == text
                assert (record.type, record.scope, record.tags) == ("project", "user/alice", ("b", "a"))
                assert record.metadata == {"n": 1, "deep": {"x": [None, True, "é"]}}
                assert (record.title, record.description, record.source) == ("T", "D", "file://x")
                assert (record.thread, record.position, record.importance) == ("thread 1", -3, 0.25)
                assert (record.created_at, record.valid_from, record.valid_until) == (1_000, 1_000, 2**52)
                assert (record.valid_to, record.ended, record.revision) == (0, None, 1)
                assert reader.meta("key") == "value"
                assert reader.meta("other") is None
                ((_, start, stop, scale, codes, given),) = reader.passages_of(record.seq)
                assert (start, stop, scale, codes, given) == (0, len(text), 0.5, bytes(range(8)), 0)
        finally:
            second.close()

    def test_read_only(self, folder: Path, catalog: Catalog) -> None:
        """A read-only handle reads what others write, and refuses to write."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1")])
        other = self.open_catalog(folder, read_only=True)
        try:
            assert other.read_only
            with pytest.raises(ReadOnlyError), other.write():
                pytest.fail("a read-only handle let a write begin")
            with catalog.write() as writer:
                writer.insert([make_draft("memory-2", created_at=2_000)])
            with other.read() as reader:
                assert ids(reader) == ["memory-2", "memory-1"]
        finally:
            other.close()

    def test_closed(self, catalog: Catalog) -> None:
        """A closed handle raises ClosedError, and closing again does nothing."""
        catalog.close()
        catalog.close()
        with pytest.raises(ClosedError), catalog.read():
            pytest.fail("a closed handle let a read begin")
        with pytest.raises(ClosedError), catalog.write():
            pytest.fail("a closed handle let a write begin")

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_forked(self, catalog: Catalog) -> None:
        """In a forked child every use raises ClosedError, and the parent's handle goes on working."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1")])
        child = os.fork()
        if child == 0:  # pragma: no cover (another process)
            code = 1
            with suppress(BaseException):
                try:
                    with catalog.read():
                        code = 2
                except ClosedError:
                    code = 0
                catalog.close()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with catalog.write() as writer:
            writer.insert([make_draft("memory-2", created_at=2_000)])
        with catalog.read() as reader:
            assert ids(reader) == ["memory-2", "memory-1"]

    # --- transactions ------------------------------------------------------------------------------------------------

    def test_all_or_nothing(self, catalog: Catalog) -> None:
        """An exception inside a write undoes all of it, comes through unchanged, and the handle goes on working."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1")])

        def change_and_fail() -> None:
            with catalog.write() as writer:
                writer.insert([make_draft("memory-2", scope="new/scope", tags=("new",))])
                writer.set_meta("key", "value")
                end(writer, "memory-1", "delete", 5_000)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            change_and_fail()
        with catalog.read() as reader:
            assert ids(reader) == ["memory-1"]
            assert reader.meta("key") is None
            assert reader.name_id(NameKind.SCOPE, "new/scope") is None
            assert reader.match(["text"], EVERYTHING, limit=9, head_weight=1.0) != []
        with catalog.write() as writer:
            writer.insert([make_draft("memory-3", scope="new/scope", created_at=3_000)])
        with catalog.read() as reader:
            record = reader.current("memory-3")
            assert record is not None
            assert record.scope == "new/scope"

    def test_a_writer_sees_its_own_writes(self, catalog: Catalog) -> None:
        """Inside a write everything written so far is visible; outside nothing is, until it ends."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1", tags=("t",))])
            assert writer.current("memory-1") is not None
            assert len(writer.match(["text"], EVERYTHING, limit=9, head_weight=1.0)) == 1
            with catalog.read() as reader:
                assert ids(reader) == []
        with catalog.read() as reader:
            assert ids(reader) == ["memory-1"]

    def test_a_read_is_one_moment(self, catalog: Catalog, folder: Path) -> None:
        """A view does not change while others write, neither from this handle nor from another one."""
        other = self.open_catalog(folder)
        try:
            with catalog.write() as writer:
                writer.insert([make_draft("memory-1")])
            with catalog.read() as reader:
                assert ids(reader) == ["memory-1"]
                with other.write() as writer:
                    writer.insert([make_draft("memory-2", created_at=2_000)])
                    end(writer, "memory-1", "delete", 5_000)
                assert ids(reader) == ["memory-1"]
                assert reader.count(EVERYTHING) == 1
                assert len(reader.match(["text"], EVERYTHING, limit=9, head_weight=1.0)) == 1
            with catalog.read() as reader:
                assert ids(reader) == ["memory-2"]
        finally:
            other.close()

    def test_readers_do_not_wait(self, catalog: Catalog, folder: Path) -> None:
        """Invariant 4: opening and reading work while another handle holds a write open."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1")])
        with catalog.write() as writer:
            writer.insert([make_draft("memory-2")])
            for read_only in (False, True):
                other = self.open_catalog(folder, read_only=read_only)
                try:
                    with other.read() as reader:
                        assert ids(reader) == ["memory-1"]
                finally:
                    other.close()

    def test_writers_take_turns(self, catalog: Catalog, folder: Path) -> None:
        """A second writer waits no longer than its bound, then raises LockedError; nothing of it was written."""
        other = self.open_catalog(folder)
        try:
            with catalog.write() as writer:
                writer.insert([make_draft("memory-1")])
                with pytest.raises(LockedError), other.write(wait=0.05):
                    pytest.fail("two writers were let in at once")
            with other.write(wait=5) as writer:
                writer.insert([make_draft("memory-2", created_at=2_000)])
            with catalog.read() as reader:
                assert ids(reader) == ["memory-2", "memory-1"]
        finally:
            other.close()

    def test_many_writers(self, folder: Path) -> None:
        """Threads over several handles write at once: nothing is lost, nothing doubled, every ``seq`` is its own."""
        catalogs = [self.open_catalog(folder) for _ in range(2)]
        failed: list[BaseException] = []

        def work(name: int) -> None:
            try:
                for number in range(15):
                    with catalogs[name % 2].write(wait=30) as writer:
                        writer.insert([make_draft(f"memory-{name}-{number}", scope=f"s{number}")])
            except BaseException as error:  # noqa: BLE001  (a thread must hand its failure to the test)
                failed.append(error)

        try:
            threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failed == []
            with catalogs[0].read() as reader:
                records = reader.page(EVERYTHING, None, None)
                wanted = {f"memory-{name}-{number}" for name in range(4) for number in range(15)}
                assert sorted(record.id for record in records) == sorted(wanted)
                assert len({record.seq for record in records}) == len(records)
                assert all(record.scope == f"s{record.id.rpartition('-')[2]}" for record in records)
        finally:
            for catalog in catalogs:
                catalog.close()

    def test_no_write_inside_a_write(self, catalog: Catalog) -> None:
        """A write begun inside another one is refused, and the outer one is not spoiled by it."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1")])
            with pytest.raises(LaminaError), catalog.write(wait=0.05):
                pytest.fail("a write began inside another one")
        with catalog.read() as reader:
            assert ids(reader) == ["memory-1"]

    # --- revisions ---------------------------------------------------------------------------------------------------

    def test_one_current_revision(self, catalog: Catalog) -> None:
        """A second current revision of an id is refused with an error of ours, and nothing of the batch stays."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1")])
        with pytest.raises(LaminaError), catalog.write() as writer:
            writer.insert([make_draft("memory-2"), make_draft("memory-1")])
        with catalog.read() as reader:
            assert ids(reader) == ["memory-1"]

    def test_history(self, catalog: Catalog) -> None:
        """Ended revisions stay in order with what ended them and when; ``current`` and ``as_of`` follow."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1", "first words", valid_from=1_000)])
        with catalog.write() as writer:
            end(writer, "memory-1", "update", 2_000)
            writer.insert([make_draft("memory-1", "second words", valid_from=2_000, revision=2)])
        with catalog.write() as writer:
            end(writer, "memory-1", "delete", 3_000)
        with catalog.read() as reader:
            found = [
                (record.text, record.revision, record.valid_from, record.valid_to, record.ended)
                for record in reader.revisions("memory-1")
            ]
            assert found == [
                ("first words", 1, 1_000, 2_000, "update"),
                ("second words", 2, 2_000, 3_000, "delete"),
            ]
            assert reader.current("memory-1") is None
            assert reader.created_at("memory-1") is not None
            assert reader.created_at("memory-2") is None
            assert reader.match(["words"], EVERYTHING, limit=9, head_weight=1.0) == []
            for moment, text in ((1_500, "first words"), (2_500, "second words"), (3_500, None)):
                condition = Filter(as_of=moment, expired=True)
                past = reader.match(["words"], condition, limit=9, head_weight=1.0, past=True)
                seqs = [row.memory for row in reader.passages(passage for passage, _ in past).values()]
                texts = [record.text for record in reader.records(seqs, condition).values()]
                assert texts == ([text] if text else [])

    def test_purge(self, catalog: Catalog) -> None:
        """Purging takes a memory from every table and index, and tells how much went from each."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1", "secret words", codes=b"1234", tags=("only",), thread="only here")])
            writer.insert([make_draft("memory-2", "other words", created_at=2_000)])
        with catalog.write() as writer:
            end(writer, "memory-1", "update", 2_000)
            writer.insert([make_draft("memory-1", "secret still", codes=b"1234", revision=2)])
        with catalog.write() as writer:
            removed = writer.purge([record.seq for record in writer.revisions("memory-1")])
            writer.scrub_text()
        assert removed == {"row": 1, "text": 2, "vector": 2, "history": 1}
        with catalog.read() as reader:
            assert reader.created_at("memory-1") is None
            assert reader.revisions("memory-1") == []
            assert ids(reader) == ["memory-2"]
            for past in (False, True):
                assert reader.match(["secret"], EVERYTHING, limit=9, head_weight=1.0, past=past) == []
            assert reader.name_id(NameKind.TAG, "only") is None
            assert reader.name_id(NameKind.THREAD, "only here") is None
            assert reader.document_frequency("secret") == 0
            assert reader.document_frequency("words") == 1

    def test_statistics_make_no_history(self, catalog: Catalog) -> None:
        """Uses and outcomes change the current revision's counts and nothing else."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1")])
            writer.note_uses([("memory-1", 3, 9_000), ("memory-7", 1, 9_000)])
            writer.note_outcome("memory-1", helped=1, hurt=0, at=8_000)
        with catalog.read() as reader:
            (record,) = reader.revisions("memory-1")
            assert (record.uses, record.helped, record.hurt, record.used_at) == (4, 1, 0, 9_000)

    # --- questions ---------------------------------------------------------------------------------------------------

    def test_pages(self, catalog: Catalog) -> None:
        """Pages come newest first, follow each other without gap or overlap, and end."""
        with catalog.write() as writer:
            writer.insert([make_draft(f"memory-{number:02}", created_at=1_000 + number // 2) for number in range(7)])
        with catalog.read() as reader:
            seen: list[str] = []
            after = None
            while page := reader.page(EVERYTHING, 3, after):
                seen += [record.id for record in page]
                after = page[-1].id
            assert seen == [f"memory-{number:02}" for number in (6, 5, 4, 3, 2, 1, 0)]

    def test_filters(self, catalog: Catalog) -> None:
        """Each filter keeps what it says, in pages, counts and text search alike."""
        with catalog.write() as writer:
            writer.insert(
                [
                    make_draft("memory-a", tags=("x", "y"), metadata={"k": 1}, created_at=1_000),
                    make_draft("memory-b", type="user", scope="team", tags=("x",), created_at=2_000),
                    make_draft("memory-c", valid_until=5_000, metadata={"k": "one"}, created_at=3_000),
                    make_draft("memory-d", superseded_by="memory-a", created_at=4_000),
                ]
            )
        with catalog.read() as reader:
            team = reader.name_id(NameKind.SCOPE, "team")
            x, y = reader.name_id(NameKind.TAG, "x"), reader.name_id(NameKind.TAG, "y")
            assert team is not None
            assert x is not None
            assert y is not None
            wanted = {
                "dcba": EVERYTHING,
                "ba": Filter(now=5_000),
                "cba": Filter(now=4_999),
                "b": Filter(scopes=(team,), expired=True),
                "ba ": Filter(tags=(x,), expired=True),
                "a": Filter(tags=(x, y), expired=True),
                "": Filter(tags=(x, -1), expired=True),
                "cb": Filter(since=2_000, until=4_000, expired=True),
                "a ": Filter(where=compile_where({"k": 1}), expired=True),
                "dcb": Filter(where=compile_where({"k": {"ne": 1}}), expired=True),
                "b ": Filter(types=(0,), expired=True),
            }
            for letters, condition in wanted.items():
                expected = [f"memory-{letter}" for letter in letters.strip()]
                assert ids(reader, condition) == expected, condition
                assert reader.count(condition) == len(expected), condition
                hits = reader.match(["text"], condition, limit=9, head_weight=1.0)
                rows = reader.passages(passage for passage, _ in hits)
                found = reader.records([row.memory for row in rows.values()], condition)
                assert sorted(record.id for record in found.values()) == sorted(expected), condition

    def test_text_search(self, catalog: Catalog) -> None:
        """Passages are found by their words, the rarer word and the better match first, up to the limit."""
        with catalog.write() as writer:
            writer.insert(
                [
                    make_draft("memory-1", "apple banana cherry"),
                    make_draft("memory-2", "apple apple plum"),
                    make_draft("memory-3", "pear"),
                ]
            )
        with catalog.read() as reader:
            hits = reader.match(["apple", "cherry"], EVERYTHING, limit=9, head_weight=1.0)
            order = [reader.records([reader.passages([hit])[hit].memory]).popitem()[1].id for hit, _ in hits]
            assert order == ["memory-1", "memory-2"]
            assert all(score > 0 for _, score in hits)
            assert len(reader.match(["apple", "cherry"], EVERYTHING, limit=1, head_weight=1.0)) == 1
            assert reader.match([], EVERYTHING, limit=9, head_weight=1.0) == []
            assert reader.match(["nothing"], EVERYTHING, limit=9, head_weight=1.0) == []
            assert reader.document_frequency("apple") == 2
            assert reader.text_statistics().passages == 3

    def test_near_duplicates(self, catalog: Catalog) -> None:
        """Revisions that share a band are found until the band is forgotten."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1", bands=(1, -2)), make_draft("memory-2", bands=(3,))])
            seq = writer.page(Filter(expired=True), None, None)[-1].seq
        with catalog.read() as reader:
            assert reader.near((-2, 9), 5) == [seq]
            assert reader.near((), 5) == []
        with catalog.write() as writer:
            writer.remove_bands(seq, (1, -2))
            assert writer.near((1, -2), 5) == []

    def test_waiting_vectors(self, catalog: Catalog) -> None:
        """Passages without a vector wait in order, and a vector that is given to them ends that."""
        with catalog.write() as writer:
            writer.insert([make_draft("memory-1"), make_draft("memory-2", codes=b"12"), make_draft("memory-3")])
        with catalog.read() as reader:
            assert reader.count_waiting() == 2
            waiting = reader.waiting(0, 10)
            assert [row[0] for row in reader.waiting(waiting[0][0], 10)] == [waiting[1][0]]
        with catalog.write() as writer:
            writer.set_vectors([(passage, 0.25, b"34") for passage, *_ in waiting])
        with catalog.read() as reader:
            assert reader.count_waiting() == 0
            assert [row[3:5] for row in reader.passages_of(waiting[0][1])] == [(0.25, b"34")]
        with catalog.write() as writer:
            assert writer.clear_vectors() == 3
        with catalog.read() as reader:
            assert reader.count_waiting() == 3

    def test_other_handles_can_follow(self, catalog: Catalog, folder: Path) -> None:
        """The position moves with every addition and every ending, so another handle knows what to load and drop."""
        other = self.open_catalog(folder)
        try:
            with other.read() as reader:
                start = reader.position()
            with catalog.write() as writer:
                writer.insert([make_draft("memory-1")])
            with other.read() as reader:
                added = reader.position()
                rows = list(reader.passage_columns(start.passage, EVERYTHING))
            assert added.passage > start.passage
            assert added.ending == start.ending
            assert len(rows) == 1
            with catalog.write() as writer:
                seq = end(writer, "memory-1", "delete", 5_000).seq
            with other.read() as reader:
                assert reader.position().ending > added.ending
                assert reader.endings(added.ending) == [seq]
        finally:
            other.close()
