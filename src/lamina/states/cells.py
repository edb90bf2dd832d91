"""Cells of a grid: what is said of them, and the checks of the values and places that callers pass."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lamina.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Cell",
    "GridStats",
    "Recalled",
    "check_cells",
    "check_finite",
    "check_radius",
    "check_size",
    "check_whole",
    "ring_around",
    "ring_gap",
]


class Cell(NamedTuple):
    """A place in a grid and what is in it."""

    x: int
    y: int
    value: float


class Recalled(NamedTuple):
    """A labelled cell and its retrieval score."""

    x: int
    y: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class GridStats:
    """Figures of one layer."""

    cells: int
    active: int
    """Cells above 0.01."""
    active_percent: float
    minimum: float
    maximum: float
    mean: float


def check_size(value: object, what: str) -> int:
    """Return a width or height: a whole number from 1."""
    number = check_whole(value, what)
    if number < 1:
        raise InvalidInputError(f"{what} is {number}.", hint="A grid has at least one cell.", field=what)
    return number


def check_whole(value: object, what: str) -> int:
    """Return a whole number of any size; numpy's count too.

    Raises:
        InvalidInputError: It is something else.
    """
    if not isinstance(value, bool):
        try:
            return operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise InvalidInputError(f"{what} is {value!r:.80}, not a whole number.", hint="Pass a whole number.", field=what)


def check_finite(value: object, what: str) -> float:
    """Return a number as a float.

    Raises:
        InvalidInputError: It is no number, NaN or infinite.
    """
    try:
        number = math.nan if isinstance(value, (str, bytes, bool)) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInputError(f"{what} is {value!r}.", hint="Pass a finite number.", field=what)
    return number


def check_radius(value: object) -> float:
    """Return a radius: a finite number from 0."""
    radius = check_finite(value, "radius")
    if radius < 0:
        raise InvalidInputError(f"radius is {radius:g}.", hint="Pass a number from 0.", field="radius")
    return radius


def ring_around(middle: int, reach: int, size: int) -> list[int]:
    """Return the places within ``reach`` of one on a ring, each once."""
    if 2 * reach + 1 >= size:
        start = middle - size // 2 if reach else middle
        return [(start + step) % size for step in range(size)]
    return [(middle + step) % size for step in range(-reach, reach + 1)]


def ring_gap(places: list[int], middle: int, size: int) -> NDArray[np.float64]:
    """Return how far places on a ring are from one of them, the shorter way round."""
    import numpy as np

    straight = np.abs(np.array(places) - middle)
    return np.asarray(np.minimum(straight, size - straight), dtype=np.float64)


def check_cells(array: NDArray[np.float64], layer: str) -> None:
    """Refuse an array with NaN or infinity, naming the first such cell."""
    import numpy as np

    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        y, x = (int(index) for index in bad[0])
        raise InvalidInputError(
            f"Cell ({x}, {y}) of {layer} is {array[y, x]}.", hint="A grid holds finite numbers only.", x=x, y=y
        )


def check_delta(
    x: object, y: object, values: object
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the columns of a delta as arrays.

    Raises:
        InvalidInputError: They differ in length or hold what is no coordinate or no finite number.
    """
    import numpy as np

    try:
        columns, rows, new = np.asarray(x), np.asarray(y), np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError("The delta's values are no numbers.", hint="Use finite numbers.") from None
    if not (columns.ndim == rows.ndim == new.ndim == 1 and len(columns) == len(rows) == len(new)):
        raise InvalidInputError("The columns of the delta differ in length.", hint="Pass one x, y and value each.")
    if len(new) and not (columns.dtype.kind in "iu" and rows.dtype.kind in "iu"):
        raise InvalidInputError("The delta's coordinates are no whole numbers.", hint="Pass integer arrays.")
    bad = np.flatnonzero(~np.isfinite(new))
    if len(bad):
        raise InvalidInputError(f"Change {bad[0]} of the delta is {new[bad[0]]}.", hint="Use finite numbers.")
    return columns.astype(np.int64), rows.astype(np.int64), new


def check_triples(cells: Any) -> list[tuple[Any, Any, Any]]:
    """Return cells given as ``(x, y, value)``.

    Raises:
        InvalidInputError: One is something else, or they are no list.
    """
    try:
        listed = list(cells)
    except TypeError:
        raise InvalidInputError("The cells are no list.", hint="Pass (x, y, value) for each.") from None
    for number, cell in enumerate(listed):
        try:
            x, y, value = cell
        except (TypeError, ValueError):
            raise InvalidInputError(
                f"Cell number {number} is {cell!r:.80}, not (x, y, value).", hint="Pass three numbers for each."
            ) from None
        listed[number] = (x, y, value)
    return listed


def check_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a copy of a mapping; None is an empty one.

    Raises:
        InvalidInputError: It is something else.
    """
    if value is not None and not isinstance(value, Mapping):
        raise InvalidInputError(f"{what} is no mapping, but {value!r:.80}.", hint="Pass a dict.", field=what)
    return dict(value or {})


def check_place(value: Any) -> tuple[Any, Any]:
    """Return what stands in the brackets of a grid: ``x, y``.

    Raises:
        InvalidInputError: It is something else.
    """
    if not isinstance(value, tuple) or len(value) != 2:
        raise InvalidInputError(f"{value!r:.80} is no place in a grid.", hint="Write grid[x, y].")
    return value
