"""``lamina verify``: is what is on disk what was written?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.types import VerifyReport

__all__ = ["command", "report_lines"]

_SHOWN = 50


@click.command("verify", cls=Command)
@click.option(
    "--level",
    type=click.Choice(["structure", "sample", "full"]),
    default="structure",
    show_default=True,
    help="structure: pages and indexes; sample: some bodies and vectors, too; full: every one.",
)
@pass_shell
def command(shell: Shell, level: Literal["structure", "sample", "full"]) -> ExitCode:
    """Check the store. Ends with 0 when nothing is wrong and with 7 when something is."""
    shell.whole_store("verify")
    with shell.open() as store, progress(f"verifying ({level})"):
        report = store.verify(level=level)
    document = {"ok": report.ok, **to_json(report)}
    shell.emit(document, lambda: report_lines(shell, report))
    if not shell.json and any(problem.code != "version-partly-lost" for problem in report.problems):
        shell.say("`lamina repair` rebuilds what can be rebuilt; it keeps the damaged file.")
    return ExitCode.OK if report.ok else ExitCode.CORRUPTION


def report_lines(shell: Shell, report: VerifyReport) -> Iterator[str]:
    """What was checked, and what was found."""
    paint = shell.out
    checked = ", ".join(_checked(count, name) for name, count in report.checked.items())
    if report.ok:
        yield f"{paint.green('ok')}  nothing is wrong ({report.level}): {checked or 'nothing to check'}"
        return
    yield f"{paint.red(counted(len(report.problems), 'problem'))} ({report.level}); checked {checked or 'nothing'}"
    for problem in report.problems[:_SHOWN]:
        yield f"  {paint.bold(problem.code)}  {clean(problem.where)}: {clean(problem.message)}"
        if problem.hint:
            yield paint.dim(f"      {clean(problem.hint)}")
    if len(report.problems) > _SHOWN:
        yield f"  and {len(report.problems) - _SHOWN:,} more; --json lists all"


def _checked(count: int, name: str) -> str:
    """How many of a kind were looked at; kinds are named in the plural."""
    if name == "versions_let_go":
        return f"{counted(count, 'version')} let go (`lamina gc` takes {'it' if count == 1 else 'them'})"
    one = {"memories": "memory", "indexes": "index"}.get(name, name.removesuffix("s"))
    return counted(count, one.replace("_", " "))
