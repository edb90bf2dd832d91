"""How activation spreads over a wrapped grid and fades."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import TYPE_CHECKING, Any

from lamina.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DiffusionConfig", "as_config", "spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionConfig:
    """The three numbers of a diffusion step, each from 0 to 1; the defaults are those of ai-toroidal-memory.

    Raises:
        InvalidInputError: A number is not from 0 to 1.
    """

    diffusion_rate: float = 0.25
    """Share of a cell that flows to its four neighbours in a step, a quarter to each."""
    decay_rate: float = 0.05
    """Share of a cell that is lost in a step."""
    threshold: float = 0.01
    """A cell below this after a step becomes 0; 0 keeps everything."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, Real) and not isinstance(value, bool)  # numpy's count too
            if not number or not math.isfinite(value) or not 0 <= value <= 1:
                raise InvalidInputError(
                    f"{field.name} is {value!r}.", hint="Pass a number from 0 to 1.", field=field.name
                )
            object.__setattr__(self, field.name, float(value))

    def to_dict(self) -> dict[str, float]:
        """Return the settings as JSON values, under the names that grid files use."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DiffusionConfig:
        """Return settings from JSON values; what is missing is as by default.

        Raises:
            InvalidInputError: A key is not known, or a number is not from 0 to 1.
        """
        if not isinstance(values, Mapping):
            raise InvalidInputError(
                f"diffusion_config is of type {type(values).__name__}, not an object.",
                hint="Pass diffusion_rate, decay_rate and threshold.",
            )
        unknown = [str(key) for key in values if key not in {field.name for field in fields(cls)}]
        if unknown:
            raise InvalidInputError(
                f"diffusion_config has an unknown key {unknown[0]!r}.",
                hint="Use diffusion_rate, decay_rate and threshold.",
            )
        return cls(**values)


def as_config(value: Any) -> DiffusionConfig:
    """Return settings given as they are, or as a mapping; None is the default ones.

    Raises:
        InvalidInputError: It is neither, or a number is not from 0 to 1.
    """
    if value is None:
        return DiffusionConfig()
    if isinstance(value, DiffusionConfig):
        return value
    if isinstance(value, Mapping):
        return DiffusionConfig.from_dict(value)
    raise InvalidInputError(
        f"The diffusion settings are of type {type(value).__name__}.",
        hint="Pass a lamina.DiffusionConfig, or a mapping with diffusion_rate, decay_rate and threshold.",
    )


def spread(cells: NDArray[np.float64], config: DiffusionConfig, steps: int) -> NDArray[np.float64]:
    """Return ``cells`` after some steps of diffusion; the argument is not changed.

    One step gives every cell ``v + sum(4 neighbours) * rate / 4 - v * rate - v * decay``, held within 0 and 1, all
    cells at once; what is then below ``threshold`` is 0. The formula, and the order in which it is summed, are those
    of the ai-toroidal-memory library, whose threshold did nothing.

    Args:
        cells: A grid as ``[y, x]``.
        config: The rates.
        steps: How many steps; 0 returns a copy.
    """
    import numpy as np

    now = np.array(cells, dtype=np.float64)
    around = np.empty_like(now)
    for _ in range(steps):
        # left, right, above, below, in this order: the same sums, bit for bit, as the library's
        np.add(np.roll(now, 1, axis=1), np.roll(now, -1, axis=1), out=around)
        around += np.roll(now, 1, axis=0)
        around += np.roll(now, -1, axis=0)
        around *= config.diffusion_rate
        around /= 4.0
        around += now
        around -= now * config.diffusion_rate
        around -= now * config.decay_rate
        np.clip(around, 0.0, 1.0, out=around)
        if config.threshold > 0:
            around[around < config.threshold] = 0.0
        now, around = around, now
    return now


DiffusionConfig.__module__ = "lamina"  # tracebacks show the public path
