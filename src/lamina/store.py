"""A store: opens a folder, wires the parts, and hands out the domains."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from lamina import fs
from lamina.config import (
    CATALOG_NAME,
    ENGINE_FOLDER,
    IN_USE_NAME,
    Durability,
    Profile,
    Settings,
    absolute_path,
    find_store,
    load_settings,
)
from lamina.errors import InvalidInputError, LaminaError, LockedError, NotFoundError, ReadOnlyError, StorageError
from lamina.memories import Memories
from lamina.memories.checks import check_scopes
from lamina.memories.context import Context
from lamina.states.api import States
from lamina.states.context import StatesContext
from lamina.storage.catalog import SqliteCatalog, check_repaired
from lamina.types import RepairReport, SyncReport, VerifyReport

if TYPE_CHECKING:
    from lamina.embed import Embedder
    from lamina.patterns import Patterns
    from lamina.sessions import Sessions

__all__ = ["Store", "open", "repair"]

_IGNORE_ALL = b"*\n"


def open(
    location: str | os.PathLike[str] | None = None,
    *,
    create: bool = True,
    read_only: bool = False,
    scopes: Sequence[str] | None = None,
    profile: Profile | None = None,
    embedder: Embedder | str | None = None,
    durability: Durability | None = None,
) -> Store:
    """Open a store, making it where there is none.

    Args:
        location: Its folder. When None: ``LAMINA_STORE``, else the nearest parent folder with a ``.lamina`` folder or
            a ``lamina.toml``, else the platform's data folder.
        create: Make the store where there is none.
        read_only: Refuse every write through this handle.
        scopes: Narrow the handle: nothing that is read or written through it sees any other scope.
        profile: ``precise`` (float16 vectors), ``balanced`` (int8, the default) or ``compact`` (four bits).
        embedder: An embedder, or a name such as ``static``, ``none`` or ``model2vec:PATH``. When None: the user's
            configuration, else the static word vectors that come with the package.
        durability: ``full``: an acknowledged write survives power loss; ``relaxed``: the last moments may be lost then,
            never corrupt. When None: the user's configuration or ``LAMINA_DURABILITY``, else ``full``; a store's own
            ``lamina.toml`` cannot lower it.

    Returns:
        The store; close it, or use it in a ``with`` block.

    Raises:
        NotFoundError: There is no store, and ``create`` is False or the handle is read-only.
        InvalidInputError: A setting or the place makes no sense.
        FormatError: The store was written by a newer version.
        CorruptionError: Its catalog is damaged.
        StorageError: The folder cannot be used, or lies on a network file system.
    """
    folder, reason = find_store(_folder(location))
    overrides: dict[str, Any] = {"profile": profile, "durability": durability}
    if isinstance(embedder, str):
        overrides["embedder"] = embedder
    settings = load_settings(folder, **overrides)
    given = None if embedder is None or isinstance(embedder, str) else embedder
    return Store(folder, reason, settings, create=create, read_only=read_only, scopes=scopes, embedder=given)


def repair(location: str | os.PathLike[str] | None = None) -> RepairReport:
    """Repair a store that may be too damaged to open; it needs nothing but the catalog.

    What is derived is made anew; where the catalog itself is damaged, every row that can still be read is kept, the
    damaged file is put aside, and what is lost is named.

    Raises:
        NotFoundError: There is no store.
        LockedError: A process has the store open.
    """
    from lamina.maintain.repair import repair_store

    folder, _ = find_store(_folder(location))
    _check_place(folder, writing=False)
    return repair_store(folder, load_settings(folder))


class Store:
    """An open store. Made by :func:`lamina.open`; usable from several threads, not across a fork."""

    def __init__(
        self,
        folder: Path,
        reason: str,
        settings: Settings,
        *,
        create: bool,
        read_only: bool,
        scopes: Sequence[str] | None,
        embedder: Embedder | None,
    ) -> None:
        self.location = folder
        """The store's folder."""
        self.reason = reason
        """Why this folder was chosen."""
        self.settings = settings
        self._pid = os.getpid()
        scopes = check_scopes(scopes)
        _check_place(folder, writing=not read_only)
        engine = folder / ENGINE_FOLDER
        if not _there(engine / CATALOG_NAME):
            check_repaired(engine)
            if read_only or not create:
                raise NotFoundError(
                    f"There is no store in {folder}.",
                    hint="Make one with `lamina init` or lamina.open(..., create=True).",
                    path=str(folder),
                )
            _make_engine_folder(folder, engine)
        fs.clear_poison(folder)
        self._in_use = _claim(engine)
        catalog: SqliteCatalog | None = None
        try:
            self._catalog = catalog = SqliteCatalog(engine, settings, read_only=read_only, create=create)
            cache = _Cache(engine, read_only=read_only)
            self._context = Context(
                self._catalog, settings, _embedder_maker(embedder, settings, cache), scopes, forget_cached=cache.forget
            )
        except BaseException:
            if catalog is not None:
                catalog.close()
            self._release()
            raise
        self._cache = cache
        self.synced, self._folder_notices = self._follow_files()
        """What opening took over from files that people changed; None where the catalog may be behind the files."""
        self.memories = Memories(self._context)
        """What an agent knows."""
        self.states = States(StatesContext(self._catalog, settings, engine))
        """What a model holds."""
        self._sessions: Sessions | None = None
        self._patterns: Patterns | None = None
        if self._context.scopes is None:
            self._context.find_patterns = lambda query, limit: tuple(
                self.patterns.fitting(query, limit=min(limit, 1_000))
            )

    @property
    def sessions(self) -> Sessions:
        """Runs of agents: turns, tool calls, outcomes.

        Raises:
            ReadOnlyError: The handle sees only some scopes; sessions belong to the whole store.
        """
        if self._sessions is None:
            from lamina.sessions import Sessions

            self._check_whole("sessions belong to the whole store")
            self._sessions = Sessions(self._catalog)
        return self._sessions

    @property
    def patterns(self) -> Patterns:
        """What worked: sequences of steps with their outcomes.

        Raises:
            ReadOnlyError: The handle sees only some scopes; patterns belong to the whole store.
        """
        if self._patterns is None:
            from lamina.patterns import Patterns

            self._check_whole("patterns belong to the whole store")
            self._patterns = Patterns(self._catalog)
        return self._patterns

    # --- facts -------------------------------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """True where this handle cannot write."""
        return self._catalog.read_only

    @property
    def embedder(self) -> str | None:
        """Name of the embedder in use, or None."""
        return self._context.embedder.name if self._context.embedder else None

    @property
    def notices(self) -> tuple[str, ...]:
        """What is off, and what to do about it; empty when all is well."""
        self._catalog.pool.check()
        return (*self._context.notices(), *self._folder_notices, *self.settings.ignored)

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes: memories by scope and type, passages, vectors, history, bytes on disk.

        A handle that was narrowed with ``scopes`` counts what it may see; the bytes of the files are None then.
        """
        from lamina.maintain.stats import store_stats

        return {**store_stats(self.location, self._context), "states": self.states.stats()}

    # --- upkeep ------------------------------------------------------------------------------------------------------

    def verify(self, level: Literal["structure", "sample", "full"] = "structure") -> VerifyReport:
        """Check the store.

        Args:
            level: ``structure`` checks the catalog's pages and how its parts fit; ``sample`` also decodes a thousand
                memories; ``full`` also reads every page, text and vector.

        Raises:
            ReadOnlyError: The handle sees only some scopes; so it is with all upkeep.
        """
        from lamina.maintain.verify import verify_store

        self._check_whole()
        report = verify_store(self._context, level)
        if any(problem.code == "page-damaged" for problem in report.problems):
            return report
        from lamina.states.check import problems

        found, checked = problems(self.states.context, level)
        return VerifyReport(level=level, problems=(*report.problems, *found), checked={**report.checked, **checked})

    def repair(self) -> RepairReport:
        """Make everything that is derived anew, from the memories alone.

        Where the catalog itself is damaged, close the store and call :func:`lamina.repair` on its folder.
        """
        from lamina.maintain.repair import rebuild

        self._check_whole()
        report = rebuild(self._context)
        self.states.context.reset()
        return report

    def reindex(
        self, progress: Callable[[int, int], None] | None = None, *, replace_given: bool = False
    ) -> dict[str, Any]:
        """Make the vectors of all passages that wait for one, and all anew where another embedder is in use.

        Args:
            progress: Called with the number done and the number there is to do.
            replace_given: Forget the vectors that memories came with, and embed their texts instead.

        Returns:
            ``embedder``, and how many passages were ``embedded``, ``cleared`` and are still ``waiting``; with
            ``replace_given`` also how many given vectors were ``replaced``.

        Raises:
            EmbedderError: No embedder is in use, or it failed; what was done stays.
            ConflictError: Another embedder is in use now, and memories carry vectors of their own, which it cannot
                make; or another process changed the store's embedder meanwhile.
        """
        from lamina.maintain.reindex import reindex_store

        self._check_whole()
        return reindex_store(self._context, progress, replace_given=replace_given)

    def optimize(self) -> dict[str, Any]:
        """Merge the text index, train the compression dictionary on the store as it is, give back unused pages."""
        from lamina.maintain.optimize import optimize_store

        self._check_whole()
        return {**optimize_store(self._context), "states": self.states.optimize()}

    def gc(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Remove what nothing refers to: leftovers of interrupted writes, versions of states that were deleted.

        Packs of which more than a fifth is dead are written anew. What someone still reads stays.

        Args:
            dry_run: Only say what would go.
        """
        from lamina.maintain.optimize import collect_garbage

        self._check_whole()
        if self.read_only and not dry_run:
            raise ReadOnlyError(f"{self.location} is open for reading only.", hint="Open it without read_only=True.")
        from lamina.states.collect import collect

        leftovers = collect_garbage(self.location / ENGINE_FOLDER, dry_run=dry_run)
        states = collect(self.states.context, dry_run=dry_run)
        return {**leftovers, "bytes": leftovers["bytes"] + states["bytes"], "states": states}

    def backup(self, dest: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None) -> Path:
        """Copy the store to a new folder while it is in use; the copy is of one moment and opens as a store.

        Raises:
            AlreadyExistsError: The destination is there and not empty; what an earlier backup left unfinished is
                replaced.
            InvalidInputError: It can be no folder, or lies inside the store.
        """
        from lamina.maintain.backup import backup_store

        self._check_whole()
        return backup_store(self._context, self.location, absolute_path(dest, "The backup's path"), progress)

    # --- life --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the store; what was written is durable already. Closing twice does nothing.

        Nor does it in a forked child: connections and locks are the parent's, and stay open there.
        """
        if os.getpid() != self._pid or not self._catalog.pool.open:
            return
        if not self.read_only:
            with contextlib.suppress(LaminaError):
                from lamina.memories.uses import flush_uses

                flush_uses(self._context, wait=0.0)
        try:
            self.states.close()
        finally:
            self._catalog.close()
            self._cache.close()
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lamina.Store {str(self.location)!r}>"

    def _follow_files(self) -> tuple[SyncReport | None, tuple[str, ...]]:
        """Take over what people changed in the folder since the last look, where that is possible at once."""
        from lamina.memories.syncing import sync_at_open

        try:
            return sync_at_open(self._context)
        except BaseException:
            self._catalog.close()
            self._release()
            raise

    def _check_whole(self, why: str = "upkeep touches all of them") -> None:
        """Raise unless this handle sees every scope, as upkeep, sessions and patterns need.

        Raises:
            ClosedError: The store is closed, or this is a forked child.
            ReadOnlyError: The handle sees only some scopes.
        """
        self._catalog.pool.check()
        if self._context.scopes is not None:
            raise ReadOnlyError(
                f"This handle sees only {'scope' if len(self._context.scopes) == 1 else 'scopes'} "
                f"{', '.join(self._context.scopes) or '(none)'}, and {why}.",
                hint="Open the whole store for that, without scopes=.",
            )

    def _release(self) -> None:
        if self._in_use is not None:
            if self._in_use.held:  # not so in a forked child, which gave up its copy
                self._in_use.release()
            self._in_use = None


class _Cache:
    """The embedding cache of an expensive embedder, opened when there is one."""

    def __init__(self, engine: Path, *, read_only: bool) -> None:
        self._path = engine / "search" / "embeddings.db"
        self._read_only = read_only
        self._cache: Any = None

    def wrap(self, embedder: Embedder) -> Embedder:
        """Return the embedder behind a cache, where making vectors costs more than looking them up."""
        if getattr(embedder, "cheap", False) or self._read_only:
            return embedder
        from lamina.embed import CachedEmbedder, EmbeddingCache

        fs.make_dir(self._path.parent, mode=0o700)
        self._cache = EmbeddingCache(self._path, embedder.name, embedder.dim)
        return CachedEmbedder(embedder, self._cache)

    def forget(self, texts: Sequence[str]) -> int:
        """Scrub texts from the cache, also from one that another embedder filled; return how many were there."""
        if self._cache is not None:
            return int(self._cache.forget(texts))
        if not _there(self._path):
            return 0
        from lamina.embed import forget_cached

        return forget_cached(self._path, texts)

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()


def _embedder_maker(given: Embedder | None, settings: Settings, cache: _Cache) -> Callable[[], Embedder | None]:
    def make() -> Embedder | None:
        from lamina.embed import resolve

        embedder = resolve(given if given is not None else settings.embedder)
        return None if embedder is None else cache.wrap(embedder)

    return make


def _folder(location: str | os.PathLike[str] | None) -> Path | None:
    if isinstance(location, str) and "://" in location:
        raise InvalidInputError(
            f"{location.split('://')[0]}:// stores are not supported by this version.", hint="Name a folder."
        )
    return None if location is None or location == "" else absolute_path(location, "The store's path")


def _check_place(folder: Path, *, writing: bool) -> None:
    if _there(folder) and not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file, not a folder.", hint="Name the folder of a store.")
    kind = fs.filesystem_of(folder)
    if fs.is_network_filesystem(kind) and writing and not os.environ.get("LAMINA_ALLOW_NETWORK"):
        raise StorageError(
            f"{folder} lies on a network file system ({kind}), where locks and shared memory cannot be trusted.",
            hint="Put the store on a local disk and copy it with `lamina backup`, or open it read-only.",
            filesystem=kind,
        )


def _there(path: Path) -> bool:
    """Return whether something is there, which ``Path.exists`` cannot say of a folder that may not be entered.

    Raises:
        LaminaError: Nobody can say: the folder may not be entered, or the name is too long.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise fs.translate(error, path, "look at") from error
    return True


def _make_engine_folder(folder: Path, engine: Path) -> None:
    fs.make_dir(folder, mode=0o700)
    fs.make_dir(engine, mode=0o700)
    ignore = engine / ".gitignore"
    if not _there(ignore):
        with contextlib.suppress(LaminaError):  # another process may be making the same store
            fs.write_file(ignore, _IGNORE_ALL, mode=0o600)


def _claim(engine: Path) -> fs.FileLock | None:
    """Say that the store is open here, so that nobody replaces its files; the system takes it back at death."""
    lock = fs.FileLock(engine / IN_USE_NAME)
    try:
        lock.acquire(5.0, shared=True)
    except LockedError:
        raise LockedError(
            f"The store {engine.parent} is being repaired by another process.", hint="Wait until it is done."
        ) from None
    except LaminaError:
        return None  # a folder that may only be read
    return lock


for _name in __all__:
    globals()[_name].__module__ = "lamina"
