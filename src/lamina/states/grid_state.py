"""A grid as named arrays and metadata, and back: what a store commits and what grid files hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError
from lamina.states.cells import check_mapping
from lamina.states.diffusion import DiffusionConfig, as_config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lamina.states.grid import ToroidalGrid

__all__ = ["KIND", "from_state", "to_state"]

KIND: Final = "toroidal-grid"
"""What ``metadata["kind"]`` says of a state that is a grid."""
_OWN: Final = ("kind", "width", "height", "diffusion_config", "labels")


def to_state(grid: ToroidalGrid) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Return copies of the layers, the activation as ``cells``, and metadata of JSON values."""
    arrays = {("cells" if name == "activation" else name): grid.layer(name).copy() for name in grid.layers}
    metadata: dict[str, Any] = {key: value for key, value in grid.metadata.items() if key not in _OWN}
    metadata |= {
        "kind": KIND,
        "width": grid.width,
        "height": grid.height,
        "diffusion_config": as_config(grid.diffusion).to_dict(),
    }
    if grid.labels:
        metadata["labels"] = [[x, y, label] for (x, y), label in grid.labels.items()]
    return arrays, metadata


def from_state(cls: type[ToroidalGrid], arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> ToroidalGrid:
    """Return the grid; see :meth:`lamina.ToroidalGrid.from_state`."""
    import numpy as np

    if not isinstance(arrays, Mapping):
        raise InvalidInputError("The arrays of a grid are no mapping.", hint="Pass an opened state, or arrays by name.")
    metadata = check_mapping(getattr(arrays, "metadata", None) if metadata is None else metadata, "metadata")
    if "cells" not in arrays:
        version = getattr(arrays, "version", None)
        what = "This" if version is None else f"State {version.name!r}"
        names = list(arrays)
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")
        raise InvalidInputError(
            f"{what} is no grid: it has no array 'cells'.",
            hint=f"Its arrays are: {shown}." if names else "It is empty.",
        )
    config = metadata.get("diffusion_config")
    grid = cls.from_cells(
        np.asarray(arrays["cells"]), diffusion=None if config is None else DiffusionConfig.from_dict(config)
    )
    for key, real in (("width", grid.width), ("height", grid.height)):
        if metadata.get(key, real) != real:
            raise InvalidInputError(f"The metadata says {key} {metadata[key]!r}, the cells {real}.", hint="Check it.")
    for name in arrays:
        if name == "activation":
            raise InvalidInputError("'activation' stands beside 'cells'.", hint="Keep one of them, as 'cells'.")
        if name != "cells":
            grid.set_layer(name, np.asarray(arrays[name]))
    labels = metadata.get("labels") or ()
    if not isinstance(labels, (list, tuple)):
        raise InvalidInputError(f"labels is no list, but {labels!r:.80}.", hint="A label is [x, y, text].")
    for entry in labels:
        if not isinstance(entry, (list, tuple)) or len(entry) != 3:
            raise InvalidInputError(f"{entry!r} is no label of a cell.", hint="A label is [x, y, text].")
        grid.set_label(*entry)
    grid.metadata = {key: value for key, value in metadata.items() if key not in _OWN}
    return grid
