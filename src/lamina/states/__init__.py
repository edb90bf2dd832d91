"""What a model holds: named arrays, versioned, checked, read lazily."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.autosave import Autosave
    from lamina.states.checkpoints import Checkpoints
    from lamina.states.diffusion import DiffusionConfig
    from lamina.states.experiments import Experiment, Experiments
    from lamina.states.grid import ToroidalGrid
    from lamina.states.pending import PendingVersion
    from lamina.states.sessions import SavedSessions
    from lamina.states.slots import Slot, SlotPlan, Slots
    from lamina.states.state import State, StateArray
    from lamina.states.types import ArrayChange, ArrayInfo, RetainPlan, StateDiff, StateInfo, Version

__all__ = [
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
]

_HOME = {
    "ArrayChange": "types",
    "ArrayInfo": "types",
    "Autosave": "autosave",
    "Checkpoints": "checkpoints",
    "DiffusionConfig": "diffusion",
    "Experiment": "experiments",
    "Experiments": "experiments",
    "PendingVersion": "pending",
    "RetainPlan": "types",
    "SavedSessions": "sessions",
    "Slot": "slots",
    "SlotPlan": "slots",
    "Slots": "slots",
    "State": "state",
    "StateArray": "state",
    "StateDiff": "types",
    "StateInfo": "types",
    "States": "api",
    "ToroidalGrid": "grid",
    "Version": "types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"lamina.states.{_HOME[name]}"), name)
    value.__module__ = "lamina"  # tracebacks show the public path
    globals()[name] = value
    return value
