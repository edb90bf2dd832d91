"""Asking git about a folder: what is not committed, what was, by whom, and where the branch stands.

Nothing of the repository's own is run, and nothing is fetched; see :mod:`lamina.folder.git_command`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from lamina.errors import NotFoundError
from lamina.folder.git_command import filters_off, run_git, tokens_of

__all__ = ["Branch", "Commit", "FileChange", "Repository", "Uncommitted"]

ChangeKind = Literal["new", "changed", "deleted", "renamed", "conflict"]

_COMMIT: Final = "\x01"  # begins a commit in the output of log, where no status of a file begins with it
_FORMAT: Final = "tformat:%x01%H%x00%aN%x00%aE%x00%at%x00%s%x00"
_KINDS: Final[dict[str, ChangeKind]] = {"A": "new", "C": "new", "D": "deleted", "R": "renamed"}
_CONFLICTS: Final = {
    "DD": "both sides deleted or moved it",
    "AU": "added here, moved there",
    "UD": "changed here, deleted there",
    "UA": "added there, moved here",
    "DU": "deleted here, changed there",
    "AA": "both sides added it",
    "UU": "both sides changed it",
}
"""The two letters that ``git status --porcelain`` has for a file that was not merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What a commit did to one file.

    Args:
        path: Relative to the folder that was asked about.
        change: ``new``, ``changed``, ``deleted`` or ``renamed``.
        was: The former path of a renamed file, where that lies in the folder too.
    """

    path: str
    change: ChangeKind
    was: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncommitted:
    """A file of the working tree that differs from the last commit.

    Args:
        path: Relative to the folder that was asked about.
        change: ``new``, ``changed``, ``deleted``, ``renamed`` or ``conflict``.
        staged: Whether the next commit takes some of it.
        unstaged: Whether some of it has to be added first.
        was: The former path of a renamed file.
        detail: For a conflict, what the two sides did.
    """

    path: str
    change: ChangeKind
    staged: bool
    unstaged: bool
    was: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit, and what it did to files of the folder that was asked about.

    Args:
        id: Its full hash.
        author: Their name, as the repository's mailmap has it.
        email: Their address.
        at: When it was written; in UTC.
        subject: The first line of its message.
        files: What it changed in the folder; for a merge what neither side had.
    """

    id: str
    author: str
    email: str
    at: datetime
    subject: str
    files: tuple[FileChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Where the working tree stands.

    Args:
        name: Of the branch; None where a commit is checked out by itself.
        upstream: The remote's branch that it follows, as it was fetched last; None where it follows none.
        has_commits: Whether anything was ever committed.
        has_upstream: Whether the upstream was ever fetched.
    """

    name: str | None
    upstream: str | None
    has_commits: bool
    has_upstream: bool


class Repository:
    """The git repository around a folder.

    Args:
        folder: Where git is asked; it exists.
        top: The root of the working tree.
        prefix: Path of ``folder`` below ``top``, with a ``/`` at its end, or empty.
        where: The folder whose files are asked about, relative to ``folder``: ``.`` is that itself. It need not exist.
        settings: Settings that turn off what the repository's own configuration would run.
    """

    def __init__(self, folder: str, top: str, prefix: str, where: str, settings: Sequence[str] = ()) -> None:
        self.folder = folder
        self.top = top
        self.where = where
        self.prefix = prefix if where == "." else f"{prefix}{where}/"
        """What paths of the asked folder begin with, as git gives them."""
        self._settings = tuple(settings)

    @classmethod
    def around(cls, folder: str | os.PathLike[str], where: str = ".") -> Repository:
        """Find the repository whose working tree a folder lies in.

        Args:
            folder: It exists.
            where: The subfolder that will be asked about; see the class.

        Raises:
            NotFoundError: There is no git on this machine, or no repository around the folder.
            StorageError: Git refuses the repository, or failed.
        """
        place = os.path.realpath(folder)
        top = _line(run_git(place, ["rev-parse", "--show-toplevel"]))
        prefix = _line(run_git(place, ["rev-parse", "--show-prefix"]))
        if os.path.normpath(Path(top, prefix)) != place:
            raise NotFoundError(
                f"The git repository of {place} has its files in another place, {top}.",
                hint="Look at core.worktree in its configuration, or use another clone.",
                path=place,
            )
        listed = run_git(place, ["config", "--list", "--show-scope", "-z"])
        return cls(place, top, prefix, where, list(filters_off(listed, place)))

    def branch(self) -> Branch:
        """Return where the working tree stands.

        Raises:
            LaminaError: Git failed.
        """
        headers, _ = self._status("--untracked-files=no")
        name = headers.get("branch.head")
        return Branch(
            name=None if name == "(detached)" else name,
            upstream=headers.get("branch.upstream"),
            has_commits=headers.get("branch.oid") != "(initial)",
            has_upstream="branch.ab" in headers,
        )

    def uncommitted(self) -> tuple[Uncommitted, ...]:
        """Return the files of the folder that differ from the last commit, by path; ignored ones are left out.

        Filters that the repository's own configuration defines do not run, so that a file which one of them changes
        on the way in may show as changed.

        Raises:
            LaminaError: Git failed.
        """
        _, tokens = self._status("--untracked-files=all")
        found: dict[str, Uncommitted] = {}
        for one in self._entries(tokens):
            other = found.get(one.path)
            if other is not None:  # removed from the index and still there
                found[one.path] = Uncommitted(path=one.path, change="changed", staged=True, unstaged=True)
            else:
                found[one.path] = one
        return tuple(found[path] for path in sorted(found))

    def commits(self, *revisions: str, since: datetime | None = None, most: int = 100) -> tuple[Commit, ...]:
        """Return the commits that touched the folder, newest first.

        Args:
            *revisions: As ``git log`` has them, such as ``HEAD..@{upstream}``; never a text from elsewhere.
            since: Only those committed then or later.
            most: At most so many.

        Raises:
            LaminaError: Git failed, or knows no such revision.
        """
        limits = [f"--max-count={most}"]
        if since is not None:
            limits.append(f"--max-age={max(0, int(since.timestamp()))}")
        options = ["-z", "--no-ext-diff", "--no-textconv", "--find-renames", "--cc", "--name-status", "--no-notes"]
        output = self._git(
            ["log", *options, "--encoding=UTF-8", f"--format={_FORMAT}", *limits, *revisions, "--", self.where]
        )
        return tuple(commit for commit in self._parsed(tokens_of(output)) if commit.files)

    def ignores(self, path: str) -> bool:
        """Return whether git passes over an untracked file or folder, given relative to ``folder``.

        Raises:
            LaminaError: Git failed.
        """
        return bool(self._git(["check-ignore", "--", f"./{path}"], ok=(0, 1), literal=False))

    def attribute(self, name: str, path: str) -> str:
        """Return an attribute of a path relative to ``folder``; ``unspecified`` where nothing gives one.

        Raises:
            LaminaError: Git failed.
        """
        tokens = tokens_of(self._git(["check-attr", "-z", name, "--", path]))
        return tokens[2] if len(tokens) > 2 else "unspecified"

    def setting(self, name: str) -> str | None:
        """Return a setting of this clone's own configuration, None where it has none.

        Raises:
            LaminaError: Git failed.
        """
        output = self._git(["config", "--local", "-z", "--get", name], ok=(0, 1))
        return tokens_of(output)[0] if output else None

    def set(self, name: str, value: str) -> None:
        """Set a setting in this clone's own configuration; git writes it.

        Raises:
            LockedError: Another git is writing the configuration.
            ReadOnlyError: It cannot be written.
            LaminaError: Git failed.
        """
        self._git(["config", "--local", "--replace-all", name, value])

    def fetched_at(self) -> datetime | None:
        """Return when anything was last fetched into this clone; None where that was never or cannot be told."""
        path = _line(self._git(["rev-parse", "--git-path", "FETCH_HEAD"]))
        with contextlib.suppress(OSError):
            return datetime.fromtimestamp(Path(self.folder, path).stat().st_mtime, UTC)
        return None

    def _git(self, arguments: Sequence[str], *, ok: tuple[int, ...] = (0,), literal: bool = True) -> bytes:
        return run_git(self.folder, arguments, settings=self._settings, ok=ok, literal=literal)

    def _status(self, untracked: str) -> tuple[dict[str, str], list[str]]:
        options = ["--porcelain=v2", "-z", "--branch", "--no-ahead-behind", "--ignore-submodules=all", "--find-renames"]
        tokens = tokens_of(self._git(["status", *options, untracked, "--", self.where]))
        headers: dict[str, str] = {}
        at = 0
        while at < len(tokens) and tokens[at].startswith("# "):
            name, _, value = tokens[at][2:].partition(" ")
            headers[name] = value
            at += 1
        return headers, tokens[at:]

    def _entries(self, tokens: Sequence[str]) -> Iterator[Uncommitted]:
        """Read the entries of ``git status --porcelain=v2 -z``."""
        waiting = iter(tokens)
        for token in waiting:
            kind = token[:1]
            if kind == "?":
                yield Uncommitted(path=self._inner(token[2:]), change="new", staged=False, unstaged=True)
            elif kind == "1":
                _, pair, *_, path = token.split(" ", 8)
                yield self._entry(pair, path, None)
            elif kind == "2":
                _, pair, *_, path = token.split(" ", 9)
                yield self._entry(pair, path, next(waiting, ""))
            elif kind == "u":
                _, pair, *_, path = token.split(" ", 10)
                detail = _CONFLICTS.get(pair, "")
                yield Uncommitted(path=self._inner(path), change="conflict", staged=False, unstaged=True, detail=detail)

    def _entry(self, pair: str, path: str, was: str | None) -> Uncommitted:
        staged, unstaged = pair[:1], pair[1:2]
        change: ChangeKind = "changed"
        if "D" in (staged, unstaged):
            change = "deleted"
        elif "A" in (staged, unstaged) or "C" in (staged, unstaged):
            change = "new"
        elif "R" in (staged, unstaged):
            change = "renamed"
        return Uncommitted(
            path=self._inner(path),
            change=change,
            staged=staged != ".",
            unstaged=unstaged != ".",
            was=self._inner(was) if was and change == "renamed" else None,
        )

    def _parsed(self, tokens: Sequence[str]) -> Iterator[Commit]:
        """Read the output of ``git log -z --name-status`` in our format."""
        at = 0
        while at < len(tokens):
            if not tokens[at].startswith(_COMMIT):
                at += 1
                continue
            id, author, email, at_text, subject = (*tokens[at : at + 5], *("",) * 5)[:5]
            at += 5
            files: list[FileChange] = []
            while at < len(tokens) and not tokens[at].startswith(_COMMIT):
                status = tokens[at].lstrip("\n")
                at += 1
                if not status or at >= len(tokens):
                    continue
                was = None
                if status[0] in "RC" and at + 1 < len(tokens):
                    was, at = tokens[at], at + 1
                kind = _KINDS.get(status[0], "changed") if len(set(status.rstrip("0123456789"))) == 1 else "changed"
                files += self._file(kind, tokens[at], was)
                at += 1
            yield Commit(
                id=id[1:], author=author, email=email, at=_moment(at_text), subject=subject, files=tuple(files)
            )

    def _file(self, kind: ChangeKind, path: str, was: str | None) -> Iterator[FileChange]:
        if was is not None and not was.startswith(self.prefix):
            kind, was = "new", None
        yield FileChange(
            path=self._inner(path), change=kind, was=self._inner(was) if was and kind == "renamed" else None
        )

    def _inner(self, path: str) -> str:
        return path.removeprefix(self.prefix)


def _line(output: bytes) -> str:
    return os.fsdecode(output.removesuffix(b"\n"))


def _moment(text: str) -> datetime:
    """Return the time that a commit claims, held to years that exist."""
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
