"""JSON with very long lists of numbers: read piece by piece, each list as a compact array.

A list that holds numbers only becomes a numpy array: int64 where all are whole, else float32 where that is exact,
else float64; whole numbers beyond 64 bits, or beside fractions, are then the nearest double, as in JavaScript, which
wrote them. Everything else becomes what :mod:`json` makes of it. A file of gigabytes is never held as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NumberPieces", "parse_json", "plain", "top_level_keys"]

_SPACE: Final = b" \t\r\n"
_NUMERIC: Final = b"0123456789+-.eE, \t\r\n"
_DELIMITERS: Final = b",]} \t\r\n"
_MOST_DEPTH: Final = 100
_MOST_TOKEN: Final = 1 << 26
_LONGEST_MIXED: Final = 10_000
_TOO_LARGE: Final = 2**1024
_STRUCTURE: Final = re.compile(rb'[{}\[\]"]')
_STRING_END: Final = re.compile(rb'(?:[^"\\]|\\.)*+"', re.DOTALL)
_NEAR: Final = 200
"""Spaces around a key, at most, for :func:`top_level_keys` to see it."""


def parse_json(chunks: Iterable[bytes], name: str) -> Any:
    """Read one JSON value.

    Args:
        chunks: The text as UTF-8, in pieces of any size.
        name: What messages call it.

    Raises:
        InvalidInputError: It is not JSON, a number is not finite, or a key is there twice; says at which byte, and in
            a list of numbers at which place.
    """
    reader = _Reader(chunks, name)
    value = reader.value(0)
    if reader.peek():
        raise reader.bad("there is more after the end of the JSON value")
    return value


def plain(value: Any) -> Any:
    """Return a value with its arrays as lists, as :mod:`json` would have read it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


class NumberPieces:
    """Numbers that come a few thousand at a time, kept as narrow as is exact."""

    def __init__(self) -> None:
        self.count = 0
        self._pieces: list[NDArray[Any]] = []

    def add(self, values: list[int | float]) -> int | None:
        """Take some numbers; return the place of the first that is not finite or does not fit, or None."""
        import numpy as np

        piece = np.array(values)
        if piece.dtype.kind == "i":
            piece = piece.astype(np.int64, copy=False)
        else:
            try:
                piece = piece.astype(np.float64, copy=False)
            except OverflowError:  # a whole number of hundreds of digits
                return self.count + next(index for index, value in enumerate(values) if abs(value) >= _TOO_LARGE)
            finite = np.isfinite(piece)
            if not finite.all():
                return self.count + int(np.argmin(finite))
            with np.errstate(over="ignore", under="ignore"):
                narrow = piece.astype(np.float32)
            if np.array_equal(narrow.astype(np.float64).view(np.uint64), piece.view(np.uint64)):
                piece = narrow
        self.count += len(values)
        self._pieces.append(piece)
        return None

    def finish(self) -> NDArray[Any]:
        """Return all of them as one array."""
        import numpy as np

        pieces, self._pieces = self._pieces, []
        if not pieces:
            return np.empty(0, dtype=np.float32)
        kinds = {piece.dtype for piece in pieces}
        if len(kinds) == 1:
            return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        whole = [piece for piece in pieces if piece.dtype.kind == "i"]
        narrow = np.dtype(np.float64) not in kinds and all((abs(piece) <= 1 << 24).all() for piece in whole)
        return np.concatenate(pieces, dtype=np.float32 if narrow else np.float64, casting="unsafe")


class _Reader:
    """A place in a stream of bytes, and what may stand there."""

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._name = name
        self._buffer = b""
        self._at = 0
        self._passed = 0  # bytes before the buffer
        self.more()
        if self._buffer.startswith(b"\xef\xbb\xbf"):
            self._at = 3

    def bad(self, message: str, *, at: int | None = None, **details: Any) -> InvalidInputError:
        """Return the error for a place in the buffer."""
        byte = self._passed + (self._at if at is None else at)
        return InvalidInputError(
            f"{self._name}: {message}, at byte {byte:,}.",
            hint="Is the file whole, and of this format?",
            path=self._name,
            byte=byte,
            **details,
        )

    def more(self) -> bool:
        """Put the next bytes behind what is left; say whether there were any."""
        piece = next(self._chunks, b"")
        self._passed += self._at
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        return bool(piece)

    def peek(self) -> int:
        """Return the next byte that is no space, without taking it; 0 at the end."""
        while True:
            while self._at < len(self._buffer):
                byte = self._buffer[self._at]
                if byte not in _SPACE:
                    return byte or 1  # a zero byte is no end; 1 is as wrong as it
                self._at += 1
            if not self.more():
                return 0

    def take(self, expected: bytes, instead_of: str) -> None:
        """Take one byte that has to be there."""
        if self.peek() != expected[0]:
            raise self.bad(f"{expected.decode()!r} is missing {instead_of}" if self.peek() else "the text ends here")
        self._at += 1

    def value(self, depth: int) -> Any:
        """Read any value."""
        first = self.peek()
        if depth > _MOST_DEPTH:
            raise self.bad("the JSON is nested too deeply")
        if first == ord("{"):
            return self._object(depth)
        if first == ord("["):
            return self._list(depth)
        if first == ord('"'):
            return self._string()
        if not first:
            raise self.bad("the text ends here")
        return self._word()

    def _object(self, depth: int) -> dict[str, Any]:
        self._at += 1
        result: dict[str, Any] = {}
        if self.peek() == ord("}"):
            self._at += 1
            return result
        while True:
            if self.peek() != ord('"'):
                raise self.bad("a key is missing" if self.peek() else "the text ends here")
            key = self._string()
            if key in result:
                raise self.bad(f"the key {key!r} is there twice")
            self.take(b":", f"after {key!r}")
            result[key] = self.value(depth + 1)
            if self.peek() == ord("}"):
                self._at += 1
                return result
            self.take(b",", "between two members")

    def _list(self, depth: int) -> Any:
        self._at += 1
        first = self.peek()
        if first == ord("]"):
            self._at += 1
            return NumberPieces().finish()
        if first and bytes([first]) in b"-0123456789":
            return self._numbers(depth)
        return self._items(depth, [])

    def _items(self, depth: int, result: list[Any]) -> list[Any]:
        while True:
            result.append(self.value(depth + 1))
            if self.peek() == ord("]"):
                self._at += 1
                return result
            self.take(b",", "between two items")

    def _numbers(self, depth: int) -> Any:
        """Read a list that begins with a number, piece by piece, as long as only numbers come."""
        pieces = NumberPieces()
        while True:
            end = self._buffer.find(b"]", self._at)
            stop = end if end >= 0 else self._buffer.rfind(b",", self._at)
            if stop < 0:
                if len(self._buffer) - self._at > _MOST_TOKEN or not self.more():
                    raise self.bad("a list of numbers does not end")
                continue
            text = self._buffer[self._at : stop]
            if text.translate(None, _NUMERIC):
                return self._mixed(depth, pieces, text)
            self._add(pieces, text)
            self._at = stop + 1
            if end >= 0:
                return pieces.finish()
            if not self.peek():
                raise self.bad("a list of numbers does not end")

    def _add(self, pieces: NumberPieces, text: bytes) -> None:
        start = pieces.count
        if not text.strip():
            raise self.bad(f"item {start:,} of a list of numbers is missing", index=start)
        try:
            values = json.loads(b"[" + text + b"]")
        except json.JSONDecodeError as error:
            place = start + text[: max(0, error.pos - 1)].count(b",")
            at = self._at + max(0, error.pos - 1)
            raise self.bad(f"item {place:,} of a list of numbers is no number", at=at, index=place) from None
        except ValueError as error:  # a whole number of thousands of digits
            raise self.bad(str(error)) from None
        wrong = pieces.add(values)
        if wrong is not None:
            at = self._at
            for _ in range(wrong - start):
                at = self._buffer.index(b",", at) + 1
            message = f"item {wrong:,} of a list of numbers does not fit 64 bits or is not finite"
            raise self.bad(message, at=at, index=wrong)

    def _mixed(self, depth: int, pieces: NumberPieces, text: bytes) -> list[Any]:
        """Go on with a list in which something else than numbers stands."""
        offset = next(index for index, byte in enumerate(text) if byte not in _NUMERIC)
        place = pieces.count + text[:offset].count(b",")
        if text[offset] not in b'"[{tfn' or place > _LONGEST_MIXED:
            shown = text[offset : offset + 20].split(b",")[0].decode("utf-8", "replace").strip()
            message = f"item {place:,} of a list of numbers is {shown}"
            raise self.bad(message, at=self._at + offset, index=place)
        before = pieces.finish().tolist() if pieces.count else []
        return self._items(depth, before)

    def _string(self) -> str:
        end = self._at + 1
        while True:
            end = self._buffer.find(b'"', end)
            if end < 0:
                scanned = len(self._buffer) - self._at
                if scanned > _MOST_TOKEN or not self.more():
                    raise self.bad("a string does not end")
                end = max(1, scanned)
                continue
            slashes = end
            while self._buffer[slashes - 1] == ord("\\"):
                slashes -= 1
            if (end - slashes) % 2 == 0:
                break
            end += 1
        token = self._buffer[self._at : end + 1]
        try:
            value: str = json.loads(token)
        except ValueError:  # bytes that are not UTF-8 are one of these
            raise self.bad("a string is not valid") from None
        self._at = end + 1
        return value

    def _word(self) -> Any:
        """Read a number or one of the three words."""
        end = self._at
        while True:
            while end < len(self._buffer) and self._buffer[end] not in _DELIMITERS:
                end += 1
            if end < len(self._buffer) or end - self._at > 10_000:
                break
            taken = end - self._at
            if not self.more():
                break
            end = taken
        token = self._buffer[self._at : end]
        try:
            value = json.loads(token, parse_constant=_no_constant)
        except ValueError:
            shown = token[:20].decode("utf-8", "replace")
            raise self.bad(f"{shown!r} is no JSON value") from None
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            raise self.bad("a number is not finite")
        self._at = end
        return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def top_level_keys(head: bytes) -> list[str]:
    """Return the keys of a JSON object as far as its first bytes show them; empty where it is no object."""
    keys: list[str] = []
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith(b"{"):
        return keys
    depth, at = 0, 0
    while match := _STRUCTURE.search(text, at):
        at, byte = match.end(), match[0]
        if byte == b'"':
            end = _STRING_END.match(text, at)
            if end is None:
                break
            is_key = depth == 1 and text[max(0, match.start() - _NEAR) : match.start()].rstrip()[-1:] in (b"{", b",")
            at = end.end()
            if is_key and text[at : at + _NEAR].lstrip()[:1] == b":":
                keys.append(text[match.end() : at - 1].decode("utf-8", "replace"))
        else:
            depth += 1 if byte in b"{[" else -1
    return keys
