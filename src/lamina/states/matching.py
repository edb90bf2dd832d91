"""Finding a small pattern of cells in a wrapped grid, and how much of it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["check_pattern", "equal_share", "find_exact"]


def check_pattern(pattern: object, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return a pattern as a two-dimensional array that is no larger than the grid.

    Raises:
        InvalidInputError: It is not made of rows of numbers, is empty, or is larger than ``shape`` (height, width).
    """
    import numpy as np

    try:
        cells = np.array(pattern, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError("The pattern is no table of numbers.", hint="Pass rows of equal length.") from None
    if cells.ndim != 2 or 0 in cells.shape:
        raise InvalidInputError(
            f"The pattern has the shape {cells.shape}, not rows and columns.", hint="Pass rows of equal length."
        )
    if cells.shape[0] > shape[0] or cells.shape[1] > shape[1]:
        raise InvalidInputError(
            f"The pattern has {cells.shape[0]} rows of {cells.shape[1]}; the grid has {shape[0]} of {shape[1]}.",
            hint="A pattern larger than the grid would meet itself; cut it.",
        )
    return cells


def find_exact(cells: NDArray[np.float64], pattern: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return every ``(x, y)`` at which the pattern's first cell lies when all of it is equal, in reading order."""
    import numpy as np

    found = np.ones(cells.shape, dtype=bool)
    for y, row in enumerate(pattern):
        for x, value in enumerate(row):
            found &= np.roll(cells == value, (-y, -x), axis=(0, 1))
            if not found.any():
                return []
    return [(int(x), int(y)) for y, x in np.argwhere(found)]


def equal_share(cells: NDArray[np.float64], pattern: NDArray[np.float64], x: int, y: int) -> float:
    """Return which part of the pattern's cells, laid with its first one at ``(x, y)``, is equal: from 0 to 1."""
    import numpy as np

    rows = (np.arange(pattern.shape[0]) + y) % cells.shape[0]
    columns = (np.arange(pattern.shape[1]) + x) % cells.shape[1]
    return float(np.mean(cells[np.ix_(rows, columns)] == pattern))
