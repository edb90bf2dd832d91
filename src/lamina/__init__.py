"""Lamina: durable memory for AI.

One embedded store for what an agent knows::

    import lamina

    with lamina.open("my-memory") as store:
        store.memories.add("The staging database moved to port 5433.", tags=["infrastructure"])
        for hit in store.memories.recall("which port does staging use?"):
            print(hit.memory.text)

Everything here loads on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lamina._version import __version__

if TYPE_CHECKING:
    from lamina.errors import (
        AlreadyExistsError,
        ClosedError,
        ConflictError,
        CorruptionError,
        DependencyError,
        DiskFullError,
        EmbedderError,
        FormatError,
        InvalidInputError,
        LaminaError,
        LockedError,
        NotFoundError,
        PoisonedError,
        ReadOnlyError,
        StorageError,
    )
    from lamina.framing import Shown
    from lamina.memories import Memories
    from lamina.patterns import Patterns
    from lamina.patterns.reports import LearnReport, Plan, Related, Suggestion, Trend, Week
    from lamina.patterns.values import Pattern
    from lamina.saving import LoadedState, load_state, save_state
    from lamina.sessions import Run, Sessions
    from lamina.sessions.values import Call, ImportReport, Session, Turn
    from lamina.states import (
        ArrayChange,
        ArrayInfo,
        Autosave,
        Checkpoints,
        DiffusionConfig,
        Experiment,
        Experiments,
        PendingVersion,
        RetainPlan,
        SavedSessions,
        Slot,
        SlotPlan,
        Slots,
        State,
        StateArray,
        StateDiff,
        StateInfo,
        States,
        ToroidalGrid,
        Version,
    )
    from lamina.store import Store, open, repair  # noqa: A004 - lamina.open is the name that people type
    from lamina.types import (
        Change,
        Deletion,
        Explanation,
        Hit,
        Hits,
        IndexReport,
        IndexView,
        Memory,
        MissingReport,
        Problem,
        RepairReport,
        SyncReport,
        TermMatch,
        VerifyReport,
    )

__all__ = [
    "AlreadyExistsError",
    "ArrayChange",
    "ArrayInfo",
    "Autosave",
    "Call",
    "Change",
    "Checkpoints",
    "ClosedError",
    "ConflictError",
    "CorruptionError",
    "Deletion",
    "DependencyError",
    "DiffusionConfig",
    "DiskFullError",
    "EmbedderError",
    "Experiment",
    "Experiments",
    "Explanation",
    "FormatError",
    "Hit",
    "Hits",
    "ImportReport",
    "IndexReport",
    "IndexView",
    "InvalidInputError",
    "LaminaError",
    "LearnReport",
    "LoadedState",
    "LockedError",
    "Memories",
    "Memory",
    "MissingReport",
    "NotFoundError",
    "Pattern",
    "Patterns",
    "PendingVersion",
    "Plan",
    "PoisonedError",
    "Problem",
    "ReadOnlyError",
    "Related",
    "RepairReport",
    "RetainPlan",
    "Run",
    "SavedSessions",
    "Session",
    "Sessions",
    "Shown",
    "Slot",
    "SlotPlan",
    "Slots",
    "State",
    "StateArray",
    "StateDiff",
    "StateInfo",
    "States",
    "StorageError",
    "Store",
    "Suggestion",
    "SyncReport",
    "TermMatch",
    "ToroidalGrid",
    "Trend",
    "Turn",
    "VerifyReport",
    "Version",
    "Week",
    "__version__",
    "load_state",
    "open",
    "repair",
    "save_state",
]

_STORE = {"Store", "open", "repair"}
_STATES = {
    "ArrayChange",
    "ArrayInfo",
    "Autosave",
    "Checkpoints",
    "DiffusionConfig",
    "Experiment",
    "Experiments",
    "PendingVersion",
    "RetainPlan",
    "SavedSessions",
    "Slot",
    "SlotPlan",
    "Slots",
    "State",
    "StateArray",
    "StateDiff",
    "StateInfo",
    "States",
    "ToroidalGrid",
    "Version",
}
_ELSEWHERE = {
    **dict.fromkeys(("LearnReport", "Plan", "Related", "Suggestion", "Trend", "Week"), "lamina.patterns.reports"),
    "Pattern": "lamina.patterns.values",
    **dict.fromkeys(("Call", "ImportReport", "Session", "Turn"), "lamina.sessions.values"),
    "Patterns": "lamina.patterns",
    "Run": "lamina.sessions",
    "Sessions": "lamina.sessions",
}
_TYPES = {
    "Change",
    "Deletion",
    "Explanation",
    "Hit",
    "Hits",
    "IndexReport",
    "IndexView",
    "Memory",
    "MissingReport",
    "Problem",
    "RepairReport",
    "SyncReport",
    "TermMatch",
    "VerifyReport",
}


def __getattr__(name: str) -> Any:
    if name in _STORE:
        module = "lamina.store"
    elif name in _STATES:
        module = "lamina.states"
    elif name in _TYPES:
        module = "lamina.types"
    elif name == "Memories":
        module = "lamina.memories"
    elif name in {"LoadedState", "load_state", "save_state"}:
        module = "lamina.saving"
    elif name == "Shown":
        module = "lamina.framing"
    elif name in _ELSEWHERE:
        module = _ELSEWHERE[name]
    elif name in __all__:
        module = "lamina.errors"
    else:
        raise AttributeError(f"module 'lamina' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
