"""``lamina recall``: ask in your own words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.params import When, filter_arguments, filter_options
from lamina.cli.render import explanation_lines, hit_lines, matcher
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.types import Hits, MissingReport

__all__ = ["command"]

_LEFT_OUT = 3
_KINDS = ("memories", "patterns")


def _included(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is asked for beside memories: named once or several times, or with commas."""
    named = [name.strip() for value in values for name in value.split(",")]
    for name in named:
        if name not in _KINDS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(map(repr, _KINDS))}.", ctx, param)
    return tuple(dict.fromkeys(name for name in named if name != "memories"))


@click.command("recall", cls=Command)
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", "-n", type=click.IntRange(1), default=5, show_default=True, help="At most so many.")
@filter_options
@click.option("--since", type=When(), metavar="TIME", help="Created from then on: 2026-03-01, 7d, yesterday.")
@click.option("--until", type=When("end"), metavar="TIME", help="Created before then; a date means all of its day.")
@click.option("--as-of", type=When("end"), metavar="TIME", help="Answer as the store would have then.")
@click.option("--mode", type=click.Choice(["hybrid", "text", "vector"]), default="hybrid", show_default=True)
@click.option("--exact", is_flag=True, help="Compare with every vector, not only with candidates.")
@click.option("--token-budget", type=click.IntRange(1), metavar="N", help="Stop before the texts exceed N tokens.")
@click.option(
    "--include",
    multiple=True,
    callback=_included,
    metavar="[memories,patterns]",
    help="Also what worked: the patterns that fit. Memories always come.",
)
@click.option("--explain", is_flag=True, help="Show every signal and word behind a score.")
@click.option("--explain-missing", "--missing", metavar="ID", help="Say why this memory is not among the answers.")
@click.option("--lines", type=click.IntRange(1), default=4, show_default=True, metavar="N", help="Lines of text a hit.")
@pass_shell
def command(
    shell: Shell,
    /,
    *,
    query: tuple[str, ...],
    limit: int,
    types: tuple[str, ...],
    tags: tuple[str, ...],
    where: tuple[dict[str, Any], ...],
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None,
    mode: str,
    exact: bool,
    token_budget: int | None,
    include: tuple[str, ...],
    explain: bool,
    explain_missing: str | None,
    lines: int,
) -> ExitCode:
    """Find the memories that answer QUERY, the best first.

    \b
      lamina recall "what did we decide about retries?"
      lamina recall deploy window --type project --since 30d
      lamina recall "who owns billing" --as-of 2026-01-31 --explain
    """  # noqa: D301 - click wants the character itself
    question = " ".join(query)
    options = {
        **filter_arguments(types, tags, where),
        "limit": limit,
        "since": since,
        "until": until,
        "as_of": as_of,
        "mode": mode,
        "exact": exact,
        "token_budget": token_budget,
    }
    with shell.open() as store:
        hits = store.memories.recall(question, explain=explain, include=("memories", *include), **options)
        missing = store.memories.explain_missing(question, explain_missing, **options) if explain_missing else None
        notices = list(dict.fromkeys((*store.notices, *hits.notices)))
    document = {
        "query": question,
        "hits": to_json(hits),
        "notices": notices,
        "left_out": [{"id": other, "reason": reason} for other, reason in hits.left_out],
        "tokens": hits.tokens,
    }
    if include:
        document["patterns"] = to_json(hits.patterns)
    if missing is not None:
        document["missing"] = to_json(missing)
    for notice in notices:
        shell.note(notice)
    if not hits and not hits.patterns and not shell.json:
        shell.say("Nothing found. `lamina stats` shows what is there.")
    shell.emit(document, lambda: _lines(shell, question, hits, missing, lines))
    if hits.left_out and not shell.json:
        for other, reason in hits.left_out[:_LEFT_OUT]:
            shell.say(shell.err.dim(f"left out: {other}: {clean(reason)}"))
        if len(hits.left_out) > _LEFT_OUT:
            unfit = all(reason.startswith("needs about") for _, reason in hits.left_out[_LEFT_OUT:])
            what = "did not fit" if unfit else "were left out"
            shell.say(shell.err.dim(f"and {len(hits.left_out) - _LEFT_OUT:,} more {what}; --json lists them"))
    return ExitCode.OK


def _lines(shell: Shell, question: str, hits: Hits, missing: MissingReport | None, rows: int) -> Iterator[str]:
    matches = matcher(question)
    for rank, hit in enumerate(hits, 1):
        if rank > 1:
            yield ""
        yield from hit_lines(rank, hit, shell.out, width=shell.width, matches=matches, rows=rows)
        if hit.explanation is not None:
            yield from explanation_lines(hit.explanation, shell.out, shell.width)
    if hits.patterns:
        from lamina.cli.pattern_lines import pattern_table

        if hits:
            yield ""
        yield from pattern_table(hits.patterns, shell.out, shell.width)
    if missing is not None:
        if hits or hits.patterns:
            yield ""
        yield from _missing_lines(shell, missing)


def _missing_lines(shell: Shell, missing: MissingReport) -> Iterator[str]:
    paint = shell.out
    if not missing.reasons:
        yield f"{paint.cyan(missing.id)} is among the answers."
    else:
        yield f"{paint.cyan(missing.id)} is not among the answers:"
        for reason in missing.reasons:
            yield f"  - {clean(reason)}"
    if missing.rank is not None:
        cutoff = f"; the last answer has {missing.cutoff:.3f}" if missing.cutoff is not None else ""
        score = f" with score {missing.score:.3f}" if missing.score is not None else ""
        yield paint.dim(f"  rank {missing.rank}{score}{cutoff}")
    if missing.explanation is not None:
        yield from explanation_lines(missing.explanation, paint, shell.width)
