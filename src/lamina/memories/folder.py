"""The folder of a store's files: where they lie, who may change them now, and what was left unfinished."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamina import fs
from lamina.config import ENGINE_FOLDER
from lamina.errors import ConflictError, InvalidInputError, LaminaError, NotFoundError, ReadOnlyError
from lamina.guard.paths import contained
from lamina.storage import mirror
from lamina.storage.mirror import UNSURE, Stamp

if TYPE_CHECKING:
    from lamina.memories.context import Context
    from lamina.storage.writer import Writer

__all__ = ["MAX_FILE_BYTES", "Folder", "is_memory_path", "loser_stem", "scope_of", "stamp_tuple"]

MAX_FILE_BYTES = 10_000_000
"""A larger file is no memory; :data:`lamina.memories.checks.MAX_TEXT` has as many characters."""
TEAM = "team"
LOCK_NAME = "folder.lock"
JOURNAL_NAME = "folder.journal"
CONFLICTS = "conflicts"
"""Where texts are kept that lost against somebody's edit of the same file."""


def scope_of(path: str) -> str:
    """Return the scope that a file lies in, given its path relative to the store."""
    return TEAM if path.startswith(f"{TEAM}/") else "private"


def loser_stem(path: str) -> str:
    """Return how the name of a text begins that was kept for a conflict about a file: at most 100 bytes."""
    stem = path.rsplit("/", 1)[-1].removesuffix(".md")
    return stem.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")


def is_memory_path(path: object) -> bool:
    """Return whether a path, relative to the store, can be a memory's file: below it, not hidden, ending in ``.md``."""
    if not isinstance(path, str) or not path.isprintable() or not path.lower().endswith(".md"):
        return False
    return all(part and part[0] != "." for part in path.split("/")) and "\\" not in path


def stamp_tuple(stamp: fs.Stamp) -> Stamp:
    """Return a file's stamp as the catalog keeps it."""
    return stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode


class Folder:
    """The files of one store.

    Changes of files, and the taking over of changed files, exclude each other through one lock; whoever gets it finds
    in the journal what the last holder was about to do when it was killed.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.engine = os.path.join(root, ENGINE_FOLDER)
        self.journal = fs.Journal(os.path.join(self.engine, JOURNAL_NAME))
        self.left: list[str] = []
        """Files that are gone and still known as leaving; forgotten with the next write."""
        self._lock = fs.FileLock(os.path.join(self.engine, LOCK_NAME))

    @contextmanager
    def changing(self, context: Context, wait: float) -> Iterator[None]:
        """Hold the folder alone; what an earlier holder left unfinished is finished first.

        Args:
            context: Of the store.
            wait: Seconds to wait for another holder.

        Raises:
            LockedError: Another process or thread kept it for longer.
            ReadOnlyError: The store is open for reading only, so its files stay as they are.
        """
        from lamina.memories.recovery import recover

        if context.catalog.read_only:
            raise ReadOnlyError(f"{self.root} is open for reading only.", hint="Open it without read_only=True.")
        with self._lock.hold(wait):
            recover(context, self)
            yield

    def at(self, path: str) -> str:
        """Return the absolute path of something in the store, given its path relative to it.

        Raises:
            InvalidInputError: It leads outside of the store, or through a symbolic link; ``details["reason"]`` says it.
        """
        if not path:
            return self.root
        *folders, name = path.split("/")
        if "\0" in path or any(part in ("", ".", "..") for part in (*folders, name)):
            raise InvalidInputError(
                f"The path {path!r} leads outside the store.", hint="Name a file below it.", path=path, reason="outside"
            )
        place = self.root
        for part in folders:
            place = os.path.join(place, part)
            if os.path.islink(place):
                raise InvalidInputError(
                    f"{os.path.relpath(place, self.root)} is a symbolic link, and links are not followed.",
                    hint="Put the folder that it points to in its place.",
                    path=path,
                    reason="symlink",
                )
        return os.path.join(place, name)

    def absolute(self, path: str, *, for_writing: bool = False) -> str:
        """Return the absolute path of a file of the store, of which nothing on the way may be a link that leads out.

        Raises:
            InvalidInputError: It leads outside of the store, or through a symbolic link.
        """
        self.at(path)
        return contained(self.root, path, for_writing=for_writing)

    def scope_folder(self, scope: str) -> str:
        """Return the folder of a scope, relative to the store; empty for the store's own."""
        return TEAM if scope == TEAM else ""

    def names_in(self, folder: str) -> list[str]:
        """Return the names that are taken in a folder relative to the store; none where it is not there."""
        try:
            return os.listdir(self.at(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise fs.translate(error, self.at(folder), "list") from error

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None where it is not there or is no plain file of a usual size."""
        try:
            return fs.read_file(self.absolute(path), max_bytes=MAX_FILE_BYTES, follow=False)
        except (NotFoundError, InvalidInputError):
            return None

    def stamp_if(self, path: str, data: bytes) -> Stamp:
        """Return a file's stamp where it holds these bytes; else one that fits no file, so that it is looked at again.

        A stamp that was taken without looking may belong to what somebody saved a moment after us.
        """
        try:
            found, stamp = fs.read_with_stamp(self.at(path), max_bytes=MAX_FILE_BYTES)
        except LaminaError:
            return UNSURE
        return stamp_tuple(stamp) if found == data else UNSURE

    def forget_left(self, writer: Writer) -> None:
        """Forget files that were leaving and are gone, along with a write that happens anyway."""
        left, self.left = self.left, []
        for path in left:
            mirror.remove_left(writer.db, path)

    def keep_loser(self, path: str, data: bytes) -> str:
        """Keep what would have been written to a file that somebody changed; return where, relative to the store."""
        folder = self.at(f"{ENGINE_FOLDER}/{CONFLICTS}")
        fs.make_dir(folder, mode=0o700)
        self.at(f"{ENGINE_FOLDER}/{CONFLICTS}/x")  # a link in its place would lead elsewhere
        name = f"{loser_stem(path)}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}.md"
        fs.write_file(os.path.join(folder, name), data, mode=0o600)
        return f"{ENGINE_FOLDER}/{CONFLICTS}/{name}"

    def conflict(self, path: str, wanted: bytes | None) -> ConflictError:
        """Return the error for a file that somebody changed since it was last read; both texts are kept."""
        details = {"path": path}
        kept = ""
        if wanted is not None:
            details["kept"] = self.keep_loser(path, wanted)
            details["wanted"] = wanted.decode("utf-8", "replace")
            kept = f" What was to be written is kept in {details['kept']}."
        try:
            found = fs.read_file(self.at(path), max_bytes=MAX_FILE_BYTES, follow=False)
            details["found"] = found.decode("utf-8", "replace")
        except LaminaError:  # it adds to the error, which stands without it
            details["found"] = ""
        return ConflictError(
            f"{path} was changed by someone else since it was last read, and stays as they left it.{kept}",
            hint="Run `lamina sync`, look at both texts, and repeat the change.",
            **details,
        )
