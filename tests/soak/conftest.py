"""The soak runs tell their counts at the end of the session, and add them to LAMINA_RELIABILITY_REPORT."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable

import pytest

from lamina.testing import report_counts

REPORT = os.environ.get("LAMINA_RELIABILITY_REPORT")  # read before the tests' environment is cleaned
KILLS = int(os.environ.get("LAMINA_SOAK_KILLS", "500"))

_lines: list[str] = []


@pytest.fixture(autouse=True)
def patience() -> None:
    """Let a long run be long: no stacks are printed on the way."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def tell() -> Callable[[str, dict[str, int]], None]:
    """Return what takes the counts of a run."""

    def take(kind: str, counts: dict[str, int]) -> None:
        _lines.append(report_counts(kind, counts, path=REPORT))

    return take


@pytest.fixture
def kills() -> int:
    """How many kills to do: LAMINA_SOAK_KILLS, or 500."""
    return KILLS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts."""
    if _lines:
        terminalreporter.section("reliability")
        for line in _lines:
            terminalreporter.write_line(line)
