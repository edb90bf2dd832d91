"""What the parts of the memories domain share: the catalog, the embedder, the handle's scopes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lamina.config import Settings
from lamina.embed import Embedder
from lamina.errors import EmbedderError, InvalidInputError, NotFoundError, ReadOnlyError
from lamina.memories.checks import check_id, check_scope, check_scopes, check_tags, check_type
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import check_time
from lamina.storage.filters import Filter, compile_where
from lamina.storage.names import NameKind
from lamina.storage.reader import Position, Reader
from lamina.storage.records import TYPE_IDS, Record, now_micros

if TYPE_CHECKING:  # numpy costs 60 ms, and listing or getting a memory needs none of it
    from lamina.memories.folder import Folder
    from lamina.search.columns import PassageColumns
    from lamina.search.text import TermStatistics

__all__ = ["Context"]

NO_NAME = -1
"""Stands for a scope or tag that no memory uses; it fits no row."""
_FREQUENT = 1000
"""Passages from which on counting a term costs more than looking up what was counted before."""
_FRESH = 0.02
"""Share of new passages up to which a document frequency is used again."""


class Context:
    """The wiring of one open store's memories.

    Args:
        catalog: Of the store.
        settings: Of the store.
        make_embedder: Returns what makes vectors, or None where recall is by text alone; called when first needed.
        scopes: The scopes that this handle may see; None is all.
        forget_cached: Removes texts from the embedding cache and returns how many were there.
    """

    def __init__(
        self,
        catalog: SqliteCatalog,
        settings: Settings,
        make_embedder: Callable[[], Embedder | None],
        scopes: Sequence[str] | None,
        forget_cached: Callable[[Sequence[str]], int] | None = None,
    ) -> None:
        self.catalog = catalog
        self.settings = settings
        self._make_embedder = make_embedder
        self.scopes = check_scopes(scopes)
        self.forget_cached = forget_cached
        self._frequencies: dict[str, tuple[int, int]] = {}
        self._counted_at: Position | None = None
        self.find_patterns: Callable[[str, int], tuple[Any, ...]] | None = None
        """Returns the patterns that fit a question, at most so many; set where the handle may see them."""
        self._lock = threading.Lock()
        self._uses: dict[str, tuple[int, int]] = {}
        self.uses_written = time.monotonic()
        """When use counts were last written, on the monotonic clock."""
        self._columns: PassageColumns | None = None
        self._embedder_failure: str | None = None
        with catalog.read() as reader:
            self.see_identity(reader)

    # --- vectors -----------------------------------------------------------------------------------------------------

    def see_identity(self, reader: Reader) -> None:
        """Take over which embedder the store records: another process may have settled on one since the last look."""
        self.recorded = reader.meta("embedder")
        self.recorded_dim = _number(reader.meta("dim"))

    @cached_property
    def embedder(self) -> Embedder | None:
        """What makes vectors here; loaded when first asked for.

        Raises:
            LaminaError: The embedder that was asked for cannot be had; a damaged default is only off, and says so.
        """
        try:
            return self._make_embedder()
        except EmbedderError as error:
            if self.settings.embedder is not None:
                raise
            self._embedder_failure = str(error)
            return None

    @cached_property
    def folder(self) -> Folder:
        """The files of the store."""
        from lamina.memories.folder import Folder

        return Folder(str(self.catalog.path.parent.parent))

    @property
    def columns(self) -> PassageColumns:
        """The passages in memory."""
        from lamina.search.columns import PassageColumns

        with self._lock:
            if self._columns is None or self._columns.dim != self.dim:
                self._columns = PassageColumns(self.dim)
            return self._columns

    @property
    def dim(self) -> int:
        """Dimensions of the store's vectors; 0 before the first."""
        return self.recorded_dim or (self.embedder.dim if self.embedder else 0)

    @property
    def active(self) -> Embedder | None:
        """The embedder, where it is the one that the store's vectors come from."""
        if self.embedder is None or self.recorded not in (None, self.embedder.name):
            return None
        return self.embedder

    def refresh_identity(self) -> None:
        """Look again at which embedder the store records."""
        with self.catalog.read() as reader:
            self.see_identity(reader)

    def notices(self) -> tuple[str, ...]:
        """Return what is off in recall, and what to do about it."""
        notice = None
        if self.embedder is None and self._embedder_failure:
            notice = f"Recall is by text alone: {self._embedder_failure}"
        elif self.embedder is None and self.recorded:
            notice = (
                f"Recall is by text alone: the store's vectors come from {self.recorded}, which is not in use here. "
                "Install or name that embedder, or run `lamina reindex` with another one."
            )
        elif self.embedder is None:
            notice = "Recall is by text alone: no embedder is in use. `pip install wordllama` brings the default one."
        elif self.active is None:
            notice = (
                f"The vector part is off: the store's vectors come from {self.recorded}, and {self.embedder.name} is "
                "in use. Run `lamina reindex` to make them anew, or name the recorded one."
            )
        return () if notice is None else (notice,)

    # --- filters -----------------------------------------------------------------------------------------------------

    def condition(
        self,
        reader: Reader,
        *,
        scope: str | Iterable[str] | None = None,
        type: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
        where: Mapping[str, Any] | None = None,
        expired: bool = False,
    ) -> Filter:
        """Check the filters of a question and return them as the catalog's.

        Raises:
            InvalidInputError: A filter that has no meaning; it says which.
        """
        types = None if type is None else tuple(dict.fromkeys(TYPE_IDS[check_type(name)] for name in _listed(type)))
        tag_ids = None
        if tags is not None:
            tag_ids = tuple(reader.name_id(NameKind.TAG, tag) or NO_NAME for tag in check_tags(_listed(tags)))
        if where is not None and not isinstance(where, Mapping):
            raise InvalidInputError(
                f"where is a {where.__class__.__name__}, not an object.",
                hint="Pass {'key': value}; see docs/recall.md.",
            )
        return Filter(
            scopes=self._scope_ids(reader, scope),
            types=types,
            tags=tag_ids or None,
            since=check_time(since, "since"),
            until=check_time(until, "until"),
            where=compile_where(where) if where else None,
            as_of=check_time(as_of, "as_of"),
            now=now_micros(),
            expired=expired,
        )

    def _scope_ids(self, reader: Reader, scope: str | Iterable[str] | None) -> tuple[int, ...] | None:
        if scope is None:
            names = self.scopes
        else:
            asked = tuple(dict.fromkeys(check_scope(name) for name in _listed(scope)))
            names = asked if self.scopes is None else tuple(name for name in asked if name in self.scopes)
        if names is None:
            return None
        return tuple(reader.name_id(NameKind.SCOPE, name) or NO_NAME for name in names) or (NO_NAME,)

    def allows(self, scope: str) -> bool:
        """Return whether this handle may see a scope."""
        return self.scopes is None or scope in self.scopes

    def check_sees(self, scope: str) -> None:
        """Raise unless this handle may see a scope.

        Raises:
            ReadOnlyError: It was opened for others.
        """
        if not self.allows(scope):
            raise ReadOnlyError(
                f"This handle may not see scope {scope!r}.",
                hint=f"It was opened for {', '.join(self.scopes or ()) or 'no scope'}: name one of them.",
                scope=scope,
            )

    def check_writes_to(self, scope: str) -> None:
        """Raise unless this handle may write to a scope.

        Raises:
            ReadOnlyError: It was opened for others, or memory is turned off.
        """
        self.check_enabled()
        if not self.allows(scope):
            raise ReadOnlyError(
                f"This handle may not write to scope {scope!r}.",
                hint=f"It was opened for {', '.join(self.scopes or ()) or 'no scope'}: name one of them.",
                scope=scope,
            )

    def check_enabled(self) -> None:
        """Raise where memory is turned off.

        Raises:
            ReadOnlyError: It is.
        """
        if not self.settings.enabled:
            raise ReadOnlyError(
                "Memory is turned off, so nothing is written.",
                hint="Set enabled = true in your configuration, or LAMINA_ENABLED=1.",
            )

    def current(self, reader: Reader, id: str) -> Record:
        """Return the current revision of a memory that this handle may see.

        Raises:
            NotFoundError: There is none.
        """
        record = reader.current(check_id(id))
        if record is None or not self.allows(record.scope):
            raise NotFoundError(
                f"There is no memory {id}.", hint="`lamina list` shows what is there; `lamina history` what was.", id=id
            )
        return record

    # --- statistics --------------------------------------------------------------------------------------------------

    def statistics(self, reader: Reader, terms: Sequence[str]) -> TermStatistics:
        """Return the document frequencies of terms; frequent ones are counted anew when the store grew by two percent.

        Rare ones are counted anew whenever anything was written: a word that was not there a moment ago must be found.
        """
        from lamina.search.text import TermStatistics

        position = reader.position()
        with self._lock:
            if position != self._counted_at:  # a new dict: who counts at another moment goes on with the old one
                kept = list(self._frequencies.items())
                self._frequencies = {term: known for term, known in kept if known[0] >= _FREQUENT}
                self._counted_at = position
            frequencies = self._frequencies
        return TermStatistics(reader, terms, frequencies, _FRESH)

    # --- uses --------------------------------------------------------------------------------------------------------

    def note_uses(self, ids: Iterable[str]) -> None:
        """Count that memories were recalled; written with the next write, since reading takes no lock."""
        now = now_micros()
        with self._lock:
            for id in ids:
                self._uses[id] = (self._uses.get(id, (0, 0))[0] + 1, now)

    def take_uses(self) -> list[tuple[str, int, int]]:
        """Return ``(id, uses, last use)`` of what is not written yet, and begin anew."""
        with self._lock:
            uses, self._uses = self._uses, {}
            self.uses_written = time.monotonic()
        return [(id, count, at) for id, (count, at) in uses.items()]

    def put_back_uses(self, uses: Iterable[tuple[str, int, int]]) -> None:
        """Keep counts whose write did not happen."""
        with self._lock:
            for id, count, at in uses:
                held, last = self._uses.get(id, (0, 0))
                self._uses[id] = (held + count, max(last, at))


def _number(text: str | None) -> int:
    """Return the recorded dimensions; 0 where there are none, or where they make no sense."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else 0


def _listed(value: str | Iterable[str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    try:
        return list(value)
    except TypeError:
        raise InvalidInputError(
            f"{value!r} is neither a name nor a list of names.", hint="Pass a string or a list of strings."
        ) from None
