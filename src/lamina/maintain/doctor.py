"""Is everything in order, and if not, what to do: the checks of ``lamina doctor``.

The store itself is handed in, open or as the error that kept it shut, so that this floor needs nothing above it.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from lamina.config import CATALOG_NAME, ENGINE_FOLDER, IN_USE_NAME, load_settings
from lamina.errors import FormatError, LaminaError, LockedError, NotFoundError
from lamina.fs import FileLock, filesystem_of, is_network_filesystem
from lamina.types import VerifyReport

__all__ = ["Check", "OpenStore", "check_machine", "check_settings", "check_store", "free_bytes"]

Status = Literal["ok", "warn", "fail"]

_OLDEST_SQLITE: Final = (3, 51, 3)
_WITHDRAWN_SQLITE: Final = (3, 52)
_LOW_DISK: Final = 1_000_000_000
_NO_DISK: Final = 50_000_000
_LARGE_WAL: Final = 256_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    message: str
    """What was found."""
    hint: str = ""
    """What to do about it; empty where all is well."""


class OpenStore(Protocol):
    """What the checks ask of an open store."""

    @property
    def location(self) -> Path:
        """Its folder."""
        ...

    @property
    def embedder(self) -> str | None:
        """The embedder in use."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What is off."""
        ...

    def stats(self) -> Mapping[str, Any]:
        """Counts and bytes."""
        ...

    def verify(self, level: Literal["structure", "sample", "full"] = "structure") -> VerifyReport:
        """Checks what is on disk."""
        ...


def check_machine() -> Iterator[Check]:
    """Python, SQLite and the packages that Lamina stands on."""
    yield Check(name="python", status="ok", message=f"{platform.python_version()}, {sys.executable}")
    yield _sqlite()
    for package, needed, what in (
        ("numpy", True, "vectors"),
        ("tokenizers", False, "the default embedder"),
        ("wordllama", False, "the default embedder's word table"),
    ):
        yield _package(package, what, needed=needed)
    yield _zstd()


def _sqlite() -> Check:
    try:
        import apsw
    except ImportError as error:
        return Check(name="sqlite", status="fail", message=f"apsw is missing: {error}", hint="pip install apsw")
    text = apsw.sqlite_lib_version()
    version = tuple(int(part) for part in text.split(".")[:3])
    message = f"{text} through apsw {apsw.apsw_version()}"
    if version < _OLDEST_SQLITE or version[:2] == _WITHDRAWN_SQLITE:
        hint = "Older ones can corrupt a store that several processes write. pip install --upgrade apsw"
        return Check(name="sqlite", status="fail", message=message, hint=hint)
    return Check(name="sqlite", status="ok", message=message)


def _package(package: str, what: str, *, needed: bool) -> Check:
    try:
        return Check(name=package, status="ok", message=metadata.version(package))
    except metadata.PackageNotFoundError:
        hint = f"pip install {package}" if needed else f"Without it {what} is off. pip install {package}"
        return Check(name=package, status="fail" if needed else "warn", message="not installed", hint=hint)


def _zstd() -> Check:
    if sys.version_info >= (3, 14):
        return Check(name="zstd", status="ok", message="compression.zstd of Python")
    return _package("backports.zstd", "compression", needed=True)


def check_settings(location: Path, reason: str) -> Iterator[Check]:
    """The store's folder: where, why, whose, on what disk, with which settings.

    Args:
        location: The folder.
        reason: Why this one, from :func:`lamina.config.find_store`.
    """
    yield _folder(location, reason)
    engine = location / ENGINE_FOLDER
    if _is_dir(engine) and hasattr(os, "getuid"):
        yield _rights(engine)
        yield _users(engine)
    yield _disk(location)
    yield _kind(location)
    try:
        ignored = load_settings(location).ignored
    except LaminaError as error:
        yield Check(name="settings", status="fail", message=error.message, hint=error.hint)
        return
    if ignored:
        hint = (
            "Put endpoints and embedders into your own configuration; a store's lamina.toml decides nothing about them."
        )
        yield Check(name="settings", status="warn", message=f"not applied: {'; '.join(ignored)}", hint=hint)
    else:
        yield Check(name="settings", status="ok", message="every key is known")


def _stat(path: Path) -> os.stat_result | None:
    """Return what is known of a path; None where nothing is there, or where it may not be looked at."""
    try:
        return path.stat()
    except OSError:
        return None


def _is_dir(path: Path) -> bool:
    known = _stat(path)
    return known is not None and stat.S_ISDIR(known.st_mode)


def _folder(location: Path, reason: str) -> Check:
    try:
        location.stat()
    except (FileNotFoundError, NotADirectoryError):
        hint = "`lamina init` makes a store; `lamina add` makes one, too."
        return Check(name="location", status="warn", message=f"{location} is not there yet ({reason})", hint=hint)
    except OSError as error:
        hint = "Ask its owner for the right to enter the folder, or name another with --store or LAMINA_STORE."
        message = f"{location} cannot be looked at: {error.strerror or error}"
        return Check(name="location", status="fail", message=message, hint=hint)
    if not _is_dir(location):
        hint = "Name a folder with --store or LAMINA_STORE."
        return Check(name="location", status="fail", message=f"{location} is not a folder", hint=hint)
    if not os.access(location, os.R_OK | os.X_OK):
        hint = "Ask its owner for the right to read it."
        return Check(name="location", status="fail", message=f"{location} cannot be read", hint=hint)
    if not os.access(location, os.W_OK):
        hint = "Recall works; to add, ask for the right to write."
        return Check(name="location", status="warn", message=f"{location} cannot be written", hint=hint)
    return Check(name="location", status="ok", message=f"{location} ({reason})")


def _rights(engine: Path) -> Check:
    mode = stat.S_IMODE(engine.stat().st_mode)
    if mode & 0o077:
        hint = f"chmod 700 {engine}"
        message = f"others on this machine may look into {engine} (mode {mode:03o})"
        return Check(name="rights", status="warn", message=message, hint=hint)
    return Check(name="rights", status="ok", message=f"only you may look into {engine.name} (mode {mode:03o})")


def free_bytes(location: Path) -> int:
    """Room on the disk that holds ``location``, or will hold it; 0 where nobody can say."""
    place = location
    while _stat(place) is None and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


def _disk(location: Path) -> Check:
    free = free_bytes(location)
    message = f"{free / 1e9:.1f} GB free"
    if free < _NO_DISK:
        return Check(name="disk", status="fail", message=message, hint="Free some room; writes will fail.")
    if free < _LOW_DISK:
        return Check(name="disk", status="warn", message=message, hint="A backup or a reindex may not fit.")
    return Check(name="disk", status="ok", message=message)


def _kind(location: Path) -> Check:
    kind = filesystem_of(location)
    if is_network_filesystem(kind):
        hint = (
            "Locks of network file systems are not to be relied on: keep the store on a local disk, and copy backups."
        )
        return Check(name="file system", status="warn", message=f"{kind}, over a network", hint=hint)
    return Check(name="file system", status="ok", message=kind)


def _users(engine: Path) -> Check:
    """Whether another process has the store open; they share a lock that only a repair takes alone."""
    try:
        with FileLock(engine / IN_USE_NAME).hold(0.0):
            return Check(name="in use", status="ok", message="by nobody else")
    except LockedError:
        return Check(name="in use", status="ok", message="another process has the store open, which is normal")
    except LaminaError as error:
        return Check(name="in use", status="warn", message=error.message, hint=error.hint)


def check_store(store: OpenStore | LaminaError) -> Iterator[Check]:
    """The store: does it open, who else uses it, is its embedder the one it was made with, is its catalog whole.

    Args:
        store: The open store, or the error that opening it gave.
    """
    if isinstance(store, NotFoundError):
        yield Check(name="store", status="warn", message=store.message, hint=store.hint)
        return
    if isinstance(store, LaminaError):
        hint = store.hint
        if not hint and not isinstance(store, FormatError):
            hint = "`lamina repair` saves what can be saved."
        yield Check(name="store", status="fail", message=store.message, hint=hint)
        return
    stats = store.stats()
    count = stats.get("memories") or 0
    yield Check(name="store", status="ok", message=f"{count:,} memories, format {stats.get('format')}")
    yield _embedder(store, stats)
    waiting = stats.get("vectors_waiting") or 0
    if waiting:
        message = f"{waiting:,} passages have no vector yet"
        yield Check(name="vectors", status="warn", message=message, hint="`lamina reindex` computes them.")
    else:
        yield Check(name="vectors", status="ok", message=f"{stats.get('vectors') or 0:,}, none waiting")
    for notice in store.notices:
        yield Check(name="notice", status="warn", message=notice)
    yield _log(store.location)
    yield _fresh(store.location)
    yield _catalog(store)


def _embedder(store: OpenStore, stats: Mapping[str, Any]) -> Check:
    recorded = stats.get("embedder_recorded")
    now = store.embedder
    if now is None:
        hint = "pip install wordllama tokenizers, or choose an embedder; then `lamina reindex`."
        return Check(name="embedder", status="warn", message="none: recall matches words only", hint=hint)
    if recorded and recorded != now:
        message = f"{now} is not {recorded}, which the store was made with"
        return Check(name="embedder", status="warn", message=message, hint="`lamina reindex` moves the store to it.")
    return Check(name="embedder", status="ok", message=now)


def _log(location: Path) -> Check:
    """The write-ahead log: one that keeps growing has a reader that never ends."""
    try:
        size = (location / ENGINE_FOLDER / f"{CATALOG_NAME}-wal").stat().st_size
    except OSError:
        size = 0
    if size > _LARGE_WAL:
        hint = "A process that reads for very long keeps it from shrinking; close it."
        return Check(name="write-ahead log", status="warn", message=f"{size / 1e6:,.0f} MB", hint=hint)
    return Check(name="write-ahead log", status="ok", message=f"{size / 1e6:.1f} MB")


def _fresh(location: Path) -> Check:
    """When the catalog or its log last changed; files are asked for their times only, never opened."""
    times = []
    for name in (CATALOG_NAME, f"{CATALOG_NAME}-wal"):
        try:
            times.append((location / ENGINE_FOLDER / name).stat().st_mtime)
        except OSError:
            continue
    if not times:
        return Check(name="last write", status="ok", message="never")
    when = datetime.fromtimestamp(max(times), UTC)
    if when.timestamp() > datetime.now(UTC).timestamp() + 3600:
        hint = "Set the machine's clock; times of memories follow it."
        return Check(name="last write", status="warn", message=f"{when:%Y-%m-%d %H:%M} UTC lies ahead", hint=hint)
    return Check(name="last write", status="ok", message=f"{when:%Y-%m-%d %H:%M} UTC")


def _catalog(store: OpenStore) -> Check:
    try:
        report = store.verify(level="structure")
    except LaminaError as error:
        return Check(name="catalog", status="fail", message=error.message, hint=error.hint or "`lamina repair`")
    if report.ok:
        checked = ", ".join(f"{count:,} {name}" for name, count in report.checked.items())
        return Check(name="catalog", status="ok", message=f"whole ({checked})" if checked else "whole")
    first = report.problems[0]
    message = f"{len(report.problems)} problems, such as {first.where}: {first.message}"
    return Check(
        name="catalog", status="fail", message=message, hint="`lamina verify` lists them, `lamina repair` mends."
    )
