"""``lamina team``: the shared folder in git."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.paint import clean
from lamina.cli.params import When
from lamina.cli.shell import Command, Group, Shell, pass_shell

if TYPE_CHECKING:
    from lamina.folder.git import Commit, FileChange, Uncommitted
    from lamina.memories.team import FileHistory, TeamSetup, TeamStatus

__all__ = ["command"]

_MOST_FILES: Final = 40  # of one commit or list; more are counted
_MAX_BYTES: Final = 10_000_000  # of an index; larger ones are left to people


@click.group("team", cls=Group)
def command() -> None:
    """See what is new in team/, from git; let git merge its indexes.

    Nothing is fetched, pushed or committed: that stays with you and git.
    """


@command.command("status", cls=Command)
@click.option(
    "--since", type=When(), default="7d", show_default=True, help="Recent changes from then on: 7d, 2026-03-01."
)
@pass_shell
def status(shell: Shell, since: datetime) -> ExitCode:
    """Say what of team/ is new, changed and deleted, by whom, and what waits to be pushed or merged.

    What is to be merged is known as of the last fetch; `git fetch` brings it up to date.
    """
    from lamina.cli.output import to_json
    from lamina.config import find_store
    from lamina.memories.team import team_status

    shell.whole_store("team")
    location, _ = find_store(shell.store)
    found = team_status(location, since=since)
    shell.emit({"location": str(location), "since": to_json(since), **to_json(found)}, lambda: _status(shell, found))
    return ExitCode.OK


@command.command("init", cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_shell
def init(shell: Shell, dry_run: bool) -> ExitCode:
    """Let git merge the pointers of team/MEMORY.md one by one, so that two people who add one each do not conflict.

    Writes team/.gitattributes, which you commit, and the configuration of this clone; each clone runs it once.
    """
    from lamina.cli.output import to_json
    from lamina.config import find_store
    from lamina.memories.team import set_up_team

    shell.whole_store("team")
    location, _ = find_store(shell.store)
    done = set_up_team(location, driver=f"{_program()} team merge-driver %O %A %B", dry_run=dry_run)
    document = {"location": str(location), "dry_run": dry_run, **to_json(done)}
    shell.emit(document, lambda: _set_up(shell, done, dry_run=dry_run))
    return ExitCode.OK


@command.command("merge-driver", cls=Command, hidden=True)
@click.argument("base", type=click.Path())
@click.argument("ours", type=click.Path())
@click.argument("theirs", type=click.Path())
def merge_driver(base: str, ours: str, theirs: str) -> ExitCode:
    """Merge two versions of an index; for git, which gives the files and takes the result from OURS.

    Ends with 1 where both sides said different things; OURS then has them between conflict markers.
    """
    from lamina import fs
    from lamina.folder.merge import merge

    versions = [fs.read_file(path, max_bytes=_MAX_BYTES) for path in (base, ours, theirs)]
    merged = merge(*versions)
    if merged.data != versions[1]:
        fs.write_file(ours, merged.data, replace=True)
    return ExitCode.FAILURE if merged.conflicts else ExitCode.OK


def _program() -> str:
    """Return how git's shell starts this program; a ``%`` would be one of git's placeholders."""
    from shutil import which

    if which("lamina"):
        return "lamina"
    own = os.path.abspath(sys.argv[0])  # noqa: PTH100 - a link to the program stays one
    if os.path.basename(own) == "lamina" and os.access(own, os.X_OK):  # noqa: PTH119
        return shlex.quote(own).replace("%", "%%")
    return f"{shlex.quote(sys.executable)} -m lamina.cli".replace("%", "%%")


def _status(shell: Shell, found: TeamStatus) -> Iterator[str]:
    from lamina.cli.render import ago

    paint = shell.out
    branch = found.branch
    fetched = f", fetched {ago(found.fetched_at)}" if found.fetched_at and branch.upstream else ""
    yield paint.bold(clean(found.folder))
    yield paint.dim(clean(f"  {branch.name or 'no branch'}, {branch.upstream or 'no upstream'}{fetched}"))
    yield from _section(shell, "Not committed", [_uncommitted(one) for one in found.uncommitted])
    yield from _section(shell, "Not pushed", [line for one in found.unpushed for line in _commit(shell, one)])
    yield from _section(shell, "To merge", [line for one in found.unmerged for line in _commit(shell, one)])
    yield from _section(shell, "Recent", [_history(one) for one in found.recent])
    if not (found.uncommitted or found.unpushed or found.unmerged or found.recent):
        yield "Nothing new."
    for notice in found.notices:
        yield f"{paint.yellow('note:')} {clean(notice)}"


def _section(shell: Shell, title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield shell.out.bold(title)
    for line in lines[:_MOST_FILES]:
        yield f"  {line}"
    if len(lines) > _MOST_FILES:
        yield f"  and {len(lines) - _MOST_FILES:,} more; --json has all"


def _uncommitted(one: Uncommitted) -> str:
    was = f" (was {clean(one.was)})" if one.was else ""
    state = one.detail or ("staged" if one.staged and not one.unstaged else "partly staged" if one.staged else "")
    return f"{one.change:<9} {clean(one.path)}{was}{f'  {state}' if state else ''}"


def _commit(shell: Shell, one: Commit) -> Iterator[str]:
    from lamina.cli.render import ago

    yield f"{shell.out.cyan(one.id[:9])} {clean(one.author)}, {ago(one.at)}: {clean(one.subject)}"
    for file in one.files:
        yield f"  {_file(file)}"


def _file(file: FileChange) -> str:
    return f"{file.change:<9} {clean(file.path)}{f' (was {clean(file.was)})' if file.was else ''}"


def _history(one: FileHistory) -> str:
    from lamina.cli.render import local

    was = f" (was {clean(one.was)})" if one.was else ""
    count = f", {one.commits} commits" if one.commits > 1 else ""
    return f"{one.change:<9} {clean(one.path)}{was}  {clean(', '.join(one.authors))}, {local(one.last.at)}{count}"


def _set_up(shell: Shell, done: TeamSetup, *, dry_run: bool) -> Iterator[str]:
    paint = shell.out
    if done.made_folder:
        yield f"{'would make' if dry_run else 'made'} {clean(done.folder)}"
    if done.added:
        yield f"{'would add' if dry_run else 'added'} to {clean(done.attributes)}:"
        for line in done.added:
            yield f"  {line}"
    if done.configured:
        yield f"{'would set' if dry_run else 'set'} in this clone's configuration:"
        yield f"  merge.lamina-index.driver = {clean(done.driver)}"
    if not (done.made_folder or done.added or done.configured):
        yield "Everything is set up already."
    if done.to_commit:
        names = " ".join(shlex.quote(name) for name in done.to_commit)
        where = shlex.quote(done.repository)
        yield ""
        yield "Commit it for the team; everyone who clones runs `lamina team init` once:"
        yield f"  {paint.cyan(clean(f'git -C {where} add {names} && git -C {where} commit'))}"
    for notice in done.notices:
        yield f"{paint.yellow('note:')} {clean(notice)}"
