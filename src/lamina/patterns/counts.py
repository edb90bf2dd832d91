"""What is derived of uses by day, and by file and tool: moved along as uses come and go."""

from __future__ import annotations

from collections.abc import Iterable

from lamina.storage.writer import Writer

__all__ = ["DAY", "Counts"]

DAY = 86_400 * 1_000_000
"""Microseconds of a day."""


class Counts:
    """Changes of what is counted, gathered and then written at once."""

    def __init__(self) -> None:
        self._days: dict[tuple[int, int], list[int]] = {}
        self._links: dict[tuple[int, int], list[int]] = {}

    def add(self, pattern: int, at: int, success: int, names: Iterable[int], sign: int = 1) -> None:
        """Count a use of a pattern, with the names of its files and tools; with ``sign`` -1 take it back."""
        day = self._days.setdefault((pattern, at // DAY), [0, 0])
        day[0] += sign
        day[1] += sign * success
        for name in names:
            link = self._links.setdefault((name, pattern), [0, 0, at])
            link[0] += sign
            link[1] += sign * success
            link[2] = max(link[2], at)

    def write(self, writer: Writer) -> None:
        """Write the changes. The last use with a file that was taken back is not found anew."""
        writer.db.executemany(
            "INSERT INTO pattern_day (pattern, day, uses, successes) VALUES (?, ?, ?, ?) ON CONFLICT (pattern, day) "
            "DO UPDATE SET uses = uses + excluded.uses, successes = successes + excluded.successes",
            sorted((*key, *counts) for key, counts in self._days.items()),
        )
        writer.db.executemany(
            "INSERT INTO pattern_link (name, pattern, uses, successes, last_used) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (name, pattern) DO UPDATE SET uses = uses + excluded.uses, "
            "successes = successes + excluded.successes, last_used = max(last_used, excluded.last_used)",
            sorted((*key, *counts) for key, counts in self._links.items()),
        )

    def drop(self, writer: Writer) -> None:
        """Drop the days, files and tools of which no use is left."""
        writer.db.executemany("DELETE FROM pattern_day WHERE pattern = ? AND day = ? AND uses <= 0", list(self._days))
        writer.db.executemany(
            "DELETE FROM pattern_link WHERE name = ? AND pattern = ? AND uses <= 0", list(self._links)
        )
