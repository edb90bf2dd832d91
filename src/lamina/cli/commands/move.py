"""``lamina move``: a memory to another scope, or its file to another name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import AlreadyExistsError, InvalidInputError

if TYPE_CHECKING:
    from lamina.store import Store
    from lamina.types import Memory

__all__ = ["command"]


@click.command("move", cls=Command)
@click.argument("reference", metavar="REF")
@click.argument("destination", metavar="DEST")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_shell
def command(shell: Shell, reference: str, destination: str, dry_run: bool) -> ExitCode:
    """Move the memory REF to DEST: a scope (team, private, user/alice), or a file name that ends with .md or /.

    Id and history stay, and the pointer follows. What carries a secret is not moved to team.

    \b
      lamina move project_release team
      lamina move "Release checklist" how-to/release.md
      lamina move project_release.md team/release.md --dry-run
    """  # noqa: D301 - click wants the character itself
    with shell.open(write=not dry_run) as store:
        before = store.memories.find(reference)
        scope, name = _target(store, before, destination)
        if dry_run:
            memory, planned = before, _planned(before, scope, name)
        else:
            memory = _moved(store, before, scope, name)
            planned = memory.path
        notices = list(memory.notices) if not dry_run else []
    document: dict[str, Any] = {
        "dry_run": dry_run,
        "memory": to_json(memory),
        "from": {"scope": before.scope, "path": before.path},
        "to": {"scope": scope, "path": planned},
    }
    for notice in notices:
        shell.note(clean(notice))
    shell.emit(document, lambda: _lines(shell, before, scope, planned, dry_run=dry_run))
    return ExitCode.OK


def _target(store: Store, memory: Memory, destination: str) -> tuple[str, str | None]:
    """The scope that a destination means, and the file name where it gives one.

    Raises:
        InvalidInputError: It is no scope and no file name, or the memory has no file to be renamed.
    """
    from lamina.memories.checks import check_scope
    from lamina.types import FILE_SCOPES

    if not (destination.lower().endswith(".md") or destination.endswith("/")):
        scope = check_scope(destination)
        known = scope in FILE_SCOPES or "/" in scope or store.memories.count(scope=scope) > 0
        if memory.path is not None and not known:
            raise InvalidInputError(
                f"There is no scope {scope!r}, and the memory's file would be gone there.",
                hint=f"For another file name write {scope}.md; for a new scope one with a /, such as user/{scope}.",
            )
        return scope, None
    inside = destination.removeprefix("./").startswith("team/")
    scope = "team" if inside else memory.scope
    if memory.path is None and not _filed(memory, scope):
        raise InvalidInputError(
            f"Memory {memory.id} has no file that could be called {destination}.",
            hint="Memories of type user, feedback, project and reference in private and team are files.",
        )
    if destination.endswith("/"):
        destination += posixpath.basename(memory.path or f"{memory.id}.md")
    return scope, destination


def _filed(memory: Memory, scope: str) -> bool:
    from lamina.types import CURATED_TYPES, FILE_SCOPES

    return scope in FILE_SCOPES and memory.type in CURATED_TYPES


def _moved(store: Store, memory: Memory, scope: str, name: str | None) -> Memory:
    notices: tuple[str, ...] = ()
    if scope != memory.scope:
        target = _planned(memory, scope, name) if name is not None else None
        if target is not None and (store.location / target).exists():  # before it is half-way there
            raise AlreadyExistsError(f"There is a file {target} already.", hint="Choose another name.", path=target)
        memory = store.memories.update(memory.id, scope=scope)
        notices = memory.notices
    if name is not None:
        from dataclasses import replace

        memory = store.memories.rename(memory.id, name)
        memory = replace(memory, notices=tuple(dict.fromkeys((*notices, *memory.notices))))
    return memory


def _planned(memory: Memory, scope: str, name: str | None) -> str | None:
    """Where the file would lie; a name that is taken gets a number when it is moved.

    Raises:
        InvalidInputError: The memory carries a secret and would go to team, or the name leads outside the store.
    """
    from lamina.folder.names import file_name
    from lamina.guard.paths import safe_relative
    from lamina.memories.adoption import label
    from lamina.memories.filing import check_shareable
    from lamina.storage.records import Record

    if not _filed(memory, scope):
        return None
    record = Record(
        id=memory.id,
        text=memory.text,
        type=memory.type,
        scope=scope,
        created_at=0,
        valid_from=0,
        title=memory.title,
        description=memory.description,
        source=memory.source,
        thread=memory.thread,
        tags=memory.tags,
        metadata=dict(memory.metadata),
    )
    if scope != memory.scope:
        check_shareable(record)
    if name is not None:
        name = safe_relative(name)
    elif scope == memory.scope:
        return memory.path
    else:
        name = posixpath.basename(memory.path) if memory.path else file_name(memory.type, label(record)[0])
    return f"team/{name}" if scope == "team" and not name.startswith("team/") else name


def _lines(shell: Shell, before: Memory, scope: str, path: str | None, *, dry_run: bool) -> Iterator[str]:
    paint = shell.out
    old, new = before.path or f"a row of scope {before.scope}", path or f"a row of scope {scope}"
    if before.scope == scope and before.path == path:
        yield f"{paint.cyan(before.id)} is there already: {clean(new)}"
        return
    yield f"{paint.yellow('would move') if dry_run else paint.green('moved')}  {clean(old)} → {clean(new)}"
    if before.path and path is None:
        yield paint.dim(
            f"Scope {clean(scope)} has no files: its pointer and file {'would go' if dry_run else 'are gone'}."
        )
