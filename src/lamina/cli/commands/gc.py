"""``lamina gc``: give back what nothing refers to."""

from __future__ import annotations

from collections.abc import Iterator

import click

from lamina.cli.confirm import dry_run_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Shell, pass_shell

__all__ = ["command"]


@click.command("gc", cls=Command)
@dry_run_option
@pass_shell
def command(shell: Shell, /, *, dry_run: bool) -> ExitCode:
    """Give back room: leftovers of interrupted writes, and versions of states that were deleted.

    Nothing that can be reached goes, nor what another process still reads.
    """
    shell.whole_store("gc")
    with shell.open(write=not dry_run) as store, progress("collecting"):
        done = store.gc(dry_run=dry_run)

    def lines() -> Iterator[str]:
        states = done["states"]
        would = "would be " if dry_run else ""
        about = "about " if dry_run and done["bytes"] else ""
        yield f"{about}{counted(done['bytes'], 'byte')} {would}given back"
        found = {"leftover file": len(done["files"]), "version": states["versions"], "object": states["objects"]}
        yield f"  {', '.join(counted(number, what) for what, number in found.items())}"
        if not dry_run:
            yield f"  {counted(states['packs_removed'], 'pack')} removed, {states['packs_rewritten']:,} written anew"

    shell.emit(done, lines)
    for pack in done["states"]["damaged"]:
        shell.note(f"pack {pack[:16]} is damaged and was left as it is; run `lamina repair`.")
    return ExitCode.OK
