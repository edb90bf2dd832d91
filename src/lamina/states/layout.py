"""How an array lies in shards: cells in frames of about 16 KB, 256 frames a shard of about 4 MB.

A cell is what a patch replaces: a row where that fits a frame, otherwise an even part of one. Precision is a codec of
arrays to arrays: cells are stored in another form and come back in the array's own dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import CorruptionError, DependencyError, InvalidInputError
from lamina.storage.frames import FRAME_BYTES, Bytes
from lamina.storage.shards import frame_size

__all__ = ["FRAMES_A_SHARD", "PRECISIONS", "Layout", "dtype_name", "find_dtype", "fitting"]

FRAMES_A_SHARD = 256
PRECISIONS = ("exact", "float16", "int8")
"""Append-only: manifests name them by their place."""

_BLOCK = 1 << 17
"""Elements that are rounded at a time."""
_LEAST_ELEMENTS = 16
"""Of a row that int8 pays for."""
_BUILT_IN = "biufcmMSU"
_MOST_BYTES = 1 << 50


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name under which a dtype is stored.

    Raises:
        InvalidInputError: It holds Python objects or named fields.
    """
    if dtype.kind in _BUILT_IN and dtype.itemsize and dtype.subdtype is None:
        return dtype.newbyteorder("<").str.replace("=", "<")
    if dtype.kind in "Vf" and dtype.fields is None and dtype.subdtype is None and _registered(dtype.name) == dtype:
        return dtype.name
    raise InvalidInputError(
        f"Arrays of dtype {dtype} cannot be stored.",
        hint="Use numbers, booleans, times or fixed-length strings; put each field into an array of its own.",
    )


@lru_cache(maxsize=256)
def find_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of a stored name.

    Raises:
        DependencyError: It is one of ``ml_dtypes``, and that is not installed.
        CorruptionError: It is none.
    """
    try:
        found = np.dtype(name)
    except TypeError:
        found = None
    if found is None:
        found = _registered(name)
    if found is None:
        try:
            import ml_dtypes  # noqa: F401
        except ImportError:
            raise DependencyError(
                f"The dtype {name} needs a package that is not installed.", hint="Run `pip install ml_dtypes`."
            ) from None
    if found is None or found.hasobject or found.itemsize == 0:
        raise CorruptionError(f"A manifest names the dtype {name!r}, which is none.", hint="Run `lamina verify`.")
    return found


def _registered(name: str) -> np.dtype[Any] | None:
    """Return a dtype of ``ml_dtypes`` (bfloat16, float8_e4m3fn, ...)."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    found = getattr(ml_dtypes, name, None)
    if found is None or not isinstance(found, type):
        return None
    try:
        return np.dtype(found)
    except TypeError:
        return None


@dataclass(frozen=True, slots=True)
class Layout:
    """Geometry of one array; everything follows from dtype, shape and precision."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    precision: str
    rows: int
    """Length of the first axis; 1 where there is none."""
    width: int
    """Stored bytes of one element; what the byte shuffle and the element patches go by."""
    cell: int
    """Stored bytes of one cell."""
    cells_a_row: int
    frame_cells: int
    shard_cells: int
    cells: int
    """All of the array's; 0 where it is empty."""

    @classmethod
    def of(cls, dtype: np.dtype[Any], shape: tuple[int, ...], precision: str = "exact") -> Layout:
        """Return the layout of an array; what is stored is little-endian, whatever was given."""
        if dtype.byteorder == ">" or (dtype.byteorder == "=" and not np.little_endian):
            dtype = dtype.newbyteorder("<")
        rows = shape[0] if shape else 1
        elements = math.prod(shape[1:]) if shape else 1
        width = {"float16": 2, "int8": 1}.get(precision, dtype.itemsize)
        if rows * elements * max(width, dtype.itemsize) > _MOST_BYTES:
            raise InvalidInputError(f"An array of shape {shape} is too large.", hint="Split it.")
        if precision == "int8":
            cell, per_row = elements + 4, 1  # a float32 scale, then the codes
        else:
            chosen = _cell_elements(elements, width)
            cell, per_row = chosen * width, elements // chosen if chosen else 0
        if not elements:
            return cls(dtype, shape, precision, rows, width, max(1, cell), 0, 1, FRAMES_A_SHARD, 0)
        frame_cells = frame_size(cell) // cell
        return cls(
            dtype, shape, precision, rows, width, cell, per_row, frame_cells, frame_cells * FRAMES_A_SHARD,
            rows * per_row,
        )  # fmt: skip

    @property
    def frame_bytes(self) -> int:
        """Plain bytes of a whole frame."""
        return self.frame_cells * self.cell

    @property
    def shards(self) -> int:
        """How many shards the array has."""
        return -(-self.cells // self.shard_cells)

    @property
    def row_elements(self) -> int:
        """Elements of one row."""
        return math.prod(self.shape[1:]) if self.shape else 1

    @property
    def element_patches(self) -> bool:
        """Whether single elements can be patched: cells are plain elements, more than one each."""
        return self.precision != "int8" and self.width < self.cell

    def cells_in(self, shard: int) -> int:
        """Cells of one shard."""
        return min(self.shard_cells, self.cells - shard * self.shard_cells)

    def bytes_in(self, shard: int) -> int:
        """Plain bytes of one shard."""
        return self.cells_in(shard) * self.cell

    def same_cells(self, other: Layout) -> bool:
        """Whether shards of both can be compared: the same form of cells, whatever the number of rows."""
        return (
            self.dtype == other.dtype
            and self.shape[1:] == other.shape[1:]
            and bool(self.shape) == bool(other.shape)
            and self.precision == other.precision
        )

    def encode(self, values: npt.NDArray[Any]) -> Bytes:
        """Return rows of the array as stored bytes, (rows * cells a row * cell); a view where that is possible.

        Raises:
            InvalidInputError: A value cannot be held in the chosen precision.
        """
        if self.precision == "exact":
            return _bytes_of(values.astype(self.dtype, copy=False))
        if not values.size:
            return np.empty(0, np.uint8)
        out = np.empty((len(values), self.cells_a_row * self.cell), np.uint8)
        block = max(1, _BLOCK // self.row_elements)
        for start in range(0, len(values), block):  # temporaries of a whole shard would weigh more than the shard
            part = np.ascontiguousarray(values[start : start + block]).reshape(-1, self.row_elements)
            stored = _halves(part) if self.precision == "float16" else self._scaled(part)
            out[start : start + block] = stored.reshape(len(part), -1)
        return out.reshape(-1)

    def _scaled(self, rows: npt.NDArray[Any]) -> Bytes:
        """Return rows as a scale and codes of one byte each."""
        wide = rows.astype(np.float32)
        peaks = np.abs(wide).max(axis=1, initial=0.0)
        if not np.isfinite(peaks).all():
            raise InvalidInputError(
                "A value is NaN or infinite, which int8 cannot hold.", hint='Commit it without precision="int8".'
            )
        scales = (peaks / 127.0).astype("<f4")
        wide /= np.where(scales > 0, scales, 1.0)[:, None]
        out = np.empty((len(rows), self.cell), np.uint8)
        out[:, :4] = scales.view(np.uint8).reshape(-1, 4)
        out[:, 4:] = np.clip(np.rint(wide, out=wide), -127, 127, out=wide).astype(np.int8).view(np.uint8)
        return out

    def decode(self, stored: Bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return stored bytes of whole rows as an array of the array's dtype; a view where that is possible."""
        if self.precision == "exact":
            return stored.view(self.dtype).reshape(shape)
        if self.precision == "float16":
            return stored.view("<f2").astype(self.dtype).reshape(shape)
        cells = stored.reshape(-1, self.cell)
        scales = np.ascontiguousarray(cells[:, :4]).view("<f4")
        values: npt.NDArray[Any] = (cells[:, 4:].view(np.int8) * scales).astype(self.dtype).reshape(shape)
        return values


def fitting(precision: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    """Return the precision that an array gets where this one is asked for: ``exact`` where it does not apply or pay.

    Only floats that numpy has itself are rounded: neither integers nor bfloat16 and float8, nor float16 to itself. And
    int8 needs rows of 16 elements: each has a scale of four bytes, which would take back what narrow rows save.
    """
    if dtype.kind != "f":
        return "exact"
    if precision == "float16":
        return "exact" if dtype.itemsize <= 2 else precision
    narrow = not shape or math.prod(shape[1:]) < _LEAST_ELEMENTS
    return "exact" if dtype.itemsize < 2 or narrow else precision


def _halves(values: npt.NDArray[Any]) -> Bytes:
    with np.errstate(over="ignore"):
        halves = values.astype("<f2")
    if not np.array_equal(np.isinf(halves), np.isinf(values)):
        raise InvalidInputError(
            "A value is too large for float16 (65,504 at most).", hint='Commit it without precision="float16".'
        )
    return _bytes_of(halves)


def _bytes_of(values: npt.NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


@lru_cache(maxsize=1024)
def _cell_elements(elements: int, width: int) -> int:
    """Return the largest even part of a row that fits a frame."""
    most = max(1, FRAME_BYTES // width)
    if elements <= most:
        return elements
    return next(count for count in range(most, 0, -1) if elements % count == 0)
