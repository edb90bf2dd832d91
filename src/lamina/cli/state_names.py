"""Names of versions and what is done with them: tag, branch, restore, compare, retain, delete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lamina.cli.commands.state import version_lines
from lamina.cli.confirm import confirm, dry_run_option, yes_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.cli.state_refs import REFS, typed_ref
from lamina.errors import InvalidInputError

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["branch_command", "compare_command", "delete_command", "restore_command", "retain_command", "tag_command"]

_name = click.argument("name")


@click.command("tag", cls=Command)
@_name
@click.argument("tag")
@click.option("--ref", default="main", show_default=True, help=REFS)
@pass_shell
def tag_command(shell: Shell, /, *, name: str, tag: str, ref: str) -> ExitCode:
    """Give a version of state NAME the name TAG. A tag stays with its version, and is never given again."""
    with shell.open(write=True) as store:
        version = store.states.tag(name, typed_ref(store, name, ref), tag)
    shell.emit({"version": to_json(version)}, lambda: version_lines(shell, version))
    return ExitCode.OK


@click.command("branch", cls=Command)
@_name
@click.argument("branch")
@click.option("--ref", default="main", show_default=True, help="Where it begins.")
@pass_shell
def branch_command(shell: Shell, /, *, name: str, branch: str, ref: str) -> ExitCode:
    """Let a new BRANCH of state NAME begin at a version."""
    with shell.open(write=True) as store:
        version = store.states.branch(name, branch, typed_ref(store, name, ref))
    shell.emit({"version": to_json(version)}, lambda: version_lines(shell, version))
    return ExitCode.OK


@click.command("restore", cls=Command)
@_name
@click.argument("ref")
@click.option("--branch", default="main", show_default=True, help="What to add to.")
@click.option("--message", "-m", help="Why.")
@pass_shell
def restore_command(shell: Shell, /, *, name: str, ref: str, branch: str, message: str | None) -> ExitCode:
    """Commit what the version REF of state NAME was as the newest one. Nothing that came between is lost.

    REF is a branch, a tag, the first digits of an id, or a time: what main was then. A time is as `state log` shows it,
    or 2026-03-01T09:30 (local where it has no zone; the end of that minute), 7d (ago), yesterday.
    """
    with shell.open(write=True) as store:
        version = store.states.restore(name, typed_ref(store, name, ref), branch=branch, message=message)
    shell.emit({"version": to_json(version)}, lambda: version_lines(shell, version))
    return ExitCode.OK


@click.command("retain", cls=Command)
@_name
@click.option("--keep-last", type=click.IntRange(1), help="Keep so many of the newest.")
@click.option("--max-age-days", type=click.FloatRange(0), help="Keep what is younger.")
@dry_run_option
@yes_option
@pass_shell
def retain_command(
    shell: Shell, /, *, name: str, keep_last: int | None, max_age_days: float | None, dry_run: bool, yes: bool
) -> ExitCode:
    """Delete old versions of state NAME. The newest of each branch, tagged ones and those being read always stay."""
    if keep_last is None and max_age_days is None:
        raise click.UsageError("Nothing says what to keep: give --keep-last, --max-age-days or both.")
    age = None if max_age_days is None else max_age_days * 86_400
    with shell.open(write=not dry_run) as store:
        plan = store.states.retain(name, keep_last=keep_last, max_age=age, dry_run=True)
        if plan.removed and not dry_run:
            if not confirm(shell, f"Delete {counted(len(plan.removed), 'version')} of {name!r}?", yes=yes):
                return ExitCode.OK
            plan = store.states.retain(name, keep_last=keep_last, max_age=age)

    def lines() -> Iterator[str]:
        verb = "would be deleted" if dry_run else "deleted"
        yield f"{counted(len(plan.removed), 'version')} {verb}, {len(plan.kept):,} kept"
        for id in plan.removed:
            yield f"  {id[:12]}  {'goes' if dry_run else 'gone'}"
        for id, why in plan.kept.items():
            yield shell.out.dim(f"  {id[:12]}  {clean(why)}")

    shell.emit({"retain": to_json(plan)}, lines)
    if plan.removed and not dry_run and not shell.json:
        shell.say("`lamina gc` gives their room back.")
    return ExitCode.OK


@click.command("compare", cls=Command)
@_name
@click.option("--by", help="The result to sort by; by name when not given.")
@click.option("--smallest/--largest", help="Which come first; the largest where neither is given.")
@pass_shell
def compare_command(shell: Shell, /, *, name: str, by: str | None, smallest: bool) -> ExitCode:
    """Compare the experiments of state NAME: the newest version of each branch that has results."""
    with shell.open() as store:
        rows = store.states.experiments(name).compare(by, largest=not smallest)

    def lines() -> Iterator[str]:
        if not rows:
            return
        columns = list(dict.fromkeys(key for row in rows for key in row.results))
        table = [["experiment", *columns, "version", "tags"]]
        for row in rows:
            values = [_value(row.results.get(key)) for key in columns]
            table.append([clean(row.name), *values, row.version.id[:12], clean(", ".join(row.tags))])
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        for number, line in enumerate(table):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            yield text if number else shell.out.dim(text)

    shell.emit({"name": name, "experiments": to_json(rows)}, lines)
    if not rows and not shell.json:
        shell.say("No branch has results; from Python, store.states.experiments(name).record() keeps them.")
    return ExitCode.OK


def _value(value: object) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else clean(str(value))


@click.command("delete", cls=Command)
@_name
@click.option("--ref", help="Only this branch, tag or version.")
@dry_run_option
@yes_option
@pass_shell
def delete_command(shell: Shell, /, *, name: str, ref: str | None, dry_run: bool, yes: bool) -> ExitCode:
    """Delete state NAME with all its versions, or one branch, tag or version of it.

    The versions of a branch or tag stay; a version goes that has no name.
    """
    what = f"state {name!r} with all its versions" if ref is None else f"{ref!r} of state {name!r}"
    with shell.open(write=not dry_run) as store:
        count = _doomed(store, name, ref)
        if not dry_run:
            if not confirm(shell, f"Delete {what}?", yes=yes):
                return ExitCode.OK
            count = store.states.delete(name, ref)
    versions = counted(count, "version") if count else "the name alone"
    said = f"Would delete {clean(what)}, {versions}." if dry_run else f"Deleted {clean(what)}, {versions}."
    shell.emit({"name": name, "ref": ref, "versions": count, "dry_run": dry_run}, lambda: [said])
    if count and not dry_run and not shell.json:
        shell.say("`lamina gc` gives the room back.")
    return ExitCode.OK


def _doomed(store: Store, name: str, ref: str | None) -> int:
    """How many versions a deletion takes, which must be there: a name takes none."""
    if ref is None:
        return len(store.states.log(name))
    (version,) = store.states.log(name, ref, limit=1)
    names = [*version.branches, *version.tags]
    if names and ref not in names:
        raise InvalidInputError(
            f"That version of state {name!r} is {', '.join(names)}.",
            hint="Delete the names first; the newest version of a branch goes with the branch.",
        )
    return 0 if names else 1
