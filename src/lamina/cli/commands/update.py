"""``lamina update``: change a memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.item_options import merged_metadata
from lamina.cli.meaning import meant
from lamina.cli.output import to_json
from lamina.cli.params import MEMORY_TYPE, Metadata, When, tag_option, tags_of
from lamina.cli.render import memory_lines
from lamina.cli.shell import Command, Shell, pass_shell

if TYPE_CHECKING:
    from lamina.types import Memory, Outcome

__all__ = ["command"]

_CLEARABLE = ("title", "description", "source", "thread")


@click.command("update", cls=Command)
@click.argument("memory_id", metavar="REF")
@click.option("--text", metavar="TEXT", help="The new text; - reads it from standard input.")
@click.option("--title", metavar="TEXT", help='A name for it; "" takes it away.')
@click.option("--description", metavar="TEXT", help='One line that says what it is about; "" takes it away.')
@click.option("--type", "type_", type=MEMORY_TYPE, help="Another type.")
@click.option("--move-to", metavar="SCOPE", help="Another scope.")
@tag_option("The new tags, in place of the old; repeat, or separate with commas.")
@click.option("--add-tag", "add_tags", multiple=True, metavar="TAG", help="One more tag.")
@click.option("--remove-tag", "remove_tags", multiple=True, metavar="TAG", help="One tag less.")
@click.option("--importance", type=click.FloatRange(0, 1), metavar="0..1", help="Weighs a little in ranking.")
@click.option("--source", metavar="TEXT", help='Where it comes from; "" takes it away.')
@click.option("--thread", metavar="NAME", help='What it belongs to; "" takes it away.')
@click.option("--position", type=int, metavar="N", help="Its place in the thread.")
@click.option("--valid-until", type=When("end"), metavar="TIME", help="From then on it is not recalled.")
@click.option("--valid-always", is_flag=True, help="Take the end of its validity away.")
@click.option("--not-superseded", is_flag=True, help="Take back that another memory replaced it.")
@click.option("--metadata", type=Metadata(), multiple=True, metavar="KEY=VALUE|JSON", help="Keys to set; repeat.")
@click.option("--remove-metadata", "remove_keys", multiple=True, metavar="KEY", help="Keys to take away; repeat.")
@click.option("--feedback", type=click.Choice(["helped", "hurt", "used"]), help="Say how it served.")
@pass_shell
def command(shell: Shell, /, memory_id: str, feedback: Outcome | None, **options: Any) -> ExitCode:
    """Change the memory REF: an id or the beginning of one, a file, or a title. What it was stays in its history."""
    if not feedback and not _asked(options):
        raise click.UsageError("Say what to change.", click.get_current_context())
    with shell.open(write=True) as store:
        memory_id = meant(store, memory_id)
        old = store.memories.get(memory_id)
        changes = _changes(old, options)
        memory = store.memories.update(memory_id, **changes) if changes else old
        if feedback:
            memory = store.memories.feedback(memory_id, feedback)
        for notice in store.notices:
            shell.note(notice)
        shell.emit({"memory": to_json(memory), "changed": sorted(changes)}, lambda: _lines(shell, memory))
        if not shell.json:
            shell.say(shell.err.dim(f"changed: {', '.join(sorted(changes)) or 'feedback'}; lamina history {memory_id}"))
    return ExitCode.OK


def _asked(options: dict[str, Any]) -> bool:
    return any(value is not None and value is not False and value != () for value in options.values())


def _changes(old: Memory, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``update`` that the options ask for."""
    changes: dict[str, Any] = {}
    if options["text"] is not None:
        changes["text"] = _text(options["text"])
    for name in _CLEARABLE:
        if options[name] is not None:
            changes[name] = options[name] or None
    for option, name in (
        ("type_", "type"),
        ("move_to", "scope"),
        ("importance", "importance"),
        ("position", "position"),
    ):
        if options[option] is not None:
            changes[name] = options[option]
    until: datetime | None = options["valid_until"]
    if until is not None or options["valid_always"]:
        changes["valid_until"] = until
    if options["not_superseded"]:
        changes["superseded_by"] = None
    if options["tags"] or options["add_tags"] or options["remove_tags"]:
        tags = tags_of(options["tags"]) if options["tags"] else old.tags
        gone = set(tags_of(options["remove_tags"]))
        both = dict.fromkeys((*tags, *tags_of(options["add_tags"])))
        changes["tags"] = tuple(tag for tag in both if tag not in gone)
    if options["metadata"] or options["remove_keys"]:
        merged = {**old.metadata, **merged_metadata(options["metadata"])}
        changes["metadata"] = {key: value for key, value in merged.items() if key not in options["remove_keys"]}
    return changes


def _text(given: str) -> str:
    if given != "-":
        return given
    from lamina.cli.ingest import open_input
    from lamina.formats import ReadOptions, read

    with open_input("-") as (stream, _, shown):
        for record in read(stream, "text", ReadOptions(name=shown, per="file")):
            return str(record.item["text"])
    return ""


def _lines(shell: Shell, memory: Memory) -> Iterator[str]:
    yield from memory_lines(memory, shell.out)
