from __future__ import annotations

from pathlib import Path

import pytest

from lamina.testing import WRITE_PATHS, PathRig, every_fault, report_counts

STEP = {"add_many": 7, "purge": 13, "salvage": 23, "update": 11, "supersede": 11}


@pytest.mark.parametrize("path", WRITE_PATHS)
def test_every_write_path_survives_faults(path: str, tmp_path: Path) -> None:
    """One file operation fails; the error is ours, what was acknowledged stays, the store verifies and works on."""
    runs = failed = 0
    for lasting in (False, True):
        rig = PathRig(path, tmp_path / str(lasting))
        for outcome in every_fault(WRITE_PATHS[path], rig.make_folder, lasting=lasting, step=STEP.get(path, 9)):
            rig.check(outcome)
            assert outcome.operation is not None, outcome
            runs += 1
            failed += outcome.error is not None
    assert runs > 5
    assert failed
    report_counts(f"faults, {path}", {"faults": runs, "told as errors": failed, "lost": 0})
