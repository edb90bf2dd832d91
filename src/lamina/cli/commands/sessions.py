"""``lamina sessions``: runs of agents."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.confirm import confirm, dry_run_option, yes_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean, one_line
from lamina.cli.params import When
from lamina.cli.pattern_lines import event_lines, session_line, session_lines
from lamina.cli.progress import progress
from lamina.cli.render import size
from lamina.cli.shell import Command, Group, Shell, pass_shell, writing_output

if TYPE_CHECKING:
    from lamina.sessions.values import Event

__all__ = ["command"]

command = Group(
    name="sessions",
    help="Runs of agents: turns, tool calls, outcomes; imported or as they happen.",
    subcommand_metavar="COMMAND [OPTIONS]",
)


@command.command("list", cls=Command)
@click.option("--project", metavar="PATH", help="Only of this project.")
@click.option("--agent", metavar="NAME", help="Only of this agent.")
@click.option("--outcome", type=click.Choice(["success", "failure"]), help="Only with this outcome.")
@click.option("--since", type=When(), metavar="TIME", help="Begun then or later.")
@click.option("--until", type=When("end"), metavar="TIME", help="Begun before then.")
@click.option("--archived/--not-archived", default=None, help="Only archived ones, or none of them.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--after", metavar="ID", help="Go on behind this session.")
@pass_shell
def list_command(shell: Shell, /, *, limit: int, after: str | None, **filters: Any) -> ExitCode:
    """List sessions, the latest first."""
    with shell.open() as store:
        found = store.sessions.list(**filters, limit=limit + 1, after=after)
        total = store.sessions.count(**filters)
    page, more = found[:limit], len(found) > limit
    document = {"sessions": to_json(page), "total": total, "next": page[-1].id if more else None}
    shell.emit(document, lambda: (session_line(session, shell.out, shell.width) for session in page))
    if not shell.json:
        if not page:
            shell.say("No sessions; `lamina sessions import FILE` brings some.")
        elif more:
            shell.say(shell.err.dim(f"{len(page):,} of {total:,}; go on with --after {page[-1].id}"))
    return ExitCode.OK


@command.command("show", cls=Command)
@click.argument("id")
@click.option("--events", type=click.IntRange(0), default=40, show_default=True, help="Show at most so many.")
@pass_shell
def show_command(shell: Shell, /, *, id: str, events: int) -> ExitCode:
    """Show a session and its turns and calls. ID is its id, or how it alone begins."""
    with shell.open() as store:
        session = store.sessions.find(id)
        shown: list[Event] = []
        for event in store.sessions.events(session.id):
            if len(shown) >= events:
                break
            shown.append(event)

    def lines() -> Iterator[str]:
        yield from session_lines(session, shell.out)
        yield ""
        for event in shown:
            yield event_lines(event, shell.out, shell.width)

    left = session.turns + session.calls - len(shown)
    shell.emit({**to_json(session), "events": to_json(shown), "events_left_out": max(0, left)}, lines)
    if left > 0 and not shell.json:
        shell.say(shell.err.dim(f"{left:,} more events; show them with --events {session.turns + session.calls}"))
    return ExitCode.OK


@command.command("import", cls=Command)
@click.argument("path", type=click.Path())
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", "transcript", "trajectory", "aircher", "duckdb", "lamina"]),
    default="auto",
    show_default=True,
    help="auto goes by name and content.",
)
@pass_shell
def import_command(shell: Shell, /, *, path: str, format_name: str) -> ExitCode:
    """Read sessions from a file, or from every file of a folder; a second time adds only what is new.

    \b
      lamina sessions import ~/.claude/projects
      lamina sessions import run.traj
    """  # noqa: D301 - click wants the character itself
    with shell.open(write=True, create=True) as store, progress("importing", 1) as show:
        report = store.sessions.import_file(path, format=format_name, progress=show)
    nothing = not report.sessions and bool(report.problems)

    def lines() -> Iterator[str]:
        known = f", {report.known:,} known already" if report.known else ""
        yield (
            f"{report.new_sessions:,} new of {len(report.sessions):,} sessions: {report.turns:,} turns, "
            f"{report.calls:,} calls{known}"
        )
        yield shell.out.dim(f"{size(report.bytes)} read in {report.seconds:.1f} s")
        for name, count in report.unknown.items():
            first = report.unknown_at.get(name)
            where = f" ({'first ' if count > 1 else ''}{first})" if first else ""
            head = f"not understood: {count:,}x "
            yield f"{head}{one_line(name, max(20, shell.width - len(head) - len(where)))}{clean(where)}"
        if report.masked:
            yield f"{report.masked:,} secret{'' if report.masked == 1 else 's'} masked"

    shell.emit(to_json(report), lines)
    if not shell.json:
        for problem in report.problems:
            shell.note(clean(problem))
    return ExitCode.FAILURE if nothing else ExitCode.OK


@command.command("export", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@pass_shell
def export_command(shell: Shell, /, *, ids: tuple[str, ...]) -> ExitCode:
    """Write sessions as Lamina's JSON lines to standard output: all, or those named."""
    with shell.open() as store:
        named = [store.sessions.find(id).id for id in ids]
        for line in store.sessions.lines(named or None):
            with writing_output():
                sys.stdout.buffer.write(line.encode("utf-8"))
    with writing_output():
        sys.stdout.buffer.flush()
    return ExitCode.OK


@command.command("archive", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--older-than", type=When(), metavar="TIME", help="All whose last event is older, such as 30d.")
@click.option("--max-quality", type=click.FloatRange(0, 1), help="And whose quality is at most this.")
@yes_option
@dry_run_option
@pass_shell
def archive_command(
    shell: Shell,
    /,
    *,
    ids: tuple[str, ...],
    older_than: datetime | None,
    max_quality: float | None,
    yes: bool,
    dry_run: bool,
) -> ExitCode:
    """Pack sessions' events together: they stay readable and take less room."""
    if bool(ids) == (older_than is not None):
        raise click.UsageError("Give ids, or --older-than.", click.get_current_context())
    age = None if older_than is None else datetime.now().astimezone() - older_than
    options: dict[str, Any] = {"older_than": max(age, timedelta()) if age is not None else None}
    options["max_quality"] = max_quality
    with shell.open(write=not dry_run) as store:
        if not dry_run and not ids:
            found = store.sessions.archive(dry_run=True, **options)
            count = len(found.sessions)
            if count and not confirm(shell, f"Archive {count:,} session{'' if count == 1 else 's'}?", yes=yes):
                return ExitCode.FAILURE
        named = [store.sessions.find(id).id for id in ids]
        report = store.sessions.archive(named or None, dry_run=dry_run, **options)
    would = "would archive" if dry_run else "archived"
    sizes = f"{size(report.bytes_before)}" + ("" if dry_run else f" to {size(report.bytes_after)}")
    shell.emit(to_json(report), lambda: [f"{would} {len(report.sessions):,} sessions, {sizes}"])
    return ExitCode.OK
