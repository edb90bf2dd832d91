"""A two-dimensional grid without edges, on which activation is set, spreads and fades."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from lamina.errors import InvalidInputError
from lamina.states import grid_state, matching, picture, topics
from lamina.states.cells import (
    Cell,
    GridStats,
    Recalled,
    check_cells,
    check_delta,
    check_finite,
    check_mapping,
    check_place,
    check_radius,
    check_size,
    check_triples,
    check_whole,
    ring_around,
    ring_gap,
)
from lamina.states.diffusion import DiffusionConfig, as_config, spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ACTIVE_ABOVE", "LAYERS", "MAX_CELLS", "ToroidalGrid"]

MAX_CELLS: Final = 1 << 28
"""Most cells of a grid: 2 GiB a layer."""
ACTIVE_ABOVE: Final = 0.01
"""A cell above this counts as active in :meth:`ToroidalGrid.stats` (the limit of ai-toroidal-memory's server)."""
LAYERS: Final = ("activation", "emotion", "confidence", "recency")
"""Layers in the order of their meaning: how strong, how pleasant, how sure, how fresh."""

_RANGES: Final = {"activation": (0.0, 1.0), "emotion": (-1.0, 1.0), "confidence": (0.0, 1.0), "recency": (0.0, 1.0)}
_WEIGHTS: Final = (("activation", 0.5), ("confidence", 0.3), ("recency", 0.2))  # of ai-toroidal-memory's rich layers
_MOST_PIXELS: Final = 1 << 26


class ToroidalGrid:
    """A grid of 64-bit floats whose right edge meets its left one, and whose bottom meets its top.

    Coordinates are whole numbers of any size and sign; they wrap. A new grid is 0 everywhere. Besides ``activation``,
    the layer that every method means when none is named, a grid may have the layers ``emotion`` (-1 to 1),
    ``confidence`` and ``recency`` (0 to 1), and labels on cells; they come into being with :meth:`place`.

    Args:
        width: Columns, from 1.
        height: Rows, from 1; ``width * height`` is at most 2**28.
        diffusion: How :meth:`diffuse` spreads, or a mapping of its numbers; kept with the grid.
        metadata: JSON values to keep with the grid, such as ``user_id``.

    Raises:
        InvalidInputError: A size is out of range.
    """

    __hash__ = None  # type: ignore[assignment] # it changes

    def __init__(
        self,
        width: int,
        height: int,
        *,
        diffusion: DiffusionConfig | Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        import numpy as np

        self._shape = (check_size(height, "height"), check_size(width, "width"))
        if width * height > MAX_CELLS:
            raise InvalidInputError(
                f"A grid of {width:,} by {height:,} has more than {MAX_CELLS:,} cells.", hint="Make it smaller."
            )
        self._layers = {"activation": np.zeros(self._shape)}
        self._labels: dict[tuple[int, int], str] = {}
        self.diffusion = as_config(diffusion)
        self.metadata: dict[str, Any] = check_mapping(metadata, "metadata")

    @classmethod
    def from_cells(
        cls, cells: ArrayLike, *, diffusion: DiffusionConfig | Mapping[str, Any] | None = None
    ) -> ToroidalGrid:
        """Return a grid with a copy of ``cells``, given as rows.

        Raises:
            InvalidInputError: They are no table of finite numbers; the message names the first that is not.
        """
        import numpy as np

        try:
            height, width = np.shape(cells)
        except ValueError:
            raise InvalidInputError("The cells are no table of numbers.", hint="Pass rows of equal length.") from None
        grid = cls(width, height, diffusion=diffusion)
        grid.set_layer("activation", cells)
        return grid

    @property
    def width(self) -> int:
        """Columns."""
        return self._shape[1]

    @property
    def height(self) -> int:
        """Rows."""
        return self._shape[0]

    @property
    def dimensions(self) -> tuple[int, int]:
        """``(width, height)``."""
        return self.width, self.height

    @property
    def size(self) -> int:
        """Cells: width times height."""
        return self.width * self.height

    @property
    def cells(self) -> NDArray[np.float64]:
        """The activation as a read-only view, indexed ``[y, x]``; it follows later changes."""
        return self.layer("activation")

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that this grid has, ``activation`` first."""
        return tuple(name for name in LAYERS if name in self._layers)

    @property
    def labels(self) -> dict[tuple[int, int], str]:
        """A copy of the labels by ``(x, y)``."""
        return dict(self._labels)

    def layer(self, name: str) -> NDArray[np.float64]:
        """Return a layer as a read-only view, indexed ``[y, x]``.

        Raises:
            InvalidInputError: The grid has no such layer.
        """
        view = self._layer(name).view()
        view.flags.writeable = False
        return view

    def _layer(self, name: str) -> NDArray[np.float64]:
        try:
            return self._layers[name]
        except (KeyError, TypeError):
            raise InvalidInputError(
                f"The grid has no layer {name!r}.", hint=f"It has {', '.join(self.layers)}.", layer=str(name)
            ) from None

    def _layer_or_new(self, name: str) -> NDArray[np.float64]:
        import numpy as np

        _check_layer(name)
        return self._layers.setdefault(name, np.zeros(self._shape))

    def wrap(self, x: int, y: int) -> tuple[int, int]:
        """Return the place inside the grid that a coordinate means: ``x mod width``, ``y mod height``, never negative.

        Raises:
            InvalidInputError: A coordinate is no whole number.
        """
        return check_whole(x, "x") % self.width, check_whole(y, "y") % self.height

    def get(self, x: int, y: int, *, layer: str = "activation") -> float:
        """Return a cell's value."""
        column, row = self.wrap(x, y)
        return float(self._layer(layer)[row, column])

    def set(self, x: int, y: int, value: float, *, layer: str = "activation") -> None:
        """Set a cell.

        Raises:
            InvalidInputError: The value is no finite number, or the layer is not known.
        """
        column, row = self.wrap(x, y)
        number = check_finite(value, "value")
        self._layer_or_new(layer)[row, column] = number

    def set_layer(self, name: str, values: ArrayLike) -> None:
        """Replace a whole layer, or add it, by a copy of ``values``, indexed ``[y, x]``.

        Raises:
            InvalidInputError: The layer is not known, has another shape, or holds what is no finite number.
        """
        import numpy as np

        _check_layer(name)
        try:
            array = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            raise InvalidInputError(f"{name} is no table of numbers.", hint="Pass rows of equal length.") from None
        if array.shape != self._shape:
            raise InvalidInputError(
                f"{name} has the shape {array.shape}, the grid {self._shape}.", hint="Pass one value a cell."
            )
        check_cells(array, name)
        self._layers[name] = array

    def set_label(self, x: int, y: int, label: str | None) -> None:
        """Label a cell, or with None take its label away."""
        place = self.wrap(x, y)
        if label is not None and not isinstance(label, str):
            raise _no_text("label", label)
        self._labels.pop(place, None)
        if label is not None:
            self._labels[place] = label

    def set_many(self, cells: Iterable[tuple[int, int, float]]) -> int:
        """Set many cells given as ``(x, y, value)``, all of them or, where one is refused, none; return how many."""
        checked = [(*self.wrap(x, y), check_finite(value, "value")) for x, y, value in check_triples(cells)]
        for x, y, value in checked:
            self._layers["activation"][y, x] = value
        return len(checked)

    def fill(self, value: float, *, layer: str = "activation") -> None:
        """Set every cell of a layer that is there."""
        self._layer(layer)[...] = check_finite(value, "value")

    def map(self, change: Callable[[NDArray[np.float64]], ArrayLike], *, layer: str = "activation") -> None:
        """Replace a layer by ``change(a copy of it)``, called once with the whole ``[y, x]`` array.

        Raises:
            InvalidInputError: What comes back has another shape or is not finite; nothing changed.
        """
        self.set_layer(layer, change(self._layer(layer).copy()))

    def clone(self) -> ToroidalGrid:
        """Return an independent copy."""
        return copy.deepcopy(self)

    def neighbors(self, x: int, y: int, radius: int = 1) -> list[Cell]:
        """Return the square around a cell without the cell itself: all that is within ``radius`` steps, diagonals too.

        Places are wrapped, row by row from the upper left; in a grid smaller than the square each comes once.
        """
        reach = check_radius(radius)
        column, row = self.wrap(x, y)
        rows = ring_around(row, math.floor(reach), self.height)
        columns = ring_around(column, math.floor(reach), self.width)
        activation = self._layers["activation"]
        return [Cell(c, r, float(activation[r, c])) for r in rows for c in columns if (c, r) != (column, row)]

    def activate(self, x: int, y: int, strength: float = 1.0) -> float:
        """Add to a cell, at most up to 1, and return what it then holds."""
        column, row = self.wrap(x, y)
        activation = self._layers["activation"]
        activation[row, column] = min(1.0, activation[row, column] + check_finite(strength, "strength"))
        return float(activation[row, column])

    def activate_radius(
        self, x: int, y: int, radius: float, strength: float = 1.0, *, mode: Literal["add", "max"] = "add"
    ) -> int:
        """Activate a disc that is strongest in its middle, and return how many cells it reached.

        ``d`` is the straight distance the shorter way round; each cell is reached once, however large the disc.

        Args:
            x: Of the middle.
            y: Of the middle.
            radius: In cells, from 0; cells with ``d <= radius`` are reached.
            strength: At the middle.
            mode: ``add`` adds ``strength * (1 - d / radius)``, at most up to 1, and with radius 0 the strength to the
                one cell. ``max`` raises a cell to ``strength * (1 - d / (radius + 1))`` where it is lower.

        Raises:
            InvalidInputError: The radius is negative or no number, or the mode is not known.
        """
        import numpy as np

        if mode not in ("add", "max"):
            raise InvalidInputError(f"{mode!r} is no way to activate.", hint="Use add or max.")
        reach, force = check_radius(radius), check_finite(strength, "strength")
        column, row = self.wrap(x, y)
        rows = ring_around(row, min(math.floor(reach), self.height), self.height)
        columns = ring_around(column, min(math.floor(reach), self.width), self.width)
        down, across = ring_gap(rows, row, self.height), ring_gap(columns, column, self.width)
        distance = np.sqrt(down[:, None] ** 2 + across[None, :] ** 2)
        inside = distance <= reach
        where = np.ix_(rows, columns)
        before = self._layers["activation"][where]
        if mode == "add":
            share = 1.0 - distance / reach if reach > 0 else np.ones_like(distance)
            after = np.minimum(1.0, before + force * share)
        else:
            after = np.maximum(before, force * (1.0 - distance / (reach + 1.0)))
        self._layers["activation"][where] = np.where(inside, after, before)
        return int(inside.sum())

    def diffuse(self, steps: int = 1, config: DiffusionConfig | Mapping[str, Any] | None = None) -> None:
        """Let activation spread in place; see :func:`lamina.states.diffusion.spread` for the formula.

        Args:
            steps: From 0.
            config: Instead of the grid's own :attr:`diffusion`, for this call.
        """
        if check_whole(steps, "steps") < 0:
            raise InvalidInputError(f"steps is {steps}.", hint="Pass a whole number from 0.")
        self._layers["activation"] = spread(self._layers["activation"], as_config(config or self.diffusion), steps)

    def stats(self, *, layer: str = "activation") -> GridStats:
        """Return how many cells are active, and the smallest, largest and mean value."""
        import numpy as np

        cells = self._layer(layer)
        active = int(np.count_nonzero(cells > ACTIVE_ABOVE))
        low, high, mean = float(cells.min()), float(cells.max()), float(cells.mean())
        return GridStats(self.size, active, 100.0 * active / self.size, low, high, mean)

    def cell_of(self, topic: str) -> tuple[int, int]:
        """Return the cell of a topic, by hash; see :func:`lamina.states.topics.topic_cell`."""
        if not isinstance(topic, str):
            raise _no_text("topic", topic)
        return topics.topic_cell(topic, self.width, self.height)

    def find(self, pattern: ArrayLike) -> list[tuple[int, int]]:
        """Return every ``(x, y)`` where ``pattern``, given as rows, lies exactly; it may lie across an edge."""
        return matching.find_exact(self._layers["activation"], matching.check_pattern(pattern, self._shape))

    def similarity(self, other: ToroidalGrid | ArrayLike, x: int = 0, y: int = 0) -> float:
        """Return the share of equal cells, from 0 to 1, of a pattern or another grid laid with its corner at (x, y)."""
        pattern = matching.check_pattern(other.cells if isinstance(other, ToroidalGrid) else other, self._shape)
        return matching.equal_share(self._layers["activation"], pattern, *self.wrap(x, y))

    def place(
        self,
        x: int,
        y: int,
        label: str | None = None,
        *,
        activation: float = 1.0,
        emotion: float = 0.0,
        confidence: float = 1.0,
        recency: float = 1.0,
    ) -> None:
        """Set all layers of a cell, and its label where one is given.

        Raises:
            InvalidInputError: A value is out of its layer's range; nothing changed.
        """
        column, row = self.wrap(x, y)
        if label is not None and not isinstance(label, str):
            raise _no_text("label", label)
        values = {"activation": activation, "emotion": emotion, "confidence": confidence, "recency": recency}
        for name, value in values.items():
            low, high = _RANGES[name]
            if not low <= check_finite(value, name) <= high:
                raise InvalidInputError(f"{name} is {value}.", hint=f"Pass a number from {low:g} to {high:g}.")
        for name, value in values.items():
            self._layer_or_new(name)[row, column] = value
        if label is not None:
            self._labels[column, row] = label

    def age(self, rate: float = 0.05) -> None:
        """Take ``rate`` of its recency from every cell: what was placed n calls ago has ``(1 - rate) ** n`` left."""
        share = check_finite(rate, "rate")
        if not 0 <= share <= 1:
            raise InvalidInputError(f"rate is {rate}.", hint="Pass a number from 0 to 1.")
        self._layer_or_new("recency")[...] *= 1.0 - share

    def score(self, x: int, y: int) -> float:
        """Return ``0.5 * activation + 0.3 * confidence + 0.2 * recency`` of a cell; a layer that is not there is 0."""
        return sum(weight * self.get(x, y, layer=name) for name, weight in _WEIGHTS if name in self._layers)

    def retrieve(self, limit: int = 10, *, min_score: float = 0.0) -> list[Recalled]:
        """Return the labelled cells with the highest :meth:`score`, best first, equal ones in reading order."""
        found = [Recalled(x, y, label, self.score(x, y)) for (x, y), label in self._labels.items()]
        found = [one for one in found if one.score >= check_finite(min_score, "min_score")]
        return sorted(found, key=lambda one: (-one.score, one.y, one.x))[: max(0, check_whole(limit, "limit"))]

    def delta_since(self, base: ToroidalGrid) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Return what changed in the activation since ``base``: columns ``x``, ``y``, ``value``, in reading order.

        Cells are compared bit by bit, so that applying the change to ``base`` gives this grid exactly.

        Raises:
            InvalidInputError: The grids differ in size.
        """
        import numpy as np

        if getattr(base, "dimensions", None) != self.dimensions:
            raise InvalidInputError(
                f"{base!r:.80} is no base for a grid of {self.width} by {self.height}.",
                hint="Compare grids of one size.",
            )
        now = self._layers["activation"]
        changed = np.argwhere(now.view(np.uint64) != base.cells.view(np.uint64)).astype(np.int32)
        return changed[:, 1].copy(), changed[:, 0].copy(), now[changed[:, 0], changed[:, 1]]

    def apply_delta(self, x: ArrayLike, y: ArrayLike, values: ArrayLike) -> int:
        """Set the cells of a delta in its order (a later change of a cell wins), and return how many changes it had.

        Raises:
            InvalidInputError: The columns differ in length or hold what is no coordinate or no finite number.
        """
        import numpy as np

        columns, rows, new = check_delta(x, y, values)
        if len(new):
            places = (rows % self.height) * self.width + columns % self.width
            last = len(new) - 1 - np.unique(places[::-1], return_index=True)[1]
            self._layers["activation"].reshape(-1)[places[last]] = new[last]
        return len(new)

    def picture(self, width: int | None = None, *, color: bool = True, layer: str = "activation") -> str:
        """Return the grid drawn for a terminal, two rows of cells in each line.

        Args:
            width: Most characters in a line, by default 80; a wider grid is made smaller, keeping the largest values.
            color: Half-blocks in 24-bit colours; else five shades of grey as plain characters.
            layer: Which layer; values beyond its range are drawn at its ends.
        """
        most = 80 if width is None else check_whole(width, "width")
        if most < 1:
            raise InvalidInputError(f"width is {width}.", hint="Pass a whole number from 1.")
        low, high = _RANGES.get(layer, (0.0, 1.0))
        return picture.half_blocks(self._layer(layer), width=most, low=low, high=high, color=color)

    def png(self, scale: int = 8, *, layer: str = "activation") -> bytes:
        """Return the grid as a PNG image, ``scale`` pixels a cell.

        Raises:
            InvalidInputError: The image would have more than 2**26 pixels.
        """
        if check_whole(scale, "scale") < 1 or self.size * scale * scale > _MOST_PIXELS:
            raise InvalidInputError(
                f"A grid of {self.width} by {self.height} cannot be drawn at scale {scale}.",
                hint=f"Choose a scale from 1 that gives at most {_MOST_PIXELS:,} pixels.",
            )
        low, high = _RANGES.get(layer, (0.0, 1.0))
        return picture.png(self._layer(layer), scale=scale, low=low, high=high)

    def to_state(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
        """Return the grid as named arrays and metadata of JSON values, as ``store.states.commit`` keeps them.

        The activation is called ``cells``; other layers keep their names. All are copies.
        """
        return grid_state.to_state(self)

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> ToroidalGrid:
        """Return the grid of :meth:`to_state`, of a state that was opened, or of a grid file that was read.

        Without ``metadata``, an opened state's own is taken; keys that are not the grid's own are kept.

        Raises:
            InvalidInputError: There is no array ``cells``, an array is no layer or has another shape, a value is not
                finite, or the metadata contradicts the arrays.
        """
        return grid_state.from_state(cls, arrays, metadata)

    def __getitem__(self, place: tuple[int, int]) -> float:
        return self.get(*check_place(place))

    def __setitem__(self, place: tuple[int, int], value: float) -> None:
        self.set(*check_place(place), value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001 - as numpy calls it
        import numpy as np

        if copy is False:
            raise ValueError("A grid gives its cells away as a copy only.")
        return np.array(self._layers["activation"], dtype=dtype)

    def __eq__(self, other: object) -> bool:
        import numpy as np

        if not isinstance(other, ToroidalGrid):
            return NotImplemented
        return (
            self.layers == other.layers
            and all(np.array_equal(self._layers[name], other.layer(name)) for name in self.layers)
            and self._labels == other.labels
            and self.diffusion == other.diffusion
            and self.metadata == other.metadata
        )

    def __repr__(self) -> str:
        return f"<ToroidalGrid {self.width}x{self.height}, {self.stats().active} active>"


def _check_layer(name: str) -> None:
    if name not in LAYERS:
        raise InvalidInputError(f"{name!r} is no layer.", hint=f"Use one of {', '.join(LAYERS)}.", layer=str(name))


def _no_text(what: str, value: object) -> InvalidInputError:
    return InvalidInputError(f"{what} is {value!r:.80}, not a text.", hint="Pass a text.")


ToroidalGrid.__module__ = "lamina"  # tracebacks show the public path
