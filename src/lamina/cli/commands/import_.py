"""``lamina import``: read memories from a file or standard input."""

from __future__ import annotations

from typing import Any, Literal, cast

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.ingest import ingest
from lamina.cli.item_options import described, item_options, per_option
from lamina.cli.paint import clean
from lamina.cli.params import Fields
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.formats import READABLE, ReadOptions

__all__ = ["command"]


@click.command("import", cls=Command)
@click.argument("file", type=click.Path())
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *READABLE]),
    default="auto",
    show_default=True,
    help="auto goes by the file's name, then its content.",
)
@click.option(
    "--map", "fields", type=Fields(), multiple=True, metavar="FIELD=COLUMN", help="Which column is a field; repeat."
)
@click.option(
    "--unknown",
    type=click.Choice(["error", "metadata", "ignore"]),
    default="error",
    show_default=True,
    help="What happens to columns that are no field.",
)
@click.option("--delimiter", metavar="CHAR", help="Between the cells of CSV; else comma, semicolon or tab is found.")
@per_option
@item_options
@click.option("--strict", is_flag=True, help="Stop at the first record that cannot be used.")
@click.option(
    "--duplicates/--no-duplicates",
    default=None,
    help="Count near-duplicates, a millisecond each; done by itself up to 2,000 memories.",
)
@pass_shell
def command(
    shell: Shell,
    /,
    *,
    file: str,
    format_name: str,
    fields: tuple[tuple[str, str], ...],
    unknown: str,
    delimiter: str | None,
    per: str | None,
    strict: bool,
    duplicates: bool | None,
    **options: Any,
) -> ExitCode:
    """Read memories from FILE, or from standard input (-).

    Text gives a memory a paragraph, JSON lines an object a line, CSV a row a memory under a header of field names. The
    other options fill fields that a record leaves open. Ids are not kept: every memory gets a new one.

    Paragraphs and lines of a text stand alone. With --thread NAME they are turns of one conversation or document: their
    positions count up from 0, and neighbours lend each other evidence.

    \b
      lamina import notes.md --tag notes
      lamina import chat.jsonl --map text=content --map source=role
      lamina import facts.csv --scope team --unknown metadata
    """  # noqa: D301 - click wants the character itself
    if delimiter is not None and len(delimiter) != 1:
        raise click.BadParameter("it is one character.", param_hint="--delimiter")
    defaults = described(options)
    scope = shell.one_scope()
    if scope:
        defaults["scope"] = scope
        shell.scopes = ()  # records may name scopes of their own; the option fills those that do not
    read = ReadOptions(
        fields=dict(fields),
        defaults=defaults,
        unknown=cast('Literal["error", "metadata", "ignore"]', unknown),
        per=cast('Literal["paragraph", "line", "file"]', per or "paragraph"),
        delimiter=delimiter,
    )
    with shell.open(write=True, create=True) as store:
        report = ingest(store, file, format_name, options=read, strict=strict, duplicates=duplicates)
        for notice in store.notices:
            shell.note(notice)
        shell.emit(report.to_dict(), lambda: report.lines(shell))
        if not shell.json:
            shell.say(shell.err.dim(f"imported into {clean(str(store.location))}"))
    return ExitCode.OK
