"""A sweep: many frames, each read once and verified, while the system fetches those that come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np

from lamina.errors import CorruptionError, NotFoundError
from lamina.storage.frames import Bytes, digest
from lamina.storage.objects import ObjectStore, Stored, span
from lamina.storage.packs import PackReader
from lamina.storage.shards import wrong_bytes

__all__ = ["sweep"]

_BATCH = 32
"""Frames that a thread reads before they are copied from."""
_AHEAD = 256
"""Frames that the system fetches while a thread verifies those before them."""

Frame: TypeAlias = tuple[Stored, int]


def sweep(objects: ObjectStore, frames: Sequence[Frame], size: int, take: Callable[[int, int, Bytes], None]) -> None:
    """Read frames and keep none of them.

    Args:
        objects: Reads objects.
        frames: Objects and numbers of frames, as they lie on disk.
        size: Plain bytes of each; the last of an object may be shorter and leaves the end of its row as it is.
        take: Called, by one or two threads, with the first and last (excluded) place in ``frames`` of a batch, and its
            plain bytes, a row each, which must be copied before it returns.

    Raises:
        CorruptionError: A frame is not what was written, or has another size.
    """
    if all(stored.stored == stored.length for stored, _ in frames):  # raw: a second thread would wait for the first
        _part(objects, 0, frames, size, take)
        return
    half = -(-len(frames) // 2)
    with ThreadPoolExecutor(2, thread_name_prefix="lamina-read") as pool:
        parts = [(start, frames[start : start + half]) for start in (0, half) if start < len(frames)]
        for future in [pool.submit(_part, objects, start, part, size, take) for start, part in parts]:
            future.result()


def _part(
    objects: ObjectStore, start: int, frames: Sequence[Frame], size: int, take: Callable[[int, int, Bytes], None]
) -> None:
    """Read part of a sweep, which begins at place ``start``."""
    packs: dict[int, PackReader] = {}
    room = np.empty((_BATCH, size), np.uint8)
    view = room.reshape(-1).data
    for frame in frames[:_AHEAD]:
        _advise(objects, packs, frame, size)
    for first in range(0, len(frames), _BATCH):
        last = min(first + _BATCH, len(frames))
        for place in range(first, last):
            if place + _AHEAD < len(frames):
                _advise(objects, packs, frames[place + _AHEAD], size)
            row = place - first
            _fetch(objects, packs, frames[place], view[row * size : (row + 1) * size])
        take(start + first, start + last, room)


def _advise(objects: ObjectStore, packs: dict[int, PackReader], frame: Frame, size: int) -> None:
    """Tell the system that a frame will be read. Where a raw one lies is known before its table was read."""
    stored, number = frame
    offset, length = number * size, size
    if stored.stored != stored.length:
        offset, length = span(objects.table(stored), number, number + 1)
    at = stored.at
    if not at.pack:
        return
    pack = packs.get(at.pack)
    if pack is None:
        try:
            pack = packs[at.pack] = objects.reader(at)
        except NotFoundError:
            return  # it moved; reading finds out where
    pack.advise(at.start + offset, length)


def _fetch(objects: ObjectStore, packs: dict[int, PackReader], frame: Frame, room: memoryview) -> None:
    """Copy the plain bytes of a frame into the beginning of ``room``, which is as long as a frame may be."""
    stored, number = frame
    table = objects.table(stored)
    if table.frame_bytes != len(room):
        raise wrong_bytes(stored.name, "its frames have another size")
    at = stored.at
    pack = packs.get(at.pack)
    if pack is not None and at.table is table and not table.codings:
        plain = room[: table.plain_size(number)]
        try:
            pack.read_into(plain, at.start + number * table.frame_bytes)
            if digest(plain) == table.hash_of(number):
                return
        except (CorruptionError, NotFoundError):
            pass  # the long way looks again, and says what is wrong
    data = objects.passing(stored, number)
    room[: len(data)] = data
