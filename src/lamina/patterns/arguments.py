"""Arguments that name a file, a folder or a pattern, checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lamina.errors import InvalidInputError, NotFoundError
from lamina.patterns.rows import pattern_row
from lamina.sessions.checks import check_id, check_line
from lamina.storage.checks import bad
from lamina.storage.reader import Reader

__all__ = ["check_path", "check_place", "id_of", "row_of"]

_SHOWN = 5
"""Ids that are named where a beginning fits several."""


def check_path(value: object, what: str = "path") -> str:
    """Return a path as patterns have it: one line of text.

    Raises:
        InvalidInputError: It is neither text nor a path, or empty.
    """
    line = check_line(_text(value, what), what)
    if line is None:
        raise bad(f"{what} is empty.", "Name a file.")
    return line


def check_place(value: object, what: str = "path") -> Path:
    """Return where to read or write, absolute, with ``~`` resolved.

    Raises:
        InvalidInputError: It is neither text nor a path, or can be none on any disk.
    """
    text = _text(value, what)
    if not text or "\x00" in text:
        raise bad(f"{what} is {text!r}.", "Name a file or a folder.")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~somebody
        raise bad(f"{what} is {text!r}: {error}", "Name the folder in full.") from None


def _text(value: object, what: str) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise bad(f"{what} is {value!r:.120}, not a path.", f"Pass {what} as str or Path.")
    return text


def row_of(reader: Reader, id: object) -> tuple[Any, ...]:
    """Return the row of the pattern with an id, or with an id that begins like this; of a merged one, its target's.

    Raises:
        NotFoundError: There is none, or it was removed.
        InvalidInputError: Several begin like this.
    """
    return pattern_row(reader, id_of(reader, id))


def id_of(reader: Reader, id: object) -> str:
    """Return the whole id of the pattern that has an id, or an id that begins like this.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: Several begin like this.
    """
    name = check_id(id, "pattern")
    if reader.db.execute("SELECT 1 FROM pattern WHERE id = ?", (name,)).fetchall():
        return name
    found = [
        row[0]
        for row in reader.db.execute(
            "SELECT id FROM pattern WHERE id > ? AND id < ? AND state <> 1 ORDER BY id LIMIT ?",
            (name, name + "\U0010ffff", _SHOWN + 1),
        )
    ]
    if len(found) == 1:
        return str(found[0])
    if found:
        more = " and more" if len(found) > _SHOWN else ""
        raise InvalidInputError(
            f"Several patterns begin with {name}.", hint=f"There are: {', '.join(found[:_SHOWN])}{more}.", id=name
        )
    raise NotFoundError(f"There is no pattern {name}.", hint="`lamina patterns list` shows those there are.", id=name)
