"""Manifests: what a version is made of. The hash of a manifest is the version's id, and it names its parent.

A manifest is a head (name, parent, time, message, ...), the list of arrays, and one entry a shard. The catalog stores
the entries whole, or what differs from another version's. ``docs/format.md`` has every byte.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lamina.errors import LaminaError
from lamina.states.layout import PRECISIONS, Layout, find_dtype
from lamina.storage.frames import HASH_BYTES, Coding, decode, digest, encode
from lamina.storage.shards import ObjectKind, wrong_bytes

__all__ = ["MOST_LAYERS", "Array", "Entry", "Head", "Layer", "Manifest", "pack_body", "unpack_body"]

MOST_LAYERS = 8
"""Patches over one base; a read visits each, so one more is merged into fewer or into a new base."""

_COUNT = struct.Struct("<I")
_KNOWN = 0x80
_WHOLE, _DIFFERENCE = b"F", b"D"
_MOST_SHARDS = 1 << 28
_MOST_LISTED = 64 << 20


@dataclass(frozen=True, slots=True)
class Layer:
    """One change over the shard below."""

    kind: ObjectKind
    address: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """What one shard is made of."""

    base: bytes
    layers: tuple[Layer, ...] = ()
    content: bytes | None = None
    """Address that the shard's content would have as one object, where known and not that of the base."""

    @property
    def logical(self) -> bytes | None:
        """The address of the content, where known."""
        return self.base if not self.layers else self.content

    def addresses(self) -> Iterator[bytes]:
        """Yield every object that the shard needs."""
        yield self.base
        for layer in self.layers:
            yield layer.address

    def pack(self) -> bytes:
        """Return the entry's bytes."""
        known = self.content is not None
        parts = [self.base, bytes([len(self.layers) | (_KNOWN if known else 0)])]
        for layer in self.layers:
            parts += [bytes([layer.kind]), layer.address]
        return b"".join(parts) + (self.content or b"")


@dataclass(slots=True)
class Array:
    """One array of a version."""

    name: str
    layout: Layout
    dtype_name: str
    entries: list[Entry] = field(default_factory=list)

    def describe(self) -> list[Any]:
        """Return what the manifest says of it."""
        return [self.name, self.dtype_name, list(self.layout.shape), PRECISIONS.index(self.layout.precision)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a version says of itself."""

    name: str
    parent: bytes | None
    created_at: int
    """Microseconds since 1970."""
    message: str | None = None
    step: int | None = None
    metadata: dict[str, Any] | None = None
    creator: str | None = None

    def pack(self) -> bytes:
        """Return canonical JSON."""
        known = {
            "name": self.name,
            "parent": self.parent.hex() if self.parent else None,
            "created_at": self.created_at,
            "message": self.message,
            "step": self.step,
            "metadata": self.metadata,
            "creator": self.creator,
        }
        return _json({key: value for key, value in known.items() if value is not None})

    @classmethod
    def unpack(cls, data: bytes, where: str) -> Head:
        """Read it again.

        Raises:
            CorruptionError: It is none.
        """
        try:
            known = json.loads(data)
            parent = known.get("parent")
            return cls(
                name=known["name"],
                parent=bytes.fromhex(parent) if parent else None,
                created_at=int(known["created_at"]),
                message=known.get("message"),
                step=known.get("step"),
                metadata=known.get("metadata"),
                creator=known.get("creator"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise wrong_bytes(where, f"its head cannot be read ({error})") from None


@dataclass(slots=True)
class Manifest:
    """Everything that a version is made of."""

    head: Head
    arrays: dict[str, Array]
    """By name, sorted."""

    def listed(self) -> bytes:
        """Return the list of arrays as canonical JSON."""
        return _json([array.describe() for array in self.arrays.values()])

    def entries(self) -> list[Entry]:
        """Return all entries, array after array."""
        return [entry for array in self.arrays.values() for entry in array.entries]

    def addresses(self) -> Iterator[bytes]:
        """Yield every object that the version needs."""
        for entry in self.entries():
            yield from entry.addresses()

    def id(self) -> bytes:
        """Return the version's id: BLAKE3 over head, list and entries."""
        head, listed = self.head.pack(), self.listed()
        entries = b"".join(entry.pack() for entry in self.entries())
        return digest(b"".join([_COUNT.pack(len(head)), head, _COUNT.pack(len(listed)), listed, entries]))


def pack_body(manifest: Manifest, base: Manifest | None) -> tuple[bytes, bool]:
    """Return the list and the entries as the catalog stores them, and whether they need ``base``.

    Args:
        manifest: What to store.
        base: A version that it may differ from; None stores it whole.
    """
    listed = manifest.listed()
    entries = manifest.entries()
    if base is not None and base.listed() == listed:
        old = base.entries()
        changed = [(number, new) for number, new in enumerate(entries) if new != old[number]]
        if len(changed) * 2 <= len(entries) and len(entries) > 2:
            parts = [_DIFFERENCE, _COUNT.pack(len(changed))]
            parts += [_COUNT.pack(number) + entry.pack() for number, entry in changed]
            return b"".join(parts), True
    packed = encode_text(listed)
    return b"".join([_WHOLE, _COUNT.pack(len(packed)), packed, *(entry.pack() for entry in entries)]), False


def unpack_body(head: Head, body: bytes, base: Manifest | None, where: str) -> Manifest:
    """Return the manifest of a stored body.

    Args:
        head: Of the same version.
        body: As :func:`pack_body` made it.
        base: The version that it differs from, where it does.
        where: For messages.

    Raises:
        CorruptionError: The bytes cannot have been written by :func:`pack_body`.
    """
    try:
        if body[:1] == _DIFFERENCE:
            if base is None:
                raise ValueError("the version that it differs from is missing")
            return _patched(head, body, base)
        if body[:1] != _WHOLE:
            raise ValueError("its form is unknown")
        (size,) = _COUNT.unpack_from(body, 1)
        listed = json.loads(decode_text(body[5 : 5 + size]))
        arrays = {array.name: array for array in map(_array, listed)}
        if len(arrays) != len(listed):
            raise ValueError("two arrays have one name")
        at = 5 + size
        for array in arrays.values():
            for _ in range(array.layout.shards):
                entry, at = _entry(body, at)
                array.entries.append(entry)
        if at != len(body):
            raise ValueError("it goes on after its last shard")
    except LaminaError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError) as error:
        raise wrong_bytes(where, str(error)) from None
    return Manifest(head, arrays)


def _patched(head: Head, body: bytes, base: Manifest) -> Manifest:
    entries = base.entries()
    (count,) = _COUNT.unpack_from(body, 1)
    at = 5
    for _ in range(count):
        (number,) = _COUNT.unpack_from(body, at)
        entries[number], at = _entry(body, at + 4)
    if at != len(body):
        raise ValueError("it goes on after its last shard")
    arrays = {}
    done = 0
    for array in base.arrays.values():
        count = array.layout.shards
        arrays[array.name] = Array(array.name, array.layout, array.dtype_name, entries[done : done + count])
        done += count
    return Manifest(head, arrays)


def _array(described: Any) -> Array:
    name, dtype, shape, precision = described
    if not isinstance(name, str) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"an array is described as {described!r}")
    layout = Layout.of(find_dtype(dtype), tuple(shape), PRECISIONS[precision])
    if layout.shards > _MOST_SHARDS:
        raise ValueError(f"array {name} has {layout.shards:,} shards")
    return Array(name, layout, dtype)


def _entry(body: bytes, at: int) -> tuple[Entry, int]:
    base = body[at : at + HASH_BYTES]
    at += HASH_BYTES
    flags = body[at]
    at += 1
    layers = []
    for _ in range(flags & ~_KNOWN):
        layers.append(Layer(ObjectKind(body[at]), body[at + 1 : at + 1 + HASH_BYTES]))
        at += 1 + HASH_BYTES
    content = None
    if flags & _KNOWN:
        content = body[at : at + HASH_BYTES]
        at += HASH_BYTES
    if at > len(body):
        raise ValueError("it ends in the middle of a shard")
    return Entry(base, tuple(layers), content), at


def encode_text(data: bytes) -> bytes:
    """Return bytes with their length, compressed where that makes them smaller."""
    import numpy as np

    packed = encode(np.frombuffer(data, np.uint8), 1, Coding.ZSTD) if len(data) > 200 else None
    return _COUNT.pack(len(data)) + (b"Z" + packed if packed else b"R" + data)


def decode_text(data: bytes) -> bytes:
    """Return what :func:`encode_text` was given.

    Raises:
        ValueError: It was not that.
    """
    (size,) = _COUNT.unpack_from(data)
    if size > _MOST_LISTED:
        raise ValueError(f"its list of arrays says that it has {size:,} bytes")
    if data[4:5] == b"Z":
        return bytes(decode(data[5:], 1, Coding.ZSTD, size))
    if data[4:5] != b"R" or len(data) != 5 + size:
        raise ValueError("its list of arrays is damaged")
    return data[5:]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
