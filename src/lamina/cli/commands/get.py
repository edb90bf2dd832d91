"""``lamina get``: one memory, whole."""

from __future__ import annotations

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.meaning import meant
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.render import memory_lines
from lamina.cli.shell import Command, Shell, is_terminal, pass_shell

__all__ = ["command"]


@click.command("get", cls=Command)
@click.argument("memory_id", metavar="REF")
@click.option("--text", "only_text", is_flag=True, help="Its text alone, character for character.")
@pass_shell
def command(shell: Shell, memory_id: str, only_text: bool) -> ExitCode:
    """Show one memory: its fields, then its text. REF is an id or the beginning of one, a file, or a title."""
    import sys

    with shell.open() as store:
        memory = store.memories.get(meant(store, memory_id))
    if only_text and not shell.json:
        text = clean(memory.text) if is_terminal(sys.stdout) else memory.text
        shell.write(text if text.endswith("\n") else text + "\n")
        return ExitCode.OK
    shell.emit({"memory": to_json(memory)}, lambda: memory_lines(memory, shell.out))
    return ExitCode.OK
