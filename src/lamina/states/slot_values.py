"""What callers give for slots: their numbers, their rows and the values of their columns. Nothing is cut to fit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import InvalidInputError
from lamina.states.cells import check_whole
from lamina.states.checks import check_rows, to_array
from lamina.states.layout import Layout
from lamina.storage.records import to_micros

__all__ = ["COLUMNS", "column_values", "moment", "slot_numbers", "slot_rows"]

COLUMNS: Mapping[str, str] = {"timestamp": "<i8", "access_count": "<i8", "surprise": "<f8"}
"""Columns of every tensor: microseconds since 1970 of the last write, reads that were counted, and surprise."""


def slot_numbers(numbers: Any, layout: Layout, tensor: str) -> npt.NDArray[np.int64]:
    """Return numbers of slots from 0, in the order they were given.

    Raises:
        InvalidInputError: They are no whole numbers, or one is beyond the tensor.
    """
    if isinstance(numbers, (set, frozenset, range)) or hasattr(numbers, "__next__"):
        numbers = list(numbers)  # what numpy would take for one object
    return check_rows(numbers, layout, tensor)


def slot_rows(values: Any, tensor: str, count: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a row for each of ``count`` slots; one row, or one number, is for all of them.

    Raises:
        InvalidInputError: There are more rows or fewer, or they have another form.
    """
    given = to_array(values, tensor)
    if given.shape not in ((count, *shape), shape, ()):
        raise InvalidInputError(
            f"The values for {count:,} slot{'' if count == 1 else 's'} of {tensor!r} have the shape {given.shape}, "
            f"not {(count, *shape)}.",
            hint="Pass a row for each slot, or one row for all.",
        )
    return np.broadcast_to(given, (count, *shape))


def column_values(given: Any, column: str, count: int) -> npt.NDArray[Any]:
    """Return a value of a column for each of ``count`` slots; a number alone is for all of them.

    Raises:
        InvalidInputError: They are no numbers, too many or too few, or the column cannot hold one exactly.
    """
    dtype = COLUMNS[column]
    if column == "timestamp":
        given = _times(given)
    try:
        array = to_array(given, column)
    except InvalidInputError:
        array = np.empty(0, "?")
    if array.dtype.kind not in "iuf" or array.shape not in ((), (count,)):
        raise InvalidInputError(
            f"{column} must be one number for each of {count:,} slot{'' if count == 1 else 's'}, or one for all.",
            hint="Pass a number, or a list of them.",
        )
    with np.errstate(invalid="ignore", over="ignore"):
        made = array.astype(dtype)
        beyond = array.dtype.kind == "u" and made.size and bool((made < 0).any())
    if dtype == "<i8" and (beyond or not np.array_equal(made, array)):
        raise InvalidInputError(f"{column} holds what is no whole number of 64 bits.", hint="Pass whole numbers.")
    if np.isnan(array).any():
        raise InvalidInputError(f"{column} holds NaN.", hint="Pass numbers; infinite ones are fine.")
    return np.broadcast_to(made, (count,))


def moment(value: Any, what: str) -> int:
    """Return a moment in microseconds since 1970: what is given so, or as a ``datetime``.

    Raises:
        InvalidInputError: It is neither, or no number of 64 bits.
    """
    micros = to_micros(value, what) if isinstance(value, datetime) else check_whole(value, what)
    if not -(1 << 63) <= micros < 1 << 63:
        raise InvalidInputError(f"{what} is {micros}, beyond 64 bits.", hint="Pass microseconds since 1970.")
    return micros


def _times(given: Any) -> Any:
    """Return moments as numbers; ``datetime64`` as numpy has it counts too."""
    if isinstance(given, datetime):
        return to_micros(given)
    if isinstance(given, (list, tuple)) and any(isinstance(one, datetime) for one in given):
        return [to_micros(one) if isinstance(one, datetime) else one for one in given]
    if getattr(getattr(given, "dtype", None), "kind", "") == "M":
        return np.asarray(given).astype("datetime64[us]").astype(np.int64)
    return given
