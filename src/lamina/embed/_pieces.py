"""Cuts a text into the pieces of a Llama-2 vocabulary: the same pieces as the Rust tokenizer's, without loading it.

The vocabulary was made by SentencePiece: byte-pair encoding with byte fallback, a space written as ``▁``. Three facts
about this one vocabulary, which tests check against the file and against the ``tokenizers`` package, make it easy:

- The order of merging is the order of the vocabulary: of two possible merges the one with the smaller id of its result
  goes first, of two ways to the same result the one with the smaller left, then right id; ties go left to right.
- ``▁`` is only ever the first character of a piece (but for runs of spaces, which do not occur here), so a text falls
  apart at spaces.
- No piece mixes letters with anything else, a digit is always alone, and no character from U+2E80 on is part of a
  longer piece (but U+FFFD). So a text falls apart further, into parts short enough to remember.

Three things are on purpose not what the tokenizer does: text is in lower case and in NFC first, any white space counts
as one space and is dropped at both ends: case and layout change no vector. ``<s>``, ``</s>`` and ``<unk>``
are plain text. A run longer than 128 characters is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

__all__ = ["SLICE", "Pieces", "parts", "slices", "words"]

_ASCII_PART = re.compile(r" ?[A-Za-z]{1,128}| ?[0-9]| ?[^A-Za-z0-9\s]{1,128}")
_ASCII_WORD = re.compile(r"[A-Za-z]+|[0-9]+")
SLICE = 4_096
"""Characters taken at a time."""
_NEVER = 1 << 62
_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    # the same two for all of Unicode; made at the first text that needs them, for they take 7 ms to compile
    alone = r"⺀-\ufffc\ufffe-\U0010ffff"
    letter = rf"[^\W\d_²{alone}]"  # "²" is the one sign of its kind that the vocabulary joins with punctuation
    part = rf" ?[{alone}]| ?\d| ?{letter}{{1,128}}| ?(?:[^\w\s{alone}]|[_²]){{1,128}}"
    return re.compile(part), re.compile(rf"(?:(?![\W\d_])[{alone}])+|\d+|{letter}+")


def slices(text: str) -> Iterator[str]:
    """Yield the text in slices of at most 4,096 characters, cut at a space or a line end where there is one."""
    begin = 0
    while len(text) - begin > SLICE:
        end = begin + SLICE
        cut = max(text.rfind(" ", begin, end), text.rfind("\n", begin, end))
        end = end if cut <= begin else cut
        yield text[begin:end]
        begin = end
    yield text[begin:] if begin else text


def _normal(text: str) -> str:
    text = text.lower()
    if not text.isascii():
        from unicodedata import normalize

        text = normalize("NFC", text).replace("▁", " ")
    return " ".join(text.split())


def parts(text: str) -> list[str]:
    """Return the parts of a text that the vocabulary's pieces never cross, each with its space if it has one.

    >>> parts("Hello,  world 42")
    [' hello', ',', ' world', ' 4', '2']
    """
    normal = _normal(text)
    if not normal:
        return []
    pattern = _ASCII_PART if normal.isascii() else _patterns()[0]
    return pattern.findall(f" {normal}")


def words(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each run of letters and each run of digits with its parts; what is neither is left out.

    >>> list(words("on 12 May?"))
    [('on', [' on']), ('12', [' 1', '2']), ('may', [' may'])]
    """
    normal = f" {_normal(text)}"
    part, word = (_ASCII_PART, _ASCII_WORD) if normal.isascii() else _patterns()
    for match in word.finditer(normal):
        begin, end = match.span()
        yield match[0], part.findall(normal, begin - (normal[begin - 1] == " "), end)


class Pieces:
    """The pieces of one part.

    Args:
        vocabulary: Piece to id, as :func:`lamina.embed._wordllama.read_vocabulary` returns it.
    """

    __slots__ = ("_vocabulary",)

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._vocabulary = vocabulary

    def ids(self, part: str) -> list[int]:
        """Return the ids of the pieces of one of :func:`parts`, in order."""
        vocabulary, rank = self._vocabulary, self._rank
        pieces: list[str] = []
        for character in part.replace(" ", "▁"):
            if character in vocabulary:
                pieces.append(character)
            else:
                pieces.extend(_BYTES[byte] for byte in character.encode("utf-8", "surrogatepass"))
        ranks = [rank(*pair) for pair in pairwise(pieces)]
        while ranks and (best := min(ranks)) != _NEVER:
            at = ranks.index(best)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
            del ranks[at]
            if at:
                ranks[at - 1] = rank(pieces[at - 1], pieces[at])
            if at < len(ranks):
                ranks[at] = rank(pieces[at], pieces[at + 1])
        return [vocabulary[piece] for piece in pieces]

    def _rank(self, left: str, right: str) -> int:
        result = self._vocabulary.get(left + right)
        if result is None:
            return _NEVER
        return result << 30 | self._vocabulary[left] << 15 | self._vocabulary[right]
