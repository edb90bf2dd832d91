"""Grids as ai-toroidal-memory keeps them: plain binary, and the same under gzip.

Binary is ``width`` and ``height`` as 32-bit and then ``width * height`` cells, row after row, as 64-bit floats, all
little-endian: 8 + 8 * width * height bytes, to the byte. A grid has at least one cell, and every cell is finite.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from lamina.errors import CorruptionError, InvalidInputError
from lamina.formats.state_file import StateFile, as_array, only
from lamina.formats.state_source import CHUNK_BYTES, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "GRID",
    "binary_bytes",
    "cells_of",
    "check_finite",
    "grid_array",
    "grid_file",
    "left_out",
    "looks_like_binary",
    "looks_like_gzip",
    "read_binary",
    "read_gzip",
    "suggest_format",
    "write_binary",
    "write_gzip",
]

GRID: Final = "toroidal-grid"
"""What ``metadata["kind"]`` says of a grid."""
_HEADER: Final = struct.Struct("<II")
_CELL_BYTES: Final = 8
_MOST_INFLATION: Final = 1040
"""Deflate makes at most about 1,032 bytes of one."""
_MANY_SESSIONS: Final = 100


def suggest_format(*, purpose: Literal["keep", "inspect", "network", "archive"] = "keep", sessions: int = 1) -> str:
    """Return the grid format that fits.

    It is ``toroidal-bin``, but JSON to look at, and gzip to send, to archive or from 100 sessions on.

    Raises:
        InvalidInputError: The purpose is none of the four.
    """
    if purpose not in ("keep", "inspect", "network", "archive"):
        raise InvalidInputError(f"{purpose!r} is no purpose.", hint="Use keep, inspect, network or archive.")
    if purpose == "inspect":
        return "toroidal-json"
    return "toroidal-gzip" if purpose != "keep" or sessions >= _MANY_SESSIONS else "toroidal-bin"


def looks_like_binary(source: Source) -> bool:
    """Whether the file has exactly the size that its first eight bytes ask for."""
    if source.size < _HEADER.size + _CELL_BYTES:
        return False
    width, height = _HEADER.unpack(source.read(0, _HEADER.size))
    return bool(width and height and source.size == _HEADER.size + _CELL_BYTES * width * height)


def looks_like_gzip(source: Source) -> bool:
    """Whether the first eight bytes under gzip ask for the size that the last four bytes tell."""
    if source.size < 18 or source.read(0, 3) != b"\x1f\x8b\x08":
        return False
    try:
        head = zlib.decompressobj(31).decompress(source.read(0, min(source.size, 4096)), _HEADER.size)
    except zlib.error:
        return False
    if len(head) < _HEADER.size:
        return False
    width, height = _HEADER.unpack(head)
    told = int.from_bytes(source.read(source.size - 4, 4), "little")
    return bool(width and height and (_HEADER.size + _CELL_BYTES * width * height) & 0xFFFFFFFF == told)


def read_binary(source: Source) -> StateFile:
    """Read a grid.

    Raises:
        InvalidInputError: A side is 0, the size is not the one that the header asks for, or a cell is not finite.
    """
    width, height = _dimensions(source, source.read(0, _HEADER.size, "the header"))
    if source.size != (wanted := _HEADER.size + _CELL_BYTES * width * height):
        raise source.bad(
            f"a grid of {width:,} by {height:,} has {wanted:,} bytes, but there are {source.size:,}.",
            width=width,
            height=height,
        )
    import numpy as np

    cells = source.array(_HEADER.size, np.dtype("<f8"), (height, width), "the grid")
    return grid_file(source, cells, "toroidal-bin")


def read_gzip(source: Source) -> StateFile:
    """Read a grid under gzip; no more is unpacked than the header asks for and the packed size allows.

    Raises:
        InvalidInputError: As for :func:`read_binary`, or it is no gzip, or something follows it.
        CorruptionError: Its checksum does not fit.
    """
    import numpy as np

    stream = zlib.decompressobj(31)
    plain = _inflate(source, stream)
    head = b""
    while len(head) < _HEADER.size and (piece := next(plain, b"")):
        head += piece
    if len(head) < _HEADER.size:
        raise source.bad("the header of the grid is cut short.")
    width, height = _dimensions(source, head[: _HEADER.size])
    size = _CELL_BYTES * width * height
    if size > (source.size + 64) * _MOST_INFLATION:
        raise source.bad(
            f"a grid of {width:,} by {height:,} cannot come out of {source.size:,} bytes.", width=width, height=height
        )
    cells = np.empty((height, width), dtype="<f8")
    view = cells.reshape(-1).view(np.uint8).data
    at, piece = 0, head[_HEADER.size :]
    while True:
        if at + len(piece) > size:
            raise source.bad(f"there are more than the {size:,} bytes of a grid of {width:,} by {height:,}.")
        view[at : at + len(piece)] = piece
        at += len(piece)
        if not (piece := next(plain, b"")):
            break
    if at == size and not stream.eof:
        raise source.bad("the gzip is cut short: its checksum is missing.")
    if at != size:
        raise source.bad(f"a grid of {width:,} by {height:,} has {size:,} bytes of cells, but there are {at:,}.")
    return grid_file(source, cells, "toroidal-gzip")


def _inflate(source: Source, stream: zlib._Decompress) -> Iterator[bytes]:
    """Yield what is under gzip, at most a megabyte at a time."""
    try:
        for chunk in source.chunks():
            rest = chunk
            while rest and not stream.eof:
                piece = stream.decompress(rest, CHUNK_BYTES)
                rest = stream.unconsumed_tail
                if piece:
                    yield piece
            if rest or stream.unused_data:
                raise source.bad("something follows the end of the gzip.")
        while not stream.eof and (piece := stream.decompress(b"", CHUNK_BYTES)):
            yield piece
    except zlib.error as error:
        if "incorrect data check" in str(error) or "incorrect length check" in str(error):
            raise CorruptionError(
                f"{source.name} is damaged ({error}).", hint="Take it from where it came from again.", path=source.name
            ) from None
        raise source.bad(f"this is no gzip ({error}).") from None


def _dimensions(source: Source, head: bytes) -> tuple[int, int]:
    width, height = _HEADER.unpack(head)
    if not width or not height:
        raise source.bad(f"the grid has the dimensions {width} by {height}.", width=width, height=height)
    return width, height


def grid_file(
    source: Source, cells: NDArray[np.float64], format: str, metadata: Mapping[str, Any] | None = None
) -> StateFile:
    """Return checked cells as a state."""
    check_finite(cells, source.name)
    known = {"kind": GRID, "width": int(cells.shape[1]), "height": int(cells.shape[0])}
    return StateFile({"cells": cells}, known | dict(metadata or {}), format)


def check_finite(cells: NDArray[np.float64], name: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        InvalidInputError: One is there; names the place of the first.
    """
    import numpy as np

    finite = np.isfinite(cells)
    if not finite.all():
        index = int(np.argmin(finite))
        y, x = divmod(index, cells.shape[1])
        raise InvalidInputError(
            f"{name}: cell ({x}, {y}), number {index:,} of the grid, is {cells[y, x]}.",
            hint="A grid holds finite numbers only.",
            path=name,
            x=x,
            y=y,
            index=index,
        )


def cells_of(arrays: Mapping[str, Any], format: str, names: tuple[str, ...] = ("cells",)) -> NDArray[np.float64]:
    """Return the cells of a state that a grid file can hold.

    Raises:
        InvalidInputError: There are none, other arrays stand beside them, or a cell is not finite.
    """
    import numpy as np

    only(arrays, names, format)
    if names[0] not in arrays:
        raise InvalidInputError(f"The state has no array {names[0]!r}.", hint=f"{format} holds one grid.")
    return grid_array(as_array(arrays[names[0]], names[0]).astype(np.float64, copy=False), names[0])


def grid_array(cells: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return an array that is a grid: two dimensions, at least one cell, all finite."""
    if cells.ndim != 2 or 0 in cells.shape or max(cells.shape) >= 1 << 32:
        raise InvalidInputError(
            f"{name!r} has the shape {list(cells.shape)}, which is no grid.", hint="A grid has rows and columns."
        )
    check_finite(cells, repr(name))
    return cells


def left_out(metadata: Mapping[str, Any], kept: tuple[str, ...], format: str, notes: list[str]) -> None:
    """Note which metadata a format has no place for."""
    lost = [key for key in metadata if key not in ("kind", "width", "height", *kept)]
    if lost:
        notes.append(f"{format} has no place for the metadata {', '.join(map(str, lost))}; it was left out.")


def binary_bytes(cells: NDArray[np.float64]) -> bytes:
    """Return a grid in the plain binary form."""
    height, width = cells.shape
    return _HEADER.pack(width, height) + cells.astype("<f8", copy=False).tobytes()


def write_binary(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write the array ``cells``."""
    cells = cells_of(arrays, "toroidal-bin")
    left_out(metadata, (), "toroidal-bin", notes)
    yield binary_bytes(cells)


def write_gzip(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write the array ``cells`` under gzip, level 6 and without a time: equal grids, equal bytes."""
    cells = cells_of(arrays, "toroidal-gzip")
    left_out(metadata, (), "toroidal-gzip", notes)
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    yield packer.compress(binary_bytes(cells))
    yield packer.flush()
