"""The rig that tries to break a store, shipped so that others can test what they build on one.

- :class:`CrashFS` records what happens below a folder and shows how it may look after the power went;
- :func:`every_fault` and :func:`inject` make each file operation fail in turn;
- :class:`Killer` ends processes with ``SIGKILL`` at random moments;
- :class:`CatalogTests` and :class:`EmbedderTests` are contracts that a backend's tests inherit.

Exports load on first use. The contract classes need pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.testing._catalog_contract import CatalogTests
    from lamina.testing._crashfs import CrashFS, CrashImage
    from lamina.testing._disk import Disk, Loss
    from lamina.testing._drafts import make_draft
    from lamina.testing._embedder_contract import EmbedderTests
    from lamina.testing._faults import (
        FAULTS,
        Acknowledge,
        Fault,
        FaultOutcome,
        Workload,
        count_faults,
        every_fault,
        inject,
        run_with_fault,
    )
    from lamina.testing._kill import Killer, KillOutcome
    from lamina.testing._report import report_counts

__all__ = [
    "FAULTS",
    "Acknowledge",
    "CatalogTests",
    "CrashFS",
    "CrashImage",
    "Disk",
    "EmbedderTests",
    "Fault",
    "FaultOutcome",
    "KillOutcome",
    "Killer",
    "Loss",
    "Workload",
    "count_faults",
    "every_fault",
    "inject",
    "make_draft",
    "report_counts",
    "run_with_fault",
]

_HOME = {
    "FAULTS": "_faults",
    "Acknowledge": "_faults",
    "CatalogTests": "_catalog_contract",
    "CrashFS": "_crashfs",
    "CrashImage": "_crashfs",
    "Disk": "_disk",
    "EmbedderTests": "_embedder_contract",
    "Fault": "_faults",
    "FaultOutcome": "_faults",
    "KillOutcome": "_kill",
    "Killer": "_kill",
    "Loss": "_disk",
    "Workload": "_faults",
    "count_faults": "_faults",
    "every_fault": "_faults",
    "inject": "_faults",
    "make_draft": "_drafts",
    "report_counts": "_report",
    "run_with_fault": "_faults",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"lamina.testing.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
