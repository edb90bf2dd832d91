"""Strings that repeat (scopes, threads, tags, sources), stored once and cached here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from enum import IntEnum

__all__ = ["NameKind", "Names"]

_MOST = 200_000


class NameKind(IntEnum):
    """Kinds of strings that the catalog stores once; append-only."""

    SCOPE = 1
    THREAD = 2
    TAG = 3
    SOURCE = 4
    ROLE = 20
    TOOL = 21
    FILE = 22
    STEP = 23
    PATTERN_TYPE = 24


class Names:
    """What committed rows call their numbers; shared by a catalog's readers and writers.

    Only numbers are looked up here: a number is never used twice, while a string may be purged and come back.
    """

    def __init__(self) -> None:
        self._values: dict[int, str] = {}
        self._lock = threading.Lock()

    def value(self, number: int) -> str | None:
        """Return the string of a number if it was met."""
        return self._values.get(number)

    def remember(self, values: Mapping[int, str]) -> None:
        """Keep names whose rows are committed."""
        with self._lock:
            if len(self._values) > _MOST:
                self._values = {}
            self._values.update(values)
