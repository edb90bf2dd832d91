"""Changing the catalog: every method belongs to the one transaction that its writer was made for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import apsw

from lamina.storage import fts
from lamina.storage.codecs import PLAIN, BodyCodec, dictionary_hash, train_dictionary
from lamina.storage.dialect import SqliteDialect
from lamina.storage.names import NameKind, Names
from lamina.storage.reader import SEPARATOR, Reader
from lamina.storage.records import ACTIONS, TYPE_IDS, Action, NewPassage, Record

__all__ = ["Draft", "Indexed", "Writer"]


_SAMPLES = 2_000
_SAMPLE_CHARS = 10_000


@dataclass(slots=True)
class Draft:
    """A revision that is to become current."""

    record: Record
    passages: list[NewPassage]
    head: str = ""
    """Index tokens of title and description; every passage carries them."""
    bands: Sequence[int] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Indexed:
    """The tokens of one passage, as they were indexed."""

    head: str
    body: str


class Writer(Reader):
    """One atomic change of the catalog; it can read what it has written."""

    def __init__(self, db: apsw.Connection, names: Names, codec: BodyCodec) -> None:
        super().__init__(db, names, codec)
        self._undo: list[Callable[[], None]] = []

    def on_undo(self, action: Callable[[], None]) -> None:
        """Do something if this change is not committed."""
        self._undo.append(action)

    def undone(self) -> None:
        """Called by the catalog when the change was not committed."""
        for action in self._undo:
            action()

    def name_number(self, kind: NameKind, value: str | None) -> int | None:
        """Return the number of a string, making it where it is new."""
        if value is None:
            return None
        number = self.name_id(kind, value)
        if number is None:
            number = int(self._one("INSERT INTO name (kind, value) VALUES (?, ?) RETURNING id", int(kind), value))
            self._ids[kind, value] = number
            self.new_names[number] = value
        return number

    def set_meta(self, key: str, value: str) -> None:
        """Record a fact about the store."""
        self.db.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def insert(self, drafts: Iterable[Draft]) -> None:
        """Make revisions current, with their passages and tokens; sets each record's ``seq``.

        A memory of the same id must not have a current revision; a violated index raises and undoes the change.
        """
        seq, passage_id = self.last_number("memory"), self.last_number("passage")
        dictionary = self.newest_dictionary()
        memories, passages, texts, tags, bands = [], [], [], [], []
        for draft in drafts:
            record = draft.record
            seq += 1
            record.seq = seq
            scope = self.name_number(NameKind.SCOPE, record.scope)
            kind = TYPE_IDS[record.type]
            codec, body = self._codec.encode(record.text, dictionary)
            memories.append(
                (
                    seq,
                    record.id,
                    record.revision,
                    record.valid_from,
                    scope,
                    kind,
                    codec,
                    record.fingerprint(),
                    record.created_at,
                    record.importance,
                    self.name_number(NameKind.THREAD, record.thread),
                    record.position,
                    self.name_number(NameKind.SOURCE, record.source),
                    record.valid_until,
                    record.superseded_by,
                    record.title,
                    record.description,
                    SEPARATOR.join(record.tags) or None,
                    record.metadata_json(),
                    record.path,
                    body,
                )
            )
            tags += [(self.name_number(NameKind.TAG, tag), seq) for tag in record.tags]
            bands += [(band, seq) for band in draft.bands]
            for passage in draft.passages:
                passage_id += 1
                passages.append(
                    (
                        passage_id,
                        seq,
                        passage.start,
                        passage.stop,
                        _count(draft.head) + _count(passage.tokens) + fts.MARKS,
                        int(passage.given),
                        passage.scale,
                        passage.codes,
                    )
                )
                texts.append(fts.TextEntry(passage_id, draft.head, passage.tokens, scope or 0, kind))
        execute = self.db.executemany
        execute(
            "INSERT INTO memory (seq, id, revision, valid_from, scope, type, codec, hash, created_at, importance, "
            "thread, position, source, valid_until, superseded_by, title, description, tags, metadata, path, body) "
            "VALUES (" + ", ".join("?" * 21) + ")",
            memories,
        )
        execute(
            "INSERT INTO passage (id, memory, start, stop, tokens, given, scale, codes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            passages,
        )
        fts.add(self.db, fts.NOW, texts)
        if tags:
            execute("INSERT INTO memory_tag (tag, memory) VALUES (?, ?)", sorted(set(tags)))
        if bands:
            execute("INSERT INTO band (hash, memory) VALUES (?, ?)", sorted(set(bands)))

    def end(self, record: Record, action: Action, at: int, indexed: Mapping[int, Indexed]) -> None:
        """Close a current revision: it becomes history, and its tokens move to the index of the past.

        Args:
            record: The current revision.
            action: What ends it.
            at: When, in microseconds.
            indexed: The tokens of each of its passages, by the passage's id.
        """
        ended = replace(record, valid_to=max(at, 1), ended=action)
        self.db.execute(
            "UPDATE memory SET valid_to = ?, ended = ?, hash = ? WHERE seq = ?",
            (ended.valid_to, ACTIONS.index(action) + 1, ended.fingerprint(), record.seq),
        )
        scope = self.name_number(NameKind.SCOPE, record.scope) or 0
        kind = TYPE_IDS[record.type]
        entries = [fts.TextEntry(id, tokens.head, tokens.body, scope, kind) for id, tokens in indexed.items()]
        fts.remove(self.db, fts.NOW, [entry.passage for entry in entries])
        fts.add(self.db, fts.PAST, entries)
        self.db.execute("INSERT INTO ending (memory) VALUES (?)", (record.seq,))

    def remove_bands(self, memory: int, bands: Sequence[int]) -> None:
        """Forget a revision's near-duplicate bands."""
        self.db.executemany("DELETE FROM band WHERE hash = ? AND memory = ?", [(band, memory) for band in bands])

    def purge(self, seqs: Sequence[int]) -> dict[str, int]:
        """Scrub revisions from every table and index; call :meth:`scrub_text` once afterwards.

        Returns:
            How many entries went from ``row``, ``text``, ``vector`` and ``history``.
        """
        removed = {"row": 0, "text": 0, "vector": 0, "history": 0}
        names: set[int] = set()
        for seq in seqs:
            sql = "SELECT valid_to, scope, thread, source FROM memory WHERE seq = ?"
            found = self.db.execute(sql, (seq,)).fetchall()
            if not found:
                continue
            valid_to, *numbers = found[0]
            names.update(number for number in numbers if number)
            names.update(tag for (tag,) in self.db.execute("SELECT tag FROM memory_tag WHERE memory = ?", (seq,)))
            passages = self.passages_of(seq)
            fts.remove(self.db, fts.PAST if valid_to else fts.NOW, [row[0] for row in passages])
            removed["text"] += len(passages)
            removed["vector"] += sum(row[4] is not None for row in passages)
            for table, column in (("passage", "memory"), ("memory_tag", "memory"), ("memory", "seq")):
                self.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (seq,))
            self.db.execute("INSERT INTO ending (memory) VALUES (?)", (seq,))
            removed["history" if valid_to else "row"] += 1
        for number in names:
            self._drop_unused_name(number)
        return removed

    def forget_uses(self, id: str) -> None:
        """Remove a memory's use counts."""
        self.db.execute("DELETE FROM use_count WHERE id = ?", (id,))

    def scrub_text(self) -> None:
        """Rewrite the text indexes without what was deleted; until then deleted tokens stay in their segments."""
        fts.merge(self.db)

    def set_vectors(self, vectors: Iterable[tuple[int, float, bytes]]) -> None:
        """Give passages that wait for one their vector: ``(passage, scale, codes)``."""
        self.db.executemany(
            "UPDATE passage SET scale = ?2, codes = ?3 WHERE id = ?1 AND codes IS NULL AND given = 0", vectors
        )

    def drop_vectors(self, passages: Iterable[int]) -> None:
        """Let passages wait for a vector again."""
        self.db.executemany("UPDATE passage SET scale = NULL, codes = NULL WHERE id = ?", ((id,) for id in passages))

    def release_given(self) -> int:
        """Let passages that came with a vector of their own wait for one of the embedder's; return how many."""
        self.db.execute("UPDATE passage SET given = 0, scale = NULL, codes = NULL WHERE given = 1")
        return int(self.db.changes())

    def clear_vectors(self) -> int:
        """Forget every vector that an embedder can make again; return how many."""
        self.db.execute("UPDATE passage SET scale = NULL, codes = NULL WHERE given = 0 AND codes IS NOT NULL")
        return int(self.db.changes())

    def announce_all(self) -> None:
        """Tell other processes to load all passages anew."""
        self.db.execute("DELETE FROM ending WHERE seq < (SELECT max(seq) FROM ending)")
        self.db.execute("INSERT INTO ending (memory) VALUES (0)")

    def note_uses(self, uses: Iterable[tuple[str, int, int]]) -> None:
        """Add to use counts: ``(id, uses, last use)``."""
        self._count_uses((id, count, 0, 0, at) for id, count, at in uses)

    def note_outcome(self, id: str, *, helped: int = 0, hurt: int = 0, at: int) -> None:
        """Count one use and what came of it."""
        self._count_uses([(id, 1, helped, hurt, at)])

    def _count_uses(self, rows: Iterable[tuple[str, int, int, int, int]]) -> None:
        # Only of memories that are there: a use counted before a purge must not bring the id back.
        self.db.executemany(
            "INSERT INTO use_count (id, uses, helped, hurt, used_at) "
            "SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM memory WHERE id = ?1 AND valid_to = 0) "
            "ON CONFLICT (id) DO UPDATE SET uses = uses + excluded.uses, helped = helped + excluded.helped, "
            "hurt = hurt + excluded.hurt, "
            "used_at = CASE WHEN used_at < excluded.used_at THEN excluded.used_at ELSE used_at END",
            rows,
        )

    def train_dictionary(self, samples: int = _SAMPLES) -> int:
        """Train a compression dictionary on a spread of current texts; bodies that come from now on use it.

        Returns:
            Its number, or 0 where the texts are too few or too alike to train one.
        """
        seqs = [row[0] for row in self.db.execute("SELECT seq FROM memory WHERE valid_to = 0 ORDER BY seq")]
        chosen = seqs[:: max(1, len(seqs) // samples)][:samples]
        data = train_dictionary([record.text[:_SAMPLE_CHARS] for record in self.records(chosen).values()])
        if data is None:
            return 0
        number = max(self.last_number("dictionary"), PLAIN) + 1
        listed = array("q", chosen).tobytes()
        self.db.execute(
            "INSERT INTO dictionary (id, hash, samples, data) VALUES (?, ?, ?, ?)",
            (number, dictionary_hash(data), listed, data),
        )
        self.db.execute("INSERT INTO dictionary_copy (id, data) VALUES (?, ?)", (number, data))
        self._codec.learn(number, data)
        self.on_undo(lambda: self._codec.forget(number))
        return number

    def recode(self, dictionary: int, *, only: int | None = None) -> int:
        """Store bodies again with a dictionary, or without one for 0; return how many changed.

        Args:
            dictionary: The one to use.
            only: Bodies of this codec alone, whatever their new size; otherwise what gets smaller.
        """
        changed = 0
        seqs = [row[0] for row in self.db.execute("SELECT seq FROM memory WHERE ?1 IS NULL OR codec = ?1", (only,))]
        for seq in seqs:
            row = self.db.execute("SELECT id, codec, body FROM memory WHERE seq = ?", (seq,)).fetchall()[0]
            if only is None and row[1] == dictionary:
                continue
            text = self._codec.decode(row[1], row[2], f"memory {row[0]}", self.dictionary)
            codec, body = self._codec.encode(text, dictionary)
            if only is not None or len(body) < len(row[2]):
                self.db.execute("UPDATE memory SET codec = ?, body = ? WHERE seq = ?", (codec, body, seq))
                changed += 1
        return changed

    def retire_dictionaries(self, purged: Iterable[int]) -> None:
        """Replace every dictionary that was trained on one of these revisions; bodies that used it are stored again."""
        gone = set(purged)
        for number, samples in self.db.execute("SELECT id, samples FROM dictionary").fetchall():
            listed = array("q")
            listed.frombytes(samples[: len(samples) // 8 * 8])
            if gone.isdisjoint(listed):
                continue
            self.recode(self.train_dictionary(), only=number)
            self.db.execute("DELETE FROM dictionary WHERE id = ?", (number,))
            self.db.execute("DELETE FROM dictionary_copy WHERE id = ?", (number,))

    def prune_endings(self) -> None:
        """Shorten the log of endings; a process that is far behind loads everything anew."""
        if int(self._one("SELECT count(*) FROM ending") or 0) > 1:
            self.announce_all()

    def drop_revisions(self, seqs: Sequence[int]) -> None:
        """Remove revisions that cannot be read, and close the gaps that they and lost rows leave in a history."""
        for seq in seqs:
            self.db.execute("DELETE FROM memory WHERE seq = ?", (seq,))
        gaps = self.db.execute(
            "SELECT id FROM memory GROUP BY id HAVING min(revision) <> 1 OR max(revision) <> count(*)"
        ).fetchall()
        for (id,) in gaps:
            for number, record in enumerate(self.revisions(id), 1):
                record.revision = number
                self.db.execute(
                    "UPDATE memory SET revision = ?, hash = ? WHERE seq = ?", (number, record.fingerprint(), record.seq)
                )

    def mend_counters(self) -> None:
        """See to it that no table gives out a number that a row has."""
        for table, number in self.counters_behind().items():
            self.db.execute(SqliteDialect.forget_number, (table,))
            self.db.execute(SqliteDialect.set_number, (table, number))

    def drop_passages(self, memory: int) -> None:
        """Remove a revision's passages."""
        self.db.execute("DELETE FROM passage WHERE memory = ?", (memory,))

    def rebuild_tags(self, records: Iterable[Record]) -> None:
        """Fill the table of tags anew."""
        self.db.execute("DELETE FROM memory_tag")
        for record in records:
            for tag in dict.fromkeys(record.tags):
                self.db.execute(
                    "INSERT INTO memory_tag (tag, memory) VALUES (?, ?)",
                    (self.name_number(NameKind.TAG, tag), record.seq),
                )

    def drop_orphans(self) -> None:
        """Remove passages and tags of revisions that are not there."""
        self.db.execute("DELETE FROM passage WHERE NOT EXISTS (SELECT 1 FROM memory m WHERE m.seq = passage.memory)")
        self.db.execute(
            "DELETE FROM memory_tag WHERE NOT EXISTS (SELECT 1 FROM memory m WHERE m.seq = memory_tag.memory)"
        )

    def drop_vectors_of_other_lengths(self, lengths: Sequence[int]) -> None:
        """Let passages wait whose stored vector fits no precision of the store's dimensions."""
        marks = ", ".join("?" * len(lengths))
        self.db.execute(
            f"UPDATE passage SET scale = NULL, codes = NULL WHERE codes IS NOT NULL AND length(codes) NOT IN ({marks})",
            tuple(lengths),
        )

    def insert_passages(self, memory: int, spans: Sequence[tuple[int, int, Indexed]]) -> None:
        """Give a revision passages that wait for a vector; their tokens come with :meth:`rebuild_text`."""
        self.db.executemany(
            "INSERT INTO passage (memory, start, stop, tokens) VALUES (?, ?, ?, ?)",
            [
                (memory, start, stop, _count(entry.head) + _count(entry.body) + fts.MARKS)
                for start, stop, entry in spans
            ],
        )

    def rebuild_bands(self, entries: Iterable[tuple[int, Sequence[int]]]) -> None:
        """Fill the table of near-duplicate bands anew from ``(revision, bands)``."""
        self.db.execute("DELETE FROM band")
        self.db.executemany(
            "INSERT INTO band (hash, memory) VALUES (?, ?) ON CONFLICT DO NOTHING",
            ((band, memory) for memory, bands in entries for band in bands),
        )

    def rebuild_text(self, entries: Iterable[tuple[int, bool, str, str, str, str]]) -> int:
        """Fill both text indexes anew from ``(passage, past, head, body, scope, type)``; return how many entries."""
        fts.make(self.db)
        done = 0
        for id, past, head, body, scope, kind in entries:
            number = self.name_number(NameKind.SCOPE, scope) or 0
            fts.add(self.db, fts.PAST if past else fts.NOW, [fts.TextEntry(id, head, body, number, TYPE_IDS[kind])])
            done += 1
        return done

    def _drop_unused_name(self, number: int) -> None:
        for sql in (
            "SELECT 1 FROM memory WHERE thread = ? LIMIT 1",
            "SELECT 1 FROM memory_tag WHERE tag = ? LIMIT 1",
            "SELECT 1 FROM memory WHERE source = ? LIMIT 1",
            "SELECT 1 FROM memory WHERE scope = ? AND valid_to = 0 LIMIT 1",
            "SELECT 1 FROM memory WHERE scope = ? LIMIT 1",
        ):
            if self._one(sql, number) is not None:
                return
        self.db.execute("DELETE FROM name WHERE id = ?", (number,))


def _count(tokens: str) -> int:
    return tokens.count(" ") + 1 if tokens else 0
