"""Asking before something is deleted."""

from __future__ import annotations

import click

from lamina.cli.shell import Shell

__all__ = ["confirm", "dry_run_option", "yes_option"]

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


def confirm(shell: Shell, question: str, *, yes: bool) -> bool:
    """Asks on a terminal; without one, demands ``--yes``.

    Raises:
        UsageError: Nobody can be asked and ``--yes`` was not given.
    """
    if yes:
        return True
    if not shell.interactive:
        raise click.UsageError(
            f"{question} There is no terminal to ask on: give --yes to go on, or --dry-run to see what would be done.",
            click.get_current_context(silent=True),
        )
    if click.confirm(question, default=False, err=True):
        return True
    shell.say("Nothing was done.")
    return False
