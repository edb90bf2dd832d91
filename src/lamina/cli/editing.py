"""Memories in the user's own editor: which one it is, how it is run, and drafts that it is given."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError, LaminaError, NotFoundError

if TYPE_CHECKING:
    from lamina.folder.document import Document

__all__ = ["DRAFT_FIELDS", "draft_file", "draft_text", "edited", "editor", "read_draft", "run_editor"]

DRAFT_FIELDS: Final = (
    "title",
    "description",
    "type",
    "tags",
    "importance",
    "source",
    "thread",
    "position",
    "valid_until",
    "metadata",
    "text",
)
"""What a draft can say, by the names that ``add`` and ``update`` have for it."""
_MAX_DRAFT_BYTES: Final = 50_000_000
_OPENING: Final = "---\n"


def editor(path: Path | None = None) -> list[str]:
    """The editor's command, from ``VISUAL``, else ``EDITOR``; words are split as a shell does, and no shell runs it.

    Args:
        path: The file that is to be edited, for the message.

    Raises:
        InvalidInputError: None is set, or what is set is no command.
    """
    where = f"; the file is {path}" if path else ""
    details = {"path": str(path)} if path else {}
    for name in ("VISUAL", "EDITOR"):
        said = os.environ.get(name, "").strip()
        if not said:
            continue
        try:
            return shlex.split(said)
        except ValueError as error:
            hint = f"Set it to a program and its options{where}."
            raise InvalidInputError(f"{name} is no command: {error}.", hint=hint, **details) from None
    hint = f"Set VISUAL or EDITOR to one, such as export EDITOR=nano{where}."
    raise InvalidInputError("There is no editor to open it with.", hint=hint, **details)


def run_editor(path: Path) -> int:
    """Opens a file in the editor and waits until it ends.

    Returns:
        The editor's exit status; negative where a signal ended it.

    Raises:
        InvalidInputError: There is no editor, or it cannot be started.
    """
    command = [*editor(path), str(path)]
    try:
        with _interrupts_are_the_editors():
            return subprocess.run(command, check=False).returncode  # noqa: S603 - the user's own setting
    except OSError as error:
        raise InvalidInputError(
            f"The editor {command[0]!r} cannot be started: {error.strerror or error}.",
            hint=f"Set VISUAL or EDITOR to a program that is there; the file is {path}.",
            path=str(path),
        ) from None


@contextlib.contextmanager
def _interrupts_are_the_editors() -> Iterator[None]:
    """Leaves Ctrl-C to the editor, which has the terminal; a handler is not inherited, as ignoring would be."""
    try:
        before = signal.signal(signal.SIGINT, lambda *_: None)
    except ValueError:  # not the main thread, which gets the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def draft_text(fields: Mapping[str, Any], *, head: str = "") -> bytes:
    """A draft to be filled in or changed: front matter with a line for a name and a description, then the text.

    Args:
        fields: Arguments of ``add``; those that a draft cannot say are left out.
        head: A comment for its first line.
    """
    from lamina.folder.document import render_document

    said = {name: fields[name] for name in DRAFT_FIELDS if fields.get(name) not in (None, ())}
    draft = render_document(**{"text": "", **said}).decode("utf-8")
    lines = draft.split("\n") if draft.startswith(_OPENING) else ["---", "---", "", *draft.split("\n")]
    place = 1
    for key, name in (("name", "title"), ("description", "description")):
        if said.get(name) is None:
            lines.insert(place, f"{key}: ")
        place += 1
    if head:
        lines.insert(1, f"# {head}")
    if not said.get("text"):
        lines.append("")  # a line to write on
    return "\n".join(lines).encode("utf-8")


@contextlib.contextmanager
def draft_file(engine: Path, name: str, data: bytes) -> Iterator[Path]:
    """A draft in the engine's ``tmp`` folder, readable by its owner alone; kept where what follows fails, and said.

    Args:
        engine: The engine's folder.
        name: For the file; people see it in their editor's title.
        data: What it says at first.
    """
    from lamina import fs

    folder = engine / "tmp"
    fs.make_dir(folder, mode=0o700)
    path = folder / f"{name}-{os.getpid()}-{os.urandom(3).hex()}.md"
    fs.write_file(path, data, mode=0o600)
    try:
        yield path
    except LaminaError as error:
        if edited(path, data):
            error.hint = f"{error.hint} What you wrote is kept in {path}.".lstrip()
            error.details.setdefault("kept", str(path))
        else:
            fs.remove_file(path, missing_ok=True)
        raise
    fs.remove_file(path, missing_ok=True)


def edited(path: Path, data: bytes) -> bool:
    """Whether a draft says something else than at first."""
    from lamina import fs

    try:
        return fs.read_file(path, max_bytes=_MAX_DRAFT_BYTES) != data
    except NotFoundError:
        return False
    except LaminaError:
        return True


def read_draft(path: Path) -> Document:
    """What a draft says; an editor that removed it leaves an empty one.

    Raises:
        InvalidInputError: It is no text, or holds a merge conflict.
    """
    from lamina import fs
    from lamina.folder.document import parse_document

    try:
        data = fs.read_file(path, max_bytes=_MAX_DRAFT_BYTES)
    except NotFoundError:
        data = b""
    return parse_document(data, name="The draft")
