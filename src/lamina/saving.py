"""Saving and loading a state in a folder with one call each: a drop-in for code that writes one file.

Where a program called ``json.dump(state, open(path))`` every minute, it calls :func:`save_state` instead, and where it
read the file, :func:`load_state`. Behind them is a store, so that each save is a durable version that costs what
changed. What an older program left in the folder is read as long as nothing was saved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.config import ENGINE_FOLDER, Durability
from lamina.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from lamina.states import ToroidalGrid, Version

__all__ = ["LoadedState", "load_state", "save_state"]

_NAME = "state"


@dataclass(frozen=True, slots=True)
class LoadedState:
    """A state that was read whole."""

    arrays: dict[str, NDArray[np.generic]]
    """By name; each is the caller's own."""
    metadata: dict[str, Any]
    """JSON values."""
    version: Version | None
    """What was opened; None where it came from a file of another program."""


def save_state(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any] | ToroidalGrid,
    *,
    metadata: Mapping[str, Any] | None = None,
    name: str = _NAME,
    message: str | None = None,
    keep_last: int | None = None,
    durability: Durability | None = None,
) -> Version:
    """Save arrays in a folder, which becomes a store; they are durable when this returns.

    Args:
        path: The folder; made where it is missing.
        arrays: As in :meth:`lamina.States.commit`.
        metadata: JSON values.
        name: Of the state, where a folder holds several.
        message: What changed, in words.
        keep_last: Keep so many versions; every one when None.
        durability: As in :func:`lamina.open`.

    Raises:
        InvalidInputError: An array or value cannot be stored.
        LaminaError: As :func:`lamina.open` and :meth:`lamina.States.commit` have it.
    """
    from lamina.states.cells import check_whole
    from lamina.store import open as open_store

    if keep_last is not None and check_whole(keep_last, "keep_last") < 1:
        raise InvalidInputError(f"keep_last is {keep_last}, not a whole number from 1.", hint="Keep at least one.")
    with open_store(path, embedder="none", durability=durability) as store:
        version = store.states.commit(name, arrays, metadata=metadata, message=message)
        if keep_last is not None:
            store.states.retain(name, keep_last=keep_last)
        return version


def load_state(path: str | os.PathLike[str], *, name: str = _NAME, ref: str | datetime = "main") -> LoadedState:
    """Load what was saved in a folder, or what an older program left there.

    Args:
        path: The folder of :func:`save_state`. Before the first save, a folder or file in any format that
            :func:`lamina.formats.read_state` finds out by itself, such as one with ``memory_state.json``.
        name: Of the state.
        ref: Which version.

    Raises:
        NotFoundError: There is nothing.
        CorruptionError: A byte is not what was written.
    """
    from lamina.store import open as open_store

    try:
        folder = Path(path)
    except TypeError:
        raise InvalidInputError(f"{path!r:.80} is no path.", hint="Name a folder.") from None
    if (folder / ENGINE_FOLDER).is_dir():
        with open_store(folder, create=False, read_only=True, embedder="none") as store:
            if ref != "main" or any(one.name == name for one in store.states.list()):
                with store.states.open(name, ref) as state:
                    return LoadedState(state.arrays(), dict(state.metadata), state.version)
    from lamina.formats import detect_state, read_state

    form = detect_state(folder)
    if form is None:
        raise NotFoundError(f"No state {name!r} was saved in {folder}.", hint="Save one, or check the path.", name=name)
    found = read_state(folder, form)
    return LoadedState({key: found.arrays[key] for key in found.arrays}, found.metadata, None)


for _made in (LoadedState, load_state, save_state):
    _made.__module__ = "lamina"  # tracebacks show the public path
