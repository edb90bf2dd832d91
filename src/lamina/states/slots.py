"""Slot tables: tensors of equal rows with a time, a count and a surprise for each slot.

A slot is (tensor, number): the numbers of two tensors do not collide. The tensors are arrays of a state like any
others, the columns are arrays called ``TENSOR.timestamp`` and so on, and ``slots`` in the metadata declares them. A
change writes the slots that changed and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from lamina.errors import AlreadyExistsError, InvalidInputError, NotFoundError, there_are
from lamina.states.cells import check_mapping, check_whole
from lamina.states.checks import check_name, to_array
from lamina.states.slot_values import COLUMNS, column_values, moment, slot_numbers, slot_rows
from lamina.states.types import Version
from lamina.states.where import matching
from lamina.storage.records import now_micros

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.state import State

__all__ = ["COLUMNS", "Slot", "SlotPlan", "Slots"]

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
        exist_ok: bool = False,
        metadata: Mapping[str, Any] | None = None,
        message: str | None = None,
    ) -> Version:
        """Commit tensors as a slot table, which must not be there yet.

        Args:
            tensors: By name (``short_term``, ``long_term``, ...), each with one row a slot. Their slots are empty
                until a time says that they were written.
            columns: For each tensor that has them, ``timestamp`` (microseconds, int64), ``access_count`` and
                ``surprise``, one value a slot. Zero where they are not given.
            exist_ok: Leave a table as it is where it is there already and has these tensors, in shape and dtype: what
                a program says that makes the table at its first run.
            metadata: JSON values.
            message: In words.

        Returns:
            What was committed; the newest version where the table was there.

        Raises:
            AlreadyExistsError: The state is there; with ``exist_ok``, with other tensors.
            InvalidInputError: A tensor has no axis, or a column another length.
        """
        if not isinstance(tensors, Mapping):
            raise InvalidInputError("The tensors are no mapping.", hint='Pass {"short_term": array, ...}.')
        given_columns: Any = columns or {}
        if not isinstance(given_columns, Mapping) or not all(
            isinstance(one, Mapping) for one in given_columns.values()
        ):
            raise InvalidInputError("The columns are no mapping.", hint='Pass {tensor: {"surprise": array}}.')
        for name in given_columns:
            if name not in tensors:
                raise InvalidInputError(
                    f"columns names the tensor {name!r}, which is not given.", hint=there_are(str(name), list(tensors))
                )
        arrays: dict[str, Any] = {}
        for name, value in tensors.items():
            array = to_array(value, check_name(name, "The name of a tensor"))
            if array.ndim < 1 or "." in name:
                raise InvalidInputError(
                    f"Tensor {name!r} must have a row for each slot, and no dot in its name.", hint="Rename or reshape."
                )
            arrays[name] = array
            given = given_columns.get(name, {})
            for column in given:
                _check_column(column, list(COLUMNS))
            for column in COLUMNS:
                arrays[f"{name}.{column}"] = column_values(given.get(column, 0), column, len(array))
        found = self._existing(tensors, arrays, exist_ok=exist_ok)
        if found is not None:
            return found
        declared = {**check_mapping(metadata, "metadata"), _DECLARED: {"tensors": list(tensors)}}
        version = self._states.commit(self.name, arrays, branch=self.branch, metadata=declared, message=message)
        assert isinstance(version, Version)
        return version

    def _existing(self, tensors: Mapping[str, Any], arrays: Mapping[str, Any], *, exist_ok: bool) -> Version | None:
        """Return the newest version of the table that is there, if it is one of these tensors."""
        try:
            state = self._states.open(self.name, self.branch)
        except NotFoundError:
            return None
        with state:
            if not exist_ok:
                raise AlreadyExistsError(
                    f"State {self.name!r} is there already.",
                    hint="Change its slots with put(), or pass exist_ok=True to go on with it.",
                    name=self.name,
                )
            names = self._declared(state.metadata)
            wanted = {name: (arrays[name].shape, arrays[name].dtype) for name in tensors}
            there = {name: (state[name].shape, state[name].dtype) for name in names}
            if wanted != there:
                raise AlreadyExistsError(
                    f"State {self.name!r} is there already, with other tensors: {_forms(there)}, not {_forms(wanted)}.",
                    hint="Ask for the same tensors, or choose another name.",
                    name=self.name,
                )
            return state.version

    # --- reading -----------------------------------------------------------------------------------------------------

    def tensors(self) -> list[str]:
        """Return the names of the tensors.

        Raises:
            NotFoundError: The state declares no slots.
        """
        with self._states.open(self.name, self.branch) as state:
            return self._declared(state.metadata)

    def get(self, tensor: str, number: SupportsIndex) -> Slot:
        """Return one slot.

        Raises:
            NotFoundError: There is no such tensor.
            InvalidInputError: There is no such slot.
        """
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, tensor)
            (wanted,) = slot_numbers(check_whole(number, "number"), state[tensor].layout, tensor)
            value = np.asarray(state[tensor][wanted])
            facts = {column: state[f"{tensor}.{column}"][wanted] for column in COLUMNS}
            return Slot(
                tensor=tensor,
                number=int(wanted),
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
        """Return the ``k`` slots with the largest (or smallest) values of a column, the most extreme first.

        Empty slots are left out, so that there may be fewer; :meth:`free` finds those.
        """
        columns = self.columns(tensor)
        _check_column(column, list(columns))
        most = check_whole(k, "k")
        values = columns[column].astype(np.float64)
        values = np.where(np.isnan(values), -np.inf if largest else np.inf, values)
        written = np.flatnonzero(columns["timestamp"])
        order = written[np.argsort(-values[written] if largest else values[written], kind="stable")]
        return [int(number) for number in order[: max(0, most)]]

    # --- changing ----------------------------------------------------------------------------------------------------

    def put(
        self,
        tensor: str,
        numbers: Any,
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
            numbers: Which: a number, a list of them, a slice, or one bool for each slot. Negative ones count from the
                end; of a slot that is named twice the last value stays.
            values: A row for each, or one row for all.
            timestamp: Microseconds since 1970 or a ``datetime``, one for each slot or one for all; now when values are
                given.
            access_count: Reads, one for each slot or one for all.
            surprise: Any number but NaN, infinite ones too, one for each slot or one for all.
            message: In words.

        Raises:
            NotFoundError: There is no such tensor.
            InvalidInputError: There is no such slot, or what is given does not fit the slots.
        """
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, tensor)
            wanted = slot_numbers(numbers, state[tensor].layout, tensor)
            shape = state[tensor].shape[1:]
        changes: dict[str, Any] = {}
        if values is not None:
            changes[tensor] = (wanted, slot_rows(values, tensor, wanted.size, shape))
            timestamp = now_micros() if timestamp is None else timestamp
        given = {"timestamp": timestamp, "access_count": access_count, "surprise": surprise}
        for column, value in given.items():
            if value is not None:
                changes[f"{tensor}.{column}"] = (wanted, column_values(value, column, wanted.size))
        return self._states.update(self.name, changes, branch=self.branch, message=message)

    def count(self, tensor: str, numbers: Any) -> Version:
        """Add one to the access count of each slot, as often as it is named.

        Args:
            tensor: Whose slots.
            numbers: Which, as in :meth:`put`.
        """
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, tensor)
            named = slot_numbers(numbers, state[tensor].layout, tensor)
            wanted, times = np.unique(named, return_counts=True)
            counts = state[f"{tensor}.access_count"][wanted] + times
        change = {f"{tensor}.access_count": (wanted, counts)}
        return self._states.update(self.name, change, branch=self.branch, message="counted")

    def move(self, source: str, numbers: Any, target: str, into: Any, *, replace: bool = False) -> Version:
        """Promote or demote: copy slots with their columns to another tensor, and clear where they came from.

        Args:
            source: Tensor that they are in.
            numbers: Which, as in :meth:`put`, each once.
            target: Tensor that they go to; its rows have the same form.
            into: Which slots of it, one for each.
            replace: Whether what is in those slots may be lost. Within one tensor, slots that move away make room.

        Raises:
            AlreadyExistsError: A slot that one would go to is not empty, and ``replace`` is False.
            InvalidInputError: The numbers do not pair up, or the rows have another form.
        """
        with self._states.open(self.name, self.branch) as state:
            self._check(state.metadata, source)
            self._check(state.metadata, target)
            leaving = slot_numbers(numbers, state[source].layout, source)
            going = slot_numbers(into, state[target].layout, target)
            # once they are numbers from 0, so that -1 and 7 of eight slots are seen to be one
            if leaving.size != going.size or any(np.unique(one).size != one.size for one in (leaving, going)):
                raise InvalidInputError("Each slot needs one place of its own.", hint="Give as many targets as slots.")
            if state[source].shape[1:] != state[target].shape[1:]:
                raise InvalidInputError(
                    f"Slots of {source!r} have shape {state[source].shape[1:]}, those of {target!r} "
                    f"{state[target].shape[1:]}.",
                    hint="Move between tensors of the same form.",
                )
            if not replace:
                self._check_room(state, target, going, leaving if source == target else going[:0])
            read = {name: state[name][leaving] for name in self._arrays(source)}
            forms = {name: state[name].dtype for name in self._arrays(source)}
        changes: dict[str, Any] = {}
        for name, values in read.items():
            other = target + name[len(source) :]
            cleared = np.zeros(values.shape, forms[name])
            if other == name:  # within one tensor: what goes to a place that is also left must win
                changes[name] = (np.concatenate([leaving, going]), np.concatenate([cleared, values]))
            else:
                changes[name] = (leaving, cleared)
                changes[other] = (going, values)
        message = f"moved {leaving.size} from {source} to {target}"
        return self._states.update(self.name, changes, branch=self.branch, message=message)

    def _check_room(self, state: State, target: str, going: npt.NDArray[np.int64], leaving: Any) -> None:
        """Refuse to lose what is in the slots of a target."""
        full = going[(state[f"{target}.timestamp"][going] != 0) & ~np.isin(going, leaving)]
        if full.size:
            raise AlreadyExistsError(
                f"Slot {int(full[0])} of tensor {target!r} is not empty.",
                hint="Take slots of free(), or pass replace=True to lose what is there.",
                tensor=target,
                number=int(full[0]),
            )

    def free(self, tensor: str) -> list[int]:
        """Return the empty slots: those that were never written, or cleared since."""
        return self.where(tensor, "timestamp == 0")

    def scores(self, tensor: str, *, now: int | datetime | None = None) -> npt.NDArray[np.float64]:
        """Return what each slot is worth: ``ln(1 + access_count) + surprise + 2 ** (-age / 7 days)``.

        The newer, the more used and the more surprising a slot, the longer it stays. (The formula that this one takes
        the place of added the age, so that the oldest won.) An empty slot is worth minus infinity; a surprise that is
        NaN counts as none.

        Args:
            tensor: Which.
            now: Microseconds since 1970 or a ``datetime``; the time now when None.
        """
        then = now_micros() if now is None else moment(now, "now")
        columns = self.columns(tensor)
        age = np.maximum(0, then - columns["timestamp"]).astype(np.float64)
        recency = np.exp2(-age / (_HALF_LIFE_DAYS * _DAY))
        worth = np.log1p(np.maximum(0, columns["access_count"])) + np.nan_to_num(columns["surprise"], nan=0.0) + recency
        scores: npt.NDArray[np.float64] = np.where(columns["timestamp"] == 0, -np.inf, worth)
        return scores

    def prune(self, tensor: str, keep: Any, *, now: int | datetime | None = None, dry_run: bool = False) -> SlotPlan:
        """Clear all but the ``keep`` written slots that are worth the most; see :meth:`scores`.

        Args:
            tensor: Which.
            keep: How many stay.
            now: Microseconds since 1970 or a ``datetime``; the time now when None.
            dry_run: Only say which would go.
        """
        most = check_whole(keep, "keep")
        if most < 0:
            raise InvalidInputError(f"keep is {most}, not a whole number from 0.", hint="Pass how many stay.")
        scores = self.scores(tensor, now=now)
        written = np.flatnonzero(scores > -np.inf)
        order = written[np.argsort(scores[written], kind="stable")]
        doomed = order[: max(0, order.size - most)]
        version = None
        if doomed.size and not dry_run:
            with self._states.open(self.name, self.branch) as state:
                forms = {name: (state[name].shape[1:], state[name].dtype) for name in self._arrays(tensor)}
            changes = {name: (doomed, np.zeros((doomed.size, *shape), dtype)) for name, (shape, dtype) in forms.items()}
            version = self._states.update(
                self.name,
                changes,
                branch=self.branch,
                message=f"pruned {doomed.size} slot{'' if doomed.size == 1 else 's'} of {tensor}",
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
            raise NotFoundError(
                f"State {self.name!r} declares no slots.",
                hint="Make a table with slots(NAME).create(), under a new name.",
            )
        return [str(name) for name in names]

    def _check(self, metadata: Mapping[str, Any], tensor: str) -> None:
        names = self._declared(metadata)
        if tensor not in names:
            raise NotFoundError(
                f"State {self.name!r} has no tensor {tensor!r}.", hint=there_are(str(tensor), names), tensor=str(tensor)
            )


def _check_column(column: Any, names: list[str]) -> None:
    if column not in names:
        raise InvalidInputError(f"There is no column {column!r}.", hint=there_are(str(column), names))


def _forms(tensors: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    """Return names, shapes and dtypes in words."""
    return ", ".join(f"{name} {list(shape)} {dtype}" for name, (shape, dtype) in tensors.items())
