"""``lamina watch``: the catalog follows the files as they change."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import change_lines, counted, followed, problem_lines, sync_document
from lamina.cli.paint import clean
from lamina.cli.shell import Command, Shell, pass_shell, writing_output
from lamina.types import Problem, SyncReport

__all__ = ["command"]


@click.command("watch", cls=Command)
@click.option("--for", "seconds", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End after so long.")
@pass_shell
def command(shell: Shell, seconds: float | None) -> ExitCode:
    """Take over changes of the files as they happen, until Ctrl-C.

    A line a change goes to standard output; with --json a document a line, as `lamina sync --json` has it.
    """
    from lamina.cli.watching import watch

    with shell.open(write=True) as store:
        last = followed(store)
        _show(shell, last, before=(), always=shell.json)  # a program learns from it that the watch has begun
        if not shell.json:
            shell.say(shell.err.dim(f"watching {clean(str(Path(store.location)))}: {_files(last)}; Ctrl-C ends it"))
        for report in watch(store, seconds=seconds, tell=shell.note):
            _show(shell, report, before=last.problems)
            last = report
    return ExitCode.OK


def _files(report: SyncReport) -> str:
    return counted(report.files, "memory file")


def _show(shell: Shell, report: SyncReport, *, before: tuple[Problem, ...], always: bool = False) -> None:
    """Shows what changed, and problems that are new or gone; nothing where nothing is, unless always."""
    fresh = [problem for problem in report.problems if problem not in before]
    mended = [problem for problem in before if problem not in report.problems]
    if not (report.total or fresh or mended or always):
        return
    if shell.json:
        line = json.dumps(sync_document(report), ensure_ascii=True, default=str)
        shell.write(line + "\n")
    else:
        for text in change_lines(report, shell.out):
            shell.write(text + "\n")
        for text in problem_lines(fresh, shell.out, shell.width):
            shell.write(text + "\n")
        for problem in mended:
            shell.write(f"{shell.out.green('mended ')}  {clean(problem.where)}: {problem.code}\n")
    with writing_output():
        sys.stdout.flush()
