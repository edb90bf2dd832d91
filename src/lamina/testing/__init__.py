"""The rig that tries to break a store, shipped so that others can test what they build on one.

- :class:`CrashFS` records what happens below a folder and shows how it may look after the power went;
- :func:`every_fault` and :func:`inject` make each file operation fail in turn, and :data:`WRITE_PATHS` with
  :class:`PathRig` do so on every way through which the public face writes;
- :class:`Killer` ends processes with ``SIGKILL`` at random moments;
- :func:`mixed_work` writes all kinds of things and says so, :func:`file_work` does with memories that are files, and
  :class:`Ledger` knows what must be there afterwards; :func:`check_folder` knows how files, rows and indexes fit;
- :class:`MemoriesMachine` walks the public face at random beside :class:`MemoriesModel`, a model in plain Python;
- :func:`judge` says what becomes of a store whose bytes were damaged;
- :func:`build_golden` makes a store for versions to come, :func:`describe_store` tells all that one holds;
- :func:`states_work` commits numbered versions, :class:`StatesLedger` knows what each must hold;
- :class:`CatalogTests`, :class:`EmbedderTests`, :class:`CodecTests` and :class:`PackTests` are contracts that a
  backend's tests inherit.

Exports load on first use. The contract classes need pytest, the machine pytest and hypothesis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.testing._catalog_contract import CatalogTests
    from lamina.testing._crashfs import CrashFS, CrashImage
    from lamina.testing._damage import Damage, Verdict, flip_bits, judge, overwrite, truncate_file
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
    from lamina.testing._folder_invariants import check_folder, kept_texts
    from lamina.testing._golden import build_golden, describe_store
    from lamina.testing._kill import Killer, KillOutcome
    from lamina.testing._ledger import Entry, Ledger, files_holding
    from lamina.testing._machine import MemoriesMachine
    from lamina.testing._model import MemoriesModel
    from lamina.testing._pack_contract import CodecTests, PackTests
    from lamina.testing._paths import FILE_PATHS, WRITE_PATHS, PathRig, TinyEmbedder
    from lamina.testing._patient import Patient, make_patient
    from lamina.testing._report import report_counts
    from lamina.testing._several import run_writers
    from lamina.testing._states_work import StatesLedger, states_work
    from lamina.testing._workloads import (
        FILE_OPERATIONS,
        OPERATIONS,
        FileScribe,
        Scribe,
        file_step,
        file_work,
        mixed_work,
    )

__all__ = [
    "FAULTS",
    "FILE_OPERATIONS",
    "FILE_PATHS",
    "OPERATIONS",
    "WRITE_PATHS",
    "Acknowledge",
    "CatalogTests",
    "CodecTests",
    "CrashFS",
    "CrashImage",
    "Damage",
    "Disk",
    "EmbedderTests",
    "Entry",
    "Fault",
    "FaultOutcome",
    "FileScribe",
    "KillOutcome",
    "Killer",
    "Ledger",
    "Loss",
    "MemoriesMachine",
    "MemoriesModel",
    "PackTests",
    "PathRig",
    "Patient",
    "Scribe",
    "StatesLedger",
    "TinyEmbedder",
    "Verdict",
    "Workload",
    "build_golden",
    "check_folder",
    "count_faults",
    "describe_store",
    "every_fault",
    "file_step",
    "file_work",
    "files_holding",
    "flip_bits",
    "inject",
    "judge",
    "kept_texts",
    "make_draft",
    "make_patient",
    "mixed_work",
    "overwrite",
    "report_counts",
    "run_with_fault",
    "run_writers",
    "states_work",
    "truncate_file",
]

_HOME = {
    "FAULTS": "_faults",
    "FILE_OPERATIONS": "_workloads",
    "FILE_PATHS": "_paths",
    "OPERATIONS": "_workloads",
    "PackTests": "_pack_contract",
    "WRITE_PATHS": "_paths",
    "Acknowledge": "_faults",
    "CatalogTests": "_catalog_contract",
    "CodecTests": "_pack_contract",
    "CrashFS": "_crashfs",
    "CrashImage": "_crashfs",
    "Damage": "_damage",
    "Disk": "_disk",
    "EmbedderTests": "_embedder_contract",
    "Entry": "_ledger",
    "Fault": "_faults",
    "FaultOutcome": "_faults",
    "FileScribe": "_workloads",
    "KillOutcome": "_kill",
    "Killer": "_kill",
    "Ledger": "_ledger",
    "Loss": "_disk",
    "MemoriesMachine": "_machine",
    "MemoriesModel": "_model",
    "PathRig": "_paths",
    "Patient": "_patient",
    "Scribe": "_workloads",
    "StatesLedger": "_states_work",
    "TinyEmbedder": "_paths",
    "Verdict": "_damage",
    "Workload": "_faults",
    "build_golden": "_golden",
    "check_folder": "_folder_invariants",
    "count_faults": "_faults",
    "describe_store": "_golden",
    "every_fault": "_faults",
    "file_step": "_workloads",
    "file_work": "_workloads",
    "files_holding": "_ledger",
    "flip_bits": "_damage",
    "inject": "_faults",
    "judge": "_damage",
    "kept_texts": "_folder_invariants",
    "make_draft": "_drafts",
    "make_patient": "_patient",
    "mixed_work": "_workloads",
    "overwrite": "_damage",
    "report_counts": "_report",
    "run_with_fault": "_faults",
    "run_writers": "_several",
    "states_work": "_states_work",
    "truncate_file": "_damage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"lamina.testing.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
