"""The cell that a topic stands in: the same one in every process, and the one that ai-toroidal-memory would choose."""

from __future__ import annotations

__all__ = ["siphash13", "topic_cell"]

_MASK = (1 << 64) - 1


def topic_cell(topic: str, width: int, height: int) -> tuple[int, int]:
    """Return ``(x, y)`` with ``x = hash mod width`` and ``y = (hash / width) mod height``.

    The hash is SipHash-1-3 with a zero key over the UTF-8 bytes and a closing 0xFF: what Rust's ``DefaultHasher``
    makes of a string, so that a grid which another program filled keeps its topics. Text is taken as it is; callers
    who want "Rust" and "rust" in one cell lower-case it first.
    """
    value = siphash13(topic.encode("utf-8", "surrogatepass") + b"\xff")
    return value % width, value // width % height


def siphash13(data: bytes) -> int:
    """Return the 64-bit SipHash-1-3 of ``data`` under a zero key (Aumasson and Bernstein, 2012; c=1, d=3)."""
    v0, v1, v2, v3 = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    whole = len(data) // 8 * 8
    last = data[whole:] + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    for word in (*words, int.from_bytes(last, "little")):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = v0 + v1 & _MASK
    v1 = _left(v1, 13) ^ v0
    v0 = _left(v0, 32)
    v2 = v2 + v3 & _MASK
    v3 = _left(v3, 16) ^ v2
    v0 = v0 + v3 & _MASK
    v3 = _left(v3, 21) ^ v0
    v2 = v2 + v1 & _MASK
    v1 = _left(v1, 17) ^ v2
    return v0, v1, _left(v2, 32), v3


def _left(value: int, count: int) -> int:
    return (value << count | value >> 64 - count) & _MASK
