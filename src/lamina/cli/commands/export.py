"""``lamina export``: memories as a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.params import filter_arguments, filter_options
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Shell, pass_shell, store_path, writing_output
from lamina.formats import WRITABLE, write

if TYPE_CHECKING:
    from lamina.store import Store
    from lamina.types import Memory

__all__ = ["command"]

_PAGE = 500


@click.command("export", cls=Command)
@click.option(
    "--format", "format_name", type=click.Choice(WRITABLE), help="jsonl unless the file's name says otherwise."
)
@click.option(
    "--output", "-o", type=click.Path(), metavar="FILE", help="Write a file, durably, instead of standard output."
)
@click.option("--replace", is_flag=True, help="Replace FILE where it is there.")
@filter_options
@pass_shell
def command(
    shell: Shell,
    /,
    *,
    format_name: str | None,
    output: str | None,
    replace: bool,
    types: tuple[str, ...],
    tags: tuple[str, ...],
    where: tuple[dict[str, Any], ...],
) -> ExitCode:
    """Write memories, the newest first: all, or those that the filters name.

    JSON lines carry every field. `lamina import` reads JSON lines and CSV back; ids, counts of use and history stay
    behind, and a memory that was superseded comes back as one that is no longer valid.
    """
    chosen = format_name or _by_name(output)
    filters = filter_arguments(types, tags, where)
    with shell.open() as store:
        total = store.memories.count(**filters)
        with progress("exporting", total) as show:
            memories = _counted(_all(store, filters), show)
            if output is None:
                _to_stdout(_document(memories) if shell.json else write(memories, chosen))
                return ExitCode.OK
            from lamina.fs import write_file

            path = store_path(output)
            write_file(path, write(memories, chosen), replace=replace)
    shell.emit({"exported": total, "format": chosen, "path": str(path)}, lambda: [str(path)])
    if not shell.json:
        shell.say(f"{total:,} memories written as {chosen}.")
    return ExitCode.OK


def _by_name(output: str | None) -> str:
    for suffix, name in ((".csv", "csv"), (".md", "markdown"), (".markdown", "markdown")):
        if output is not None and output.lower().endswith(suffix):
            return name
    return "jsonl"


def _all(store: Store, filters: dict[str, Any]) -> Iterator[Memory]:
    """Every memory that fits, a page at a time: no read transaction outlives a page."""
    after: str | None = None
    while page := store.memories.list(**filters, limit=_PAGE, after=after):
        yield from page
        after = page[-1].id


def _counted(memories: Iterable[Memory], show: Any) -> Iterator[Memory]:
    for number, memory in enumerate(memories, 1):
        yield memory
        show(number)


def _document(memories: Iterable[Memory]) -> Iterator[bytes]:
    """All memories as one JSON document, a memory at a time."""
    from lamina.cli.output import to_json

    yield b'{"memories": ['
    for number, memory in enumerate(memories):
        yield (b",\n" if number else b"\n") + json.dumps(to_json(memory), ensure_ascii=False).encode("utf-8")
    yield b"\n]}\n"


def _to_stdout(parts: Iterable[bytes]) -> None:
    """Writes bytes as they are: files are UTF-8, whatever the terminal is set to."""
    for part in parts:
        with writing_output():
            sys.stdout.buffer.write(part)
    with writing_output():
        sys.stdout.buffer.flush()
