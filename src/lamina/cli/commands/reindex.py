"""``lamina reindex``: vectors anew."""

from __future__ import annotations

import click

from lamina.cli.commands.stats import table
from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Shell, pass_shell

__all__ = ["command"]


@click.command("reindex", cls=Command)
@click.option("--embedder", metavar="SPEC", help="The embedder to use from now on, such as static or model2vec:NAME.")
@click.option(
    "--replace-given", is_flag=True, help="Forget the vectors that memories came with, and embed their texts instead."
)
@pass_shell
def command(shell: Shell, embedder: str | None, replace_given: bool) -> ExitCode:
    """Compute the vectors that are missing, or all of them where another embedder is in use now, and record it.

    Memories stay as they are. The store can be read meanwhile.
    """
    shell.whole_store("reindex")
    with shell.open(write=True, embedder=embedder) as store:
        with progress("reindexing", 1) as show:
            document = to_json(store.reindex(progress=show, replace_given=replace_given))
        for notice in store.notices:
            shell.note(notice)
    shell.emit(document, lambda: table(document))
    return ExitCode.OK
