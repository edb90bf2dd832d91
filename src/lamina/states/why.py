"""Why an array is stored as it is: what each coding saves, measured again on a sample of one of its shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lamina.storage.frames import WARM_GAIN, Bytes, Coding, encode

if TYPE_CHECKING:
    from lamina.states.state import StateArray

__all__ = ["Measured", "measure"]

_PIECE: Final = 16_384
_LEAST: Final = 64
"""Bytes below which a commit measures nothing."""
_NAMES: Final[Mapping[Coding, str]] = {
    Coding.SHUFFLE: "shuffle+zstd",
    Coding.ZSTD: "zstd",
    Coding.CSR: "csr+zstd",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What codings save of an array."""

    saves: Mapping[str, float]
    """Share of the bytes that each coding saves, the best first; empty where nothing is measured."""
    needed: float
    """Share that one must save at a commit to be taken."""
    sample: int
    """Bytes that were measured."""
    why: str
    """The same in words."""


def measure(array: StateArray) -> Measured:
    """Measure what codings save of the middle shard of an array: its beginning, middle and end.

    Raises:
        CorruptionError: The shard is damaged.
    """
    if not array.entries or not array.nbytes:
        return Measured(saves={}, needed=WARM_GAIN, sample=0, why="it is empty")
    shard = array._shard(len(array.entries) // 2)  # noqa: SLF001 - the base alone, without counting it as read
    content = np.empty(shard.base.length, np.uint8)
    if content.size < _LEAST:
        return Measured(saves={}, needed=WARM_GAIN, sample=0, why=f"raw, as all below {_LEAST} bytes")
    array._context.objects.read_into(shard.base, content)  # noqa: SLF001
    width = array.layout.width
    pieces = _pieces(content, width)
    total = sum(piece.size for piece in pieces)
    saves = {}
    for coding, name in _NAMES.items():
        if coding is Coding.ZSTD or width > 1:
            sizes = [len(data) if (data := encode(piece, width, coding)) else piece.size for piece in pieces]
            saves[name] = 1.0 - sum(sizes) / total
    saves = dict(sorted(saves.items(), key=lambda item: -item[1]))
    best = next(iter(saves))
    if saves[best] <= 0:
        said = "no coding makes it smaller"
    else:
        said = ", ".join(f"{name} would save {share:.1%}" for name, share in saves.items() if share > 0)
    verdict = "enough" if saves[best] >= WARM_GAIN else "too little"
    why = f"{said}; {verdict}, as {WARM_GAIN:.0%} is asked for (measured on {total:,} bytes)"
    return Measured(saves=saves, needed=WARM_GAIN, sample=total, why=why)


def _pieces(content: Bytes, width: int) -> list[Bytes]:
    """Return the beginning, the middle and the end, cut where elements begin."""
    size = min(max(width, _PIECE - _PIECE % width), content.size)
    last = content.size - size
    places = sorted({0, last // 2 // width * width, last // width * width})
    if content.size <= 3 * size:
        return [content]
    return [content[place : place + size] for place in places]
