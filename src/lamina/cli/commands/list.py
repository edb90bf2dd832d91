"""``lamina list``: memories, the newest first."""

from __future__ import annotations

from typing import Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.params import filter_arguments, filter_options
from lamina.cli.render import short_line
from lamina.cli.shell import Command, Shell, pass_shell

__all__ = ["command"]


@click.command("list", cls=Command)
@filter_options
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--after", metavar="ID", help="Go on behind this memory, the last of the page before.")
@pass_shell
def command(
    shell: Shell,
    /,
    *,
    types: tuple[str, ...],
    tags: tuple[str, ...],
    where: tuple[dict[str, Any], ...],
    limit: int,
    after: str | None,
) -> ExitCode:
    """List memories, the newest first: also those that are superseded or expired."""
    filters = filter_arguments(types, tags, where)
    with shell.open() as store:
        found = store.memories.list(**filters, limit=limit + 1, after=after)
        total = store.memories.count(**filters)
    page, more = found[:limit], len(found) > limit
    document = {"memories": to_json(page), "total": total, "next": page[-1].id if more else None}
    shell.emit(document, lambda: (short_line(memory, shell.out, shell.width) for memory in page))
    if not shell.json:
        if not page:
            shell.say("No memories." if total == 0 else f"No more memories; there are {total:,}.")
        elif more:
            shell.say(shell.err.dim(f"{len(page):,} of {total:,}; go on with --after {page[-1].id}"))
    return ExitCode.OK
