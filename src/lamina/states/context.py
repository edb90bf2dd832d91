"""What the parts of the states domain share: the catalog, the packs, what this handle has seen."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina import fs
from lamina.config import Settings
from lamina.errors import LaminaError, LockedError, ReadOnlyError, StorageError
from lamina.storage.catalog import SqliteCatalog

if TYPE_CHECKING:  # numpy costs 60 ms, and a store that holds memories alone needs none of this
    from lamina.states.manifest import Manifest
    from lamina.storage.objects import ObjectStore
    from lamina.storage.packs import PackHome

__all__ = ["StatesContext", "boot_id"]

_KEPT_MANIFESTS = 8
_WRITERS_WAIT = 60.0


class StatesContext:
    """The wiring of one open store's states.

    Args:
        catalog: Of the store.
        settings: Of the store.
        engine: The engine's folder, ``.lamina``.
    """

    def __init__(self, catalog: SqliteCatalog, settings: Settings, engine: Path) -> None:
        self.catalog = catalog
        self.settings = settings
        self.packs = engine / "packs"
        self.leases = engine / "leases"
        self._seen: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._packs_lock = fs.FileLock(engine / "packs.lock")
        self._manifests: OrderedDict[int, Manifest] = OrderedDict()
        self._lock = threading.Lock()
        self._leased: dict[bytes, tuple[fs.Lease, int]] = {}
        self._settled = False
        self.calls_to_rest = 0
        """How often retention does not look whether to collect, since it has just done so."""

    @property
    def durable(self) -> bool:
        """Whether a commit waits for the disk."""
        return self.settings.durability == "full"

    @cached_property
    def home(self) -> PackHome:
        """Where packs lie."""
        from lamina.storage.packs import PackFolder

        return PackFolder(self.packs)

    @cached_property
    def objects(self) -> ObjectStore:
        """Reads objects."""
        from lamina.storage.objects import ObjectStore

        return ObjectStore(self.catalog, self.home, needed=self._needed)

    def _needed(self, address: bytes) -> bool:
        """Whether a version needs an object; True where that cannot be told. Reads every manifest, for a message."""
        from lamina.states.rows import walk_manifests

        try:
            with self.catalog.read("looking who needs an object") as reader:
                return any(address in manifest.addresses() for *_, manifest in walk_manifests(reader.db))
        except LaminaError:
            return True

    @property
    def used(self) -> bool:
        """Whether this handle has read any object."""
        return "objects" in self.__dict__

    def settle(self) -> None:
        """See to packs that were not synced before the machine went down; once for each handle."""
        if not self._settled:
            from lamina.states.settle import settle_packs

            with contextlib.suppress(LockedError):  # reading waits for nobody, and verifies every frame anyway
                settle_packs(self)
                self._settled = True

    def see(self, name: str, branch: str, seq: int, id: bytes) -> None:
        """Note the version that this handle opened or committed; a thread that was slow turns nothing back."""
        with self._lock:
            known = self._seen.get((name, branch))
            if known is None or known[0] <= seq:
                self._seen[name, branch] = (seq, id)

    def seen(self, name: str, branch: str) -> bytes | None:
        """Return the version that this handle last opened or committed on a branch."""
        known = self._seen.get((name, branch))
        return known[1] if known else None

    def unsee(self, name: str | None = None, branch: str | None = None) -> None:
        """Forget what was seen of a branch, of a state, or of all."""
        with self._lock:
            for key in list(self._seen):
                if name in (None, key[0]) and branch in (None, key[1]):
                    del self._seen[key]

    def reset(self) -> None:
        """Forget all that was looked up: a repair may have changed it."""
        self.unsee()
        with self._lock:
            self._manifests.clear()
        if self.used:
            self.objects.forget()

    def manifest(self, db: Any, seq: int) -> Manifest:
        """Return a version's manifest, checked; the last few are kept."""
        from lamina.states.rows import load_manifest

        with self._lock:
            known = self._manifests.get(seq)
            if known is not None:
                self._manifests.move_to_end(seq)
                return known
        manifest = load_manifest(db, seq)
        self.keep_manifest(seq, manifest)
        return manifest

    def keep_manifest(self, seq: int, manifest: Manifest) -> None:
        """Keep a manifest for the next who asks; nobody changes it."""
        with self._lock:
            self._manifests[seq] = manifest
            while len(self._manifests) > _KEPT_MANIFESTS:
                self._manifests.popitem(last=False)

    @contextmanager
    def writing_packs(self) -> Iterator[PackHome]:
        """Hold packs that no row refers to yet; gc takes no unknown pack away meanwhile."""
        with fs.FileLock(self._packs_lock.path).hold(_WRITERS_WAIT, shared=True):
            yield self.home

    @contextmanager
    def holding_packs(self) -> Iterator[None]:
        """See to it that no pack is taken away meanwhile, where this handle may say so."""
        if not self.packs.is_dir():
            yield
            return
        lock = fs.FileLock(self._packs_lock.path)
        try:
            lock.acquire(_WRITERS_WAIT, shared=True)
        except ReadOnlyError:  # nor can anyone else in a folder that may not be written
            yield
            return
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def alone_with_packs(self) -> Iterator[bool]:
        """Yield whether nobody is writing packs, and see to it that nobody begins."""
        lock = fs.FileLock(self._packs_lock.path)
        try:
            lock.acquire(0.0)
        except LaminaError:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def lease(self, id: bytes) -> None:
        """Hold a version's bytes for a reader in this process, until :meth:`release`."""
        with self._lock:
            held = self._leased.get(id)
            if held is not None and held[0].held:
                self._leased[id] = (held[0], held[1] + 1)
                return
            try:
                fs.make_dir(self.leases, mode=0o700)
                self._leased[id] = (fs.Lease(self.leases, f"state-version {id.hex()}"), 1)
            except (ReadOnlyError, StorageError):
                if not self.catalog.read_only:
                    raise
                # Nobody who may write here can be told, or no room is left: reading goes on, and says where what it
                # reads was removed meanwhile.

    def release(self, id: bytes) -> None:
        """Give one hold of a version back."""
        with self._lock:
            held = self._leased.get(id)
            if held is None:
                return
            if held[1] > 1:
                self._leased[id] = (held[0], held[1] - 1)
                return
            del self._leased[id]
        held[0].release()

    def leased(self) -> set[bytes]:
        """Return the ids of versions that a living reader, in any process, holds."""
        ids = set()
        for info in fs.live_leases(self.leases):
            kind, _, id = info.label.partition(" ")
            if kind == "state-version":
                try:
                    ids.add(bytes.fromhex(id))
                except ValueError:
                    continue
        return ids

    def close(self) -> None:
        """Let go of leases and open packs."""
        with self._lock:
            held, self._leased = self._leased, {}
        for lease, _ in held.values():
            lease.release()
        if self.used:
            self.objects.forget()


def boot_id() -> str:
    """Return what names the time since the machine started, or an empty text where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
