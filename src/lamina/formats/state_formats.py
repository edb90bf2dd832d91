"""State files of every kind: which format one is, reading, and writing.

=================== ==== ===== ==================================================================
format              read write what it is
=================== ==== ===== ==================================================================
safetensors         yes  yes   any arrays; lazy
npz, npy            yes  yes   any arrays of numpy's own types, or one; lazy
zarr                yes        a folder of version 3; lazy
pytorch             yes  yes   a state_dict in safetensors, one file or an index; pickles refused
titan-memory        yes  yes   ``memory_state.json``
titan-model         yes  yes   ``hope_model_state.json``
titan-save          yes        what Titan's ``save_checkpoint`` writes
titan-checkpoint    yes  yes   a folder of version 2, with SHA-256 sums
titan-folder        yes        a folder with ``memory_state.json``
titan-old           yes        ``model.json`` of version 1, or ``weights.json``
titan-protobuf      yes  yes   the message ``MemoryState``; lazy
tmem                yes  yes   one array in base64; lazy
tmem-shards         yes  yes   a folder of them; lazy
toroidal-bin        yes  yes   a grid, 8 + 8 * width * height bytes
toroidal-gzip       yes  yes   the same under gzip (``.session``, ``.bin.gz``)
toroidal-json       yes  yes   a grid as JSON
toroidal-snapshot   yes  yes   the same with a version, times, user and settings
toroidal-server     yes  yes   the JSON of the grid server
toroidal-delta      yes  yes   changes of a grid
toroidal-sqlite     yes  yes   a table of grids by session
=================== ==== ===== ==================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lamina import fs
from lamina.errors import InvalidInputError, NotFoundError
from lamina.formats.json_numbers import top_level_keys
from lamina.formats.state_file import StateFile
from lamina.formats.state_source import Source

__all__ = ["READABLE_STATES", "WRITABLE_STATES", "WrittenState", "detect_state", "read_state", "write_state"]

AnyData = str | os.PathLike[str] | bytes | bytearray | memoryview

_HEAD: Final = 1 << 20

_FILES: Final = {
    "safetensors": ("safetensors", "read"),
    "npz": ("npy", "read_npz"),
    "npy": ("npy", "read_npy"),
    "pytorch": ("pytorch", "read"),
    "titan-memory": ("titan_json", "read"),
    "titan-model": ("titan_json", "read"),
    "titan-save": ("titan_json", "read"),
    "titan-protobuf": ("titan_protobuf", "read"),
    "tmem": ("tmem", "read"),
    "toroidal-bin": ("toroidal", "read_binary"),
    "toroidal-gzip": ("toroidal", "read_gzip"),
    "toroidal-json": ("toroidal_json", "read"),
    "toroidal-snapshot": ("toroidal_json", "read"),
    "toroidal-server": ("toroidal_json", "read"),
    "toroidal-delta": ("toroidal_delta", "read"),
    "toroidal-sqlite": ("toroidal_sqlite", "read"),
}
"""Formats that are one file: the module and the function that reads a source."""
_PATHS: Final = {
    "zarr": ("zarr", "read"),
    "titan-checkpoint": ("titan_checkpoint", "read_checkpoint"),
    "titan-folder": ("titan_checkpoint", "read_memory_folder"),
    "titan-old": ("titan_checkpoint", "read_old"),
    "tmem-shards": ("tmem", "read_folder"),
}
"""Formats that are a folder, or know what lies beside a file: the function takes the path."""
_WRITERS: Final = {
    "npy": ("npy", "write_npy"),
    "titan-memory": ("titan_json", "write_memory"),
    "titan-model": ("titan_json", "write_model"),
    "titan-protobuf": ("titan_protobuf", "write"),
    "tmem": ("tmem", "write"),
    "toroidal-bin": ("toroidal", "write_binary"),
    "toroidal-gzip": ("toroidal", "write_gzip"),
    "toroidal-json": ("toroidal_json", "write_plain"),
    "toroidal-snapshot": ("toroidal_json", "write_snapshot"),
    "toroidal-server": ("toroidal_json", "write_server"),
    "toroidal-delta": ("toroidal_delta", "write"),
    "toroidal-sqlite": ("toroidal_sqlite", "write"),
}
_LOSSLESS: Final = {
    "safetensors": ("safetensors", "write"),
    "npz": ("npy", "write_npz"),
    "pytorch": ("pytorch", "write"),
}
"""Writers that have a place for everything, so that they have nothing to note."""
_FOLDERS: Final = {"titan-checkpoint": ("titan_checkpoint", "checkpoint_files"), "tmem-shards": ("tmem", "shard_files")}

READABLE_STATES: Final = (*_FILES, *_PATHS)
"""Formats that :func:`read_state` knows."""
WRITABLE_STATES: Final = (*_WRITERS, *_LOSSLESS, *_FOLDERS)
"""Formats that :func:`write_state` knows."""


@dataclass(frozen=True, slots=True)
class WrittenState:
    """What was written."""

    path: str
    format: str
    bytes: int
    notes: tuple[str, ...] = ()
    """What the format could not hold exactly or had no place for; arrays are never among it."""


def _function(place: tuple[str, str]) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(f"lamina.formats.{place[0]}"), place[1])
    return function


def detect_state(data: AnyData) -> str | None:
    """Return the format of a state file or folder, by its content alone, or None.

    Raises:
        NotFoundError: There is nothing at the path.
        LaminaError: The file system refused it.
    """
    folder = _folder(data)
    if folder is not None:
        return _detect_folder(folder)
    source = Source(data)
    return _detect_binary(source) or _detect_text(source) or _detect_by_size(source)


def _folder(data: AnyData) -> Path | None:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return None
    path = _as_path(data)
    return path if path.is_dir() else None


def _as_path(value: Any) -> Path:
    try:
        return Path(value)
    except TypeError:
        raise InvalidInputError(f"{value!r:.80} is no path.", hint="Name a file or folder.") from None


def _detect_folder(folder: Path) -> str | None:
    from lamina.formats import pytorch, titan_checkpoint, tmem, zarr

    if zarr.looks_like(folder):
        return "zarr"
    if (folder / pytorch.INDEX).is_file():
        return "pytorch"
    return titan_checkpoint.format_of_folder(folder) or ("tmem-shards" if tmem.is_folder(folder) else None)


def _detect_binary(source: Source) -> str | None:
    from lamina.formats import npy, pytorch, safetensors, toroidal, toroidal_sqlite

    head = source.read(0, min(source.size, 16))
    if head.startswith(npy.MAGIC):
        return "npy"
    if pytorch.is_pickle(source):
        return "pytorch"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "npz"
    if head == toroidal_sqlite.MAGIC:
        return "toroidal-sqlite" if toroidal_sqlite.looks_like(source) else None
    if head.startswith(b"\x1f\x8b"):
        return "toroidal-gzip" if toroidal.looks_like_gzip(source) else None
    return "safetensors" if safetensors.looks_like(source) else None


def _detect_text(source: Source) -> str | None:
    from lamina.formats import titan_json, tmem, toroidal_json

    head = source.read(0, min(source.size, _HEAD))
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return None
    if tmem.looks_like(source):
        return "tmem"
    keys = top_level_keys(head)
    if "weight_map" in keys:
        return "pytorch"
    if "format" in keys and b"titan-memory-v1" in head[:4096] and source.path is not None:
        return "titan-old"
    return toroidal_json.format_of(keys) or titan_json.format_of(keys)


def _detect_by_size(source: Source) -> str | None:
    from lamina.formats import titan_protobuf, toroidal, toroidal_delta

    if toroidal.looks_like_binary(source):
        return "toroidal-bin"
    if toroidal_delta.looks_like(source):
        return "toroidal-delta"
    return "titan-protobuf" if titan_protobuf.looks_like(source) else None


def read_state(data: AnyData, format: str | None = None) -> StateFile:
    """Read a state file or folder.

    Formats that allow it read arrays only when they are asked for, each time anew; a file that changed meanwhile is a
    ``ConflictError`` then. Nothing is unpickled, and no length is believed before it is compared with the file.

    Args:
        data: A path, or the bytes of a file.
        format: One of :data:`READABLE_STATES`, or None to find out.

    Raises:
        InvalidInputError: The format is not known or not recognised, or the file is not as it should be; says where.
        CorruptionError: A checksum in the file does not fit.
        FormatError: A version of the format that is not known.
        DependencyError: An array has a type for which ml_dtypes is needed.
        NotFoundError: There is nothing at the path, or a part is missing.
        LaminaError: The file system refused it.
    """
    name = detect_state(data) if format is None else format
    if name is None:
        from lamina.formats.state_guess import not_recognised

        raise not_recognised(data, READABLE_STATES)
    if name not in READABLE_STATES:
        raise _unknown(name, READABLE_STATES)
    folder = _folder(data)
    if name == "pytorch" and folder is not None:
        from lamina.formats import pytorch

        return pytorch.read_index(Source(folder / pytorch.INDEX))
    if name in _FILES:
        state: StateFile = _function(_FILES[name])(Source(data))
    else:
        state = _function(_PATHS[name])(_path(data, name))
    return replace(state, format=name)


def _path(data: AnyData, name: str) -> Path:
    if isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidInputError(f"{name} is read from a path, not from bytes.", hint="Name the folder or file.")
    path = Path(data)
    if not path.exists():
        raise NotFoundError(f"There is nothing at {path}.", hint="Check the path.", path=str(path))
    if not path.is_dir() and name != "titan-old":
        raise InvalidInputError(f"{path} is no folder, as {name} is.", hint="Name the folder.", path=str(path))
    return path


def write_state(
    path: str | os.PathLike[str],
    format: str,
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> WrittenState:
    """Write a state as a file or folder, durably, one array at a time.

    Args:
        path: Where. A file appears whole or not at all; a folder must be new or empty, and what makes it whole comes
            last.
        format: One of :data:`WRITABLE_STATES`.
        arrays: Named arrays: anything that numpy or DLPack can read, a state of the store too.
        metadata: JSON values.
        overwrite: Replace a file that is there.

    Returns:
        What was written, with notes on metadata that the format has no place for.

    Raises:
        InvalidInputError: The format is not known, or has no place for an array or value; nothing was written.
        AlreadyExistsError: Something is at the path.
        LaminaError: The file system refused it.
    """
    _as_path(path)
    known, notes = dict(metadata or {}), list[str]()
    if format in _FOLDERS:
        size = _write_folder(Path(path), _function(_FOLDERS[format])(arrays, known, notes))
    elif format in _WRITERS or format in _LOSSLESS:
        counter = _Counter()
        if format in _WRITERS:
            parts = _function(_WRITERS[format])(arrays, known, notes)
        else:
            parts = _function(_LOSSLESS[format])(arrays, known)
        fs.write_file(path, counter.count(_json_errors(parts)), replace=overwrite)
        size = counter.total
    elif format in READABLE_STATES:
        raise InvalidInputError(
            f"{format} can be read, but not written.", hint=f"Use one of {', '.join(sorted(WRITABLE_STATES))}."
        )
    else:
        raise _unknown(format, WRITABLE_STATES)
    return WrittenState(os.fspath(path), format, size, tuple(notes))


class _Counter:
    def __init__(self) -> None:
        self.total = 0

    def count(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            self.total += len(part)
            yield part


def _json_errors(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Pass parts on; metadata that JSON cannot hold becomes an error of ours."""
    try:
        yield from parts
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"The metadata cannot be written: {error}.", hint="Use finite JSON values.") from error


def _write_folder(folder: Path, files: Iterator[tuple[str, Iterator[bytes]]]) -> int:
    counter = _Counter()
    fs.make_dir(folder)
    if any(folder.iterdir()):
        raise InvalidInputError(f"{folder} is not empty.", hint="Name a new folder.", path=str(folder))
    for name, parts in files:
        target = Path(fs.inside(folder, name))
        fs.make_dir(target.parent)
        fs.write_file(target, counter.count(_json_errors(parts)))
    return counter.total


def _unknown(format: str, known: tuple[str, ...]) -> InvalidInputError:
    return InvalidInputError(
        f"{format!r} is no format of states.", hint=f"Use one of {', '.join(sorted(known))}.", format=str(format)
    )
