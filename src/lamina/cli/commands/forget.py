"""``lamina forget``: delete memories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.confirm import confirm, dry_run_option, yes_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.meaning import meant
from lamina.cli.output import to_json
from lamina.cli.paint import clean, shell_words
from lamina.cli.params import filter_arguments, filter_options
from lamina.cli.progress import progress
from lamina.cli.render import short_line
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import NotFoundError

if TYPE_CHECKING:
    from lamina.store import Store
    from lamina.types import Deletion, Memory

__all__ = ["command"]

_PAGE = 500
_SHOWN = 10


@click.command("forget", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--purge", is_flag=True, help="Scrub them from history, search and disk, too. There is no way back.")
@yes_option
@dry_run_option
@pass_shell
def command(
    shell: Shell,
    /,
    *,
    ids: tuple[str, ...],
    types: tuple[str, ...],
    tags: tuple[str, ...],
    where: tuple[dict[str, Any], ...],
    purge: bool,
    yes: bool,
    dry_run: bool,
) -> ExitCode:
    """Delete memories by ID, or all that the filters name.

    It asks first; without a terminal it needs --yes. History keeps what was deleted, for `lamina history` and
    `lamina recall --as-of`, unless --purge is given.
    """
    filters = filter_arguments(types, tags, where)
    by_filter = bool(filters) or bool(shell.scopes and not ids)
    if bool(ids) == by_filter:
        raise click.UsageError("Give ids, or filters: --type, --tag, --where, --scope.", click.get_current_context())
    with shell.open(write=not dry_run) as store:
        wanted = (
            list(dict.fromkeys(meant(store, id) for id in ids))
            if ids
            else [memory.id for memory in _matching(store, filters)]
        )
        if not wanted or dry_run or not yes:
            _show(shell, store, wanted, purge=purge)
        document: dict[str, Any] = {"dry_run": dry_run, "purge": purge, "matched": len(wanted), "ids": wanted}
        if dry_run or not wanted:
            shell.emit({**document, "deleted": []}, list)
            if wanted and not shell.json:
                would = "purge" if purge else "delete"
                shell.say(f"would {would} {len(wanted):,} {'memory' if len(wanted) == 1 else 'memories'}")
            return ExitCode.OK
        question = f"Delete {_count(wanted)}{', history included,' if purge else ''} from {store.location}?"
        if not confirm(shell, question, yes=yes):
            return ExitCode.FAILURE
        deleted = _delete(store, wanted, purge=purge)
        shell.emit({**document, "deleted": to_json(deleted)}, lambda: _lines(deleted))
    return ExitCode.OK


def _matching(store: Store, filters: dict[str, Any]) -> Iterator[Memory]:
    after: str | None = None
    while page := store.memories.list(**filters, limit=_PAGE, after=after):
        yield from page
        after = page[-1].id


def _show(shell: Shell, store: Store, wanted: list[str], *, purge: bool) -> None:
    """Says on standard error what is meant."""
    paint = shell.err
    for memory_id in wanted[:_SHOWN]:
        try:
            shell.say("  " + short_line(store.memories.get(memory_id), paint, shell.width - 2))
        except NotFoundError:
            if not purge:  # a purge may also scrub what was deleted before
                raise
            shell.say(f"  {paint.cyan(memory_id)}  deleted before")
    if len(wanted) > _SHOWN:
        shell.say(paint.dim(f"  and {len(wanted) - _SHOWN:,} more"))
    if not wanted:
        shell.say("No memory fits; nothing to delete.")


def _count(wanted: list[str]) -> str:
    return "this memory" if len(wanted) == 1 else f"these {len(wanted):,} memories"


def _delete(store: Store, wanted: list[str], *, purge: bool) -> list[Deletion]:
    deleted = []
    with progress("deleting", len(wanted)) as show:
        for number, memory_id in enumerate(wanted, 1):
            done = store.memories.delete(memory_id, purge=purge)
            deleted.append(replace(done, kept=tuple(shell_words(kept) for kept in done.kept)))
            show(number)
    return deleted


def _lines(deleted: list[Deletion]) -> Iterator[str]:
    for item in deleted[:_SHOWN]:
        removed = ", ".join(f"{count} {place}" for place, count in item.removed.items() if count) or "nothing"
        yield f"{item.id}  {'purged' if item.purged else 'deleted'}: {removed}"
        for kept in item.kept:
            yield f"    kept: {clean(kept)}"
    if len(deleted) > _SHOWN:
        yield f"and {len(deleted) - _SHOWN:,} more; {len(deleted):,} in all."
