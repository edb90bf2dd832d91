"""Benchmarks of the product, measured through its public face: ``lamina bench NAME``.

Each benchmark is a module with ``OPTIONS`` (what it takes), ``run(**options) -> dict`` (the figures, JSON-able) and
``summary(result) -> list[str]`` (the same for people). They print nothing and know no command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["BENCHMARKS", "BenchOption"]

BENCHMARKS: Final[Mapping[str, str]] = {
    "start": "How long fresh processes take: the bare interpreter, --version, import, list, a first recall.",
    "add": "A durable add: its fsyncs, and the time beside them; and many at once, with their memory.",
    "recall": "Recall at 1,000 and 50,000 memories, warm, and cold in a fresh process.",
    "folder": "A memory directory: taking it over, following it, recall over its files, adding to it.",
    "states": "A large array saved, opened, read in part and changed, beside the formats of today.",
    "patterns": "Patterns and sessions: queries, trends, recording, importing, learning.",
    "locomo": "How often the right turns of long conversations are found (LoCoMo).",
}
"""Every benchmark and its one line of help. The module of NAME is ``lamina.bench.NAME``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOption:
    """One option of a benchmark."""

    name: str
    """The argument of ``run``; ``--name`` in the shell, with dashes for underscores."""
    help: str
    type: type = int
    default: Any = None
    required: bool = False
    multiple: bool = False
    """May be given several times; ``run`` gets a tuple."""
