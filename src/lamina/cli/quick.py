"""``lamina index`` in the usual case, without click, catalog or any other import that takes longer than the answer.

An agent's start waits for this command. An index that is there and fits its limits is what the agent loads, so the file
is all that has to be read; whatever else may be the case is left to the command itself, which asks the store.
"""

from __future__ import annotations

import os
import stat
import sys

TYPE_CHECKING = False  # as in lamina.cli: typing costs more than reading the file
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lamina.config import Settings

__all__ = ["loaded", "print_index"]

_SCOPES = {"private": "", "team": "team/"}


def print_index(args: Sequence[str]) -> int | None:
    """Answers ``lamina index`` where that takes nothing but reading files.

    Args:
        args: The arguments after the program's name.

    Returns:
        The exit code; None where the command itself has to answer, and nothing was written.
    """
    if sys.stdout is None or sys.stderr is None or os.environ.get("_LAMINA_COMPLETE"):
        return None
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding != "utf8" or sys.stdout.isatty() or sys.stderr.isatty():  # colours, and signs that have to be replaced
        return None
    options = _options(args)
    found = None if options is None else loaded(*options)
    if found is None:
        return None
    text, notices = found
    try:
        for notice in notices:
            sys.stderr.write(f"note: {notice}\n")
        sys.stderr.flush()
    except (OSError, UnicodeEncodeError):
        pass  # nobody listens
    sys.stdout.flush()
    data = text.encode("utf-8")
    try:
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
    except BrokenPipeError:
        return 141
    except OSError as error:
        sys.stderr.write(f"Error: The output could not be written: {error.strerror}.\nHint:  Give it another place.\n")
        return 1
    return 0


def _options(args: Sequence[str]) -> tuple[str | None, str | None] | None:
    """The store and scope that a command line names; None where it says anything more."""
    given: dict[str, str] = {}
    rest = list(args)
    commands = 0
    while rest:
        arg = rest.pop(0)
        if arg == "index":
            commands += 1
        elif arg in ("--store", "--scope") and rest and arg not in given:
            given[arg] = rest.pop(0)
        else:
            return None
    if commands != 1 or any(not value or value.startswith("-") for value in given.values()):
        return None
    return given.get("--store"), given.get("--scope")


def loaded(store: str | None, scope: str | None) -> tuple[str, list[str]] | None:
    """What an agent loads of a store, and what people should know of it: the same as ``memories.index()`` gives.

    Args:
        store: Its folder; None looks for it.
        scope: A file scope; None for both.

    Returns:
        None where the index is missing, cut, no plain file, or no text: then the store has to be asked.
    """
    from lamina.config import CATALOG_NAME, ENGINE_FOLDER, find_store, load_settings
    from lamina.errors import LaminaError

    if scope is not None and scope not in _SCOPES:
        return None
    try:
        root, _ = find_store(store)
        if not os.path.isfile(root / ENGINE_FOLDER / CATALOG_NAME):  # noqa: PTH113 - never raises
            return None
        settings = load_settings(root)
    except LaminaError:
        return None
    if not settings.enabled:
        return None
    texts = dict.fromkeys(_SCOPES, "")
    notices: list[str] = []
    for name in _SCOPES if scope is None else (scope,):
        if scope is None and name == "team" and not os.path.lexists(root / name):
            continue
        found = _read(root, f"{_SCOPES[name]}MEMORY.md", settings, notices)
        if found is None:
            return None
        texts[name] = found
    from lamina.folder.index import joined

    return (joined(texts["private"], texts["team"]) if scope is None else texts[scope]), notices


def _read(root: Path, name: str, settings: Settings, notices: list[str]) -> str | None:
    """The text of an index that fits its limits, else None."""
    try:
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > settings.index_bytes:
                return None
            data = os.read(descriptor, settings.index_bytes + 1)
        finally:
            os.close(descriptor)
        data.decode("utf-8")
    except (OSError, UnicodeDecodeError, AttributeError):  # O_NOFOLLOW and its like are not everywhere
        return None
    from lamina.folder.index import Index
    from lamina.folder.limits import Limits, over, usage_notices

    limits = Limits(lines=settings.index_lines, bytes=settings.index_bytes)
    if b"\0" in data or over(data, limits):
        return None
    index = Index.parse(data)
    notices += usage_notices(index, limits, name=name)
    return index.text
