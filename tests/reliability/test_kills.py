from __future__ import annotations

from pathlib import Path

from lamina.testing import Killer, Ledger, report_counts

WORKLOAD = "lamina.testing._workloads:mixed_work"
PRELOAD = ["lamina.store", "lamina.memories.adding", "lamina.memories.changing"]


def test_no_kill_loses_or_doubles_a_write(tmp_path: Path) -> None:
    """Writers die at random moments; all that returned is there once, nothing in part, and purged bytes are gone."""
    ledger = Ledger()
    killed = 0
    with Killer(WORKLOAD, preload=PRELOAD) as killer:
        for outcome in killer.kills(tmp_path / "store", count=20, seed=11, longest_s=0.15):
            for message in outcome.said:
                ledger.hear(message)
            ledger.check(tmp_path / "store")
            killed += outcome.killed
    assert killed == 20
    assert ledger.finished > 20
    assert ledger.purged
    report_counts("kills", {"kills": killed, "acknowledged writes": ledger.finished, "lost": 0, "doubled": 0})
