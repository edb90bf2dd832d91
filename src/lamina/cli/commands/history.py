"""``lamina history``: every change of a memory."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher, unified_diff
from typing import Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.meaning import meant
from lamina.cli.output import to_json
from lamina.cli.paint import Paint, clean, one_line
from lamina.cli.render import when
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.types import Change, Memory

__all__ = ["command"]

_DIFF_LIMIT = 100_000  # difflib is quadratic at worst; beyond this a summary has to do


@click.command("history", cls=Command)
@click.argument("memory_id", metavar="REF")
@pass_shell
def command(shell: Shell, memory_id: str) -> ExitCode:
    """Show how the memory REF came to be what it is, the oldest change first. Deleted memories have a history, too."""
    with shell.open() as store:
        memory_id = meant(store, memory_id)
        changes = store.memories.history(memory_id)
    shell.emit({"id": memory_id, "changes": to_json(changes)}, lambda: _lines(shell, changes))
    return ExitCode.OK


def _lines(shell: Shell, changes: list[Change]) -> Iterator[str]:
    paint = shell.out
    for number, change in enumerate(changes):
        if number:
            yield ""
        fields = f"  {', '.join(change.fields)}" if change.fields and change.action == "update" else ""
        yield f"{paint.bold(change.action)}  {when(change.at)}{paint.dim(fields)}"
        yield from _difference(change, paint, shell.width)


def _difference(change: Change, paint: Paint, width: int) -> Iterator[str]:
    before, after = change.before, change.after
    if before is None and after is not None:
        for line in clean(after.text).split("\n"):
            yield f"  {paint.green('+ ' + line)}"
        return
    if before is not None and after is None:
        yield f"  {paint.red('- ' + one_line(before.text, width - 4))}"
        return
    if before is None or after is None:
        return
    for name in change.fields or ("text",):
        if name == "text":
            yield from _texts(before, after, paint)
            continue
        old, new = getattr(before, name, None), getattr(after, name, None)
        if old != new:
            yield f"  {name}: {paint.red(_value(old))} -> {paint.green(_value(new))}"


def _value(value: Any) -> str:
    if value in (None, ()):
        return "none"
    if isinstance(value, tuple):
        return " ".join(clean(str(item)) for item in value)
    return clean(str(to_json(value)))


def _texts(before: Memory, after: Memory, paint: Paint) -> Iterator[str]:
    old, new = clean(before.text), clean(after.text)
    if old == new:
        return
    if len(old) + len(new) > _DIFF_LIMIT:
        yield f"  text: {len(old):,} -> {len(new):,} characters"
        return
    if "\n" not in old + new:
        yield from _words(old, new, paint)
        return
    for line in list(unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=2))[2:]:
        style = {"+": paint.green, "-": paint.red, "@": paint.dim}.get(line[:1], str)
        yield f"  {style(line if line.startswith('@') else f'{line[:1]} {line[1:]}')}"


def _words(old: str, new: str, paint: Paint) -> Iterator[str]:
    """One line against another: whole lines, with the words that differ marked where there are colours."""
    left, right = old.split(" "), new.split(" ")
    removed, added = [], []
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        same = kind == "equal"
        removed += [word if same else paint.red(word) for word in left[a:b]]
        added += [word if same else paint.green(word) for word in right[c:d]]
    yield f"  {paint.red('-')} {' '.join(removed)}"
    yield f"  {paint.green('+')} {' '.join(added)}"
