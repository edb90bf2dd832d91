"""Titan's folders: checkpoints of version 2, the older ``model.json`` and ``weights.json``, and a memory's folder.

A version 2 checkpoint lies in ``BASE/HASH/snapshot-DATE-TIME``, with ``latest`` beside it; any of the three may be
named. Its SHA-256 sums are checked. Read only, but for version 2, which is written too, ``checkpoint.json`` last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lamina import fs
from lamina.errors import CorruptionError, InvalidInputError
from lamina.formats.json_numbers import parse_json, plain
from lamina.formats.state_file import ArrayEntry, LazyArrays, StateFile
from lamina.formats.state_source import Source
from lamina.formats.tfjs import read_weights
from lamina.formats.titan_json import memory_arrays, model_arrays, nested, read, write_memory, write_model

__all__ = ["checkpoint_files", "format_of_folder", "is_old_model", "read_checkpoint", "read_memory_folder", "read_old"]

_FORMAT: Final = "titan-memory-v2"
_HASHED: Final = ("inputDim", "hiddenDim", "memorySlots", "transformerLayers")
"""Settings whose SHA-256 names the folder of a model."""
_MODEL: Final = "model/"


def format_of_folder(folder: Path) -> str | None:
    """Return which of Titan's folders this is, or None."""
    if _snapshot(folder) is not None:
        return "titan-checkpoint"
    if (folder / "memory_state.json").is_file():
        return "titan-folder"
    if (folder / "weights.json").is_file() or (
        (folder / "model.json").is_file() and is_old_model(folder / "model.json")
    ):
        return "titan-old"
    return None


def is_old_model(path: Path) -> bool:
    """Whether a file says near its beginning that it is a ``titan-memory-v1``."""
    source = Source(path)
    return b"titan-memory-v1" in source.read(0, min(source.size, 4096))


def _snapshot(folder: Path) -> Path | None:
    """Return the checkpoint that a folder is or leads to: its ``latest``, its newest, or that of its only model."""
    if (folder / "checkpoint.json").is_file():
        return folder
    if (folder / "latest" / "checkpoint.json").is_file():
        return folder / "latest"
    snapshots = sorted(path.parent for path in folder.glob("snapshot-*/checkpoint.json"))
    if snapshots:
        return snapshots[-1]
    models = {path.parent.parent for path in folder.glob("*/snapshot-*/checkpoint.json")}
    return _snapshot(models.pop()) if len(models) == 1 else None


def _object(path: str | Path) -> tuple[Source, dict[str, Any]]:
    source = Source(path)
    value = parse_json(source.chunks(), source.name)
    if not isinstance(value, dict):
        raise source.bad("this is no JSON object.")
    return source, value


def read_checkpoint(folder: Path) -> StateFile:
    """Read a version 2 checkpoint: the memory's arrays, and the model's as ``model/weights/0`` and so on.

    Raises:
        CorruptionError: A file is missing, or its SHA-256 is not the one that the checkpoint names.
        InvalidInputError: A file is wrong, or a name leads outside the folder.
    """
    found = _snapshot(folder)
    if found is None:
        raise InvalidInputError(
            f"{folder} holds no checkpoint.json.", hint="Name the folder of a snapshot.", path=str(folder)
        )
    source, value = _object(found / "checkpoint.json")
    if value.get("format") != _FORMAT:
        raise source.bad(f"the format is {value.get('format')!r}, not {_FORMAT}.")
    _check_sums(source, found, value.get("integrity"))
    files = value.get("files")
    listed = {key: name for key, name in files.items() if isinstance(name, str)} if isinstance(files, dict) else {}
    notes: list[str] = []
    arrays: dict[str, Any] = {}
    metadata: dict[str, Any] = {"checkpoint": {key: plain(item) for key, item in value.items()}}
    if "memoryState" in listed:
        inner, state = _object(fs.inside(found, listed["memoryState"]))
        arrays, more = memory_arrays(inner, state, notes)
        metadata |= more
    weights = Path(fs.inside(found, listed.get("weights", "weights"))) / "hope_model.json"
    if weights.is_file():
        inner, model = _object(weights)
        more_arrays, of_model = model_arrays(inner, model, notes, _MODEL)
        arrays |= more_arrays
        metadata["model"] = of_model
    else:
        notes.append("The checkpoint holds no weights that are read here.")
    others = [name for key, name in listed.items() if key not in ("memoryState", "weights", "modelConfig")]
    if others:
        notes.append(f"{', '.join(sorted(others))} hold no arrays and were passed over.")
    return StateFile(arrays, metadata, "titan-checkpoint", tuple(notes))


def _check_sums(source: Source, folder: Path, integrity: Any) -> None:
    sums = integrity.get("checksums") if isinstance(integrity, dict) else None
    for name, expected in (sums if isinstance(sums, dict) else {}).items():
        path = Path(fs.inside(folder, name))
        if not path.exists():
            raise CorruptionError(
                f"{source.name} names {name}, which is missing.", hint="Copy the whole folder.", path=str(path)
            )
        digest = hashlib.sha256()
        for part in sorted(path.iterdir()) if path.is_dir() else [path]:
            if part.is_file():
                for piece in Source(part).chunks():
                    digest.update(piece)
        if digest.hexdigest() != expected:
            raise CorruptionError(
                f"{path} is not what the checkpoint was made of: its SHA-256 differs.",
                hint="Copy it again from where it came from.",
                path=str(path),
            )


def read_memory_folder(folder: Path) -> StateFile:
    """Read a folder with ``memory_state.json`` and, where it is there, ``hope_model_state.json`` as ``model/...``."""
    state = read(Source(folder / "memory_state.json"))
    if not (folder / "hope_model_state.json").is_file():
        return state
    model = read(Source(folder / "hope_model_state.json"))
    arrays = dict(state.arrays) | {_MODEL + name: array for name, array in model.arrays.items()}
    metadata = state.metadata | {"model": model.metadata}
    return StateFile(arrays, metadata, "titan-folder", state.notes + model.notes)


def read_old(path: Path) -> StateFile:
    """Read the older forms: a ``model.json`` of titan-memory-v1, alone or in its folder, or a ``weights.json``.

    The encoder and decoder beside ``model.json`` become ``encoder/NAME`` and ``decoder/NAME``.
    """
    folder = path if path.is_dir() else path.parent
    if path.name == "weights.json" or (path.is_dir() and not (path / "model.json").is_file()):
        source, value = _object(folder / "weights.json")
        arrays = {name: nested(source, name, item) for name, item in value.items()}
        return StateFile(arrays, {}, "titan-old")
    source, value = _object(folder / "model.json" if path.is_dir() else path)
    notes: list[str] = []
    state = value.pop("memoryState", None)
    if not isinstance(state, dict):
        raise source.bad("memoryState is no object.")
    loaded, metadata = memory_arrays(source, state, notes)
    levels = value.pop("hierarchicalMemory", None)
    for kind, lists in (levels if isinstance(levels, dict) else {}).items():
        for index, item in enumerate(lists if isinstance(lists, list) else []):
            loaded[f"hierarchical/{kind}/{index}"] = nested(source, f"hierarchicalMemory.{kind}[{index}]", item)
    entries: dict[str, ArrayEntry] = {}
    for part in ("encoder", "decoder"):
        if (folder / part / "model.json").is_file():
            entries |= read_weights(folder / part, part, notes)
        else:
            notes.append(f"The {part} is not beside the file.")
    metadata |= {key: plain(item) for key, item in value.items()}
    kept = {name: ArrayEntry(array.shape, array.dtype, array.copy) for name, array in loaded.items()}
    return StateFile(LazyArrays(kept | entries), metadata, "titan-old", tuple(notes))


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def checkpoint_files(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the names and contents of a version 2 checkpoint, ``checkpoint.json``, which makes it whole, last."""
    sums: dict[str, Any] = {}
    total = 0

    def counted(name: str, parts: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal total
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
            total += len(part)
            yield part
        sums[name] = digest.hexdigest()

    model = {name.removeprefix(_MODEL): arrays[name] for name in arrays if name.startswith(_MODEL)}
    memory = {name: arrays[name] for name in arrays if not name.startswith(_MODEL)}
    of_model, before = _mapping(metadata.get("model")), _mapping(metadata.get("checkpoint"))
    config = _mapping(of_model.get("config", before.get("config")))
    yield "modelConfig.json", counted("modelConfig.json", iter([json.dumps(config, indent=2).encode()]))
    yield "weights/hope_model.json", counted("weights", write_model(model, {"config": config}, notes))
    rest = {key: value for key, value in metadata.items() if key not in ("model", "checkpoint")}
    yield "memoryState.json", counted("memoryState.json", write_memory(memory, rest, notes))
    hashed = json.dumps({key: config[key] for key in _HASHED if key in config}, separators=(",", ":"))
    checkpoint = {
        "version": "2.0",
        "format": _FORMAT,
        "created": before.get("created"),
        "modelHash": hashlib.sha256(hashed.encode()).hexdigest()[:16],
        "snapshotId": before.get("snapshotId"),
        "config": config,
        "files": {"modelConfig": "modelConfig.json", "weights": "weights", "memoryState": "memoryState.json"},
        "size": {"total": total},
        "integrity": {"checksums": sums, "verified": True},
    }
    yield "checkpoint.json", iter([json.dumps(checkpoint, indent=2, ensure_ascii=False).encode("utf-8")])
