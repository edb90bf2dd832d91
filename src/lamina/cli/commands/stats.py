"""``lamina stats``: what the store holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.render import size
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.formats.fields import iso_time, parse_time

__all__ = ["command", "table"]

_MARGIN = 26


@click.command("stats", cls=Command)
@pass_shell
def command(shell: Shell) -> ExitCode:
    """Count memories, passages, vectors, history and bytes."""
    with shell.open() as store:
        document = to_json(store.stats())
    if document.get("last_write"):
        document["last_write"] = iso_time(parse_time(document["last_write"]))
    shell.emit(document, lambda: _lines(document))
    return ExitCode.OK


def table(rows: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """Names and values, nested ones indented."""
    for name, value in rows.items():
        label = " " * indent + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            if value:
                yield label
                yield from table(value, indent + 2)
        elif value is not None:
            yield f"{clean(label):<{_MARGIN}}{_value(str(name), value)}"


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" + (f"  ({size(value)})" if "bytes" in name else "")
    if isinstance(value, float):
        return f"{value:,.3g}"
    return clean(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    shown = dict(document)
    disk = shown.pop("bytes_on_disk", None)
    yield from table(shown)
    if isinstance(disk, Mapping):
        yield "on disk"
        memories = document.get("memories") or 0
        for name, value in disk.items():
            each = f"  ({value / memories:,.0f} bytes a memory)" if name == "total" and memories else ""
            yield f"{'  ' + name.replace('_', ' '):<{_MARGIN}}{size(value)}{each}"
