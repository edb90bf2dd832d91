"""``lamina index``: what an agent loads every time, and whether it is in order."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted, problem_lines, serious
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.shell import Command, Shell, is_terminal, pass_shell
from lamina.types import FILE_SCOPES, IndexReport

__all__ = ["command"]

_FIXABLE = "lamina index --fix"


@click.command("index", cls=Command)
@click.option("--check", is_flag=True, help="Say what is wrong with the indexes and their files; change nothing.")
@click.option("--fix", is_flag=True, help="Mend what a program can mend: pointers, never prose or a memory.")
@click.option("--dry-run", is_flag=True, help="With --fix: only say what would be done.")
@click.option("--instructions", is_flag=True, help="Print the prompt that teaches a model to use the folder.")
@pass_shell
def command(shell: Shell, check: bool, fix: bool, dry_run: bool, instructions: bool) -> ExitCode:
    """Print what an agent loads every time: MEMORY.md within its limits, the team's after the private one.

    \b
      lamina index                    what an agent gets; notes go to standard error
      lamina index --check            ends with 7 where something is wrong; notes alone end with 0
      lamina index --fix --dry-run    what would be mended
    """  # noqa: D301 - click wants the character itself
    if sum((check, fix, instructions)) > 1:
        message = "Give one of --check, --fix and --instructions."
        raise click.UsageError(message, click.get_current_context())
    if dry_run and not fix:
        raise click.UsageError("--dry-run goes with --fix.", click.get_current_context())
    scope = shell.one_scope() if len(shell.scopes) == 1 else None
    if check or fix:
        return _audit(shell, scope, fix=fix, dry_run=dry_run)
    if instructions:
        with shell.open() as store:
            text = store.memories.instructions()
        shell.emit({"instructions": text}, lambda: [text.rstrip("\n")])
        return ExitCode.OK
    with shell.open() as store:
        text = store.memories.index(scope)
        names = [scope] if scope else [name for name in FILE_SCOPES if name in (shell.scopes or FILE_SCOPES)]
        views = [store.memories.index_view(name) for name in names] if store.settings.enabled else []
        off = not store.settings.enabled
    notices = list(dict.fromkeys(notice for view in views for notice in view.notices))
    for notice in notices:
        shell.note(clean(notice))
    if shell.json:
        shell.emit({"text": text, "indexes": to_json(views), "notices": notices}, list)
        return ExitCode.OK
    if text:
        shell.write(clean(text) if is_terminal(sys.stdout) else text)
    elif off:
        shell.say("Memory is turned off (enabled = false, or LAMINA_ENABLED): an agent loads nothing.")
    else:
        shell.say('There is no memory file yet. `lamina add "…" --type project --title "…"` makes one.')
    return ExitCode.OK


def _audit(shell: Shell, scope: str | None, *, fix: bool, dry_run: bool) -> ExitCode:
    with shell.open(write=fix and not dry_run) as store:
        report = store.memories.fix_index(scope, dry_run=dry_run) if fix else store.memories.check_index(scope)
    wrong = serious(report.problems)
    document: dict[str, Any] = {"ok": not wrong, **to_json(report)}
    document["counts"] = dict(Counter(problem.code for problem in report.problems))
    if fix:
        document["dry_run"] = dry_run
    shell.emit(document, lambda: _fixed(shell, report, dry_run) if fix else _checked(shell, report))
    return ExitCode.OK if dry_run or not wrong else ExitCode.CORRUPTION


def _checked(shell: Shell, report: IndexReport) -> Iterator[str]:
    yield from problem_lines(report.problems, shell.out, shell.width)
    yield from _verdict(shell, report)
    mendable = sum(_FIXABLE in problem.hint for problem in report.problems)
    if mendable:
        yield f"{shell.out.cyan(f'{_FIXABLE}')} mends {mendable:,} of them; with --dry-run it says how."


def _fixed(shell: Shell, report: IndexReport, dry_run: bool) -> Iterator[str]:
    paint = shell.out
    if not report.fixed:
        yield "There is nothing that a program can mend."
    for sentence in report.fixed:
        yield f"{paint.yellow('would do') if dry_run else paint.green('done')}  {clean(sentence)}"
    if dry_run:
        yield paint.dim("Nothing was changed.")
        return
    if report.problems:
        yield ""
        yield from problem_lines(report.problems, paint, shell.width)
    yield from _verdict(shell, report)


def _verdict(shell: Shell, report: IndexReport) -> Iterator[str]:
    paint = shell.out
    wrong = len(serious(report.problems))
    notes = len(report.problems) - wrong
    kinds = {"indexes": "index", "pointers": "pointer", "files": "file"}
    checked = ", ".join(counted(count, kinds.get(name, name)) for name, count in report.checked.items())
    if report.problems:
        yield ""
    said = paint.red(counted(wrong, "problem")) if wrong else f"{paint.green('ok')}  nothing is wrong"
    if notes:
        said += f", {counted(notes, 'note')}"
    yield f"{said}; checked {checked or 'nothing'}"
