"""Plain text and Markdown as a source of memories: a paragraph, a line, or the whole file each.

In paragraphs, a heading stays with what follows it and a fenced block stays whole; each memory is a run of the
file's own lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from lamina.errors import InvalidInputError
from lamina.formats.fields import MAX_TEXT, OnProblem, ReadOptions, Record, problem
from lamina.formats.lines import bare_lines, decode

__all__ = ["read_text"]


def read_text(stream: BinaryIO, options: ReadOptions, on_problem: OnProblem) -> Iterator[Record]:
    """Reads text by ``options.per``. See :func:`lamina.formats.read`.

    With a ``thread`` among the defaults each memory gets its ``position`` in it, from 0.
    """
    lines = bare_lines(stream, options, on_problem)
    pieces = {"line": _by_line, "paragraph": _by_paragraph, "file": _by_file}[options.per](lines)
    position = 0
    for number, piece in pieces:
        try:
            text = _checked(piece, options, number)
        except InvalidInputError as error:
            on_problem(error)
            continue
        if text.isspace() or not text:
            continue
        item: dict[str, Any] = dict(options.defaults)
        if item.get("thread") is not None and "position" not in item:
            item["position"] = position
        position += 1
        yield Record(number, {**item, "text": text})


class _Piece:
    """Lines that make one memory; stops keeping them once they are more than a memory may hold."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0

    def add(self, line: bytes) -> None:
        self.size += len(line) + 1
        if self.size <= 4 * MAX_TEXT + 1:  # no character takes more than four bytes
            self.lines.append(line)

    @property
    def too_long(self) -> bool:
        return self.size > 4 * MAX_TEXT + 1

    def strip(self) -> None:
        while self.lines and not self.lines[-1].strip():
            self.lines.pop()


def _by_line(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, _Piece]]:
    for number, line in lines:
        piece = _Piece()
        piece.add(line.strip())
        yield number, piece


def _by_file(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, _Piece]]:
    piece, start = _Piece(), 1
    for number, line in lines:
        if piece.size or line.strip():
            start = start if piece.size else number
            piece.add(line)
    piece.strip()
    yield start, piece


def _by_paragraph(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, _Piece]]:
    piece, start, fence = _Piece(), 1, b""
    only_headings = True
    for number, line in lines:
        bare = line.strip()
        if not bare and not fence:
            if piece.size and not only_headings:
                piece.strip()
                yield start, piece
                piece, only_headings = _Piece(), True
            elif piece.size:
                piece.add(line)
            continue
        if not piece.size:
            start = number
        piece.add(line)
        if fence:
            fence = b"" if bare.startswith(fence) else fence
        elif bare.startswith((b"```", b"~~~")):
            fence = bare[:3]
        only_headings = only_headings and not fence and _is_heading(bare)
    piece.strip()
    if piece.size:
        yield start, piece


def _is_heading(line: bytes) -> bool:
    marks = len(line) - len(line.lstrip(b"#"))
    return 1 <= marks <= 6 and line[marks : marks + 1] in (b" ", b"\t")


def _checked(piece: _Piece, options: ReadOptions, number: int) -> str:
    text = decode(b"\n".join(piece.lines), options, number)
    if piece.too_long or len(text) > MAX_TEXT:
        hint = "Read it in parts: --per paragraph, or --per line."
        raise problem(options, number, f"the text is longer than {MAX_TEXT:,} characters.", hint)
    return text
