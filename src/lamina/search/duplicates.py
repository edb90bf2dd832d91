"""Near-duplicates: MinHash signatures in bands, confirmed by the Jaccard similarity of the texts' tokens.

A signature has eight minima of hashed tokens and token pairs; two texts become candidates when one of four bands of
two minima agrees, which happens with probability 1 - (1 - J**2)**4: 0.98 at J = 0.8, 0.31 at J = 0.3
(Broder 1997, "On the resemblance and containment of documents"; banding after Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np
import numpy.typing as npt

__all__ = ["THRESHOLD", "bands", "resemblance"]

THRESHOLD = 0.8
"""Jaccard similarity from which two texts count as near-duplicates."""

_ROWS = 2
_BANDS = 4
_FACTORS = np.array(
    [0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xD3A2646D, 0xFD7046C5, 0xB55A4F09], dtype=np.uint64
)
_OFFSETS = np.array(
    [0x1F83D9AB, 0x5BE0CD19, 0x9B05688C, 0x510E527F, 0xA54FF53A, 0x3C6EF372, 0xBB67AE85, 0x6A09E667], dtype=np.uint64
)


def bands(token_lists: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
    """Return the bands of each text's signature, as signed 64-bit numbers; none for a text without tokens.

    Args:
        token_lists: The index tokens of each text, in order.
    """
    hashed = [[crc32(item.encode()) for item in _features(words)] for words in token_lists]
    filled = [number for number, values in enumerate(hashed) if values]
    result: list[tuple[int, ...]] = [()] * len(hashed)
    if not filled:
        return result
    flat = np.fromiter((value for number in filled for value in hashed[number]), dtype=np.uint64)
    lengths = np.array([len(hashed[number]) for number in filled])
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    minima = np.empty((len(_FACTORS), len(filled)), dtype=np.uint64)
    for row, (factor, offset) in enumerate(zip(_FACTORS, _OFFSETS, strict=True)):
        mixed = (flat * factor + offset) & np.uint64(0xFFFFFFFF)
        mixed ^= mixed >> np.uint64(15)
        minima[row] = np.minimum.reduceat(mixed, starts)
    keys = _join(minima)
    for column, number in enumerate(filled):
        result[number] = tuple(int(key) for key in keys[:, column])
    return result


def resemblance(first: Sequence[str], second: Sequence[str]) -> float:
    """Return the Jaccard similarity of two texts' tokens and token pairs, 0..1."""
    one, two = set(_features(first)), set(_features(second))
    union = len(one | two)
    return len(one & two) / union if union else 1.0


def _features(words: Sequence[str]) -> list[str]:
    return [*words, *(f"{left} {right}" for left, right in pairwise(words))]


def _join(minima: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    keys = np.empty((_BANDS, minima.shape[1]), dtype=np.uint64)
    for band in range(_BANDS):
        rows = minima[band * _ROWS : (band + 1) * _ROWS]
        keys[band] = (rows[0] << np.uint64(30)) ^ rows[1] ^ (np.uint64(band) << np.uint64(62))
    return keys.view(np.int64)
