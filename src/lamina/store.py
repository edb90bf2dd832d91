"""A store: opens a folder, wires the parts, and hands out the domains."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from lamina import fs
from lamina.config import CATALOG_NAME, ENGINE_FOLDER, Durability, Profile, Settings, find_store, load_settings
from lamina.errors import InvalidInputError, LaminaError, LockedError, NotFoundError, ReadOnlyError, StorageError
from lamina.memories import Memories
from lamina.memories.checks import check_scopes
from lamina.memories.context import Context
from lamina.storage.catalog import SqliteCatalog, check_repaired
from lamina.types import RepairReport, VerifyReport

if TYPE_CHECKING:
    from lamina.embed import Embedder

__all__ = ["Store", "open", "repair"]

_IGNORE_ALL = b"*\n"
_IN_USE = "in-use.lock"


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
        durability: ``full`` (the default): an acknowledged write survives power loss; ``relaxed``: the last moments
            may be lost then, never corrupt.

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
        scopes = check_scopes(scopes)
        _check_place(folder, writing=not read_only)
        engine = folder / ENGINE_FOLDER
        fresh = not (engine / CATALOG_NAME).exists()
        if fresh:
            check_repaired(engine)
            if read_only or not create:
                raise NotFoundError(
                    f"There is no store in {folder}.",
                    hint="Make one with `lamina init` or lamina.open(..., create=True).",
                    path=str(folder),
                )
            _make_engine_folder(folder, engine)
        fs.clear_poison(engine)
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
        self.memories = Memories(self._context)
        """What an agent knows."""

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
        return (*self._context.notices(), *self.settings.ignored)

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes: memories by scope and type, passages, vectors, history, bytes on disk."""
        from lamina.maintain.stats import store_stats

        return store_stats(self.location, self._context)

    # --- upkeep ------------------------------------------------------------------------------------------------------

    def verify(self, level: Literal["structure", "sample", "full"] = "structure") -> VerifyReport:
        """Check the store.

        Args:
            level: ``structure`` checks the catalog's pages and how its parts fit; ``sample`` also decodes a thousand
                memories; ``full`` also reads every page, text and vector.
        """
        from lamina.maintain.verify import verify_store

        return verify_store(self._context, level)

    def repair(self) -> RepairReport:
        """Make everything that is derived anew, from the memories alone.

        Where the catalog itself is damaged, close the store and call :func:`lamina.repair` on its folder.
        """
        from lamina.maintain.repair import rebuild

        return rebuild(self._context)

    def reindex(self, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Make the vectors of all passages that wait for one, and all anew where another embedder is in use.

        Args:
            progress: Called with the number done and the number there is to do.

        Returns:
            ``embedder``, and how many passages were ``embedded``, ``cleared`` and are still ``waiting``.

        Raises:
            EmbedderError: No embedder is in use, or it failed; what was done stays.
        """
        from lamina.maintain.reindex import reindex_store

        return reindex_store(self._context, progress)

    def optimize(self) -> dict[str, Any]:
        """Merge the text index, train the compression dictionary on the store as it is, give back unused pages."""
        from lamina.maintain.optimize import optimize_store

        return optimize_store(self._context)

    def gc(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Remove what nothing refers to: leftovers of interrupted writes.

        Args:
            dry_run: Only say what would go.
        """
        from lamina.maintain.optimize import collect_garbage

        self._catalog.pool.check()
        if self.read_only and not dry_run:
            raise ReadOnlyError(f"{self.location} is open for reading only.", hint="Open it without read_only=True.")
        return collect_garbage(self.location / ENGINE_FOLDER, dry_run=dry_run)

    def backup(self, dest: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None) -> Path:
        """Copy the store to a new folder while it is in use; the copy is of one moment and opens as a store.

        Raises:
            AlreadyExistsError: The destination is there and not empty.
        """
        from lamina.maintain.backup import backup_store

        return backup_store(self._catalog, self.location, Path(dest), progress)

    # --- life --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the store; what was written is durable already. Closing twice does nothing."""
        if not self._catalog.pool.open:
            return
        if not self.read_only:
            with contextlib.suppress(LaminaError):
                from lamina.memories.uses import flush_uses

                flush_uses(self._context, wait=0.0)
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

    def _release(self) -> None:
        if self._in_use is not None:
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
        if not self._path.exists():
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


def _folder(location: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    if location is not None and not isinstance(location, (str, os.PathLike)):
        raise InvalidInputError(f"The store's place is a {type(location).__name__}.", hint="Name a folder.")
    if isinstance(location, str) and "://" in location:
        raise InvalidInputError(
            f"{location.split('://')[0]}:// stores are not supported by this version.", hint="Name a folder."
        )
    if location is None:
        return None
    try:
        raw = os.fsencode(location)
    except ValueError:
        raise InvalidInputError("The store's path holds a lone surrogate.", hint="Name a folder.") from None
    if b"\0" in raw:
        raise InvalidInputError("The store's path holds a null byte.", hint="Name a folder.")
    return os.fsdecode(raw)


def _check_place(folder: Path, *, writing: bool) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise InvalidInputError(f"{folder} is a file, not a folder.", hint="Name the folder of a store.")
    except OSError as error:  # a name that is too long, or a parent that may not be entered
        raise fs.translate(error, folder, "look at") from error
    kind = fs.filesystem_of(folder)
    if fs.is_network_filesystem(kind) and writing and not os.environ.get("LAMINA_ALLOW_NETWORK"):
        raise StorageError(
            f"{folder} lies on a network file system ({kind}), where locks and shared memory cannot be trusted.",
            hint="Put the store on a local disk and copy it with `lamina backup`, or open it read-only.",
            filesystem=kind,
        )


def _make_engine_folder(folder: Path, engine: Path) -> None:
    fs.make_dir(folder, mode=0o700)
    fs.make_dir(engine, mode=0o700)
    ignore = engine / ".gitignore"
    if not ignore.exists():
        with contextlib.suppress(LaminaError):  # another process may be making the same store
            fs.write_file(ignore, _IGNORE_ALL, mode=0o600)


def _claim(engine: Path) -> fs.FileLock | None:
    """Say that the store is open here, so that nobody replaces its files; the system takes it back at death."""
    lock = fs.FileLock(engine / _IN_USE)
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
