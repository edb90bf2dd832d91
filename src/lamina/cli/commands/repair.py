"""``lamina repair``: rebuild what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from lamina.cli.commands.verify import report_lines
from lamina.cli.confirm import confirm, dry_run_option, yes_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import CorruptionError
from lamina.types import Problem, RepairReport, VerifyReport

__all__ = ["command"]


@click.command("repair", cls=Command)
@yes_option
@dry_run_option
@pass_shell
def command(shell: Shell, yes: bool, dry_run: bool) -> ExitCode:
    """Rebuild search data, and save what can be saved of a damaged catalog.

    It works on a store that does not open any more, and keeps the damaged file beside the new one. It asks first;
    without a terminal it needs --yes.
    """
    import lamina
    from lamina.config import find_store

    shell.whole_store("repair")
    location, _ = find_store(shell.store)
    if dry_run:
        report = _look(shell)
        document = {"dry_run": True, "location": str(location), "ok": report.ok, "problems": to_json(report.problems)}
        shell.emit(document, lambda: report_lines(shell, report))
        return ExitCode.OK if report.ok else ExitCode.CORRUPTION
    if not confirm(shell, f"Repair {location}? A damaged catalog is replaced, and kept aside.", yes=yes):
        return ExitCode.FAILURE
    with progress("repairing"):
        done = lamina.repair(location)
    shell.emit({"dry_run": False, "location": str(location), **to_json(done)}, lambda: _lines(shell, location, done))
    return ExitCode.OK


def _look(shell: Shell) -> VerifyReport:
    """What a repair would find; a store that does not open is a finding."""
    try:
        with shell.open() as store:
            return store.verify(level="full")
    except CorruptionError as error:
        found = Problem(code=error.code, where="catalog", message=error.message, hint=error.hint)
        return VerifyReport(level="full", problems=(found,), checked={})


def _lines(shell: Shell, location: Path, done: RepairReport) -> Iterator[str]:
    paint = shell.out
    yield f"{paint.green('repaired')}  {location}"
    yield f"  rebuilt: {', '.join(clean(name) for name in done.rebuilt) or 'nothing'}"
    for name, count in done.recovered.items():
        yield f"  recovered: {count:,} {clean(name)}"
    for problem in done.lost:
        yield f"  {paint.red('lost:')} {clean(problem.where)}: {clean(problem.message)}"
    for hint in dict.fromkeys(problem.hint for problem in done.lost if problem.hint):
        yield paint.dim(f"      {clean(hint)}")
    if done.kept_aside:
        yield f"  the damaged file is kept: {done.kept_aside}"
