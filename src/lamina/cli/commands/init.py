"""``lamina init``: make a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
from lamina.cli.output import to_json
from lamina.cli.shell import Command, Shell, pass_shell, store_path

if TYPE_CHECKING:
    from lamina.config import Profile

__all__ = ["command"]


@click.command("init", cls=Command)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--profile", type=click.Choice(["precise", "balanced", "compact"]), help="Precision of vectors for space."
)
@pass_shell
def command(shell: Shell, path: Path | None, profile: Profile | None) -> ExitCode:
    """Make a store in PATH: else --store, else LAMINA_STORE, else this folder.

    A folder that is a store already stays as it is.
    """
    import lamina
    from lamina.config import ENGINE_FOLDER

    shell.whole_store("init")
    location = store_path(str(path or shell.store or os.environ.get("LAMINA_STORE") or Path.cwd()))
    created = not (location / ENGINE_FOLDER).is_dir()
    with lamina.open(location, create=True, profile=profile) as store:
        document: dict[str, Any] = {
            "location": str(store.location),
            "created": created,
            "embedder": store.embedder,
            "notices": list(store.notices),
            "files": None if store.synced is None else store.synced.files,
            "problems": [] if store.synced is None else to_json(store.synced.problems),
            "index": (location / "MEMORY.md").is_file(),
        }
        shell.emit(document, lambda: _lines(shell, document))
    return ExitCode.OK


def _lines(shell: Shell, document: dict[str, Any]) -> Iterator[str]:
    paint = shell.out
    location = document["location"]
    yield f"{'Made a store in' if document['created'] else 'There is a store already in'} {paint.bold(location)}"
    if document["created"]:
        yield paint.dim("  .lamina/   the engine's own: leave it alone, and out of version control (it ignores itself)")
    if document["files"]:
        yield f"Its {counted(document['files'], 'markdown file')} can be recalled; none was changed."
    if document["embedder"]:
        yield f"Recall matches words and meaning ({document['embedder']})."
    for notice in document["notices"]:
        yield f"{paint.yellow('note:')} {notice}"
    yield ""
    yield "Next:"
    named = os.environ.get("LAMINA_STORE")
    here = (
        [] if Path.cwd() == Path(location) or (named and store_path(named) == Path(location)) else [_export(location)]
    )
    if document["files"]:
        advice = (
            ('lamina recall "…"', "ask in your own words"),
            ("lamina index --check", "is every file in MEMORY.md, and does every pointer lead somewhere?")
            if document["index"]
            else ("lamina index --fix", "write MEMORY.md, the list that an agent loads every time"),
            ("lamina open FILE", "edit a memory; any editor will do, changes are taken over"),
        )
    else:
        advice = (
            (
                'lamina add "We deploy on Tuesdays." --type project --title "Deploy day"',
                "remember something, as a file",
            ),
            ('lamina recall "when can I release?"', "ask in your own words"),
            ("lamina index", "what an agent loads every time: MEMORY.md, a line a file"),
        )
    for line, what in (*here, *advice):
        yield f"  {paint.cyan(line)}"
        yield paint.dim(f"      {what}")


def _export(location: str) -> tuple[str, str]:
    from shlex import quote

    return f"export LAMINA_STORE={quote(location)}", "use this store from anywhere; --store does it for one command"
