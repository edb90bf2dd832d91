"""Weights as TensorFlow.js saves a model: ``model.json`` with a manifest, and binary files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina import fs
from lamina.formats.json_numbers import parse_json, plain
from lamina.formats.state_file import ArrayEntry, checked_shape, named_dtype
from lamina.formats.state_source import Source, elements

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_weights"]

_TYPES: Final = {"float32": "float32", "int32": "int32", "bool": "bool", "uint8": "uint8", "float16": "float16"}


def read_weights(folder: Path, prefix: str, notes: list[str]) -> dict[str, ArrayEntry]:
    """Read the manifest; arrays, called ``prefix/NAME``, load when they are asked for.

    Raises:
        InvalidInputError: The manifest is wrong, a file leads outside the folder, or its length is not what the
            shapes ask for.
        NotFoundError: A file is missing.
    """
    source = Source(folder / "model.json")
    value = plain(parse_json(source.chunks(), source.name))
    groups = value.get("weightsManifest") if isinstance(value, dict) else None
    entries: dict[str, ArrayEntry] = {}
    for group in groups if isinstance(groups, list) else []:
        if not isinstance(group, dict) or not isinstance(group.get("weights"), list):
            raise source.bad("the manifest of weights is wrong.")
        paths = group.get("paths")
        if not isinstance(paths, list) or len(paths) != 1 or not isinstance(paths[0], str):
            raise source.bad("weights in several files are not read.", "Save the model with one file of weights.")
        data, at = Source(fs.inside(folder, paths[0])), 0
        for weight in group["weights"]:
            name, entry = _entry(source, data, at, weight)
            if f"{prefix}/{name}" in entries:
                raise source.bad(f"the weight {name!r} is there twice.")
            entries[f"{prefix}/{name}"] = entry
            at += elements(entry.shape) * entry.dtype.itemsize
        if at != data.size:
            raise data.bad(f"the manifest asks for {at:,} bytes, but there are {data.size:,}.")
    if not entries:
        notes.append(f"{prefix} holds no weights.")
    return entries


def _entry(source: Source, data: Source, at: int, weight: Any) -> tuple[str, ArrayEntry]:
    if not isinstance(weight, dict) or not isinstance(weight.get("name"), str):
        raise source.bad("a weight has no name.")
    name, code = weight["name"], weight.get("dtype")
    if "quantization" in weight or code not in _TYPES:
        raise source.bad(f"the weight {name!r} is quantised or of the type {code!r}.", "Save it unquantised.")
    dtype = named_dtype(_TYPES[code], name).newbyteorder("<")
    shape = checked_shape(weight.get("shape"), f"{source.name}: {name}")
    data.need(at, elements(shape) * dtype.itemsize, f"the weight {name!r}")

    def load() -> NDArray[Any]:
        return data.array(at, dtype, shape, f"the weight {name!r}")

    return name, ArrayEntry(shape, dtype, load)
