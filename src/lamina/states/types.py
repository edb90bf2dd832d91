"""The values that cross the face of states: frozen, slotted, and free of behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["ArrayChange", "ArrayInfo", "RetainPlan", "StateDiff", "StateInfo", "Version"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable committed snapshot of a state."""

    id: str
    """64 hexadecimal digits: the BLAKE3 hash of its manifest, which names the parent."""
    name: str
    """Of the state."""
    parent: str | None
    """Id of the version that it follows; None for the first."""
    created_at: datetime
    message: str | None = None
    step: int | None = None
    """A training step or the like, as it was given."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    creator: str | None = None
    branches: tuple[str, ...] = ()
    """Branches whose newest version it is, when it was looked up."""
    tags: tuple[str, ...] = ()
    damaged: bool = False
    """True where a repair found that part of it cannot be read; what is intact can."""
    written: int | None = None
    """Bytes that committing it added to the store; None where that is not known."""
    kept_exact: tuple[str, ...] = ()
    """What a commit says of arrays that it stored exactly although a precision was asked for: integers, bfloat16 and
    the like, and for ``int8`` rows of fewer than 16 elements. :class:`lamina.ArrayInfo` has the precision of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInfo:
    """One state of the store."""

    name: str
    created_at: datetime
    updated_at: datetime
    versions: int
    branches: tuple[str, ...]
    tags: tuple[str, ...]
    head: str | None
    """Id of the newest version of branch ``main``, or of any branch where there is none."""
    damaged: int = 0
    """How many of its versions a repair has found damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInfo:
    """One array of a version, and how it is stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    precision: str
    bytes: int
    """Of its values, decoded."""
    stored: int
    """Of all objects that it is made of; an object that occurs twice counts once."""
    shards: int
    codecs: Mapping[str, int]
    """How many shards by how they are stored, such as ``raw``, ``shuffle+zstd`` or ``raw + 2 row patches``."""
    lost_rows: int = 0
    """How many rows cannot be read, of a version that a repair has found damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayChange:
    """What became of one array between two versions."""

    name: str
    change: str
    """``added``, ``removed``, ``reshaped`` or ``changed``."""
    rows: int | None = None
    """How many rows differ; None where the rows cannot be compared."""
    first_rows: tuple[int, ...] = ()
    """The first ten of them."""
    norm_before: float | None = None
    """Euclidean norm of all values before; None where there is none, as of strings."""
    norm_after: float | None = None
    largest_change: float | None = None
    """The largest absolute difference of two values that are not the same. Infinite where an infinity came or went, NaN
    where a NaN did; NaN or an infinity that stayed as it was counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDiff:
    """What differs between two versions of a state."""

    name: str
    before: str
    after: str
    changes: tuple[ArrayChange, ...]
    """Of arrays that differ, by name."""
    unchanged: int
    """How many arrays are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainPlan:
    """What ``retain`` removes, or would."""

    name: str
    removed: tuple[str, ...]
    """Ids, the oldest first."""
    kept: Mapping[str, str]
    """Id of each version that stays, and why."""
    dry_run: bool


for _name in __all__:
    globals()[_name].__module__ = "lamina"
