"""Grids as JSON: plain, as a versioned snapshot, and as the server of ai-toroidal-memory keeps them.

=================== ===================================================================================
``toroidal-json``     ``{"width", "height", "data": [numbers]}``
``toroidal-snapshot`` ``{"version": 1, "width", "height", "data"}``; version 2 may add ``created_at``,
                      ``last_modified``, ``user_id``, ``diffusion_config`` and ``metadata``
``toroidal-server``   ``{"width", "height", "cells": [[numbers]], "diffusion_config", "metadata"}``
=================== ===================================================================================

Written as Rust's serde_json writes them, to the byte: two spaces, a number a line, the shortest digits. No format of
the original defines version 2 of a snapshot; this one holds what its text asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import FormatError, InvalidInputError
from lamina.formats.json_numbers import parse_json, plain
from lamina.formats.state_file import StateFile
from lamina.formats.state_source import Source
from lamina.formats.toroidal import cells_of, grid_file, left_out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["format_of", "read", "rust_number", "write_plain", "write_server", "write_snapshot"]

SNAPSHOT_VERSION: Final = 2
_KEPT: Final = ("created_at", "last_modified", "user_id", "diffusion_config", "metadata")
_RATES: Final = ("diffusion_rate", "decay_rate", "threshold")
_PIECE: Final = 8192


def format_of(keys: list[str]) -> str | None:
    """Return which of the three formats an object with these keys is, or None."""
    if not {"width", "height"} <= set(keys):
        return None
    if "cells" in keys:
        return "toroidal-server"
    if "version" in keys:
        return "toroidal-snapshot"
    return "toroidal-json" if "data" in keys else None


def read(source: Source) -> StateFile:
    """Read any of the three.

    Raises:
        InvalidInputError: It is not JSON, a field is missing or wrong, the cells are too few or too many, or a value
            is no finite number; names the first.
        FormatError: A snapshot of a version that is not known.
    """
    value = parse_json(source.chunks(), source.name)
    if not isinstance(value, dict):
        raise source.bad("this is no JSON object.")
    format = format_of(list(value))
    if format is None:
        raise source.bad("this is no grid: width, height, and data or cells are needed.")
    width, height = _side(source, value, "width"), _side(source, value, "height")
    cells = _cells(source, value.pop("cells" if format == "toroidal-server" else "data", None), width, height)
    version = value.pop("version", None) if format == "toroidal-snapshot" else None
    if format == "toroidal-snapshot" and version not in (1, 2):
        raise FormatError(
            f"{source.name} is a snapshot of version {version!r}; 1 and 2 are known.",
            hint="Use a newer Lamina.",
            path=source.name,
        )
    metadata = {key: plain(item) for key, item in value.items() if key not in ("width", "height")}
    _check_rates(source, metadata)
    return grid_file(source, cells, format, metadata)


def _side(source: Source, value: dict[str, Any], key: str) -> int:
    side = value.get(key)
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise source.bad(f"{key} is {side!r}, not a whole number from 1.")
    return side


def _cells(source: Source, given: Any, width: int, height: int) -> NDArray[np.float64]:
    """Return the cells, flat in the file or in rows."""
    import numpy as np

    rows = given
    if hasattr(given, "dtype"):  # numbers only: a flat list, or no rows at all
        if given.size != width * height:
            raise source.bad(f"a grid of {width:,} by {height:,} has {width * height:,} cells, not {given.size:,}.")
        return np.asarray(given.reshape(height, width), dtype=np.float64)
    if not isinstance(rows, list):
        raise source.bad("the cells are no list.")
    for y, row in enumerate(rows):
        if not hasattr(row, "dtype"):
            if isinstance(row, list):
                x = next(index for index, item in enumerate(row) if not _is_number(item))
                raise source.bad(f"cell ({x}, {y}) is {_shown(row[x])}, not a number.", x=x, y=y)
            index = next((index for index, item in enumerate(rows) if not _is_number(item)), y)
            raise source.bad(f"number {index:,} of the grid is {_shown(rows[index])}.", index=index)
        if len(row) != width:
            raise source.bad(f"row {y:,} has {len(row):,} cells, not {width:,}.", y=y)
    if len(rows) != height:
        raise source.bad(f"there are {len(rows):,} rows, not {height:,}.")
    return np.array(rows, dtype=np.float64).reshape(height, width)


def _shown(value: Any) -> str:
    return json.dumps(plain(value))[:40]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_rates(source: Source, metadata: dict[str, Any]) -> None:
    config = metadata.get("diffusion_config")
    if config is None:
        return
    if not isinstance(config, dict) or not all(_is_number(config.get(key)) for key in config):
        raise source.bad("diffusion_config is no object of numbers.")


def write_plain(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write the array ``cells`` as a flat list."""
    cells = cells_of(arrays, "toroidal-json")
    left_out(metadata, (), "toroidal-json", notes)
    yield _opening(cells)
    yield from _data(cells)
    yield b"\n}"


def write_snapshot(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write version 2: the array ``cells`` with its times, user, settings and further metadata."""
    cells = cells_of(arrays, "toroidal-snapshot")
    left_out(metadata, _KEPT, "toroidal-snapshot", notes)
    yield _opening(cells, f'  "version": {SNAPSHOT_VERSION},\n')
    yield from _data(cells)
    for key in _KEPT:
        if key in metadata:
            yield f',\n  "{key}": {_pretty(metadata[key], 1)}'.encode()
    yield b"\n}"


def write_server(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write what the server loads: rows of cells, all three rates, and metadata that is text only.

    Raises:
        InvalidInputError: A rate is missing or unknown.
    """
    cells = cells_of(arrays, "toroidal-server")
    config = metadata.get("diffusion_config")
    if not isinstance(config, Mapping) or set(config) != set(_RATES):
        raise InvalidInputError(
            "toroidal-server needs a diffusion_config.", hint=f"Give {', '.join(_RATES)} in the metadata."
        )
    given = metadata.get("metadata")
    texts = {str(key): item for key, item in (given if isinstance(given, Mapping) else {}).items()}
    for key, item in list(texts.items()):
        if not isinstance(item, str):
            texts[key] = json.dumps(item, ensure_ascii=False, allow_nan=False)
            notes.append(f"The metadata {key} is no text; it was written as JSON text.")
    left_out(metadata, ("diffusion_config", "metadata"), "toroidal-server", notes)
    yield _opening(cells)
    yield b'  "cells": [\n'
    for y, row in enumerate(cells.tolist()):
        text = ",\n".join(f"      {rust_number(number)}" for number in row)
        yield f"    [\n{text}\n    ]{',' if y + 1 < len(cells) else ''}\n".encode()
    rates = {key: float(config[key]) for key in _RATES}
    yield f'  ],\n  "diffusion_config": {_pretty(rates, 1)},\n  "metadata": {_pretty(texts, 1)}\n}}'.encode()


def _opening(cells: NDArray[np.float64], more: str = "") -> bytes:
    return f'{{\n{more}  "width": {cells.shape[1]},\n  "height": {cells.shape[0]},\n'.encode()


def _data(cells: NDArray[np.float64]) -> Iterator[bytes]:
    yield b'  "data": [\n'
    flat = cells.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        text = ",\n".join(f"    {rust_number(number)}" for number in flat[start : start + _PIECE].tolist())
        yield (text if start + _PIECE >= len(flat) else text + ",\n").encode()
    yield b"\n  ]"


def _pretty(value: Any, depth: int) -> str:
    """Return JSON as serde_json's pretty printer writes it."""
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, Mapping):
        items = [f"{inner}{_text(str(key))}: {_pretty(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{outer}}}" if items else "{}"
    if isinstance(value, (list, tuple)):
        items = [f"{inner}{_pretty(item, depth + 1)}" for item in value]
        return "[\n" + ",\n".join(items) + f"\n{outer}]" if items else "[]"
    if isinstance(value, float):
        return rust_number(value)
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def rust_number(value: float) -> str:
    """Return a finite float as serde_json writes it.

    The digits are the shortest that give the number back, as in Python. The point differs: Rust writes 0.00001 in
    full and exponents without ``+`` or leading zeros, Python writes 1e-05.
    """
    text = repr(value)
    if "e" not in text:
        return text
    digits, _, exponent = text.partition("e")
    power = int(exponent)
    if power == -5:
        sign = "-" if digits.startswith("-") else ""
        return f"{sign}0.0000{digits.lstrip('-').replace('.', '')}"
    return f"{digits}e{power}"
