"""Lines of a file that nobody vouches for: bounded, decoded, counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from lamina.formats.fields import OnProblem, ReadOptions, problem

__all__ = ["MAX_LINE_BYTES", "bare_lines", "decode", "raw_lines"]

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line that is read: room for the longest text with every character written as a six-byte escape."""

_BOM: Final = b"\xef\xbb\xbf"
_WIDE_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


def raw_lines(stream: BinaryIO, options: ReadOptions, on_problem: OnProblem) -> Iterator[tuple[int, bytes]]:
    """Yields each line with its number, from 1, with its line end but without a byte order mark.

    A line beyond :data:`MAX_LINE_BYTES` is a problem and is passed over without being held.

    Raises:
        InvalidInputError: The file is not UTF-8 text at all: it begins as UTF-16, or its first line has zero bytes.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        if number == 1:
            _check_start(line, options)
            line = line.removeprefix(_BOM)
        if not line.endswith(b"\n") and len(line) >= MAX_LINE_BYTES + 2:
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            message = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB."
            on_problem(problem(options, number, message, "Is this the format you meant? Choose one with --format."))
            continue
        yield number, line


def bare_lines(stream: BinaryIO, options: ReadOptions, on_problem: OnProblem) -> Iterator[tuple[int, bytes]]:
    """Like :func:`raw_lines`, without line ends."""
    for number, line in raw_lines(stream, options, on_problem):
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def decode(data: bytes, options: ReadOptions, line: int) -> str:
    """Decodes one record.

    Raises:
        InvalidInputError: The bytes are not UTF-8; says at which byte.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"byte {error.start + 1} (0x{data[error.start]:02x}) is not UTF-8."
        raise problem(options, line, message, "Save the file as UTF-8.") from None


def _check_start(line: bytes, options: ReadOptions) -> None:
    if line.startswith(_WIDE_BOMS):
        raise problem(options, 1, "the file is UTF-16.", "Save it as UTF-8.")
    if b"\0" in line[:4096]:
        raise problem(options, 1, "the file is not text: it has zero bytes.", "Give a text file in UTF-8.")
