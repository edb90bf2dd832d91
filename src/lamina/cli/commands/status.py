"""``lamina status``: which store, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.render import size
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import LaminaError, NotFoundError

__all__ = ["command"]


@click.command("status", cls=Command)
@pass_shell
def command(shell: Shell) -> ExitCode:
    """Say which store is used and why, what it holds, which embedder serves it, and what is off."""
    from lamina._version import __version__
    from lamina.config import find_store, load_settings
    from lamina.folder.index import INDEX_NAME
    from lamina.maintain.doctor import free_bytes

    location, reason = find_store(shell.store)
    reason = "named by --store" if shell.store else reason
    settings = load_settings(location)
    document: dict[str, Any] = {
        "location": str(location),
        "reason": reason,
        "exists": False,
        "version": __version__,
        "profile": settings.profile,
        "durability": settings.durability,
        "settings_ignored": list(settings.ignored),
        "free_bytes": free_bytes(location),
    }
    try:
        with shell.open() as store:
            stats = store.stats()
            document |= {name: stats.get(name) for name in _SHOWN}
            document |= {name: stats["states"].get(name) for name in ("states", "versions", "damaged_versions")}
            document |= {"exists": True, "embedder": store.embedder, "notices": list(store.notices)}
            document["files"] = None if store.synced is None else store.synced.files
            document["problems"] = [] if store.synced is None else to_json(store.synced.problems)
            places = {"private": location, "team": location / "team"}
            names = [
                name
                for name, place in places.items()
                if name in (shell.scopes or places) and (place / INDEX_NAME).is_file()
            ]
            views = [store.memories.index_view(name) for name in names]
            document["indexes"] = [
                {
                    "scope": view.scope,
                    "path": view.path,
                    "lines": view.lines,
                    "lines_limit": store.settings.index_lines,
                    "bytes": view.bytes,
                    "bytes_limit": store.settings.index_bytes,
                    "pointers": view.pointers,
                    "left_out": len(view.left_out),
                }
                for view in views
                if view.text and not view.generated
            ]
            index_notices = [notice for view in views for notice in view.notices]
            document["notices"] = list(dict.fromkeys((*document["notices"], *index_notices)))
    except NotFoundError as error:
        shell.emit(document, lambda: _lines(shell, document))
        if not shell.json:
            shell.say(f"There is no store there yet. {error.hint}")
        return ExitCode.NOT_FOUND
    except LaminaError:
        if not shell.json:
            shell.say(f"The store is {location} ({reason}).")
        raise
    shell.emit(document, lambda: _lines(shell, document))
    return ExitCode.OK


_SHOWN = (
    "format", "memories", "by_scope", "by_type", "sessions", "patterns", "pattern_uses", "vectors_waiting",
    "embedder_recorded", "bytes_on_disk",
)  # fmt: skip


def _lines(shell: Shell, document: dict[str, Any]) -> Iterator[str]:
    paint = shell.out
    yield f"{paint.bold(document['location'])}"
    yield paint.dim(f"  {document['reason']}")
    if document["exists"]:
        yield f"memories   {document['memories']:,}{_split(document['by_scope'])}"
        if document["by_type"]:
            yield f"types      {_split(document['by_type']).strip(' ()')}"
        yield from _files(document)
        if document["states"]:
            hurt = document["damaged_versions"]
            damaged = f", {hurt:,} damaged: `lamina verify` says what of it" if hurt else ""
            yield f"states     {document['states']:,}, {counted(document['versions'], 'version')}{damaged}"
        if document["patterns"]:
            yield f"patterns   {document['patterns']:,}, {counted(document['pattern_uses'], 'use')}"
        if document["sessions"]:
            yield f"sessions   {document['sessions']:,}"
        yield f"embedder   {document['embedder'] or 'none: recall matches words only'}"
        if document["vectors_waiting"]:
            yield f"           {document['vectors_waiting']:,} vectors wait for `lamina reindex`"
        used = (document["bytes_on_disk"] or {}).get("total", 0)
        yield f"disk       {size(used)} used, {size(document['free_bytes'])} free"
    yield f"settings   profile {document['profile']}, durability {document['durability']}"
    yield f"version    {document['version']}" + (f", store format {document['format']}" if document["exists"] else "")
    for ignored in document["settings_ignored"]:
        yield f"{paint.yellow('note:')} not applied: {clean(ignored)}"
    for notice in document.get("notices", ()):
        yield f"{paint.yellow('note:')} {clean(notice)}"


def _files(document: dict[str, Any]) -> Iterator[str]:
    """What is markdown: memory files, and how full their indexes are."""
    if document["files"]:
        wrong = len(document["problems"])
        more = f", {counted(wrong, 'problem')}: `lamina sync` names them" if wrong else ""
        yield f"files      {document['files']:,}{more}"
    for number, index in enumerate(document["indexes"]):
        left = f", {index['left_out']:,} pointers not loaded" if index["left_out"] else ""
        lines = f"{index['lines']:,} of {index['lines_limit']:,} lines"
        used = f"{index['bytes']:,} of {index['bytes_limit']:,} bytes"
        yield f"{'' if number else 'index':<11}{clean(index['path'])}: {lines}, {used}{left}"


def _split(counts: dict[str, int] | None) -> str:
    if not counts:
        return ""
    return "  (" + ", ".join(f"{clean(name)} {count:,}" for name, count in counts.items()) + ")"
