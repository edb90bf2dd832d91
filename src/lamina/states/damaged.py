"""An array of a version that a repair found damaged: it reads what is intact, and says what is known of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import CorruptionError, NotFoundError
from lamina.states.context import StatesContext
from lamina.states.losses import lost_rows, told
from lamina.states.manifest import Array
from lamina.states.state import StateArray
from lamina.states.types import ArrayInfo, Version

__all__ = ["DamagedArray"]


class DamagedArray(StateArray):
    """As any array, but that what cannot be read is told by what is lost, and not by a repair that has been."""

    def __init__(self, hold: Any, array: Array, context: StatesContext, version: Version) -> None:
        super().__init__(hold, array, context)
        self._version = version

    def read(self) -> npt.NDArray[Any]:
        """Return the whole array."""
        with self._telling():
            return super().read()

    def mapped(self) -> npt.NDArray[Any]:
        """Return a read-only map of the array's bytes on disk."""
        with self._telling():
            return super().mapped()

    def info(self) -> ArrayInfo:
        """Return how the array is stored, and how many rows are lost."""
        try:
            found = super().info()
        except (CorruptionError, NotFoundError):
            found = ArrayInfo(
                name=self.name,
                dtype=self._array.dtype_name,
                shape=self.shape,
                precision=self.precision,
                bytes=self.nbytes,
                stored=0,
                shards=self._layout.shards,
                codecs={"unreadable": self._layout.shards},
            )
        return replace(found, lost_rows=lost_rows(self._context, self._array))

    def _row(self, row: int) -> npt.NDArray[Any]:
        with self._telling():
            return super()._row(row)

    def _rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        with self._telling():
            return super()._rows(rows)

    def _slice(self, start: int, stop: int) -> npt.NDArray[Any]:
        with self._telling():
            return super()._slice(start, stop)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (CorruptionError, NotFoundError) as error:
            if "lost_rows" in error.details:
                raise
            known = told(self._context, self._array, self._version, error)
            if known is error:
                raise
            raise known from error
