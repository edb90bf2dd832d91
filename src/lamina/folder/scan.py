"""What a store's folder holds: its markdown files and indexes, found by their status alone, none of them opened."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from lamina.fs import Stamp, translate
from lamina.types import Problem

__all__ = ["INDEX_NAMES", "MAX_DEPTH", "MAX_FILE_BYTES", "TEAM", "Found", "Scan", "passed_over", "scan"]

INDEX_NAMES = ("MEMORY.md", "MEMORY.more.md")
"""An index and its overflow, exactly so written; every other ``*.md`` is a memory."""
TEAM = "team"
"""The folder, and the scope, that is made to be shared."""
MAX_FILE_BYTES = 10_000_000
"""A larger file is no memory that anyone wrote."""
MAX_DEPTH = 20
"""Folders below the store's own."""

_SUFFIX = ".md"
_MARKERS = {".lamina": "store", ".git": "git-repository", "pyvenv.cfg": "virtual-environment"}
_TOOL_FOLDERS = {"node_modules", "__pycache__"}
_NAME = attrgetter("name")


class Found(NamedTuple):
    """One file, as the folder shows it; a tuple, because thousands are made at every open."""

    path: str
    """Relative to the store's folder, with ``/``, spelled as on disk."""
    scope: str
    """``team`` below ``team/``, else ``private``."""
    stamp: Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What was found; folder by folder, each in the order of names."""

    files: Mapping[str, Found]
    """Memories by path."""
    indexes: Mapping[str, Found]
    """Indexes by path, those of subfolders among them."""
    problems: tuple[Problem, ...]
    """What people should know. Codes: ``symlink``, ``not-regular``, ``too-large``, ``name``, ``name-collision``,
    ``unreadable``, ``too-deep``, ``too-many``."""
    skipped: Mapping[str, str]
    """Folders and markdown files that were passed over, with the reason: ``hidden``, ``ignored``, ``symlink``,
    ``tool``, ``store``, ``git-repository``, ``virtual-environment``."""
    unseen: tuple[str, ...]
    """Paths of which nothing is known: folders that could not be listed, files that could not be looked at or are too
    large; ``""`` where the scan stopped early."""

    def covers(self, path: str) -> bool:
        """Return whether a path that was not found is really not there, rather than somewhere that was not looked at.

        What is passed over, because a setting or a tool's folder says so, was not looked at: it is not gone.
        """
        if any(place in ("", path) or path.startswith(place + "/") for place in self.unseen):
            return False
        parts = path.split("/")
        return not any("/".join(parts[:count]) in self.skipped for count in range(1, len(parts) + 1))


def scan(root: str | os.PathLike[str], *, ignore: Sequence[str] = (), limit: int = 200_000) -> Scan:
    """Walk a store's folder and return what could be a memory or an index in it.

    Nothing is opened but folders, and no symbolic link is followed. Passed over are hidden files and folders, what
    tools keep (``node_modules``, ``__pycache__``, virtual environments), and subfolders that are a store or a git
    repository of their own, except ``team``. Editors' backups and swap files do not end in ``.md``, and are not seen.

    Args:
        root: The folder; it may itself be reached through a link.
        ignore: Patterns of :mod:`fnmatch` for relative paths of files and folders to pass over; ``*`` crosses ``/``.
        limit: The most files; with more the scan stops, and says so.

    Raises:
        NotFoundError: The folder is not there.
        LaminaError: It cannot be listed; as :func:`lamina.fs.translate` has it.
    """
    top = os.fspath(root)
    try:
        entries = _list(top)
    except OSError as error:
        raise translate(error, top, "list the folder") from error
    walk = _Walk(top, ignore, limit)
    walk.run(entries)
    _add_collisions([*walk.files, *walk.indexes], walk.problems)
    return Scan(
        files=walk.files,
        indexes=walk.indexes,
        problems=tuple(walk.problems),
        skipped=walk.skipped,
        unseen=tuple(walk.unseen),
    )


def passed_over(root: str, path: str, *, ignore: Sequence[str] = ()) -> str | None:
    """Return why :func:`scan` would not take a new file of this path for a memory, or None where it would.

    Args:
        root: The folder.
        path: Relative to it, with ``/``; the file need not be there.
        ignore: As for :func:`scan`.
    """
    walk = _Walk(root, ignore, 1)
    *folders, name = path.split("/")
    if len(folders) > MAX_DEPTH:
        return "too-deep"
    place = ""
    for part in folders:
        place = f"{place}/{part}" if place else part
        whole = f"{root}/{place}"
        if os.path.islink(whole):  # noqa: PTH114
            return "symlink"
        if not walk._is_wanted(place, part):  # noqa: SLF001 - the same rules
            return walk.skipped[place]
        if place != TEAM:
            for marker, reason in _MARKERS.items():
                if os.path.lexists(f"{whole}/{marker}"):
                    return reason
    if not name.lower().endswith(_SUFFIX) or name in INDEX_NAMES:
        return "name"
    return None if walk._is_wanted(path, name) else walk.skipped[path]  # noqa: SLF001


class _TooManyError(Exception):
    """The limit was reached; never leaves this module."""


@dataclass(slots=True)
class _Walk:
    top: str
    ignore: Sequence[str]
    limit: int
    files: dict[str, Found] = field(default_factory=dict)
    indexes: dict[str, Found] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)
    ignored: re.Pattern[str] | None = None

    def __post_init__(self) -> None:
        if patterns := [fnmatch.translate(pattern.rstrip("/")) for pattern in self.ignore if pattern.strip("/")]:
            self.ignored = re.compile("|".join(patterns))

    def run(self, entries: list[os.DirEntry[str]]) -> None:
        """Walk everything below the top, depth first."""
        try:
            folders = [(path, 1) for path in self._look("", "private", entries)]
            while folders:
                path, depth = folders.pop()
                if (below := self._enter(path, depth)) is not None:
                    scope = TEAM if path.split("/", 1)[0] == TEAM else "private"
                    folders += [(inner, depth + 1) for inner in self._look(path + "/", scope, below)]
        except _TooManyError:
            self.unseen = [""]
            self._problem(
                "too-many",
                "",
                f"The folder holds more than {self.limit:,} markdown files; the rest was not looked at.",
                "Open the folder that holds the memories, or name the others in the setting `ignore`.",
            )

    def _enter(self, path: str, depth: int) -> list[os.DirEntry[str]] | None:
        """List a subfolder, or say why it is passed over."""
        if depth > MAX_DEPTH:
            self.unseen.append(path)
            self._problem(
                "too-deep", path, f"{path} lies more than {MAX_DEPTH} folders deep.", "Move its memories further up."
            )
            return None
        try:
            entries = _list(f"{self.top}/{path}")
        except FileNotFoundError:  # removed a moment ago
            return None
        except OSError as error:
            self._unreadable(path, error)
            return None
        if path != TEAM:
            for entry in entries:
                if reason := _MARKERS.get(entry.name):
                    self.skipped[path] = reason
                    return None
        return entries

    def _look(self, prefix: str, scope: str, entries: list[os.DirEntry[str]]) -> list[str]:
        """Sort out one folder's entries; return the subfolders to enter, the last one first."""
        folders: list[str] = []
        for entry in entries:
            name = entry.name
            path = prefix + name
            try:
                if name[-3:].lower() == _SUFFIX:
                    plain = name[0] != "." and name.isascii() and name.isprintable() and self.ignored is None
                    if (plain or self._is_wanted(path, name)) and self._take(path, name, scope, entry):
                        folders.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    if self._is_wanted(path, name):
                        folders.append(path)
                elif entry.is_symlink() and self._is_wanted(path, name):
                    self.skipped[path] = "symlink"
                    if path == TEAM:
                        self._symlink(path)
            except FileNotFoundError:  # removed a moment ago
                continue
            except OSError as error:
                self._unreadable(path, error)
        folders.reverse()
        return folders

    def _is_wanted(self, path: str, name: str) -> bool:
        if name[0] == ".":
            self.skipped[path] = "hidden"
        elif name in _TOOL_FOLDERS:
            self.skipped[path] = "tool"
        elif self.ignored is not None and self.ignored.match(path):
            self.skipped[path] = "ignored"
        elif not name.isascii() and not _is_utf8(name):
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            self._problem("name", shown, f"The name {shown} is not UTF-8.", "Rename it.")
            self.skipped[path] = "name"
        elif not name.isprintable():
            shown = path.encode("unicode_escape").decode()
            self._problem("name", shown, f"The name {shown} holds a line break or a control character.", "Rename it.")
            self.skipped[path] = "name"
        else:
            return True
        return False

    def _take(self, path: str, name: str, scope: str, entry: os.DirEntry[str]) -> bool:
        """Take what has a memory's name, or say what is wrong with it; return whether it is a folder to enter."""
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return self._take_other(path, name, status.st_mode)
        if status.st_size > MAX_FILE_BYTES:
            self.unseen.append(path)
            self._problem(
                "too-large",
                path,
                f"{path} holds {status.st_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read.",
                "Split it, or name it in the setting `ignore`.",
            )
            return False
        if len(self.files) + len(self.indexes) >= self.limit:
            raise _TooManyError
        stamp = Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        (self.indexes if name in INDEX_NAMES else self.files)[path] = Found(path, scope, stamp)
        return False

    def _take_other(self, path: str, name: str, mode: int) -> bool:
        if stat.S_ISLNK(mode):
            self._symlink(path)
        elif not stat.S_ISDIR(mode):
            self._problem("not-regular", path, f"{path} is a device, a pipe or a socket.", "Put a file in its place.")
        elif name in INDEX_NAMES:
            self._problem("not-regular", path, f"{path} is a folder.", "Put the index in its place.")
        return stat.S_ISDIR(mode)

    def _symlink(self, path: str) -> None:
        self._problem(
            "symlink",
            path,
            f"{path} is a symbolic link, and links are not followed.",
            "Put what it points to in its place.",
        )

    def _unreadable(self, path: str, error: OSError) -> None:
        self.unseen.append(path)
        self._problem(
            "unreadable",
            path,
            f"{path} could not be looked at: {error.strerror or error}.",
            "Check its owner and rights; what was known of it stays.",
        )

    def _problem(self, code: str, where: str, message: str, hint: str) -> None:
        self.problems.append(Problem(code=code, where=where, message=message, hint=hint))


def _list(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=_NAME)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # a byte that the file system's encoding could not hold
        return False
    return True


def _fold(path: str) -> str:
    """Return what two names share that some file systems (those of macOS by default) take for one."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _add_collisions(paths: list[str], problems: list[Problem]) -> None:
    """Report names that differ only in case or in how an accent is encoded."""
    if len({_fold(path) for path in paths}) == len(paths):
        return
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[_fold(path)].append(path)
    for group in groups.values():
        if len(group) > 1:
            first, *others = sorted(group)
            problems.append(
                Problem(
                    code="name-collision",
                    where=first,
                    message=f"{first} differs only in case or accents' encoding from {', '.join(others)}.",
                    hint="Rename all but one: other computers take them for one file.",
                )
            )
