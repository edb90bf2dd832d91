r"""Memories as text, JSON lines, CSV and Markdown, and states as arrays in many forms: one module a format.

For states see :mod:`lamina.formats.state_formats`. For memories, a reader takes a binary stream and yields
:class:`Record` after record, each the arguments of one ``store.memories.add``; what it cannot use goes, with its line,
to ``on_problem``. A writer takes memories and yields bytes. Neither holds more than one memory at a time.

========== ======= ======= =====================================================
format     read    write   what it is
========== ======= ======= =====================================================
text       yes             paragraphs, lines, or the whole file as one memory
jsonl      yes     yes     one JSON object a line; every field, UTF-8
csv        yes     yes     a header row, then one memory a row; comma, semicolon or tab
markdown           yes     for people to read
========== ======= ======= =====================================================

Files are UTF-8, with or without a byte order mark, with ``\n`` or ``\r\n`` line ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, Final

from lamina.errors import InvalidInputError
from lamina.formats.fields import OnProblem, ReadOptions, Record, raise_problem
from lamina.formats.state_file import StateFile
from lamina.formats.state_formats import (
    READABLE_STATES,
    WRITABLE_STATES,
    WrittenState,
    detect_state,
    read_state,
    write_state,
)

if TYPE_CHECKING:
    from lamina.types import Memory

__all__ = [
    "READABLE",
    "READABLE_STATES",
    "WRITABLE",
    "WRITABLE_STATES",
    "OnProblem",
    "ReadOptions",
    "Record",
    "StateFile",
    "WrittenState",
    "detect",
    "detect_state",
    "read",
    "read_state",
    "write",
    "write_state",
]

READABLE: Final = ("text", "jsonl", "csv")
"""Formats that :func:`read` knows."""

WRITABLE: Final = ("jsonl", "csv", "markdown")
"""Formats that :func:`write` knows."""

_BY_SUFFIX: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
}


def detect(name: str | None, head: bytes = b"") -> str:
    """The format of a file, from its name and else from its first bytes.

    Args:
        name: The file's name, or None for a stream without one.
        head: The first bytes, as many as are at hand.

    Returns:
        One of :data:`READABLE`. A name that says nothing is decided by content: an opening brace is JSON lines,
        anything else is text. (CSV looks like text, so it has to be named.)
    """
    suffix = PurePath(name).suffix.lower() if name else ""
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix in ("", ".log", ".out", ".dump") and head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return "jsonl"
    return "text"


def read(
    stream: BinaryIO,
    format_name: str,
    options: ReadOptions | None = None,
    on_problem: OnProblem = raise_problem,
) -> Iterator[Record]:
    """Reads memories from ``stream``.

    Args:
        stream: A binary stream at its start.
        format_name: One of :data:`READABLE`.
        options: How fields are named and filled; see :class:`ReadOptions`.
        on_problem: Called with the error of each record that cannot be used; reading goes on when it returns.

    Yields:
        The arguments of ``add`` for one memory after another, with the line each began on.

    Raises:
        InvalidInputError: The file as a whole cannot be read: unknown format, not UTF-8 text, a header without
            a text column. And whatever ``on_problem`` raises.
    """
    chosen = options or ReadOptions()
    if format_name == "text":
        from lamina.formats.text import read_text

        return read_text(stream, chosen, on_problem)
    if format_name == "jsonl":
        from lamina.formats.jsonl import read_jsonl

        return read_jsonl(stream, chosen, on_problem)
    if format_name == "csv":
        from lamina.formats.csv import read_csv

        return read_csv(stream, chosen, on_problem)
    raise _unknown(format_name, READABLE)


def write(memories: Iterable[Memory], format_name: str) -> Iterator[bytes]:
    """Writes memories as bytes, a memory at a time.

    Args:
        memories: What to write, in order.
        format_name: One of :data:`WRITABLE`.

    Raises:
        InvalidInputError: The format is not known.
    """
    if format_name == "jsonl":
        from lamina.formats.jsonl import write_jsonl

        return write_jsonl(memories)
    if format_name == "csv":
        from lamina.formats.csv import write_csv

        return write_csv(memories)
    if format_name == "markdown":
        from lamina.formats.markdown import write_markdown

        return write_markdown(memories)
    raise _unknown(format_name, WRITABLE)


def _unknown(format_name: str, known: tuple[str, ...]) -> InvalidInputError:
    return InvalidInputError(
        f"Format {format_name!r} is not known.", hint=f"Use one of {', '.join(known)}.", format=format_name
    )
