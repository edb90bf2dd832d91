"""``lamina open``: a memory's file, or an index, in the user's editor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.editing import DRAFT_FIELDS, draft_file, draft_text, editor, read_draft, run_editor
from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import change_lines, followed, problem_lines, serious, sync_document
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import InvalidInputError, LaminaError, NotFoundError

if TYPE_CHECKING:
    from lamina.store import Store
    from lamina.types import Memory, SyncReport

__all__ = ["command"]

_MOST_BYTES = 50_000_000


@click.command("open", cls=Command)
@click.argument("reference", metavar="REF")
@pass_shell
def command(shell: Shell, reference: str) -> ExitCode:
    """Open the memory REF in your editor (VISUAL, else EDITOR), and take over what you changed.

    REF is an id or its beginning, a file, a title, or an index such as MEMORY.md. A memory without a file is edited
    as one that goes away afterwards. Ends with 1 where the file cannot be taken over as it is now.

    \b
      lamina open MEMORY.md
      lamina open feedback_no_mocks
      EDITOR="code --wait" lamina open "Release checklist"
    """  # noqa: D301 - click wants the character itself
    with shell.open() as store:
        root = Path(store.location)
        name, memory = _meant(shell, store, reference)
    if name is None:
        assert memory is not None
        return _edit_row(shell, root, memory)
    path = root / name
    before = _bytes(path)
    editor(path)
    status = run_editor(path)
    with shell.open(write=True) as store:
        report = followed(store)
    return _told(shell, name, report, changed=_bytes(path) != before, status=status)


def _meant(shell: Shell, store: Store, reference: str) -> tuple[str | None, Memory | None]:
    """The file that a reference means, relative to the store, or the memory that has none."""
    from lamina.folder.index import INDEX_NAME, OVERFLOW_NAME

    index = reference.rsplit("/", 1)[-1] in (INDEX_NAME, OVERFLOW_NAME)
    if not index:
        try:
            memory = store.memories.find(reference)
        except NotFoundError:
            name = _file(shell, store, reference, missing_ok=True)
            if name is None:
                raise
            return name, None
        return memory.path, memory
    return _file(shell, store, reference, missing_ok=False), None


def _file(shell: Shell, store: Store, reference: str, *, missing_ok: bool) -> str | None:
    """A file of the folder that is no memory: an index, or one that could not be taken over.

    Raises:
        NotFoundError: It is not there, and that matters.
        InvalidInputError: The path leads outside the store.
    """
    from lamina.guard.paths import contained, safe_relative
    from lamina.types import FILE_SCOPES

    if missing_ok and not ("/" in reference or reference.lower().endswith(".md")):
        return None
    name = safe_relative(reference.removeprefix("./"))
    scope = "team" if name.startswith("team/") else "private"
    path = Path(contained(store.location, name))
    if scope in (shell.scopes or FILE_SCOPES) and path.is_file() and name.lower().endswith(".md"):
        return name
    if missing_ok:
        return None
    raise NotFoundError(f"There is no {name} in {store.location}.", hint="`lamina index --fix` writes an index.")


def _bytes(path: Path) -> bytes | None:
    from lamina import fs

    try:
        return fs.read_file(path, max_bytes=_MOST_BYTES)
    except LaminaError:
        return None


def _told(shell: Shell, name: str, report: SyncReport, *, changed: bool, status: int) -> ExitCode:
    """Says what came of editing a file."""
    problems = [problem for problem in report.problems if problem.where.split(":")[0] == name]
    document: dict[str, Any] = {"path": name, "changed": changed, "editor_exit": status, "sync": sync_document(report)}
    shell.emit(document, lambda: _lines(shell, name, report, changed=changed))
    if not shell.json:
        for line in problem_lines(problems, shell.err, shell.width):
            shell.say(line)
    if status:
        shell.note(f"the editor ended with {status}.")
    return ExitCode.FAILURE if serious(problems) else ExitCode.OK


def _lines(shell: Shell, name: str, report: SyncReport, *, changed: bool) -> Iterator[str]:
    lines = list(change_lines(report, shell.out))
    yield from lines
    if not any(clean(name) in line for line in lines):
        # An index is no memory: what is in it is not taken over, it is read when it is asked for.
        yield f"{shell.out.yellow('changed')}  {clean(name)}" if changed else f"{clean(name)} was not changed."


def _edit_row(shell: Shell, root: Path, memory: Memory) -> ExitCode:
    """Edits a memory without a file as a draft, and updates it."""
    from lamina.config import ENGINE_FOLDER
    from lamina.folder.document import parse_document

    fields = {name: getattr(memory, name) for name in DRAFT_FIELDS}
    if memory.importance == 0.5:
        del fields["importance"]
    data = draft_text(fields)
    editor()
    with draft_file(root / ENGINE_FOLDER, memory.id, data) as path:
        status = run_editor(path)
        if status:
            message = f"The editor ended with {status}, so memory {memory.id} was left as it is."
            raise InvalidInputError(message, hint="End it without an error to save.", exit=status)
        old, new = parse_document(data, name="The draft"), read_draft(path)
        if not new.text.strip():
            hint = f"`lamina forget {memory.id}` deletes it."
            raise InvalidInputError(f"The text is empty, so memory {memory.id} was left as it is.", hint=hint)
        changes = {name: getattr(new, name) for name in DRAFT_FIELDS if getattr(new, name) != getattr(old, name)}
        if "type" in changes and changes["type"] is None:
            del changes["type"]
        if "importance" in changes and changes["importance"] is None:
            changes["importance"] = 0.5
        with shell.open(write=True) as store:
            if changes:
                memory = store.memories.update(memory.id, **changes)
    for _, message in new.problems:
        shell.note(clean(message))
    for notice in memory.notices:
        shell.note(clean(notice))
    document = {"path": memory.path, "changed": bool(changes), "memory": to_json(memory), "fields": sorted(changes)}
    said = f"changed: {', '.join(sorted(changes))}" if changes else "was not changed."
    shell.emit(document, lambda: [f"{shell.out.cyan(memory.id)} {said}"])
    return ExitCode.OK
