"""``lamina patterns``: what worked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.confirm import confirm, dry_run_option, yes_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
from lamina.cli.output import to_json
from lamina.cli.paint import clean, one_line
from lamina.cli.params import When
from lamina.cli.pattern_lines import (
    TREND_WEEKS,
    learn_lines,
    pattern_lines,
    pattern_table,
    plan_lines,
    suggestion_lines,
    trend_lines,
    week_lines,
)
from lamina.cli.pattern_queries import NOTHING, filtered, pattern_filters, show
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Group, Shell, pass_shell, writing_output

if TYPE_CHECKING:
    from lamina.patterns.reports import Trend

__all__ = ["command"]

command = Group(
    name="patterns",
    help="What worked: sequences of steps with their outcomes, learned from sessions.",
    subcommand_metavar="COMMAND [OPTIONS]",
)


@command.command("list", cls=Command)
@pattern_filters
@pass_shell
def list_command(shell: Shell, /, *, limit: int, **options: Any) -> ExitCode:
    """List patterns, the most effective first."""
    with shell.open() as store:
        return show(shell, store, filtered(store, options), limit, options)


@command.command("search", cls=Command)
@click.argument("words", nargs=-1, required=True)
@pattern_filters
@pass_shell
def search_command(shell: Shell, /, *, words: tuple[str, ...], limit: int, **options: Any) -> ExitCode:
    """List the patterns that have all of WORDS.

    They are looked for in steps and description, whatever their form: `tests` finds `testing`.
    """
    with shell.open() as store:
        return show(shell, store, filtered(store, options).matching(" ".join(words)), limit, options)


@command.command("show", cls=Command)
@click.argument("id")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="Time zone of the weeks.")
@click.option("--sessions", type=click.IntRange(0), default=5, show_default=True, help="Sessions to name.")
@pass_shell
def show_command(shell: Shell, /, *, id: str, tz: str, sessions: int) -> ExitCode:
    """Show a pattern: steps, figures, weeks, sessions.

    The beginning of an ID is enough where no other begins like that.
    """
    with shell.open() as store:
        found = store.patterns.explain(id, limit=sessions)
        weeks = store.patterns.usage(id).by_week(tz=tz)

    def lines() -> Iterator[str]:
        yield from pattern_lines(found.pattern, shell.out, shell.width)
        yield from week_lines(weeks, tz, shell.out, shell.width)
        for reason in found.reasons:
            yield shell.out.dim(f"  {one_line(reason, shell.width - 2)}")
        if found.evidence:
            some = f", the last {len(found.evidence):,}" if len(found.evidence) < found.sessions else ""
            yield f"sessions ({found.sessions:,}{some})"
        for entry in found.evidence:
            name = clean(entry.session)
            rest = f"{entry.successes} of {entry.uses} worked{f' · {entry.title}' if entry.title else ''}"
            yield f"  {shell.out.cyan(name)}  {one_line(rest, max(20, shell.width - 4 - len(name)))}"

    shell.emit({**to_json(found), "weeks": to_json(weeks)}, lines)
    return ExitCode.OK


@command.command("related", cls=Command)
@click.argument("id")
@click.option("--min-correlation", type=click.FloatRange(0, 1), default=0.7, show_default=True, help="0 to 1.")
@click.option(
    "--sort", "order", type=click.Choice(["frequency", "correlation"]), default="frequency", show_default=True
)
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@pass_shell
def related_command(shell: Shell, /, *, id: str, min_correlation: float, order: Any, limit: int) -> ExitCode:
    """List the patterns used in the same sessions as a pattern."""
    with shell.open() as store:
        found = store.patterns.related(id, min_correlation=min_correlation, sort_by=order, limit=limit)

    def lines() -> Iterator[str]:
        lead = [f"{entry.correlation:5.2f} {entry.together:5,}  " for entry in found]
        patterns = [entry.pattern for entry in found]
        yield from pattern_table(patterns, shell.out, shell.width, lead, "alike  both  ")

    shell.emit({"related": to_json(found)}, lines)
    if not found and not shell.json:
        shell.say(f"No pattern goes with it by {min_correlation:g} or more; --min-correlation 0 shows all.")
    return ExitCode.OK


@command.command("files", cls=Command)
@click.argument("path")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@pass_shell
def files_command(shell: Shell, /, *, path: str, limit: int) -> ExitCode:
    """List the files that are used together with a file."""
    with shell.open() as store:
        found = store.patterns.files_with(path, limit=limit)
        used = bool(found) or store.patterns.query().with_file(path).count() > 0

    def lines() -> Iterator[str]:
        if found:
            yield shell.out.dim("alike   both  worked  file")
        for entry in found:
            head = f"{entry.correlation:5.2f} {entry.together:6,}  {entry.success_rate:6.0%}  "
            yield head + clean(entry.path)

    shell.emit({"files": to_json(found)}, lines)
    if not found and not shell.json:
        name = clean(path)
        shell.say(f"No other file was used together with {name}." if used else f"No pattern was used with {name}.")
    return ExitCode.OK


@command.command("trends", cls=Command)
@click.option("--weeks", type=click.IntRange(2, 1_000), default=12, show_default=True, help="How far to look back.")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="Time zone of the weeks.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--until", type=When("end"), metavar="TIME", help="Look back from then; now when not given.")
@pass_shell
def trends_command(shell: Shell, /, *, weeks: int, tz: str, limit: int, until: datetime | None) -> ExitCode:
    """Show where success rates are going, the surest first."""
    end = until or datetime.now(UTC)
    with shell.open() as store:
        every = store.patterns.trends(weeks=weeks, limit=10_000, tz=tz, now=end)
        moving = [trend for trend in every if trend.direction != "unknown"]
        found = (every if shell.json else moving)[:limit]
        steps = {trend.id: " → ".join(store.patterns.get(trend.id).steps) for trend in found}
        empty = not every and not store.patterns.query().limit(1).all()
    shell.emit(
        {
            "trends": [{**to_json(trend), "steps": steps[trend.id]} for trend in found],
            "patterns": len(every),
            "tz": tz,
        },
        lambda: trend_lines(found, steps, shell.out, shell.width),
    )
    if shell.json:
        return ExitCode.OK
    if found:
        shell.say(
            shell.err.dim(f"{len(found):,} of {counted(len(every), 'pattern')} used in that time{_rest(every, moving)}")
        )
        drawn = f"the last {min(weeks, TREND_WEEKS)} that it was used in, from Monday ({tz})"
        shell.say(shell.err.dim(f"weeks: success rates of {drawn}"))
        shell.say(shell.err.dim("points/week: change of the success rate in percent; sure: how surely it changes"))
    elif every:
        shell.say(_no_trend(every))
    elif empty:
        shell.say(NOTHING)
    else:
        begin = end - timedelta(weeks=weeks)
        shell.say(f"No pattern was used from {begin:%Y-%m-%d} to {end:%Y-%m-%d}; --weeks looks further back.")
    return ExitCode.OK


def _no_trend(trends: list[Trend]) -> str:
    weeks = {week.start for trend in trends for week in trend.weeks if week.count}
    if len(weeks) == 1:
        return "All uses lie in one week; a trend needs two."
    return "Each pattern was used in one week only; a trend needs two."


def _rest(every: list[Trend], moving: list[Trend]) -> str:
    left = len(every) - len(moving)
    return f"; {counted(left, 'other')} in one week only" if left else ""


@command.command("learn", cls=Command)
@click.option("--session", "sessions", multiple=True, metavar="ID", help="Only from these new sessions.")
@click.option("--min-support", type=click.IntRange(1), help="Sessions that something must be seen in.")
@click.option(
    "--min-success-rate",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share that must have worked.",
)
@click.option("--max-length", type=click.IntRange(2, 6), default=4, show_default=True, help="Steps of a sequence.")
@click.option("--max-gap", type=click.IntRange(0, 5), default=1, show_default=True, help="Others between two steps.")
@click.option("--limit", "-n", type=click.IntRange(1), default=300, show_default=True, help="Of each kind.")
@pass_shell
def learn_command(shell: Shell, /, *, sessions: tuple[str, ...], **options: Any) -> ExitCode:
    """Learn from sessions that are new.

    Found are frequent steps and tools, files edited together, errors and their fixes.
    """
    with shell.open(write=True) as store, progress("learning") as show:
        report = store.patterns.learn(list(sessions) or None, progress=show, **options)
    shell.emit(to_json(report), lambda: learn_lines(report))
    if not (report.patterns or report.updated or shell.json) and report.new_sessions and report.min_support > 1:
        least = f"{report.min_support:,} sessions or more"
        shell.say(
            f"Nothing was seen in {least}; `lamina patterns learn --min-support {report.min_support - 1}` asks less."
        )
    return ExitCode.OK


@command.command("suggest", cls=Command)
@click.argument("steps", nargs=-1, required=True)
@click.option("--limit", "-n", type=click.IntRange(1), default=5, show_default=True, help="At most so many.")
@pass_shell
def suggest_command(shell: Shell, /, *, steps: tuple[str, ...], limit: int) -> ExitCode:
    """Say what usually follows STEPS, the latest last.

    What fails more often than not comes last and is marked.
    """
    with shell.open() as store:
        found = store.patterns.suggest(steps, limit=limit)
    shell.emit({"suggestions": to_json(found)}, lambda: suggestion_lines(found, shell.out, shell.width))
    if not found and not shell.json:
        shell.say("No pattern goes on from there.")
    return ExitCode.OK


@command.command("prune", cls=Command)
@click.option("--max-upper", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Remove below this.")
@click.option("--unused-days", type=click.FloatRange(0), default=90, show_default=True, help="Remove what is unused.")
@click.option(
    "--min-effectiveness",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="If it has less than this.",
)
@click.option("--similarity", type=click.FloatRange(0, 1), default=0.85, show_default=True, help="Merge above this.")
@click.option("--archive/--no-archive", default=True, show_default=True, help="Also archive old sessions.")
@click.option(
    "--archive-days",
    type=click.FloatRange(0),
    default=30,
    show_default=True,
    help="Sessions whose last event is so long ago,",
)
@click.option(
    "--archive-max-quality",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="and whose quality is at most this; 1 for any that is known.",
)
@yes_option
@dry_run_option
@pass_shell
def prune_command(
    shell: Shell, /, *, archive: bool, archive_days: float, yes: bool, dry_run: bool, **options: Any
) -> ExitCode:
    """Tidy up; `undo` takes it back for 30 days.

    Patterns that do not work are removed, near-duplicates merged, old sessions archived.
    """
    days = archive_days if archive else None
    with shell.open(write=not dry_run) as store:
        plan = store.patterns.prune(True, archive_days=days, **options)
        if not dry_run and (plan.remove or plan.merge or plan.archive):
            if not yes:
                for line in plan_lines(plan, shell.err, shell.width):
                    shell.say(line)
            if not confirm(shell, "Do this?", yes=yes):
                return ExitCode.FAILURE
            plan = store.patterns.prune(archive_days=days, **options)
    shell.emit(to_json(plan), lambda: plan_lines(plan, shell.out, shell.width))
    if not shell.json:
        if not (plan.remove or plan.merge or plan.archive):
            shell.say("Nothing to prune.")
        elif plan.id:
            shell.say(f"done as {plan.id}; `lamina patterns undo` takes it back within 30 days.")
    return ExitCode.OK


@command.command("undo", cls=Command)
@click.argument("id", required=False)
@pass_shell
def undo_command(shell: Shell, /, *, id: str | None) -> ExitCode:
    """Take a pruning back: the last one, or ID."""
    with shell.open(write=True) as store:
        plan = store.patterns.undo(id)
    text = (
        f"{plan.id}: {counted(len(plan.remove), 'pattern')} brought back, {len(plan.merge):,} parted again, "
        f"{counted(len(plan.archive), 'session')} unpacked"
    )
    shell.emit(to_json(plan), lambda: [text])
    return ExitCode.OK


@command.command("export", cls=Command)
@click.argument("file", required=False, type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "jsonl", "csv", "markdown", "graphml"]),
    help="By the name of FILE unless given, a name without an ending being markdown; json on standard output.",
)
@click.option("--output", "-o", type=click.Path(), metavar="FILE", help="The same as FILE.")
@click.option("--replace", is_flag=True, help="Replace what is there.")
@pass_shell
def export_command(
    shell: Shell, /, *, file: str | None, form: str | None, output: str | None, replace: bool
) -> ExitCode:
    """Write all patterns with all of their uses to FILE, or to a folder of markdown.

    Without FILE they go to standard output.
    """
    if file is not None and output is not None:
        raise click.UsageError("FILE and --output are the same: give one of them.", click.get_current_context())
    output = file if output is None else output
    if output is None:
        if shell.json and form not in (None, "json"):
            raise click.UsageError(
                f"--json answers with one JSON document, which {form} is none; name a file.",
                click.get_current_context(),
            )
        if form == "markdown":
            raise click.UsageError("Markdown is a folder: name it.", click.get_current_context())
        with shell.open() as store:
            for part in store.patterns.exported(form or "json"):
                with writing_output():
                    sys.stdout.buffer.write(part)
        with writing_output():
            sys.stdout.buffer.flush()
        return ExitCode.OK
    with shell.open() as store:
        path = store.patterns.export(output, format=form, replace=replace)
    shell.emit({"path": str(path)}, lambda: [str(path)])
    return ExitCode.OK


@command.command("import", cls=Command)
@click.argument("path", type=click.Path())
@click.option("--format", "form", type=click.Choice(["json", "jsonl", "csv", "markdown", "aircher"]))
@pass_shell
def import_command(shell: Shell, /, *, path: str, form: str | None) -> ExitCode:
    """Read an export, or the folder .aircher/memory.

    What is there is not added again. Afterwards it is read once more and compared with the store.
    """
    from lamina.patterns.arguments import check_place
    from lamina.patterns.exchange import check_source

    check_source(check_place(path), form)  # no store is made for what cannot be imported
    with shell.open(write=True, create=True) as store:
        report = store.patterns.import_file(path, format=form)
    text = f"{counted(report.patterns, 'new pattern')}, {counted(report.uses, 'use')}, {report.known:,} known"
    if report.sessions:
        text += f", {counted(report.sessions, 'session')}"
    shell.emit(to_json(report), lambda: [text])
    if not shell.json:
        for problem in report.problems:
            shell.note(clean(problem))
    return ExitCode.OK if report.verified else ExitCode.FAILURE


@command.command("delete", cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@yes_option
@dry_run_option
@pass_shell
def delete_command(shell: Shell, /, *, ids: tuple[str, ...], yes: bool, dry_run: bool) -> ExitCode:
    """Delete patterns with their uses, for good.

    What was merged into one is its own again; of one that was merged, only its own uses go.
    """
    with shell.open(write=not dry_run) as store:
        gone: list[str] = []
        found = {id: store.patterns.get(id) for id in ids}
        if dry_run or not yes:
            for line in pattern_table(list({x.id: x for x in found.values()}.values()), shell.err, shell.width):
                shell.say(line)
            for id, pattern in found.items():
                if not pattern.id.startswith(id):
                    shell.say(f"{id} is a part of {pattern.id}; only what it brought along goes")
        count = counted(len(found), "pattern")
        if not dry_run:
            if not confirm(shell, f"Delete {count}?", yes=yes):
                return ExitCode.FAILURE
            gone = [store.patterns.delete(id).id for id in found]
    document = {"dry_run": dry_run, "deleted": [] if dry_run else gone}
    shell.emit(document, lambda: [f"{'would delete' if dry_run else 'deleted'} {count}"])
    return ExitCode.OK


@command.command("stats", cls=Command)
@pass_shell
def stats_command(shell: Shell, /) -> ExitCode:
    """Count patterns, uses, types."""
    with shell.open() as store:
        found = store.patterns.stats()
        recent = store.patterns.query().used_since(datetime.now().astimezone() - timedelta(days=30)).count()
    document = {**found, "used_in_30_days": recent}

    def lines() -> Iterator[str]:
        rate = found["successes"] / found["uses"] if found["uses"] else 0.0
        total = f"{counted(found['patterns'], 'pattern')}, {counted(found['uses'], 'use')}"
        yield f"{total}, {rate:.0%} worked; {recent:,} used in 30 days"
        for kind, count in found["by_type"].items():
            yield f"  {count:7,}  {clean(kind)}"
        if found["removed"] or found["merged"]:
            yield f"pruned: {found['removed']:,} removed, {found['merged']:,} merged"

    shell.emit(document, lines)
    return ExitCode.OK
