"""Changes of a grid: a count, then for each change ``x``, ``y`` (32-bit, signed) and the new value (64-bit float).

All little-endian: 4 + 16 * count bytes. A delta is read as the arrays ``x``, ``y`` and ``value``, in the file's order;
:meth:`lamina.ToroidalGrid.apply_delta` lays it over its base, where a later change of a cell wins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError
from lamina.formats.state_file import StateFile, as_array, only
from lamina.formats.state_source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["looks_like", "read", "write"]

_FIELDS: Final = [("x", "<i4"), ("y", "<i4"), ("value", "<f8")]
_BYTES: Final = 16
_NAMES: Final = ("x", "y", "value")


def looks_like(source: Source) -> bool:
    """Whether the file has exactly the size that its count asks for."""
    if source.size < 4:
        return False
    return source.size == 4 + _BYTES * int(struct.unpack("<I", source.read(0, 4))[0])


def read(source: Source) -> StateFile:
    """Read the changes.

    Raises:
        InvalidInputError: The size is not the one that the count asks for, or a value is not finite.
    """
    import numpy as np

    (count,) = struct.unpack("<I", source.read(0, 4, "the count"))
    if source.size != 4 + _BYTES * count:
        raise source.bad(f"{count:,} changes take {4 + _BYTES * count:,} bytes, but there are {source.size:,}.")
    changes = source.array(4, np.dtype(_FIELDS), (count,), "the changes")
    arrays = {name: changes[name].copy() for name in _NAMES}
    _check(arrays["value"], source.name)
    return StateFile(arrays, {"kind": "toroidal-delta", "changes": count}, "toroidal-delta")


def _check(values: NDArray[Any], name: str) -> None:
    import numpy as np

    finite = np.isfinite(values)
    if not finite.all():
        index = int(np.argmin(finite))
        raise InvalidInputError(
            f"{name}: change {index:,} sets {values[index]}.",
            hint="A grid holds finite numbers only.",
            path=name,
            index=index,
        )


def write(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write the arrays ``x``, ``y`` and ``value``.

    Raises:
        InvalidInputError: One is missing, they differ in length, a coordinate does not fit 32 bits, or a value is
            not finite.
    """
    import numpy as np

    only(arrays, _NAMES, "toroidal-delta")
    if missing := [name for name in _NAMES if name not in arrays]:
        raise InvalidInputError(f"The delta has no array {missing[0]!r}.", hint="Give x, y and value.")
    columns = {name: as_array(arrays[name], name) for name in _NAMES}
    count = columns["x"].size
    if any(column.shape != (count,) for column in columns.values()) or count >= 1 << 32:
        raise InvalidInputError("x, y and value differ in length.", hint="Give one of each for a change.")
    for name in ("x", "y"):
        column = columns[name]
        if count and (column.dtype.kind not in "iu" or int(abs(column.astype(object)).max()) >= 1 << 31):
            raise InvalidInputError(f"{name} holds what is no 32-bit whole number.", hint="Give cells of the grid.")
    _check(columns["value"].astype(np.float64), "value")
    lost = [str(key) for key in metadata if key not in ("kind", "changes")]
    if lost:
        notes.append(f"toroidal-delta has no place for the metadata {', '.join(lost)}; it was left out.")
    changes = np.empty(count, dtype=_FIELDS)
    for name, column in columns.items():
        changes[name] = column
    yield struct.pack("<I", count) + changes.tobytes()
