"""Counts of a reliability run: one line on the screen, one entry in a file."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from lamina.fs import FileLock

__all__ = ["report_counts"]


def report_counts(kind: str, counts: dict[str, int], *, path: str | None = None) -> str:
    """Print the counts of a run and add them to the reliability report.

    Args:
        kind: What was run, such as ``"kills"``.
        counts: In the order in which they are told; the key is the unit.
        path: The report, a JSON object ``{kind: [counts, ...]}``; nothing is kept when None.

    Returns:
        The line, such as ``"kills: 500 kills, 12,345 acknowledged operations, 0 lost, 0 doubled"``.
    """
    line = f"{kind}: " + ", ".join(f"{count:,} {unit}" for unit, count in counts.items())
    sys.stdout.write(f"\n{line}\n")
    if path:
        with FileLock(f"{path}.lock").hold(30):
            report: dict[str, list[dict[str, Any]]] = {}
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    report = json.load(file)
            report.setdefault(kind, []).append(counts)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=1)
                file.write("\n")
    return line
