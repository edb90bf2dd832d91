"""What a model holds: named arrays, versioned, checked, read lazily."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.state import State, StateArray

__all__ = ["State", "StateArray", "States"]

_HOME = {"State": "state", "StateArray": "state", "States": "api"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"lamina.states.{_HOME[name]}"), name)
    value.__module__ = "lamina"  # tracebacks show the public path
    globals()[name] = value
    return value
