"""``lamina sync``: the catalog follows the files."""

from __future__ import annotations

from collections.abc import Iterator

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import change_lines, counted, followed, problem_lines, sync_document
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.types import SyncReport

__all__ = ["command"]


@click.command("sync", cls=Command)
@pass_shell
def command(shell: Shell) -> ExitCode:
    """Take over what was changed in the markdown files by hand. No file is written.

    Every command that opens the store does so; this one says what it found, and what is wrong with files.
    """
    with shell.open(write=True) as store:
        report = followed(store)
    shell.emit(sync_document(report), lambda: _lines(shell, report))
    return ExitCode.OK


def _lines(shell: Shell, report: SyncReport) -> Iterator[str]:
    yield from change_lines(report, shell.out)
    if report.problems:
        if report.total:
            yield ""
        yield from problem_lines(report.problems, shell.out, shell.width)
        yield ""
    files = counted(report.files, "memory file")
    said = f"{counted(report.total, 'change')} taken over; {files}" if report.total else f"Nothing changed in {files}"
    yield said + (f", {counted(len(report.problems), 'problem')}." if report.problems else ".")
