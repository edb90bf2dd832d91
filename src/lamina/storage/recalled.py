"""Contents that a handle committed as changes: what the next commit compares with, without reading it again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from lamina.storage.frames import Bytes
from lamina.storage.shards import FrameTable

__all__ = ["Recalled", "RecalledContents"]

_BYTES = 8 << 20
"""Bound of all that is kept; the hashes of a gigabyte are 2 MB."""
_WHOLE = 64 << 10
"""Bytes up to which a content is kept itself: reading its patches takes longer than the rest of its commit."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is kept of a content."""

    hashes: bytes
    """Of its frames, one after the other."""
    plain: bytes | None
    """All of it, where it is short."""

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.hashes) + len(self.plain or b"")


class RecalledContents:
    """Contents by address, the last ones used; safe to use from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Recalled] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def find(self, address: bytes | None) -> Recalled | None:
        """Return what is kept of a content; it need not be stored as one object."""
        if address is None:
            return None
        with self._lock:
            found = self._kept.get(address)
            if found is not None:
                self._kept.move_to_end(address)
            return found

    def keep(self, table: FrameTable, content: Bytes) -> None:
        """Keep the hashes of a content, and a short one whole."""
        kept = Recalled(table.hashes, bytes(content) if content.size <= _WHOLE else None)
        address = table.address()
        with self._lock:
            if address not in self._kept:
                self._kept[address] = kept
                self._size += kept.size
            while self._size > _BYTES:
                self._size -= self._kept.popitem(last=False)[1].size

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._size = 0
