"""``lamina patterns``: what worked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.confirm import confirm, dry_run_option, yes_option
from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.params import When
from lamina.cli.pattern_lines import (
    learn_lines,
    pattern_line,
    pattern_lines,
    plan_lines,
    trend_line,
    week_lines,
)
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Group, Shell, pass_shell, writing_output

if TYPE_CHECKING:
    from lamina.patterns.query import PatternQuery
    from lamina.store import Store

__all__ = ["command"]

_ORDERS = ("effectiveness", "usage", "success_rate", "last_used")

command = Group(
    name="patterns",
    help="What worked: sequences of steps with their outcomes, learned from sessions.",
    subcommand_metavar="COMMAND [OPTIONS]",
)


def _filtered(store: Store, options: dict[str, Any]) -> PatternQuery:
    query = store.patterns.query()
    if options["types"]:
        query = query.of_type(*options["types"])
    if options["min_rate"] is not None:
        query = query.min_success_rate(options["min_rate"])
    for path in options["files"]:
        query = query.with_file(path)
    for tool in options["tools"]:
        query = query.with_tool(tool)
    if options["since"] is not None:
        query = query.used_since(options["since"])
    if options["session"] is not None:
        query = query.in_session(options["session"])
    return query.sort_by(options["order"].replace("-", "_"))


def _filters(function: Any) -> Any:
    for option in (
        click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many."),
        click.option(
            "--sort",
            "order",
            type=click.Choice([order.replace("_", "-") for order in _ORDERS]),
            default="effectiveness",
            show_default=True,
            help="Best first by this.",
        ),
        click.option("--session", metavar="ID", help="Only used in this session."),
        click.option("--since", type=When(), metavar="TIME", help="Only used since; with --file, used with it since."),
        click.option("--tool", "tools", multiple=True, metavar="NAME", help="Only used with this tool."),
        click.option("--file", "files", multiple=True, metavar="PATH", help="Only used with this file."),
        click.option(
            "--min-success-rate", "min_rate", type=click.FloatRange(0, 1), help="Only with this share of successes."
        ),
        click.option("--type", "types", multiple=True, metavar="NAME", help="Only this type; repeat for several."),
    ):
        function = option(function)
    return function


def _show(shell: Shell, query: PatternQuery, limit: int) -> ExitCode:
    found = query.limit(limit).all()
    total = query.count()
    document = {"patterns": to_json(found), "total": total}
    shell.emit(document, lambda: (pattern_line(pattern, shell.out, shell.width) for pattern in found))
    if not shell.json:
        if not found:
            shell.say("No patterns; `lamina sessions import` and `lamina patterns learn` bring some.")
        elif total > len(found):
            shell.say(shell.err.dim(f"{len(found):,} of {total:,}"))
    return ExitCode.OK


@command.command("list", cls=Command)
@_filters
@pass_shell
def list_command(shell: Shell, /, *, limit: int, **options: Any) -> ExitCode:
    """List patterns, the most effective first."""
    with shell.open() as store:
        return _show(shell, _filtered(store, options), limit)


@command.command("search", cls=Command)
@click.argument("words", nargs=-1, required=True)
@_filters
@pass_shell
def search_command(shell: Shell, /, *, words: tuple[str, ...], limit: int, **options: Any) -> ExitCode:
    """List the patterns whose steps or description have all of WORDS."""
    with shell.open() as store:
        return _show(shell, _filtered(store, options).matching(" ".join(words)), limit)


@command.command("show", cls=Command)
@click.argument("id")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="Time zone of the weeks.")
@click.option("--sessions", type=click.IntRange(0), default=5, show_default=True, help="Sessions to name.")
@pass_shell
def show_command(shell: Shell, /, *, id: str, tz: str, sessions: int) -> ExitCode:
    """Show a pattern: steps, figures, weeks, and the sessions it came from."""
    with shell.open() as store:
        found = store.patterns.explain(id, limit=sessions)
        weeks = store.patterns.usage(id).by_week(tz=tz)

    def lines() -> Iterator[str]:
        yield from pattern_lines(found.pattern, shell.out, shell.width)
        if weeks:
            yield f"weeks ({tz})"
            yield from week_lines(weeks, shell.out, shell.width)
        for reason in found.reasons:
            yield shell.out.dim(f"  {reason}")
        if found.evidence:
            yield f"sessions ({found.sessions:,})"
        for entry in found.evidence:
            title = f"  {clean(entry.title)}" if entry.title else ""
            yield f"  {shell.out.cyan(clean(entry.session))}  {entry.successes} of {entry.uses} worked{title}"

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
    """List the patterns that are used in the same sessions as a pattern."""
    with shell.open() as store:
        found = store.patterns.related(id, min_correlation=min_correlation, sort_by=order, limit=limit)

    def lines() -> Iterator[str]:
        for entry in found:
            head = f"{entry.correlation:.2f} {entry.together:5,}x  "
            yield head + pattern_line(entry.pattern, shell.out, shell.width - len(head))

    shell.emit({"related": to_json(found)}, lines)
    if not found and not shell.json:
        shell.say("No pattern is used together with it so often.")
    return ExitCode.OK


@command.command("files", cls=Command)
@click.argument("path")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@pass_shell
def files_command(shell: Shell, /, *, path: str, limit: int) -> ExitCode:
    """List the files that go with a file."""
    with shell.open() as store:
        found = store.patterns.files_with(path, limit=limit)
    shell.emit(
        {"files": to_json(found)},
        lambda: (
            f"{entry.correlation:.2f} {entry.together:6,}x {entry.success_rate:4.0%}  {clean(entry.path)}"
            for entry in found
        ),
    )
    return ExitCode.OK


@command.command("trends", cls=Command)
@click.option("--weeks", type=click.IntRange(2, 1_000), default=12, show_default=True, help="How far to look back.")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="Time zone of the weeks.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--until", type=When("end"), metavar="TIME", help="Look back from then; now when not given.")
@pass_shell
def trends_command(shell: Shell, /, *, weeks: int, tz: str, limit: int, until: datetime | None) -> ExitCode:
    """Show where success rates are going, the surest changes first."""
    with shell.open() as store:
        found = store.patterns.trends(weeks=weeks, limit=limit, tz=tz, now=until)
        steps = {trend.id: " → ".join(store.patterns.get(trend.id).steps) for trend in found}
    shell.emit(
        {"trends": [{**to_json(trend), "steps": steps[trend.id]} for trend in found], "tz": tz},
        lambda: (trend_line(trend, steps[trend.id], shell.out, shell.width) for trend in found),
    )
    if not shell.json:
        shell.say(shell.err.dim(f"weeks begin on Monday, {tz}") if found else "No pattern was used in that time.")
    return ExitCode.OK


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
    """Learn from sessions that are new: frequent steps and tools, files edited together, errors and their fixes."""
    with shell.open(write=True) as store, progress("learning") as show:
        report = store.patterns.learn(list(sessions) or None, progress=show, **options)
    shell.emit(to_json(report), lambda: learn_lines(report))
    return ExitCode.OK


@command.command("suggest", cls=Command)
@click.argument("steps", nargs=-1, required=True)
@click.option("--limit", "-n", type=click.IntRange(1), default=5, show_default=True, help="At most so many.")
@pass_shell
def suggest_command(shell: Shell, /, *, steps: tuple[str, ...], limit: int) -> ExitCode:
    """Say what usually follows STEPS, the latest last."""
    with shell.open() as store:
        found = store.patterns.suggest(steps, limit=limit)
    shell.emit(
        {"suggestions": to_json(found)},
        lambda: (
            f"{entry.probability:4.0%} {entry.support:6,}x  {shell.out.bold(clean(entry.step))}"
            f"{shell.out.dim('  after ' + clean(' → '.join(entry.after)))}"
            for entry in found
        ),
    )
    if not found and not shell.json:
        shell.say("No pattern goes on from there.")
    return ExitCode.OK


@command.command("prune", cls=Command)
@click.option("--max-upper", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Remove below this.")
@click.option("--unused-days", type=click.FloatRange(0), default=90, show_default=True, help="Remove what is unused.")
@click.option("--similarity", type=click.FloatRange(0, 1), default=0.85, show_default=True, help="Merge above this.")
@click.option("--archive/--no-archive", default=True, show_default=True, help="Also archive old sessions.")
@yes_option
@dry_run_option
@pass_shell
def prune_command(shell: Shell, /, *, archive: bool, yes: bool, dry_run: bool, **options: Any) -> ExitCode:
    """Remove what does not work, merge near-duplicates, archive old sessions; `undo` takes it back for 30 days."""
    days = 30 if archive else None
    with shell.open(write=not dry_run) as store:
        plan = store.patterns.prune(True, archive_days=days, **options)
        if not dry_run and (plan.remove or plan.merge or plan.archive):
            if not yes:
                for line in plan_lines(plan, shell.err):
                    shell.say(line)
            if not confirm(shell, "Do this?", yes=yes):
                return ExitCode.FAILURE
            plan = store.patterns.prune(archive_days=days, **options)
    shell.emit(to_json(plan), lambda: plan_lines(plan, shell.out))
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
        f"{plan.id}: {len(plan.remove):,} patterns brought back, {len(plan.merge):,} parted again, "
        f"{len(plan.archive):,} sessions unpacked"
    )
    shell.emit(to_json(plan), lambda: [text])
    return ExitCode.OK


@command.command("export", cls=Command)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "jsonl", "csv", "markdown", "graphml"]),
    help="By the name of FILE unless given; json on standard output.",
)
@click.option("--output", "-o", type=click.Path(), metavar="FILE", help="Write a file, or a folder of markdown.")
@click.option("--replace", is_flag=True, help="Replace what is there.")
@pass_shell
def export_command(shell: Shell, /, *, form: str | None, output: str | None, replace: bool) -> ExitCode:
    """Write all patterns with all of their uses."""
    if output is None:
        if form == "markdown":
            raise click.UsageError("Markdown is a folder: name it with --output.", click.get_current_context())
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
    """Read what `export` wrote, or the folder .aircher/memory; what is there is not added again."""
    with shell.open(write=True, create=True) as store:
        report = store.patterns.import_file(path, format=form)
    text = f"{report.patterns:,} new patterns, {report.uses:,} uses, {report.known:,} known"
    if report.sessions:
        text += f", {report.sessions:,} sessions"
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
    """Delete patterns with all of their uses, for good."""
    with shell.open(write=not dry_run) as store:
        found = [store.patterns.get(id) for id in dict.fromkeys(ids)]
        if dry_run or not yes:
            for pattern in found:
                shell.say("  " + pattern_line(pattern, shell.err, shell.width - 2))
        count = f"{len(found):,} pattern{'' if len(found) == 1 else 's'}"
        if not dry_run:
            if not confirm(shell, f"Delete {count}?", yes=yes):
                return ExitCode.FAILURE
            for pattern in found:
                store.patterns.delete(pattern.id)
    document = {"dry_run": dry_run, "deleted": [] if dry_run else [pattern.id for pattern in found]}
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
        yield f"{found['patterns']:,} patterns, {found['uses']:,} uses, {rate:.0%} worked; {recent:,} used in 30 days"
        for kind, count in found["by_type"].items():
            yield f"  {count:7,}  {clean(kind)}"
        if found["removed"] or found["merged"]:
            yield f"pruned: {found['removed']:,} removed, {found['merged']:,} merged"

    shell.emit(document, lines)
    return ExitCode.OK
