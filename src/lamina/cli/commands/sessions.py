"""``lamina sessions``: runs of agents."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.confirm import confirm, dry_run_option, yes_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
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

_MOST_DAYS = 3_000_000
"""Days that every session is younger than."""

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
        shell.say(
            shell.err.dim(f"{counted(left, 'more event')}; show them with --events {session.turns + session.calls}")
        )
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
    from lamina.sessions.importing import check_source

    check_source(path, format_name)  # no store is made for what cannot be imported
    with shell.open(write=True, create=True) as store, progress("importing", 1) as show:
        report = store.sessions.import_file(path, format=format_name, progress=show)
    nothing = not report.sessions and bool(report.problems)

    def lines() -> Iterator[str]:
        known = f", {report.known:,} known already" if report.known else ""
        twice = f", {report.twice:,} twice in the files" if report.twice else ""
        yield (
            f"{report.new_sessions:,} new of {counted(len(report.sessions), 'session')}: "
            f"{counted(report.turns, 'turn')}, {counted(report.calls, 'call')}{known}{twice}"
        )
        yield shell.out.dim(f"{size(report.bytes)} read in {report.seconds:.1f} s")
        for name, count in report.unknown.items():
            first = report.unknown_at.get(name)
            where = f" ({'first ' if count > 1 else ''}{first})" if first else ""
            head = f"not understood: {count:,}x "
            yield f"{head}{one_line(name, max(20, shell.width - len(head) - len(where)))}{clean(where)}"
        if report.masked:
            yield f"{counted(report.masked, 'secret')} masked"

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
            if count and not confirm(shell, f"Archive {counted(count, 'session')}?", yes=yes):
                return ExitCode.FAILURE
        named = [store.sessions.find(id).id for id in ids]
        report = store.sessions.archive(named or None, dry_run=dry_run, **options)
    would = "would archive" if dry_run else "archived"
    sizes = f"{size(report.bytes_before)}" + ("" if dry_run else f" to {size(report.bytes_after)}")
    shell.emit(to_json(report), lambda: [f"{would} {counted(len(report.sessions), 'session')}, {sizes}"])
    return ExitCode.OK


@command.command("delete", cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@yes_option
@dry_run_option
@pass_shell
def delete_command(shell: Shell, /, *, ids: tuple[str, ...], yes: bool, dry_run: bool) -> ExitCode:
    """Delete what sessions said and did, for good.

    Uses of patterns that came from them stay, and still name them.
    """
    with shell.open(write=not dry_run) as store:
        found = list({session.id: session for session in map(store.sessions.find, ids)}.values())
        if dry_run or not yes:
            for session in found:
                shell.say(session_line(session, shell.err, shell.width))
        count = counted(len(found), "session")
        gone: list[str] = []
        if not dry_run:
            if not confirm(shell, f"Delete {count}?", yes=yes):
                return ExitCode.FAILURE
            gone = [store.sessions.delete(session.id).id for session in found]
    shell.emit({"dry_run": dry_run, "deleted": gone}, lambda: [f"{'would delete' if dry_run else 'deleted'} {count}"])
    return ExitCode.OK


@command.command("retain", cls=Command)
@click.option("--keep-last", type=click.IntRange(0), help="Keep so many of the newest.")
@click.option("--max-age-days", type=click.FloatRange(0), help="Keep what is younger.")
@yes_option
@dry_run_option
@pass_shell
def retain_command(
    shell: Shell, /, *, keep_last: int | None, max_age_days: float | None, yes: bool, dry_run: bool
) -> ExitCode:
    """Delete old sessions for good: those that are neither among the newest nor young enough.

    Uses of patterns that came from them stay, and still name them.
    """
    if keep_last is None and max_age_days is None:
        raise click.UsageError(
            "Nothing says what to keep: give --keep-last, --max-age-days or both.", click.get_current_context()
        )
    age = None if max_age_days is None else timedelta(days=min(max_age_days, _MOST_DAYS))
    with shell.open(write=not dry_run) as store:
        report = store.sessions.retain(keep_last=keep_last, max_age=age, dry_run=True)
        count = counted(len(report.sessions), "session")
        if report.sessions and not dry_run:
            if not confirm(shell, f"Delete {count}, {size(report.bytes_before)}?", yes=yes):
                return ExitCode.FAILURE
            report = store.sessions.retain(keep_last=keep_last, max_age=age)
            count = counted(len(report.sessions), "session")

    def lines() -> Iterator[str]:
        yield f"{'would delete' if dry_run else 'deleted'} {count}, {size(report.bytes_before)}"
        if dry_run:
            yield from (f"  {shell.out.cyan(clean(id))}" for id in report.sessions)

    shell.emit(to_json(report), lines)
    return ExitCode.OK
