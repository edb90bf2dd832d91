"""The shared folder in git: what is new in it, by whom, and how its indexes are merged.

No store is opened: git knows what there is to know, also of a clone in which nobody opened the store yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from lamina import fs
from lamina.config import ENGINE_FOLDER
from lamina.errors import InvalidInputError, NotFoundError
from lamina.folder.git import Branch, Commit, FileChange, Repository, Uncommitted
from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME
from lamina.folder.scan import TEAM

__all__ = ["DRIVER", "FileHistory", "TeamSetup", "TeamStatus", "set_up_team", "team_status"]

DRIVER: Final = "lamina-index"
"""The merge driver's name in git's configuration and attributes."""
ATTRIBUTES_NAME: Final = ".gitattributes"
_MERGED: Final = (INDEX_NAME, OVERFLOW_NAME)
_DRIVER_NAME: Final = "Lamina: pointers of a memory index merge line by line"
_MOST_RECENT, _MOST_WAITING = 1000, 100
_MOST_ATTRIBUTES_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHistory:
    """What became of one file of the team within a time.

    Args:
        path: Relative to ``team/``.
        change: What it all comes to: ``new``, ``changed``, ``deleted`` or ``renamed``.
        was: The path that it had before, where it was renamed.
        commits: How many commits touched it.
        authors: Who wrote them, the latest first.
        last: The latest of them.
    """

    path: str
    change: str
    was: str | None
    commits: int
    authors: tuple[str, ...]
    last: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamStatus:
    """What git knows of ``team/``.

    Args:
        folder: The folder.
        repository: Root of the repository's working tree.
        branch: Where it stands.
        fetched_at: When anything was last fetched into this clone; None where that cannot be told.
        uncommitted: Files that differ from the last commit.
        unpushed: Commits on files of the team that the upstream does not have; without one, that no remote has.
        unmerged: Commits that were fetched, and are not merged here.
        recent: Files that were changed since the time that was asked for, the latest first.
        notices: What a reader should know.
    """

    folder: str
    repository: str
    branch: Branch
    fetched_at: datetime | None
    uncommitted: tuple[Uncommitted, ...]
    unpushed: tuple[Commit, ...]
    unmerged: tuple[Commit, ...]
    recent: tuple[FileHistory, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamSetup:
    """What setting up the merge of indexes did, or would do.

    Args:
        folder: ``team/``.
        repository: Root of the repository's working tree.
        made_folder: Whether ``team/`` was made.
        attributes: Path of the ``.gitattributes`` in it.
        added: Lines that were added to that.
        driver: The command that git will run.
        configured: Whether this clone's configuration was changed.
        to_commit: Files that the team gets with the next commit, relative to ``repository``.
        notices: What a reader should know.
    """

    folder: str
    repository: str
    made_folder: bool
    attributes: str
    added: tuple[str, ...]
    driver: str
    configured: bool
    to_commit: tuple[str, ...]
    notices: tuple[str, ...]


def team_status(store: str | os.PathLike[str], *, since: datetime) -> TeamStatus:
    """Return what git knows of a store's ``team/``. Nothing is fetched and nothing is changed.

    Args:
        store: The store's folder.
        since: From when on files that changed are told.

    Raises:
        NotFoundError: There is no such folder, no git, or no repository around it.
        InvalidInputError: ``team`` is a link or no folder.
        StorageError: Git refuses the repository, or failed.
    """
    repository = _repository(store)
    branch = repository.branch()
    notices: list[str] = []
    unpushed: tuple[Commit, ...] = ()
    unmerged: tuple[Commit, ...] = ()
    recent: tuple[Commit, ...] = ()
    if branch.has_commits:
        recent = repository.commits("HEAD", since=since, most=_MOST_RECENT)
        if branch.has_upstream:
            unpushed = repository.commits("@{upstream}..HEAD", most=_MOST_WAITING)
            unmerged = repository.commits("HEAD..@{upstream}", most=_MOST_WAITING)
        else:
            unpushed = repository.commits("HEAD", "--not", "--remotes", most=_MOST_WAITING)
    uncommitted = repository.uncommitted()
    notices += _notices(repository, branch, Path(store, TEAM))
    if len(recent) == _MOST_RECENT:
        notices.append(f"There are more than {_MOST_RECENT:,} commits in that time; the older ones are left out.")
    if _MOST_WAITING in (len(unpushed), len(unmerged)):
        notices.append(f"Of commits to push or to merge no more than {_MOST_WAITING} are shown.")
    if any(one.change == "conflict" for one in uncommitted):
        notices.append("A merge is not finished: edit the files in conflict, then `git add` them and commit.")
    return TeamStatus(
        folder=str(Path(store, TEAM)),
        repository=repository.top,
        branch=branch,
        fetched_at=repository.fetched_at(),
        uncommitted=uncommitted,
        unpushed=unpushed,
        unmerged=unmerged,
        recent=tuple(_histories(recent)),
        notices=tuple(notices),
    )


def set_up_team(store: str | os.PathLike[str], *, driver: str, dry_run: bool = False) -> TeamSetup:
    """Let git merge the indexes of a store's ``team/`` pointer by pointer; what is set up already stays as it is.

    A line a file goes to ``team/.gitattributes``, which people commit; the command goes to the configuration of this
    clone alone, since git takes no program to run from a repository.

    Args:
        store: The store's folder.
        driver: The command, as git's ``merge.<driver>.driver`` has it.
        dry_run: Only say what would be done.

    Raises:
        NotFoundError: There is no such folder, no git, or no repository around it.
        InvalidInputError: ``team`` is a link or no folder, or its ``.gitattributes`` cannot be read as one.
        ConflictError: Someone else changed ``.gitattributes`` at the same moment.
        StorageError: Git refuses the repository, or failed.
    """
    repository = _repository(store)
    team = Path(store, TEAM)
    made = not team.is_dir()
    attributes = team / ATTRIBUTES_NAME
    seen: bytes | None = None
    if os.path.lexists(attributes):
        seen = fs.read_file(attributes, max_bytes=_MOST_ATTRIBUTES_BYTES, follow=False)
    missing = [name for name in _MERGED if repository.attribute("merge", _at(repository, name)) != DRIVER]
    added = tuple(f"{name} merge={DRIVER}" for name in missing)
    wanted = {f"merge.{DRIVER}.name": _DRIVER_NAME, f"merge.{DRIVER}.driver": driver}
    unset = {name: value for name, value in wanted.items() if repository.setting(name) != value}
    if not dry_run:
        fs.make_dir(team, mode=0o755)
        if added and seen is None:
            fs.write_file(attributes, _with_lines(b"", added), mode=0o644)
        elif added and seen is not None:
            fs.replace_file(attributes, _with_lines(seen, added), seen=seen)
        for name, value in unset.items():
            repository.set(name, value)
        repository = _repository(store)
    pending = any(one.path == ATTRIBUTES_NAME for one in repository.uncommitted())
    notices = [*_notices(repository, None, team), *_exposed(repository, Path(store))]
    if not dry_run and any(repository.attribute("merge", _at(repository, name)) != DRIVER for name in _MERGED):
        notices.append(
            "git still merges the indexes in another way: .git/info/attributes says so, and it wins. Remove its line."
        )
    return TeamSetup(
        folder=str(team),
        repository=repository.top,
        made_folder=made,
        attributes=str(attributes),
        added=added,
        driver=driver,
        configured=bool(unset),
        to_commit=(repository.prefix + ATTRIBUTES_NAME,) if pending or (dry_run and added) else (),
        notices=tuple(notices),
    )


def _repository(store: str | os.PathLike[str]) -> Repository:
    """Find the repository of a store's ``team/``, also where that folder is not there yet, or is one of its own."""
    folder = Path(store)
    team = folder / TEAM
    if not folder.is_dir():
        raise NotFoundError(
            f"There is no store at {folder}.", hint="Run `lamina init`, or name another with --store.", path=str(folder)
        )
    if team.is_symlink() or (os.path.lexists(team) and not team.is_dir()):
        raise InvalidInputError(
            f"{team} is a {'symbolic link' if team.is_symlink() else 'file'}, not a folder.",
            hint="Put the folder itself in its place; links are not followed.",
            path=str(team),
        )
    return Repository.around(team) if team.is_dir() else Repository.around(folder, TEAM)


def _at(repository: Repository, name: str) -> str:
    """Return the path of a file of the team, relative to where git is asked."""
    return name if repository.where == "." else f"{repository.where}/{name}"


def _notices(repository: Repository, branch: Branch | None, team: Path) -> Iterator[str]:
    """Yield what keeps the team from sharing; without a branch only what concerns the folder."""
    if repository.prefix and repository.ignores(repository.where):
        yield f"git ignores {team}, so nothing new in it is shared; see .gitignore."
    if branch is None:
        return
    if not branch.has_commits:
        yield "Nothing was committed yet."
    elif branch.name is None:
        yield "No branch is checked out, so there is nothing to push to or to merge from."
    elif branch.upstream is None:
        yield f"The branch {branch.name} follows no other: `git push -u` gives it one to share with."
    elif not branch.has_upstream:
        yield f"{branch.upstream} was never fetched: nothing is known of what others pushed."


def _exposed(repository: Repository, store: Path) -> Iterator[str]:
    """Say that private memories beside ``team/`` could be committed, too."""
    beside = Path(os.path.realpath(store))
    if not beside.is_relative_to(repository.top):
        return  # team/ is a repository of its own
    private = [path for path in beside.glob("*.md") if path.name != "README.md"]
    there = Repository.around(beside)
    if (private or (beside / ENGINE_FOLDER).is_dir()) and not there.ignores(INDEX_NAME):
        yield (
            f"Private memories in {store} are in the same repository, and `git add .` takes them, too: "
            f"add {TEAM}/ only, or name them in .gitignore."
        )


def _with_lines(data: bytes, lines: Sequence[str]) -> bytes:
    """Return a file with lines after its own, which stay as they are."""
    newline = b"\r\n" if b"\r\n" in data else b"\n"
    if data and not data.endswith(b"\n"):
        data += newline
    return data + b"".join(line.encode() + newline for line in lines)


def _histories(commits: Sequence[Commit]) -> Iterator[FileHistory]:
    """Gather commits, newest first, by the file as it is called now."""
    now: dict[str, str] = {}  # former name: the name of today
    found: dict[str, list[tuple[Commit, FileChange]]] = {}
    for commit in commits:
        for file in commit.files:
            path = now.get(file.path, file.path)
            found.setdefault(path, []).append((commit, file))
        for file in commit.files:
            if file.was is not None:
                now[file.was] = now.get(file.path, file.path)
    for path, events in found.items():
        (last, latest), (_, first) = events[0], events[-1]
        was = next((file.was for _, file in reversed(events) if file.was is not None), None)
        if latest.change == "deleted":
            change = "deleted"
        elif first.change == "new":
            change = "new"
        else:
            change = "renamed" if was is not None and was != path else "changed"
        yield FileHistory(
            path=path,
            change=change,
            was=was if change == "renamed" else None,
            commits=len(events),
            authors=tuple(dict.fromkeys(commit.author for commit, _ in events)),
            last=replace(last, files=(latest,)),
        )
