"""``lamina optimize``: smaller and faster."""

from __future__ import annotations

import click

from lamina.cli.commands.stats import table
from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Shell, pass_shell

__all__ = ["command"]


@click.command("optimize", cls=Command)
@pass_shell
def command(shell: Shell) -> ExitCode:
    """Merge the text index, train compression on the texts as they are, and give unused space back.

    Nothing is lost by it, and nothing needs it; it pays after large imports and purges.
    """
    shell.whole_store("optimize")
    with shell.open(write=True) as store, progress("optimizing"):
        document = to_json(store.optimize())
    shell.emit(document, lambda: table(document))
    return ExitCode.OK
