"""``lamina state``: what a model holds, from the shell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.following import counted
from lamina.cli.output import to_json
from lamina.cli.paint import clean
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Group, Shell, pass_shell, store_path
from lamina.cli.state_refs import REFS, typed_ref

if TYPE_CHECKING:
    from lamina.states import State, StateArray, Version
    from lamina.states.why import Measured
    from lamina.store import Store

__all__ = ["command", "version_lines"]

_ELSEWHERE: Final[Mapping[str, str]] = {
    "tag": "Give a version a name that is never given again.",
    "branch": "Let a new branch begin at a version.",
    "restore": "Commit what a version was as the newest one.",
    "retain": "Delete old versions; tagged, newest and open ones stay.",
    "compare": "Compare experiments: branches by their results.",
    "delete": "Delete a state, or one branch, tag or version of it.",
}
"""Subcommands of ``lamina.cli.state_names``, loaded when they are used."""


class _States(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*self.commands, *_ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            found = getattr(import_module("lamina.cli.state_names"), f"{cmd_name}_command")
            assert isinstance(found, click.Command)
            return found
        return super().get_command(ctx, cmd_name)


command = _States(
    name="state",
    help="Named arrays of a model: committed, versioned, compared, restored. Every byte that is read was checked.",
    subcommand_metavar="COMMAND [OPTIONS]",
)

_name = click.argument("name")
_ref = click.option("--ref", default="main", show_default=True, help=REFS)
_format = click.option("--format", "format_name", help="Found by content, or by the file's name, where not given.")


def version_lines(shell: Shell, version: Version) -> Iterator[str]:
    """A version on one line; its time, in UTC, can be copied to where a ref is asked for."""
    paint = shell.out
    names = [*version.branches, *(f"tag {tag}" for tag in version.tags)]
    facts = [f"step {version.step}" if version.step is not None else "", ", ".join(names)]
    shown = "  ".join(fact for fact in facts if fact)
    damaged = paint.red("  damaged") if version.damaged else ""
    moment = f"{version.created_at:%Y-%m-%dT%H:%M:%SZ}"
    message = clean(version.message or "")
    yield f"{paint.cyan(version.id[:12])}  {paint.dim(moment)}  {clean(shown)}{damaged}  {message}".rstrip()


@command.command("commit", cls=Command, short_help="Commit arrays from a file.")
@_name
@click.argument("file", type=click.Path())
@click.option("--branch", default="main", show_default=True, help="What to add to.")
@click.option("--message", "-m", help="What changed.")
@click.option("--step", type=click.IntRange(0), help="A training step or the like.")
@click.option(
    "--precision", type=click.Choice(["float16", "int8"]), help="Trade precision of floats for space; exact otherwise."
)
@_format
@pass_shell
def commit_command(
    shell: Shell,
    /,
    *,
    name: str,
    file: str,
    branch: str,
    message: str | None,
    step: int | None,
    precision: str | None,
    format_name: str | None,
) -> ExitCode:
    """Commit the arrays of FILE as the newest version of state NAME. What did not change is not written again."""
    return _commit(
        shell,
        name,
        file,
        format_name,
        {"branch": branch, "message": message, "step": step, "precision": precision},
    )


@command.command("import", cls=Command, short_help="Make or continue a state from a file of another program.")
@click.argument("file", type=click.Path())
@click.option("--name", required=True, help="The state.")
@click.option("--branch", default="main", show_default=True, help="What to add to.")
@click.option("--message", "-m", help="What changed.")
@_format
@pass_shell
def import_command(
    shell: Shell, /, *, file: str, name: str, branch: str, message: str | None, format_name: str | None
) -> ExitCode:
    """Import FILE: arrays and metadata, as the newest version of a state. Nothing is ever unpickled."""
    return _commit(shell, name, file, format_name, {"branch": branch, "message": message or f"imported {file}"})


def _commit(shell: Shell, name: str, file: str, format_name: str | None, options: dict[str, Any]) -> ExitCode:
    from lamina.cli.state_files import read_file

    found = read_file(store_path(file), format_name)
    for note in found.notes:
        shell.note(clean(note))
    user = found.metadata.get("user_id")
    creator = user if isinstance(user, str) else None
    with shell.open(write=True, create=True) as store, progress("committing") as show:
        version = store.states.commit(
            name, found.arrays, metadata=found.metadata or None, creator=creator, progress=show, **options
        )
    document = {"version": to_json(version), "format": found.format, "notes": list(found.notes)}
    shell.emit(document, lambda: version_lines(shell, version))
    if not shell.json:
        written = f"Written: {counted(version.written, 'byte')}." if version.written else ""
        shell.say(written or "All of it was there already, so that no bytes had to be written.")
        if version.kept_exact:
            shell.say(f"Kept exactly, as the precision does not apply or pay: {clean(', '.join(version.kept_exact))}.")
        if version.parent is None and options["branch"] != "main":
            shell.say(f"It has the branch {options['branch']!r} alone, so name it with --ref when you read it.")
    return ExitCode.OK


@command.command("export", cls=Command, short_help="Write a version to a file.")
@_name
@click.argument("file", type=click.Path())
@_ref
@_format
@click.option("--replace", is_flag=True, help="Replace FILE where it is there.")
@pass_shell
def export_command(
    shell: Shell, /, *, name: str, file: str, ref: str, format_name: str | None, replace: bool
) -> ExitCode:
    """Write the arrays of a version of state NAME to FILE, durably."""
    from lamina.cli.state_files import export_state

    if format_name is None and (file.endswith("/") or store_path(file).is_dir()):
        raise click.UsageError(
            f"{file} is a folder: say with --format which of the formats that are folders it becomes: "
            "tmem-shards or titan-checkpoint."
        )
    path = store_path(file)
    with shell.open() as store, progress("exporting"), _opened(store, name, ref) as state:
        written = export_state(path, format_name, state, replace=replace)
        document = {
            "path": str(path),
            "format": written.format,
            "bytes": written.bytes,
            "arrays": len(state),
            "version": state.version.id,
            "notes": list(written.notes),
        }
    for note in written.notes:
        shell.note(clean(note))
    shell.emit(document, lambda: [f"{clean(str(path))}  {written.format}, {counted(written.bytes, 'byte')}"])
    return ExitCode.OK


@command.command("list", cls=Command, short_help="List the states of the store.")
@pass_shell
def list_command(shell: Shell) -> ExitCode:
    """List the states of the store, by name."""
    with shell.open() as store:
        found = store.states.list()

    def lines() -> Iterator[str]:
        for one in found:
            count = counted(one.versions, "version")
            damaged = shell.out.red(f"  {one.damaged:,} damaged") if one.damaged else ""
            names = ", ".join([*one.branches, *(f"tag {tag}" for tag in one.tags)])
            yield f"{shell.out.bold(clean(one.name))}  {count}{damaged}  {shell.out.dim(clean(names))}"

    shell.emit({"states": to_json(found)}, lines)
    if not found and not shell.json:
        shell.say("No states yet. `lamina state commit NAME FILE` makes one.")
    return ExitCode.OK


@command.command("show", cls=Command, short_help="Show the arrays of a version.")
@_name
@_ref
@click.option("--codecs", is_flag=True, help="Say how the shards of each array are stored.")
@click.option("--picture", is_flag=True, help="Draw a grid.")
@click.option("--layer", help="Which layer of the grid; its activation when not given.")
@click.option("--png", type=click.Path(), help="Draw a grid into this file.")
@click.option("--replace", is_flag=True, help="Replace the file of --png where it is there.")
@pass_shell
def show_command(
    shell: Shell,
    /,
    *,
    name: str,
    ref: str,
    codecs: bool,
    picture: bool,
    layer: str | None,
    png: str | None,
    replace: bool,
) -> ExitCode:
    """Show a version of state NAME: what it says of itself, and its arrays."""
    with shell.open() as store, _opened(store, name, ref) as state:
        version = state.version
        arrays = [state[key].info() for key in state]
        why = {key: _measured(state[key]) for key in state} if codecs else {}
        drawn = []
        if picture or png:
            drawn = _drawn(shell, state, layer or "activation", png=png, picture=picture, replace=replace)
    document = {"version": to_json(version), "arrays": to_json(arrays), "png": png and str(store_path(png))}
    for one in document["arrays"] if codecs else ():
        one["measured"] = to_json(why[one["name"]])

    def lines() -> Iterator[str]:
        yield from version_lines(shell, version)
        for key, value in version.metadata.items():
            yield f"  {clean(str(key))}: {clean(json.dumps(value, ensure_ascii=False))}"
        for one in arrays:
            share = f"{one.stored / one.bytes:.0%} stored" if one.bytes else "nothing stored"
            if one.stored > one.bytes > 0:
                share = f"{share}, patches of changed rows included"
            shape = " x ".join(map(str, one.shape)) or "scalar"
            exact = "" if one.precision == "exact" else f"  {one.precision}"
            size = f"{counted(one.bytes, 'byte')}, {share}{exact}"
            rows = one.shape[0] if one.shape else 1
            lost = f"  damaged: {one.lost_rows:,} of {counted(rows, 'row')} cannot be read" if one.lost_rows else ""
            yield f"  {shell.out.bold(clean(one.name))}  {_dtype(one.dtype)} {shape}  {size}{shell.out.red(lost)}"
            if codecs:
                for codec, count in one.codecs.items():
                    yield shell.out.dim(f"      {counted(count, 'shard')}: {codec}")
                yield shell.out.dim(f"      {why[one.name].why}")
        yield from drawn

    shell.emit(document, lines)
    if png and not shell.json:
        shell.say(f"Written to {clean(str(store_path(png)))}.")
    return ExitCode.OK


def _measured(array: StateArray) -> Measured:
    """What codings save of an array, so that it can be seen why it is stored as it is."""
    from lamina.states.why import measure

    return measure(array)


def _dtype(name: str) -> str:
    """The name of a dtype as people write it: ``float32``, not ``<f4``."""
    import numpy as np

    try:
        found = np.dtype(name)
    except TypeError:  # of a package that was not needed so far, and has such names itself
        return name
    return found.name if found.kind in "biufc" else name


def _opened(store: Store, name: str, ref: str) -> State:
    """Open a version; where a state has no branch main, say which it has."""
    from lamina.errors import NotFoundError

    try:
        return store.states.open(name, typed_ref(store, name, ref))
    except NotFoundError as error:
        for one in store.states.list() if ref == "main" else ():
            if one.name == name and "main" not in one.branches:
                error.hint = f"Its branches are: {', '.join(one.branches)}. Name one with --ref."
        raise


def _drawn(shell: Shell, state: State, layer: str, *, picture: bool, png: str | None, replace: bool) -> list[str]:
    """Draw a grid: into a file, as lines for the terminal, or both."""
    from lamina.cli.state_files import write_png
    from lamina.states import ToroidalGrid

    grid = ToroidalGrid.from_state(state)
    if png is not None:
        scale = max(1, min(8, 1024 // max(grid.dimensions)))
        write_png(store_path(png), grid.png(scale, layer=layer), replace=replace)
    return grid.picture(width=shell.width, color=shell.out.enabled, layer=layer).splitlines() if picture else []


@command.command("log", cls=Command, short_help="List versions, the newest first.")
@_name
@click.option("--ref", help="Only this version and those that it follows.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most so many.")
@pass_shell
def log_command(shell: Shell, /, *, name: str, ref: str | None, limit: int | None) -> ExitCode:
    """List the versions of state NAME, the newest first."""
    with shell.open() as store:
        found = store.states.log(name, ref and typed_ref(store, name, ref), limit=limit)
    shell.emit(
        {"versions": to_json(found)}, lambda: (line for version in found for line in version_lines(shell, version))
    )
    return ExitCode.OK


@command.command("diff", cls=Command, short_help="Compare two versions.")
@_name
@click.argument("before")
@click.argument("after", default="main")
@pass_shell
def diff_command(shell: Shell, /, *, name: str, before: str, after: str) -> ExitCode:
    """Compare two versions of state NAME, array by array: rows that differ, norms, the largest change."""
    with shell.open() as store, progress("comparing"):
        found = store.states.diff(name, typed_ref(store, name, before), typed_ref(store, name, after))

    def lines() -> Iterator[str]:
        for change in found.changes:
            facts = [change.change]
            if change.rows is not None:
                facts.append(counted(change.rows, "row"))
            if change.norm_before is not None and change.norm_after is not None:
                facts.append(f"norm {change.norm_before:.6g} → {change.norm_after:.6g}")
            if change.largest_change is not None:
                facts.append(f"largest change {change.largest_change:.3g}")
            yield f"{shell.out.bold(clean(change.name))}  {', '.join(facts)}"
        yield shell.out.dim(f"{found.unchanged:,} unchanged")

    shell.emit({"diff": to_json(found)}, lines)
    return ExitCode.OK
