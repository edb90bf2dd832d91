"""``store.memories``: what an agent knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lamina.errors import InvalidInputError, NotFoundError
from lamina.memories.checks import check_id, check_scope
from lamina.memories.context import Context
from lamina.memories.history import changes_of
from lamina.memories.question import Question
from lamina.storage.checks import check_whole
from lamina.types import (
    FILE_SCOPES,
    Change,
    Deletion,
    Hits,
    IndexReport,
    IndexView,
    Memory,
    MissingReport,
    Mode,
    Outcome,
    SyncReport,
)

__all__ = ["Memories"]

_OFF = "Memory is turned off (enabled = false, or LAMINA_ENABLED): nothing is recalled."


class Memories:
    """The memories of an open store; safe to use from several threads.

    A scope is ``private``, ``team`` or any name such as ``user/alice``; a type is ``user``, ``feedback``, ``project``,
    ``reference`` or ``record``. Times are ``datetime``; one without a zone is read as UTC.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def add(
        self,
        text: str,
        *,
        title: str | None = None,
        description: str | None = None,
        type: str = "record",
        scope: str = "private",
        tags: Sequence[str] = (),
        importance: float = 0.5,
        source: str | None = None,
        thread: str | None = None,
        position: int | None = None,
        created_at: datetime | None = None,
        valid_until: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        vector: Any = None,
    ) -> Memory:
        """Remember a text, verbatim. It is durable when this returns.

        Args:
            text: 1 to 10,000,000 characters; a long one is found by its passages.
            title: One line.
            description: One line that says what it is about; found like the title, with more weight than the text.
            type: One of the five types.
            scope: Who may see it.
            tags: Words to filter by.
            importance: 0..1; weighs a little in ranking.
            source: Where it comes from.
            thread: The conversation or document it belongs to; neighbours in a thread lend each other evidence.
            position: Its place in the thread, from 0.
            created_at: When it happened; now when None.
            valid_until: From then on it is not recalled.
            metadata: JSON values; ``where`` filters by them.
            vector: (dim,) numbers of the caller's own instead of the embedder's; brought to length one.

        Returns:
            The memory, with the ids of near-duplicates in ``similar``.

        Raises:
            InvalidInputError: A value that may not be stored; it names it.
            LockedError: Another process kept writing for longer than the busy timeout.
        """
        values = {
            "text": text,
            "title": title,
            "description": description,
            "type": type,
            "scope": scope,
            "tags": tags,
            "importance": importance,
            "source": source,
            "thread": thread,
            "position": position,
            "created_at": created_at,
            "valid_until": valid_until,
            "metadata": metadata,
            "vector": vector,
        }
        from lamina.memories.adding import add  # numpy comes with it

        return add(self._context, values)

    def add_many(
        self, items: Iterable[str | Mapping[str, Any]], *, progress: Callable[[int], None] | None = None
    ) -> list[str]:
        """Remember many texts in durable batches, with flat memory.

        Args:
            items: Texts, or dicts of :meth:`add`'s arguments; read as they are needed.
            progress: Called after each batch with the number added so far.

        Returns:
            The ids, in the order of the items.

        Raises:
            InvalidInputError: An item that may not be stored; ``details`` has its place (``item``) and how many were
                ``added`` before, which are kept.
        """
        from lamina.memories.adding import add_many  # numpy comes with it

        return add_many(self._context, items, progress)

    def get(self, id: str) -> Memory:
        """Return a memory.

        Raises:
            NotFoundError: There is none of this id, it was deleted, or this handle may not see it.
        """
        with self._context.catalog.read("getting a memory") as reader:
            return self._context.current(reader, id).to_memory()

    def update(self, id: str, **changes: Any) -> Memory:
        """Change a memory's fields: any of :meth:`add`'s but ``created_at``. The state before becomes history.

        ``superseded_by=None`` undoes a :meth:`supersede`.

        Raises:
            NotFoundError: There is none of this id.
            InvalidInputError: A field or value that may not be set.
        """
        from lamina.memories.changing import update  # numpy comes with it

        return update(self._context, id, changes)

    def delete(self, id: str, *, purge: bool = False) -> Deletion:
        """Forget a memory.

        Args:
            id: Of the memory.
            purge: Scrub it from rows, text index, vectors and history too; otherwise ``as_of`` before now and
                ``history`` still know it. With ``purge`` also a memory that was deleted before can be named.

        Returns:
            What was removed from where, and where it is still kept.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.memories.changing import delete  # numpy comes with it

        return delete(self._context, id, purge=purge)

    def supersede(self, old_id: str, new_id: str) -> Memory:
        """Say that a memory replaces another: the old one is no longer recalled, and points to the new one.

        Raises:
            NotFoundError: One of them is not there.
            ConflictError: The old one is superseded by another already.
        """
        from lamina.memories.changing import supersede  # numpy comes with it

        return supersede(self._context, old_id, new_id)

    def history(self, id: str) -> list[Change]:
        """Return every change of a memory, oldest first, also of one that was deleted.

        Raises:
            NotFoundError: There never was one of this id, or it was purged.
        """
        with self._context.catalog.read("reading a history") as reader:
            revisions = [record for record in reader.revisions(check_id(id)) if self._context.allows(record.scope)]
        if not revisions:
            raise NotFoundError(f"There is no memory {id} and no history of one.", hint="See `lamina list`.", id=id)
        return changes_of(revisions)

    def list(
        self,
        *,
        scope: str | Iterable[str] | None = None,
        type: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int | None = 100,
        after: str | None = None,
    ) -> list[Memory]:
        """Return memories, newest first, the expired and the superseded among them.

        Args:
            scope: One or several scopes.
            type: One or several types.
            tags: A memory must have all of them.
            since: Created then or later.
            until: Created before then.
            where: A filter on metadata (docs/recall.md).
            limit: At most so many; None for all.
            after: Continue behind the memory of this id.

        Raises:
            InvalidInputError: A filter without meaning.
            NotFoundError: ``after`` names a memory that never was.
        """
        if limit is not None:
            check_whole(limit, "limit", 1, 2**53)
        with self._context.catalog.read("listing memories") as reader:
            if after is not None and not any(
                self._context.allows(record.scope) for record in reader.revisions(check_id(after))
            ):
                raise NotFoundError(f"There is no memory {after} to continue after.", hint="Use the last id you got.")
            condition = self._context.condition(
                reader, scope=scope, type=type, tags=tags, since=since, until=until, where=where, expired=True
            )
            return [record.to_memory() for record in reader.page(condition, limit, after)]

    def count(
        self,
        *,
        scope: str | Iterable[str] | None = None,
        type: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> int:
        """Return how many memories :meth:`list` would go through; without ``scope``, every scope of the handle."""
        with self._context.catalog.read("counting memories") as reader:
            condition = self._context.condition(
                reader, scope=scope, type=type, tags=tags, since=since, until=until, where=where, expired=True
            )
            return reader.count(condition)

    def similar(self, id: str) -> tuple[str, ...]:
        """Return the ids of a memory's near-duplicates, the likest first.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.memories.similar import find_similar  # numpy comes with it

        return find_similar(self._context, id)

    def recall(
        self,
        query: str | None = None,
        *,
        vector: Any = None,
        limit: int = 10,
        scope: str | Iterable[str] | None = None,
        type: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
        where: Mapping[str, Any] | None = None,
        mode: Mode = "hybrid",
        exact: bool = False,
        token_budget: int | None = None,
        explain: bool = False,
        already_shown: Iterable[str] = (),
        include: Sequence[str] = ("memories",),
    ) -> Hits:
        """Find the memories that answer a question.

        Args:
            query: In the asker's own words.
            vector: (dim,) numbers to compare with instead of the query's own vector.
            limit: At most so many hits.
            scope: One or several scopes; without it, every scope of the handle.
            type: One or several types.
            tags: A memory must have all of them.
            since: Created then or later.
            until: Created before then.
            as_of: Answer from the texts that were valid then, also of what was edited or deleted since.
            where: A filter on metadata (docs/recall.md).
            mode: ``hybrid`` weighs words, meaning and context; ``text`` words alone (BM25); ``vector`` meaning alone.
            exact: Compare vectors in full precision, without any index.
            token_budget: Stop at about so many tokens (four characters each), leaving near-duplicates out.
            explain: Fill ``Hit.explanation``.
            already_shown: Ids that the conversation has already, or a :class:`lamina.Shown`; they are left out before
                the best are chosen.
            include: ``memories``, ``patterns`` or both; patterns that fit the query come as ``patterns`` of the answer.

        Returns:
            Hits, best first; a list with ``notices``, ``left_out`` and ``text()`` besides.

        Raises:
            InvalidInputError: No question, or an option without meaning.
            EmbedderError: The embedder failed on the query.
        """
        filters = {
            "scope": scope,
            "type": type,
            "tags": tags,
            "since": since,
            "until": until,
            "as_of": as_of,
            "where": where,
        }
        if not self._context.settings.enabled:
            return Hits(notices=(_OFF,))
        from lamina.memories.recall import recall  # numpy comes with it

        question = Question(
            query=query,
            vector=vector,
            limit=limit,
            mode=mode,
            exact=exact,
            token_budget=token_budget,
            explain=explain,
            already_shown=_ids(already_shown),
            filters={name: value for name, value in filters.items() if value is not None},
            include=include,
        )
        return recall(self._context, question)

    def explain_missing(self, query: str, id: str, **options: Any) -> MissingReport:
        """Say why ``recall(query, **options)`` does not return a memory.

        Args:
            query: The question.
            id: The memory that was expected.
            **options: As given to :meth:`recall`.

        Returns:
            Reasons, the most decisive first; none if it is returned.
        """
        names = ("scope", "type", "tags", "since", "until", "as_of", "where")
        filters = {name: options.pop(name) for name in names if options.get(name) is not None}
        known = {
            name: options.pop(name) for name in ("vector", "limit", "mode", "exact", "token_budget") if name in options
        }
        options.pop("explain", None)
        if id in _ids(options.pop("already_shown", ())):
            return MissingReport(id=id, reasons=("The conversation was shown it already (already_shown).",))
        if left := [name for name, value in options.items() if value is not None]:
            raise InvalidInputError(f"{', '.join(left)} is no option of recall.", hint="See recall's arguments.")
        from lamina.memories.missing import explain_missing  # numpy comes with it

        question = Question(query=query, filters=filters, **known)
        return explain_missing(self._context, question, check_id(id))

    def feedback(self, id: str, outcome: Outcome) -> Memory:
        """Say what came of using a memory: ``helped``, ``hurt`` or ``used``. It weighs a little in ranking.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.memories.changing import feedback  # numpy comes with it

        return feedback(self._context, id, outcome)

    # --- files -------------------------------------------------------------------------------------------------------

    def index(self, scope: str | None = None) -> str:
        """Return what an agent loads every time: the pointers of ``MEMORY.md``, within its limits.

        Args:
            scope: ``private`` or ``team``; without it both, the team's under a heading of its own.

        Returns:
            The file as it is where it fits; otherwise a cut of it with the best-ranked pointers, whose last line says
            what was left out. Empty where there is no memory file, or where memory is turned off.

        Raises:
            InvalidInputError: The scope has no files.
        """
        self._context.catalog.pool.check()
        if scope is not None:
            return self.index_view(scope).text
        from lamina.folder.index import joined

        private, team = (self.index_view(name).text if self._context.allows(name) else "" for name in FILE_SCOPES)
        return joined(private, team)

    def index_view(self, scope: str = "private") -> IndexView:
        """Return a scope's index with its measures and what was left out of it.

        Raises:
            InvalidInputError: The scope has no files.
            ReadOnlyError: This handle may not see it.
        """
        self._context.catalog.pool.check()
        self._context.check_sees(check_scope(scope))
        from lamina.memories.loaded import load_index

        if not self._context.settings.enabled:
            return IndexView(scope=scope, path="", text="", notices=(_OFF,))
        return load_index(self._context, scope)

    def manifest(self, scope: str | None = None, *, limit: int = 200) -> str:
        """Return one line a memory file, the newest first: ``- [type] path (time): description``.

        It is what a model needs to choose files by itself.

        Args:
            scope: One of the file scopes; without it both.
            limit: At most so many files.
        """
        from lamina.memories.loaded import manifest

        if not self._context.settings.enabled:
            return ""
        return manifest(self._context, scope, check_whole(limit, "limit", 1, 2**31))

    def instructions(self) -> str:
        """Return the prompt that teaches a model to use the memory directory; empty where memory is turned off."""
        self._context.catalog.pool.check()
        settings = self._context.settings
        if not settings.enabled:
            return ""
        from lamina.memories.instructions import instructions

        return instructions(
            location=self._context.folder.root, index_lines=settings.index_lines, index_bytes=settings.index_bytes
        )

    def sync(self) -> SyncReport:
        """Let the catalog follow the markdown files: new, changed, renamed, moved and deleted ones. Writes no file.

        Raises:
            ReadOnlyError: The store is open for reading only.
            LockedError: Someone kept changing files for longer than the busy timeout.
        """
        from lamina.memories.syncing import sync

        return sync(self._context)

    def check_index(self, scope: str | None = None) -> IndexReport:
        """Audit the indexes and the files that they point to; nothing is changed.

        Args:
            scope: One of the file scopes; without it both.
        """
        from lamina.memories.audit import check_index

        return check_index(self._context, scope)

    def fix_index(self, scope: str | None = None, *, dry_run: bool = False) -> IndexReport:
        """Mend what :meth:`check_index` finds and a program can mend.

        Args:
            scope: One of the file scopes; without it both.
            dry_run: Only say what would be done.

        Returns:
            What was done, and the problems that are left.
        """
        from lamina.memories.audit import fix_index

        return fix_index(self._context, scope, dry_run=dry_run)

    def find(self, reference: str) -> Memory:
        """Return the memory that a person means: by id or the beginning of one, by file, or by title.

        Args:
            reference: An id, a path relative to the store, a file name with or without ``.md``, or a title.

        Raises:
            NotFoundError: Nothing fits.
            ConflictError: Several do; they are named.
            InvalidInputError: It is a path that leads outside the store.
        """
        from lamina.memories.finding import find

        return find(self._context, reference)

    def rename(self, id: str, name: str) -> Memory:
        """Give a memory's file another name in its scope's folder; its pointer follows.

        Args:
            id: Of a memory that is a file.
            name: Relative to the store's folder, or to ``team/`` for a team memory; ``.md`` is added where it lacks.

        Raises:
            AlreadyExistsError: There is a file of that name.
            ConflictError: Somebody changed the file since it was last read.
            InvalidInputError: The memory is no file, or the name leads outside of its scope's folder.
        """
        from lamina.memories.renaming import rename_file  # numpy comes with it

        return rename_file(self._context, check_id(id), name)


def _ids(shown: Iterable[str]) -> frozenset[str]:
    """Return the ids that a conversation has already."""
    if isinstance(shown, str) or not isinstance(shown, Iterable):
        raise InvalidInputError(
            f"already_shown is a {type(shown).__name__}, not a list of ids.", hint="Pass [id, ...]."
        )
    ids = list(shown)
    if not all(isinstance(id, str) for id in ids):
        raise InvalidInputError("already_shown holds something that is no id.", hint="Pass [id, ...].")
    return frozenset(ids)
