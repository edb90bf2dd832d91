"""``lamina backup``: a copy of the store while it is in use."""

from __future__ import annotations

from pathlib import Path

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.progress import progress
from lamina.cli.render import size
from lamina.cli.shell import Command, Shell, pass_shell, store_path

__all__ = ["command"]


@click.command("backup", cls=Command)
@click.argument("dest", type=click.Path())
@pass_shell
def command(shell: Shell, dest: str) -> ExitCode:
    """Copy the store to DEST, a folder that is not there yet. Writers need not stop; the copy is one moment's state."""
    shell.whole_store("backup")
    with shell.open() as store, progress("copying pages", 1) as show:
        made = store.backup(store_path(dest), progress=show)
        location = store.location
    used = _bytes(made)
    shell.emit({"location": str(location), "path": str(made), "bytes": used}, lambda: [str(made)])
    if not shell.json:
        shell.say(f"{size(used)} copied. Use it with: lamina --store {made} status")
    return ExitCode.OK


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
