"""``lamina doctor``: is everything in order, and if not, what to do?"""

from __future__ import annotations

from collections.abc import Iterator

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import LaminaError
from lamina.maintain.doctor import Check, check_machine, check_settings, check_store

__all__ = ["command"]


@click.command("doctor", cls=Command)
@pass_shell
def command(shell: Shell) -> ExitCode:
    """Check versions, the store's folder, disk, locks, embedder and freshness. Ends with 0 when nothing fails."""
    from lamina.config import find_store

    shell.whole_store("doctor")
    location, reason = find_store(shell.store)
    checks = [*check_machine(), *check_settings(location, reason)]
    with progress("checking the store"):
        try:
            with shell.open() as store:
                checks += check_store(store)
        except LaminaError as error:
            checks += check_store(error)
    failed = sum(check.status == "fail" for check in checks)
    document = {"ok": failed == 0, "location": str(location), "checks": to_json(checks)}
    shell.emit(document, lambda: _lines(shell, checks))
    return ExitCode.CORRUPTION if failed else ExitCode.OK


def _lines(shell: Shell, checks: list[Check]) -> Iterator[str]:
    paint = shell.out
    style = {"ok": paint.green, "warn": paint.yellow, "fail": paint.red}
    margin = max(len(check.name) for check in checks) + 2
    for check in checks:
        yield f"{style[check.status](f'{check.status:<5}')} {check.name:<{margin}}{clean(check.message)}"
        if check.hint and check.status != "ok":
            yield f"{'':<{margin + 6}}{paint.dim(clean(check.hint))}"
    counts = {status: sum(check.status == status for check in checks) for status in style}
    yield ""
    yield f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} to mend."
