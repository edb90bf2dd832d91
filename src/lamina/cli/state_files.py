"""Files of states at the shell: what ``lamina state commit``, ``import`` and ``export`` read and write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import AlreadyExistsError, InvalidInputError

if TYPE_CHECKING:
    from lamina.formats import StateFile, WrittenState
    from lamina.states import State

__all__ = ["export_state", "read_file", "write_png"]

_REPLACE: Final = "Choose another name, or give --replace."

_SUFFIXES: Final[Mapping[str, str]] = {
    ".npz": "npz",
    ".npy": "npy",
    ".safetensors": "safetensors",
    ".tmem": "tmem",
    ".pb": "titan-protobuf",
    ".json": "titan-memory",
    "": "safetensors",  # where the name says nothing: it has a place for every dtype and for metadata
}
_READ_ONLY: Final[Mapping[str, str]] = {
    ".zarr": "`.zarr` can be read but not written",
    ".pt": "what PyTorch itself writes are pickles, which Lamina neither reads nor writes",
    ".pth": "what PyTorch itself writes are pickles, which Lamina neither reads nor writes",
}
_GRIDS: Final[Mapping[str, str]] = {
    ".bin": "toroidal-bin",
    ".gz": "toroidal-gzip",
    ".session": "toroidal-gzip",
    ".json": "toroidal-snapshot",
    ".db": "toroidal-sqlite",
}
"""Of states that are grids; what is not here is as for any state."""


def read_file(path: Path, format: str | None) -> StateFile:
    """Read a file or folder of another program; its arrays are loaded when they are asked for.

    Raises:
        InvalidInputError: It is in no format that is known, or not as it should be.
        NotFoundError: There is nothing at the path.
    """
    from lamina.formats import read_state

    return read_state(path, format)


def export_state(path: Path, format: str | None, state: State, *, replace: bool) -> WrittenState:
    """Write a version to a file, durably, array after array.

    Args:
        path: Of the file, or of a new folder.
        format: One of :data:`lamina.formats.WRITABLE_STATES`; when None, what the file's name says.
        state: The opened version.
        replace: Replace a file that is there.

    Raises:
        InvalidInputError: The format is not known, is not told by the file's name, or has no place for an array.
        AlreadyExistsError: The file is there, and ``replace`` is False.
    """
    from lamina.formats import write_state

    grid = state.metadata.get("kind") == "toroidal-grid"
    suffix = path.suffix.lower()
    chosen = format or (_GRIDS.get(suffix) if grid else None) or _SUFFIXES.get(suffix)
    if chosen is None:
        raise _no_format(suffix)
    metadata = dict(state.metadata)
    if chosen == "toroidal-snapshot":
        metadata = {**_provenance(state), **metadata}
    try:
        return write_state(path, chosen, state, metadata, overwrite=replace)
    except AlreadyExistsError as error:
        error.hint = _REPLACE
        raise


def write_png(path: Path, data: bytes, *, replace: bool) -> None:
    """Write an image, durably and for its owner alone, as an export is.

    Raises:
        AlreadyExistsError: The file is there, and ``replace`` is False.
    """
    from lamina.fs import write_file

    try:
        write_file(path, data, replace=replace)
    except AlreadyExistsError as error:
        error.hint = _REPLACE
        raise


def _no_format(suffix: str) -> InvalidInputError:
    """Return the error for a file whose name ends in what no format is written as."""
    from lamina.formats import WRITABLE_STATES

    why = _READ_ONLY.get(suffix)
    if why is None:
        why = f"`{suffix}` is of a grid, and this state is none" if suffix in _GRIDS else f"`{suffix}` says no format"
    return InvalidInputError(
        f"The name of the file does not say how to write it: {why}.",
        hint=f"Give it another ending, such as .safetensors or .npz, or use --format: {', '.join(WRITABLE_STATES)}.",
    )


def _provenance(state: State) -> dict[str, Any]:
    """What a snapshot says of itself, where the metadata does not."""
    from lamina.formats.fields import iso_time

    moment = iso_time(state.version.created_at)
    facts = {"created_at": moment, "last_modified": moment}
    return facts if state.version.creator is None else {**facts, "user_id": state.version.creator}
