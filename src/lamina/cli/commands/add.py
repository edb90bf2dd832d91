"""``lamina add``: remember something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.ingest import ingest
from lamina.cli.item_options import described, item_options, per_option
from lamina.cli.output import to_json
from lamina.cli.paint import clean, one_line
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import InvalidInputError, NotFoundError
from lamina.formats import ReadOptions

__all__ = ["command"]

_EDIT_HEAD = "type: user, feedback, project, reference or record. The text goes below; an empty one adds nothing."


@click.command("add", cls=Command)
@click.argument("text", nargs=-1)
@click.option(
    "--file", "file", type=click.Path(), metavar="FILE", help="Read the text from a file; - is standard input."
)
@per_option
@click.option("--title", metavar="TEXT", help="A name for it.")
@click.option("--description", metavar="TEXT", help="One line that says what it is about.")
@item_options
@click.option("--position", type=int, metavar="N", help="Its place in the thread.")
@click.option("--supersedes", metavar="ID", help="The memory that this one replaces.")
@click.option("--edit", is_flag=True, help="Write it in your editor (VISUAL, else EDITOR); an empty text adds nothing.")
@pass_shell
def command(
    shell: Shell,
    /,
    *,
    text: tuple[str, ...],
    file: str | None,
    per: str | None,
    supersedes: str | None,
    edit: bool,
    **options: Any,
) -> ExitCode:
    """Remember TEXT, a file's text, standard input (-), or what you write with --edit.

    The id goes to standard output. Knowledge of type user, feedback, project or reference becomes a markdown file in
    scope private and team, with a pointer in MEMORY.md. Text is one memory unless --per says otherwise; with --per and
    --thread NAME the pieces get positions that count up from 0.

    \b
      lamina add "Ana owns the billing service" --type project --title "Owner of billing"
      git log -1 --format=%B | lamina add - --source git
      lamina add --file notes.md --per paragraph --scope team
    """  # noqa: D301 - click wants the character itself
    if file is None and text == ("-",):
        file, text = "-", ()
    if edit and (file is not None or per):
        raise click.UsageError("--edit goes with neither --file, - nor --per.", click.get_current_context())
    if not edit and bool(text) == (file is not None):
        raise click.UsageError(
            "Give the text, or - for standard input, or --file FILE, or --edit.", click.get_current_context()
        )
    item = described(options)
    scope = shell.one_scope()
    if scope:
        item["scope"] = scope
    if file is not None and per in ("paragraph", "line"):
        if supersedes:
            raise click.UsageError(
                "--supersedes needs one memory; it does not go with --per.", click.get_current_context()
            )
        read = ReadOptions(defaults=item, per="line" if per == "line" else "paragraph")
        with shell.open(write=True, create=True) as store:
            report = ingest(store, file, "text", options=read)
            shell.emit(report.to_dict(), lambda: report.lines(shell))
        return ExitCode.OK
    if edit:
        return _add_edited(shell, {**item, "text": " ".join(text)}, supersedes)
    item["text"] = " ".join(text) if file is None else _whole(file)
    if file not in (None, "-"):
        item.setdefault("source", file)
    _add_one(shell, item, supersedes)
    return ExitCode.OK


def _whole(file: str) -> str:
    """The text of a file as one memory."""
    from lamina.cli.ingest import open_input
    from lamina.formats import read

    with open_input(file) as (stream, _, shown):
        for record in read(stream, "text", ReadOptions(name=shown, per="file")):
            return str(record.item["text"])
    raise InvalidInputError(f"There is no text in {shown}.", hint="Give it some.")


def _add_edited(shell: Shell, item: dict[str, Any], supersedes: str | None) -> ExitCode:
    """Adds what was written in the editor; it starts with what the command line gave."""
    from lamina.cli.editing import DRAFT_FIELDS, draft_file, draft_text, editor, read_draft, run_editor
    from lamina.config import ENGINE_FOLDER

    editor()
    with shell.open(write=True, create=True) as store:
        engine = Path(store.location) / ENGINE_FOLDER
    draft = draft_text({"type": "project", **item}, head=_EDIT_HEAD)
    with draft_file(engine, "new-memory", draft) as path:
        status = run_editor(path)
        found = read_draft(path)
        if status or not found.text.strip():
            why = f"the editor ended with {status}" if status else "the text is empty"
            shell.say(f"Nothing was added: {why}.")
            return ExitCode.FAILURE
        for _, message in found.problems:
            shell.note(clean(message))
        said = {name: getattr(found, name) for name in DRAFT_FIELDS}
        kept = {name: item[name] for name in ("scope", "created_at") if name in item}
        _add_one(shell, {name: value for name, value in said.items() if value not in (None, (), {})} | kept, supersedes)
    return ExitCode.OK


def _add_one(shell: Shell, item: dict[str, Any], supersedes: str | None) -> None:
    with shell.open(write=True, create=True) as store:
        if supersedes:
            store.memories.get(supersedes)  # an unknown id stops it before anything is added
        memory = store.memories.add(item.pop("text"), **item)
        if supersedes:
            store.memories.supersede(supersedes, memory.id)
        for notice in (*store.notices, *memory.notices):
            shell.note(clean(notice))
        near = {}
        for other in memory.similar:
            try:
                near[other] = store.memories.get(other).text
            except NotFoundError:
                continue  # gone in the meantime
        document = {**to_json(memory), "similar": list(memory.similar)}
        answer = {"memory": document, "superseded": supersedes, "notices": list(memory.notices)}
        shell.emit(answer, lambda: [memory.id])
        if not shell.json:
            where = clean(str(Path(store.location) / (memory.path or "")))
            shell.say(shell.err.dim(f"remembered in {where} ({memory.type}, {memory.scope})"))
            for other, text in near.items():
                shell.say(f"{shell.err.yellow('similar:')} {shell.err.cyan(other)} {one_line(text, shell.width - 28)}")
