"""Slot tables: tensors of equal rows with a time, a count and a surprise for each slot.

A slot is (tensor, number): the numbers of two tensors do not collide. The tensors are arrays of a state like any
others, the columns are arrays called ``TENSOR.timestamp`` and so on, and ``slots`` in the metadata declares them. A
change writes the slots that changed and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lamina.errors import InvalidInputError, NotFoundError
from lamina.states.checks import check_name, to_array
from lamina.states.types import Version
from lamina.states.where import matching
from lamina.storage.records import now_micros

if TYPE_CHECKING:
    from lamina.states.api import States

__all__ = ["COLUMNS", "Slot", "SlotPlan", "Slots"]

COLUMNS: Mapping[str, str] = {"timestamp": "<i8", "access_count": "<i8", "surprise": "<f8"}
"""Columns of every tensor: microseconds since 1970 of the last write, reads that were counted, and surprise."""

_DECLARED = "slots"
_DAY = 86_400e6
_HALF_LIFE_DAYS = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot."""

    tensor: str
    number: int
    value: npt.NDArray[Any]
    timestamp: int
    """Microseconds since 1970 of its last write; 0 where it is empty."""
    access_count: int
    surprise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """Which slots a pruning clears, or would."""

    tensor: str
    numbers: tuple[int, ...]
    scores: tuple[float, ...]
    """Of each, the lowest first."""
    dry_run: bool
    version: Version | None = None
    """What was committed."""


class Slots:
    """The slot table of a state. Made by :meth:`lamina.States.slots`; reads the newest version of a branch."""

    def __init__(self, states: States, name: str, branch: str = "main") -> None:
        check_name(name)
        self.name = name
        self.branch = branch
        self._states = states

    # --- making ------------------------------------------------------------------------------------------------------

    def create(
        self,
        tensors: Mapping[str, Any],
        *,
        columns: Mapping[str, Mapping[str, Any]] | None = None,
        metadata: Mapping[str, Any] | None = None,
        message: str | None = None,
    ) -> Version:
        """Commit tensors as a slot table.

        Args:
            tensors: By name (``short_term``, ``long_term``, ...), each with one row a slot.
            columns: For each tensor that has them, ``timestamp`` (microseconds, int64), ``access_count`` and
                ``surprise``, one value a slot. Zero where they are not given.
            metadata: JSON values.
            message: In words.

        Raises:
            InvalidInputError: A tensor has no axis, or a column another length.
        """
        arrays: dict[str, Any] = {}
        for name, value in tensors.items():
            array = to_array(value, check_name(name, "The name of a tensor"))
            if array.ndim < 1 or "." in name:
                raise InvalidInputError(
                    f"Tensor {name!r} must have a row for each slot, and no dot in its name.", hint="Rename or reshape."
                )
            arrays[name] = array
            given = (columns or {}).get(name, {})
            if unknown := set(given) - set(COLUMNS):
                raise InvalidInputError(
                    f"There is no column {min(unknown)!r}.", hint=f"The columns are {', '.join(COLUMNS)}."
                )
            for column, dtype in COLUMNS.items():
                arrays[f"{name}.{column}"] = _column(given.get(column), dtype, len(array), f"{name}.{column}")
        declared = {**(metadata or {}), _DECLARED: {"tensors": list(tensors)}}
        version = self._states.commit(self.name, arrays, branch=self.branch, metadata=declared, message=message)
        assert isinstance(version, Version)
        return version

    # --- reading -----------------------------------------------------------------------------------------------------

    def tensors(self) -> list[str]:
        """Return the names of the tensors.

        Raises:
            NotFoundError: The state declares no slots.
        """
        with self._states.open(self.name, self.branch) as state:
            return self._declared(state.metadata)

    def get(self, tensor: str, number: int) -> Slot:
        """Return one slot.

        Raises:
            NotFoundError: There is no such tensor.
            InvalidInputError: There is no such slot.
        """
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, tensor)
            value = np.asarray(state[tensor][number])
            facts = {column: state[f"{tensor}.{column}"][number] for column in COLUMNS}
            return Slot(
                tensor=tensor,
                number=int(number) % len(state[tensor]),
                value=value,
                timestamp=int(facts["timestamp"]),
                access_count=int(facts["access_count"]),
                surprise=float(facts["surprise"]),
            )

    def columns(self, tensor: str) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of a tensor, and ``slot``, its numbers."""
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, tensor)
            found = {column: state[f"{tensor}.{column}"].read() for column in COLUMNS}
        return {"slot": np.arange(len(found["timestamp"]), dtype=np.int64), **found}

    def where(self, tensor: str, condition: str) -> list[int]:
        """Return the slots that a condition such as ``surprise > 0.8 and access_count < 3`` holds for.

        Raises:
            InvalidInputError: The condition cannot be read.
        """
        return [int(number) for number in np.flatnonzero(matching(condition, self.columns(tensor)))]

    def top(self, tensor: str, column: str, k: int = 10, *, largest: bool = True) -> list[int]:
        """Return the ``k`` slots with the largest (or smallest) values of a column, the most extreme first."""
        columns = self.columns(tensor)
        if column not in columns:
            raise InvalidInputError(f"There is no column {column!r}.", hint=f"There are {', '.join(columns)}.")
        values = columns[column].astype(np.float64)
        values = np.where(np.isnan(values), -np.inf if largest else np.inf, values)
        order = np.argsort(-values if largest else values, kind="stable")
        return [int(number) for number in order[: max(0, k)]]

    # --- changing ----------------------------------------------------------------------------------------------------

    def put(
        self,
        tensor: str,
        numbers: int | Sequence[int],
        values: Any = None,
        *,
        timestamp: Any = None,
        access_count: Any = None,
        surprise: Any = None,
        message: str | None = None,
    ) -> Version:
        """Write slots: their values, their columns, or both; what is not given stays, but for the time of a write.

        Args:
            tensor: Whose slots.
            numbers: Which.
            values: A row for each.
            timestamp: Microseconds since 1970; now when values are given.
            access_count: Reads.
            surprise: Any number, also infinite.
            message: In words.
        """
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, tensor)
        wanted = [int(numbers)] if isinstance(numbers, (int, np.integer)) else [int(number) for number in numbers]
        changes: dict[str, Any] = {}
        if values is not None:
            changes[tensor] = (wanted, values)
            timestamp = now_micros() if timestamp is None else timestamp
        given = {"timestamp": timestamp, "access_count": access_count, "surprise": surprise}
        for column, value in given.items():
            if value is not None:
                changes[f"{tensor}.{column}"] = (wanted, np.asarray(value, dtype=COLUMNS[column]))
        return self._states.update(self.name, changes, branch=self.branch, message=message)

    def count(self, tensor: str, numbers: Iterable[int]) -> Version:
        """Add one to the access count of each slot, as often as it is named."""
        wanted, times = np.unique(np.asarray(list(numbers), dtype=np.int64), return_counts=True)
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, tensor)
            counts = state[f"{tensor}.access_count"][wanted] + times
        change = {f"{tensor}.access_count": (wanted, counts)}
        return self._states.update(self.name, change, branch=self.branch, message="counted")

    def move(self, source: str, numbers: Sequence[int], target: str, into: Sequence[int]) -> Version:
        """Promote or demote: copy slots with their columns to another tensor, and clear where they came from.

        Args:
            source: Tensor that they are in.
            numbers: Which.
            target: Tensor that they go to; its rows have the same form.
            into: Which slots of it, one for each.

        Raises:
            InvalidInputError: The numbers do not pair up, or the rows have another form.
        """
        if len(numbers) != len(into) or len(set(into)) != len(into) or len(set(numbers)) != len(numbers):
            raise InvalidInputError("Each slot needs one place of its own.", hint="Give as many targets as slots.")
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, source)
            self._check(state.metadata, target)
            if state[source].shape[1:] != state[target].shape[1:]:
                raise InvalidInputError(
                    f"Slots of {source!r} have shape {state[source].shape[1:]}, those of {target!r} "
                    f"{state[target].shape[1:]}.",
                    hint="Move between tensors of the same form.",
                )
            read = {name: state[name][list(numbers)] for name in self._arrays(source)}
            forms = {name: state[name].dtype for name in self._arrays(source)}
        changes: dict[str, Any] = {}
        for name, values in read.items():
            other = target + name[len(source) :]
            cleared = np.zeros(values.shape, forms[name])
            if other == name:  # within one tensor: what goes to a place that is also left must win
                changes[name] = ([*numbers, *into], np.concatenate([cleared, values]))
            else:
                changes[name] = (list(numbers), cleared)
                changes[other] = (list(into), values)
        message = f"moved {len(numbers)} from {source} to {target}"
        return self._states.update(self.name, changes, branch=self.branch, message=message)

    def free(self, tensor: str) -> list[int]:
        """Return the empty slots: those that were never written, or cleared since."""
        return self.where(tensor, "timestamp == 0")

    def scores(self, tensor: str, *, now: int | None = None) -> npt.NDArray[np.float64]:
        """Return what each slot is worth: ``ln(1 + access_count) + surprise + 2 ** (-age / 7 days)``.

        The newer, the more used and the more surprising a slot, the longer it stays. (The formula that this one takes
        the place of added the age, so that the oldest won.) An empty slot is worth minus infinity; a surprise that is
        NaN counts as none.

        Args:
            tensor: Which.
            now: Microseconds since 1970; the time now when None.
        """
        columns = self.columns(tensor)
        age = np.maximum(0, (now_micros() if now is None else now) - columns["timestamp"]).astype(np.float64)
        recency = np.exp2(-age / (_HALF_LIFE_DAYS * _DAY))
        worth = np.log1p(np.maximum(0, columns["access_count"])) + np.nan_to_num(columns["surprise"], nan=0.0) + recency
        scores: npt.NDArray[np.float64] = np.where(columns["timestamp"] == 0, -np.inf, worth)
        return scores

    def prune(self, tensor: str, keep: Any, *, now: int | None = None, dry_run: bool = False) -> SlotPlan:
        """Clear all but the ``keep`` written slots that are worth the most; see :meth:`scores`.

        Args:
            tensor: Which.
            keep: How many stay.
            now: Microseconds since 1970; the time now when None.
            dry_run: Only say which would go.
        """
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
            raise InvalidInputError(f"keep = {keep!r} is not a whole number from 0.", hint="Pass how many stay.")
        scores = self.scores(tensor, now=now)
        written = np.flatnonzero(scores > -np.inf)
        order = written[np.argsort(scores[written], kind="stable")]
        doomed = order[: max(0, order.size - keep)]
        version = None
        if doomed.size and not dry_run:
            with self._states.open(self.name, self.branch) as state:
                forms = {name: (state[name].shape[1:], state[name].dtype) for name in self._arrays(tensor)}
            changes = {name: (doomed, np.zeros((doomed.size, *shape), dtype)) for name, (shape, dtype) in forms.items()}
            version = self._states.update(
                self.name, changes, branch=self.branch, message=f"pruned {doomed.size} slots of {tensor}"
            )
        return SlotPlan(
            tensor=tensor,
            numbers=tuple(int(number) for number in doomed),
            scores=tuple(float(score) for score in scores[doomed]),
            dry_run=dry_run,
            version=version,
        )

    def _arrays(self, tensor: str) -> list[str]:
        return [tensor, *(f"{tensor}.{column}" for column in COLUMNS)]

    def _declared(self, metadata: Mapping[str, Any]) -> list[str]:
        declared = metadata.get(_DECLARED)
        names = declared.get("tensors") if isinstance(declared, Mapping) else None
        if not isinstance(names, list):
            raise NotFoundError(f"State {self.name!r} declares no slots.", hint="Make them with slots(name).create().")
        return [str(name) for name in names]

    def _check(self, metadata: Mapping[str, Any], tensor: str) -> None:
        names = self._declared(metadata)
        if tensor not in names:
            raise NotFoundError(f"State {self.name!r} has no tensor {tensor!r}.", hint=f"It has {', '.join(names)}.")


def _column(given: Any, dtype: str, length: int, name: str) -> npt.NDArray[Any]:
    if given is None:
        return np.zeros(length, dtype)
    array = to_array(given, name)
    if array.shape != (length,) or array.dtype.kind not in "iuf":
        raise InvalidInputError(
            f"Column {name!r} must be one number for each of {length} slots.", hint="Pass a one-dimensional array."
        )
    with np.errstate(invalid="ignore"):
        made = array.astype(dtype)
    if dtype == "<i8" and not np.array_equal(made, array):
        raise InvalidInputError(f"Column {name!r} holds what is no whole number.", hint="Pass int64 values.")
    return made
