"""Files of states at the shell: what ``lamina state commit``, ``import`` and ``export`` read and write."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lamina.errors import InvalidInputError, LaminaError

__all__ = ["read_file", "write_file"]

_FORMATS = "lamina.formats.state_formats"
_SUFFIXES = {".npz": "npz", ".npy": "npy", ".safetensors": "safetensors"}


def read_file(path: Path, format: str | None) -> tuple[Mapping[str, Any], dict[str, Any], tuple[str, ...]]:
    """Return arrays, metadata and notes of a file.

    Raises:
        InvalidInputError: It is in no format that is known.
    """
    if find_spec(_FORMATS) is not None:
        state = import_module(_FORMATS).read_state(path, format)
        return state.arrays, state.metadata, state.notes
    return _numpy(path), {}, ()


def write_file(
    path: Path, format: str | None, arrays: Mapping[str, Any], metadata: Mapping[str, Any], *, replace: bool
) -> tuple[str, tuple[str, ...]]:
    """Write arrays to a file, durably; return the format and notes on what it has no place for.

    Raises:
        InvalidInputError: The format is not known.
        AlreadyExistsError: The file is there, and ``replace`` is False.
    """
    chosen = format or _SUFFIXES.get(path.suffix.lower(), "npz")
    if find_spec(_FORMATS) is not None:
        written = import_module(_FORMATS).write_state(path, chosen, arrays, metadata, overwrite=replace)
        return written.format, written.notes
    if chosen != "npz":
        raise InvalidInputError(f"The format {chosen!r} is not known.", hint="Use npz.")
    import io

    import numpy as np

    from lamina.fs import write_file as write_durably

    buffer = io.BytesIO()
    whole: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(buffer, **whole)
    write_durably(path, buffer.getvalue(), replace=replace)
    return "npz", ("metadata has no place in npz",) if metadata else ()


def _numpy(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {path.stem: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except LaminaError:
        raise
    except FileNotFoundError as error:
        from lamina.fs import translate

        raise translate(error, path, "read") from error
    except Exception as error:  # noqa: BLE001 - numpy answers a foreign file in many ways
        raise InvalidInputError(f"{path} is no npy or npz file: {error}", hint="Name another file.") from None
