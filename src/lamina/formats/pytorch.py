"""PyTorch's ``state_dict``: through safetensors only, one file or several with an index; a pickle is never opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lamina import fs
from lamina.errors import InvalidInputError
from lamina.formats import safetensors
from lamina.formats.json_numbers import parse_json, plain
from lamina.formats.state_file import ArrayEntry, LazyArrays, StateFile
from lamina.formats.state_source import Source

__all__ = ["INDEX", "is_pickle", "read", "read_index", "refusal", "write"]

INDEX: Final = "model.safetensors.index.json"
_END: Final = 1 << 20


def is_pickle(source: Source) -> bool:
    """Whether this is what ``torch.save`` writes: a ZIP with ``data.pkl``, or a bare pickle."""
    head = source.read(0, min(source.size, 2))
    if head[:1] == b"\x80" and head[1:] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if head != b"PK":
        return False
    end = source.read(max(0, source.size - _END), min(source.size, _END))  # the directory is at the end
    return b"/data.pkl" in end or b"data.pkl" in source.read(0, min(source.size, 256))


def refusal(source: Source) -> InvalidInputError:
    """Return the error for a pickle."""
    return source.bad(
        "this is a pickle, as torch.save writes it; opening one can run any code that somebody put into it.",
        "Where you trust it, turn it into safetensors: `safetensors.torch.save_file(torch.load(FILE, "
        'weights_only=True), "FILE.safetensors")`.',
    )


def read(source: Source) -> StateFile:
    """Read a safetensors file, or the index of several.

    Raises:
        InvalidInputError: It is a pickle, or wrong as :mod:`lamina.formats.safetensors` has it.
    """
    if is_pickle(source):
        raise refusal(source)
    if source.path is not None and source.path.name.endswith(".index.json"):
        return read_index(source)
    return safetensors.read(source)


def read_index(source: Source) -> StateFile:
    """Read the arrays that an index names out of the files beside it.

    Raises:
        InvalidInputError: The index is wrong, or an array is not in the file that it names.
        NotFoundError: A file is missing.
    """
    value = plain(parse_json(source.chunks(), source.name))
    places = value.get("weight_map") if isinstance(value, dict) else None
    if source.path is None or not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise source.bad("this is no index: weight_map is missing.")
    parts: dict[str, LazyArrays] = {}
    entries: dict[str, ArrayEntry] = {}
    for name, file in places.items():
        if file not in parts:
            found = safetensors.read(Source(Path(fs.inside(source.path.parent, file)))).arrays
            assert isinstance(found, LazyArrays)
            parts[file] = found
        if name not in parts[file]:
            raise source.bad(f"the array {name!r} is not in {file}.", array=name)
        entries[name] = parts[file].entry(name)
    metadata = value["metadata"] if isinstance(value.get("metadata"), dict) else {}
    return StateFile(LazyArrays(entries), metadata, "pytorch")


def write(arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """Write safetensors that says it is PyTorch's; ``safetensors.torch.load_file`` gives the state_dict."""
    yield from safetensors.write(arrays, {"format": "pt", **metadata})
