"""Queries for patterns at the shell: their options, and their answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.params import When
from lamina.cli.pattern_lines import pattern_table
from lamina.cli.render import wrap
from lamina.cli.shell import Shell
from lamina.errors import there_are

if TYPE_CHECKING:
    from lamina.patterns.query import PatternQuery
    from lamina.patterns.reports import QueryPlan
    from lamina.store import Store

__all__ = ["NOTHING", "filtered", "pattern_filters", "show"]

NOTHING: Final = "There are no patterns; `lamina sessions import` and `lamina patterns learn` bring some."
_ORDERS = ("effectiveness", "usage", "success_rate", "last_used")
_NARROWED: Final = {
    "min_rate": "min_success_rate",
    "max_rate": "max_success_rate",
    "min_uses": "min_uses",
    "min_effectiveness": "min_effectiveness",
    "since": "used_since",
    "not_since": "not_used_since",
    "origin": "from_origin",
    "session": "in_session",
}


def filtered(store: Store, options: dict[str, Any]) -> PatternQuery:
    """The query that options ask for."""
    query = store.patterns.query()
    if options["types"]:
        query = query.of_type(*options["types"])
    for path in options["files"]:
        query = query.with_file(path)
    for tool in options["tools"]:
        query = query.with_tool(tool)
    for option, method in _NARROWED.items():
        if options[option] is not None:
            query = getattr(query, method)(options[option])
    return query.sort_by(options["order"].replace("-", "_"))


def pattern_filters(function: Any) -> Any:
    """The options of a query."""
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
        click.option("--explain", is_flag=True, help="Also show the SQL and its plan."),
        click.option(
            "--origin", type=click.Choice(["recorded", "learned", "imported"]), help="Only those that came like this."
        ),
        click.option("--session", metavar="ID", help="Only used in this session."),
        click.option(
            "--not-used-since", "not_since", type=When(), metavar="TIME", help="Only those that were not used since."
        ),
        click.option("--since", type=When(), metavar="TIME", help="Only used since; with --file, used with it since."),
        click.option("--tool", "tools", multiple=True, metavar="NAME", help="Only used with this tool."),
        click.option("--file", "files", multiple=True, metavar="PATH", help="Only used with this file."),
        click.option(
            "--min-effectiveness", type=click.FloatRange(0, 1), help="Only with at least this effectiveness now."
        ),
        click.option("--min-uses", type=click.IntRange(0), help="Only used so often at least."),
        click.option(
            "--max-success-rate", "max_rate", type=click.FloatRange(0, 1), help="Only with at most these successes."
        ),
        click.option(
            "--min-success-rate", "min_rate", type=click.FloatRange(0, 1), help="Only with this share of successes."
        ),
        click.option("--type", "types", multiple=True, metavar="NAME", help="Only this type; repeat for several."),
    ):
        function = option(function)
    return function


def show(shell: Shell, store: Store, query: PatternQuery, limit: int, options: dict[str, Any]) -> ExitCode:
    """Answers with what a query finds; where that is nothing, says what there is."""
    told = query.limit(limit).all(explain=True)
    found, total = told.patterns, query.count()
    document = {"patterns": to_json(found), "total": total}
    if options["explain"]:
        document["explain"] = {
            "sql": told.sql, "bindings": list(told.bindings), "plan": list(told.plan), "driver": told.driver
        }  # fmt: skip

    def lines() -> Iterator[str]:
        yield from pattern_table(found, shell.out, shell.width)
        if options["explain"]:
            yield from _explained(shell, told)

    shell.emit(document, lines)
    if not shell.json:
        if not found:
            _say_none_fits(shell, store, options["types"])
        elif total > len(found):
            shell.say(shell.err.dim(f"{len(found):,} of {total:,}"))
    return ExitCode.OK


def _explained(shell: Shell, told: QueryPlan) -> Iterator[str]:
    yield shell.out.dim(f"walks: {told.driver}")
    for text in (told.sql, *told.plan, f"values: {', '.join(map(str, told.bindings))}"):
        yield from (f"  {line}" for line in wrap(text, shell.width - 2))


def _say_none_fits(shell: Shell, store: Store, types: tuple[str, ...]) -> None:
    stats = store.patterns.stats()
    if not stats["patterns"]:
        shell.say(NOTHING)
        return
    names = list(stats["by_type"])
    unknown = [name for name in types if name not in names]
    count = stats["patterns"]
    none = "The one pattern there is does not fit." if count == 1 else f"None of {count:,} patterns fits."
    hint = f"No pattern has the type {clean(unknown[0])}. {there_are(unknown[0], names)}" if unknown else ""
    for line in wrap(f"{none} {hint}" if hint else f"{none} Types are: {', '.join(names[:6])}.", shell.width):
        shell.say(clean(line))
