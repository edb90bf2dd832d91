"""Numbered changes of the catalog's schema, applied in order and each in one transaction.

``application_id`` says that a SQLite file is a Lamina catalog, ``user_version`` how many migrations it has had. Beside
them ``meta`` lists *features*: a reader that does not know every ``reader_features`` entry must refuse the file, a
writer that does not know every ``writer_features`` entry must open it for reading only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import apsw

from lamina.errors import FormatError
from lamina.storage import fts
from lamina.storage.codecs import damaged

__all__ = [
    "APPLICATION_ID",
    "FORMAT_VERSION",
    "MIGRATIONS",
    "check_format",
    "lend_tables",
    "migrate",
    "schema",
    "wanted_schema",
]

APPLICATION_ID = 0x4C414D4E  # "LAMN"
READER_FEATURES = frozenset({"zstd", "tokens-1"})
"""What this version can read."""
WRITER_FEATURES = frozenset({"zstd", "tokens-1"})
"""What this version can keep up to date when it writes."""


def _m001_memories(db: apsw.Connection) -> None:
    """Memories with their past revisions, passages with vectors, tokens, tags, near-duplicate bands."""
    db.execute(
        """
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

        -- Strings that repeat, by kind: scope, thread, tag, source.
        CREATE TABLE name (
            id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, value TEXT NOT NULL, UNIQUE (kind, value)
        ) STRICT;

        -- Bodies are compressed with one of these once that pays; id 0 is "as it is", 1 is zstd without a dictionary.
        -- A number is never used twice. Every body that it coded depends on it, so it is kept twice, with a hash.
        -- samples lists the revisions that it was trained on: their texts are in it.
        CREATE TABLE dictionary (
            id INTEGER PRIMARY KEY AUTOINCREMENT, hash INTEGER NOT NULL, samples BLOB NOT NULL, data BLOB NOT NULL
        ) STRICT;
        CREATE TABLE dictionary_copy (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

        -- One row a revision. valid_to = 0 marks the current one; others are history, which as_of searches.
        -- Times are microseconds since 1970 in UTC.
        CREATE TABLE memory (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL,
            revision INTEGER NOT NULL,
            valid_from INTEGER NOT NULL,
            valid_to INTEGER NOT NULL DEFAULT 0,
            ended INTEGER NOT NULL DEFAULT 0,
            scope INTEGER NOT NULL,
            type INTEGER NOT NULL,
            codec INTEGER NOT NULL,
            hash INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            importance REAL NOT NULL,
            thread INTEGER,
            position INTEGER,
            source INTEGER,
            valid_until INTEGER,
            superseded_by TEXT,
            title TEXT,
            description TEXT,
            tags TEXT,
            metadata TEXT,
            path TEXT,
            body BLOB NOT NULL  -- last, so that filters need not read past it
        ) STRICT;
        CREATE UNIQUE INDEX memory_id ON memory (id) WHERE valid_to = 0;
        CREATE INDEX memory_past ON memory (id, revision) WHERE valid_to <> 0;
        CREATE INDEX memory_created ON memory (created_at, id) WHERE valid_to = 0;
        CREATE INDEX memory_scope ON memory (scope, created_at, id) WHERE valid_to = 0;
        CREATE INDEX memory_thread ON memory (thread) WHERE thread IS NOT NULL;
        CREATE INDEX memory_source ON memory (source) WHERE source IS NOT NULL;

        -- What came of a memory, whichever revision was recalled. Statistics make no history.
        CREATE TABLE use_count (
            id TEXT PRIMARY KEY,
            uses INTEGER NOT NULL,
            helped INTEGER NOT NULL,
            hurt INTEGER NOT NULL,
            used_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE memory_tag (
            tag INTEGER NOT NULL, memory INTEGER NOT NULL, PRIMARY KEY (tag, memory)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX memory_tag_memory ON memory_tag (memory);

        -- A stretch of a body, in characters, with its vector: int8 codes times one scale.
        -- A row without codes waits for an embedder unless its memory came with a vector of its own (given = 1).
        CREATE TABLE passage (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            memory INTEGER NOT NULL,
            start INTEGER NOT NULL,
            stop INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            given INTEGER NOT NULL DEFAULT 0,
            scale REAL,
            codes BLOB
        ) STRICT;
        CREATE INDEX passage_memory ON passage (memory);
        CREATE INDEX passage_waiting ON passage (id) WHERE codes IS NULL AND given = 0;

        -- Passages of revisions that are no longer current: other processes drop them from what they hold in memory.
        -- memory = 0 says "load everything anew".
        CREATE TABLE ending (seq INTEGER PRIMARY KEY AUTOINCREMENT, memory INTEGER NOT NULL) STRICT;

        -- Bands of MinHash signatures of current memories, for near-duplicates.
        CREATE TABLE band (
            hash INTEGER NOT NULL, memory INTEGER NOT NULL, PRIMARY KEY (hash, memory)
        ) STRICT, WITHOUT ROWID;
        """
    )
    fts.make(db)


def _m002_files(db: apsw.Connection) -> None:
    """Markdown files of the store's folder, as they were last seen."""
    db.execute(
        """
        -- One row a file. The folder is the truth and this its mirror: it may be emptied, and is filled again.
        CREATE TABLE file (
            path TEXT PRIMARY KEY,
            memory TEXT,
            hash BLOB NOT NULL,
            body BLOB NOT NULL,
            size INTEGER NOT NULL,
            mtime INTEGER NOT NULL,
            ctime INTEGER NOT NULL,
            inode INTEGER NOT NULL,
            problem TEXT,
            leaving INTEGER NOT NULL DEFAULT 0
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX file_memory ON file (memory) WHERE memory IS NOT NULL;
        CREATE INDEX file_leaving ON file (path) WHERE leaving <> 0;
        CREATE INDEX memory_path ON memory (path) WHERE path IS NOT NULL AND valid_to = 0;
        """
    )


def _m003_states(db: apsw.Connection) -> None:
    """States: versions with their manifests, names for versions, and where the objects lie that they are made of."""
    db.execute(
        """
        CREATE TABLE state (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL
        ) STRICT;

        -- head and body are the manifest, whose hash is the id. A body is whole where base is NULL, otherwise what
        -- differs from the body of version base; depth counts such steps. gone = 1: deleted, kept while it is read.
        CREATE TABLE state_version (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            state INTEGER NOT NULL,
            id BLOB NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            gone INTEGER NOT NULL DEFAULT 0,
            damaged INTEGER NOT NULL DEFAULT 0,
            base INTEGER,
            depth INTEGER NOT NULL DEFAULT 0,
            head BLOB NOT NULL,
            body BLOB NOT NULL
        ) STRICT;
        CREATE INDEX state_version_state ON state_version (state, seq);
        CREATE INDEX state_version_base ON state_version (base) WHERE base IS NOT NULL;

        -- Names of versions: kind 1 a branch, 2 a tag. A tag that was removed keeps its name, without a version.
        CREATE TABLE state_ref (
            state INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            name TEXT NOT NULL,
            version INTEGER,
            PRIMARY KEY (state, kind, name)
        ) STRICT, WITHOUT ROWID;

        -- synced = 0: written without waiting for the disk during the boot that is named.
        CREATE TABLE pack (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            size INTEGER NOT NULL,
            synced INTEGER NOT NULL,
            boot TEXT NOT NULL DEFAULT ''
        ) STRICT;
        CREATE INDEX pack_unsynced ON pack (id) WHERE synced = 0;

        -- damaged = 1: a repair found it so; whoever stores the same content again replaces it.
        -- An object lies in a pack (its frames from "start", its frame table from "record") or, with pack = 0, here.
        CREATE TABLE object (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            address BLOB NOT NULL UNIQUE,
            kind INTEGER NOT NULL,
            length INTEGER NOT NULL,
            stored INTEGER NOT NULL,
            pack INTEGER NOT NULL,
            start INTEGER NOT NULL,
            record INTEGER NOT NULL,
            record_size INTEGER NOT NULL,
            reads INTEGER NOT NULL DEFAULT 0,
            damaged INTEGER NOT NULL DEFAULT 0,
            data BLOB
        ) STRICT;
        CREATE INDEX object_pack ON object (pack) WHERE pack <> 0;
        """
    )


def _m004_patterns(db: apsw.Connection) -> None:
    """Sessions with their turns and tool calls; patterns with every use of theirs, and what is derived from those."""
    db.execute(
        """
        -- One run of an agent. Times are microseconds since 1970 in UTC; outcome is 1, 0 or unknown.
        -- learned counts the events that learning has seen; trace holds what it made of them, as packed numbers.
        CREATE TABLE session (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            agent TEXT,
            project TEXT,
            title TEXT,
            source TEXT,
            started_at INTEGER NOT NULL,
            last_at INTEGER NOT NULL,
            ended_at INTEGER,
            outcome INTEGER,
            quality REAL,
            turns INTEGER NOT NULL DEFAULT 0,
            calls INTEGER NOT NULL DEFAULT 0,
            errors INTEGER NOT NULL DEFAULT 0,
            learned INTEGER NOT NULL DEFAULT -1,
            archived_at INTEGER,
            metadata TEXT,
            trace BLOB
        ) STRICT;
        CREATE INDEX session_started ON session (started_at, seq);

        -- Turns (kind 0) and tool calls (kind 1) in their order. name is the speaker's role or the tool; step is the
        -- call brought to its normal form. key tells an event from every other of its session, so that a second import
        -- adds nothing. codec is 0 for a body as it is, 1 for zstd.
        CREATE TABLE session_event (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            session INTEGER NOT NULL,
            position INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            key INTEGER NOT NULL,
            at INTEGER NOT NULL,
            name INTEGER NOT NULL,
            step INTEGER,
            ok INTEGER,
            exit INTEGER,
            duration INTEGER,
            digest INTEGER,
            files BLOB,
            codec INTEGER NOT NULL,
            body BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX session_event_place ON session_event (session, position);

        -- The events of an archived session, in parts of a few megabytes.
        CREATE TABLE session_archive (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            session INTEGER NOT NULL,
            part INTEGER NOT NULL,
            body BLOB NOT NULL,
            UNIQUE (session, part)
        ) STRICT;

        -- Type and exact steps are the identity of a pattern, and its id is made of them. state is 0 while it is in
        -- use, 1 once removed, 2 once merged into another; prune is the run that did it. uses to rank are derived from
        -- pattern_use: rank is log2 of the success rate's lower bound + last use in units of 30 days, so that its
        -- order does not depend on now.
        CREATE TABLE pattern (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            type INTEGER NOT NULL,
            origin INTEGER NOT NULL,
            state INTEGER NOT NULL DEFAULT 0,
            merged_into INTEGER,
            prune INTEGER,
            created_at INTEGER NOT NULL,
            uses INTEGER NOT NULL DEFAULT 0,
            successes INTEGER NOT NULL DEFAULT 0,
            sessions INTEGER NOT NULL DEFAULT 0,
            first_used INTEGER NOT NULL DEFAULT 0,
            last_used INTEGER NOT NULL DEFAULT 0,
            success_rate REAL NOT NULL DEFAULT 0,
            rank REAL NOT NULL DEFAULT 0,
            steps TEXT NOT NULL,
            description TEXT,
            context TEXT
        ) STRICT;
        CREATE INDEX pattern_rank ON pattern (rank, type, success_rate, last_used) WHERE state = 0;
        CREATE INDEX pattern_type ON pattern (type, rank) WHERE state = 0;
        CREATE INDEX pattern_uses ON pattern (uses, type) WHERE state = 0;
        CREATE INDEX pattern_success ON pattern (success_rate, uses, type) WHERE state = 0;
        CREATE INDEX pattern_last ON pattern (last_used, type) WHERE state = 0;
        CREATE INDEX pattern_gone ON pattern (prune) WHERE state <> 0;

        -- Every use. links are the names of its files and tools, packed; moved_from is the pattern that it was
        -- recorded for, where that was merged into this one; learned says that learning found it.
        CREATE TABLE pattern_use (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            pattern INTEGER NOT NULL,
            at INTEGER NOT NULL,
            success INTEGER NOT NULL,
            learned INTEGER NOT NULL,
            session INTEGER,
            duration INTEGER,
            moved_from INTEGER,
            links BLOB
        ) STRICT;
        CREATE INDEX pattern_use_pattern ON pattern_use (pattern, at, success);
        CREATE INDEX pattern_use_session ON pattern_use (session, pattern) WHERE session IS NOT NULL;
        CREATE INDEX pattern_use_moved ON pattern_use (moved_from) WHERE moved_from IS NOT NULL;

        -- Derived: uses by day of UTC, by file and tool, and the words of steps and description.
        CREATE TABLE pattern_day (
            pattern INTEGER NOT NULL,
            day INTEGER NOT NULL,
            uses INTEGER NOT NULL,
            successes INTEGER NOT NULL,
            PRIMARY KEY (pattern, day)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE pattern_link (
            name INTEGER NOT NULL,
            pattern INTEGER NOT NULL,
            uses INTEGER NOT NULL,
            successes INTEGER NOT NULL,
            last_used INTEGER NOT NULL,
            PRIMARY KEY (name, pattern)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX pattern_link_pattern ON pattern_link (pattern, name);
        CREATE TABLE pattern_term (
            term TEXT NOT NULL, pattern INTEGER NOT NULL, PRIMARY KEY (term, pattern)
        ) STRICT, WITHOUT ROWID;

        -- What pruning did, for undo.
        CREATE TABLE pattern_prune (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, undone_at INTEGER, plan TEXT NOT NULL
        ) STRICT;
        """
    )


MIGRATIONS: tuple[Callable[[apsw.Connection], None], ...] = (
    _m001_memories,
    _m002_files,
    _m003_states,
    _m004_patterns,
)
"""In order; the first brings an empty file to version 1. Never change one that was released."""

FORMAT_VERSION = len(MIGRATIONS)


def migrate(db: apsw.Connection, version: int) -> None:
    """Bring the catalog from ``version`` to :data:`FORMAT_VERSION`, inside the caller's transaction."""
    for step in MIGRATIONS[version:]:
        step(db)
    if version == 0:
        db.pragma("application_id", APPLICATION_ID)
        db.executemany(
            "INSERT INTO meta (key, value) VALUES (?, ?)",
            [
                ("reader_features", json.dumps(sorted(READER_FEATURES))),
                ("writer_features", json.dumps(sorted(WRITER_FEATURES))),
            ],
        )
    db.pragma("user_version", FORMAT_VERSION)


def schema(db: Any) -> set[tuple[Any, ...]]:
    """Return what a catalog says of its tables; what the query planner keeps for itself is left out."""
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'")
    return set(rows.fetchall())


def wanted_schema(version: int | None = None) -> set[tuple[Any, ...]]:
    """Return what a catalog says of its tables that is new, or has had ``version`` migrations."""
    draft = apsw.Connection(":memory:")
    try:
        for step in MIGRATIONS[:version]:
            step(draft)
        return schema(draft)
    finally:
        draft.close(True)


def lend_tables(db: apsw.Connection) -> int | None:
    """Give a connection that only reads, of a catalog from before some tables, empty ones of its own in their place.

    Whoever reads then needs no case for what an older catalog does not have.

    Returns:
        The number of migrations the catalog has had; None where it lacks nothing.
    """
    version = int(db.pragma("user_version"))
    if not 0 < version < FORMAT_VERSION or db.pragma("application_id") != APPLICATION_ID:
        return None
    for sql in _tables_since(version):
        db.execute(sql)
    return version


@cache
def _tables_since(version: int) -> tuple[str, ...]:
    """Return what makes, as temporary ones, the tables that came after ``version`` migrations, and their indexes."""
    known = {name for _, name, _, _ in wanted_schema(version)}
    new = [row for row in wanted_schema() if row[1] not in known and row[3] is not None]
    tables = {name for kind, name, _, _ in new if kind == "table"}
    # Without AUTOINCREMENT, which would put a sqlite_sequence of its own before the catalog's.
    made = [
        sql.replace("CREATE TABLE ", "CREATE TEMP TABLE ", 1).replace(" AUTOINCREMENT", "")
        for kind, _, _, sql in new
        if kind == "table"
    ]
    made += [
        sql.replace(" INDEX ", " INDEX temp.", 1) for kind, _, table, sql in new if kind == "index" and table in tables
    ]
    return tuple(made)


def check_format(db: Any, where: str) -> tuple[int, bool]:
    """Check that this version of Lamina may use the catalog.

    Args:
        db: An open connection.
        where: The store, for messages.

    Returns:
        The number of migrations it has had, and whether it may be written.

    Raises:
        FormatError: It is no catalog of Lamina's, or needs a newer version for reading.
    """
    application = db.pragma("application_id")
    version = db.pragma("user_version")
    if application != APPLICATION_ID and (application or version or db.execute("SELECT 1 FROM sqlite_schema").get):
        raise FormatError(
            f"{where} holds a SQLite file that is not a Lamina catalog.", hint="Choose another folder for the store."
        )
    if version == 0:
        return 0, True
    features: dict[str, str] = dict(
        db.execute("SELECT key, value FROM meta WHERE key IN ('reader_features', 'writer_features')").fetchall()
    )
    unknown = _features(features.get("reader_features"), where) - READER_FEATURES
    if unknown:
        raise FormatError(
            f"{where} was written by a newer Lamina (format {version}, needs {', '.join(sorted(unknown))}).",
            hint="Upgrade with `pip install --upgrade lamina`.",
            format=version,
        )
    writable = version <= FORMAT_VERSION and not _features(features.get("writer_features"), where) - WRITER_FEATURES
    return version, writable


def _features(text: str | None, where: str) -> set[str]:
    """Return a recorded list of features.

    Raises:
        CorruptionError: It is none any more.
    """
    try:
        found = json.loads(text or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise damaged(where, "its list of features is no list")
    return {str(name) for name in found}
