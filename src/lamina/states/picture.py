"""Pictures of a grid: coloured half-blocks for a terminal, and PNG.

PNG is written here with zlib from the standard library: an uncompressed filter, one colour type and three chunks are
thirty lines, where an imaging library would be a dependency of megabytes.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["half_blocks", "png", "shrink"]

_SHADES: Final = " ░▒▓█"
_STOPS: Final = ((8, 8, 24), (60, 20, 110), (185, 45, 95), (250, 140, 45), (255, 250, 190))
"""From nothing to full: night, violet, crimson, orange, pale yellow; lightness only ever rises."""
_RESET: Final = "\x1b[0m"


def half_blocks(cells: NDArray[np.float64], *, width: int, low: float, high: float, color: bool) -> str:
    """Return lines of text that show a grid, two rows of cells in each line.

    Args:
        cells: The grid as ``[y, x]``.
        width: The most characters in a line; a wider grid is made smaller by whole cells, each showing the largest
            of those it stands for, so that nothing active vanishes.
        low: What is drawn as nothing.
        high: What is drawn as full.
        color: 24-bit ANSI colours; else five shades, each the mean of an upper and a lower cell.
    """
    import numpy as np

    small = shrink(cells, width)
    if small.shape[0] % 2:
        small = np.vstack([small, np.full((1, small.shape[1]), low)])
    level = _levels(small, low, high)
    upper, lower = level[0::2], level[1::2]
    if not color:
        shade = np.rint((upper + lower) / 2 * (len(_SHADES) - 1)).astype(int)
        return "\n".join("".join(_SHADES[index] for index in row) for row in shade)
    top, bottom = _colors(upper), _colors(lower)
    return "\n".join(_colored_line(top[row], bottom[row]) for row in range(len(top)))


def _colored_line(top: NDArray[np.uint8], bottom: NDArray[np.uint8]) -> str:
    parts: list[str] = []
    before = ""
    for (r, g, b), (s, h, c) in zip(top.tolist(), bottom.tolist(), strict=True):
        code = f"\x1b[38;2;{r};{g};{b};48;2;{s};{h};{c}m"
        parts.append("▀" if code == before else code + "▀")
        before = code
    return "".join(parts) + _RESET


def png(cells: NDArray[np.float64], *, scale: int, low: float, high: float) -> bytes:
    """Return a PNG of 8-bit RGB, ``scale`` pixels a cell; the same grid always gives the same bytes."""
    import numpy as np

    pixels = _colors(_levels(cells, low, high)).repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row begins with its filter, 0: none
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def shrink(cells: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the grid no wider than ``width``, square blocks of cells drawn together to their largest."""
    import numpy as np

    factor = -(-cells.shape[1] // width)
    if factor <= 1:
        return cells
    down: NDArray[np.float64] = np.maximum.reduceat(cells, np.arange(0, cells.shape[0], factor), axis=0)
    return np.asarray(np.maximum.reduceat(down, np.arange(0, cells.shape[1], factor), axis=1))


def _levels(cells: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    import numpy as np

    return np.clip((cells - low) / (high - low), 0.0, 1.0)


def _colors(level: NDArray[np.float64]) -> NDArray[np.uint8]:
    import numpy as np

    places = np.linspace(0.0, 1.0, len(_STOPS))
    channels = [np.interp(level, places, [stop[index] for stop in _STOPS]) for index in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
