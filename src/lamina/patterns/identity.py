"""The identity of a pattern: its type and its exact steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

__all__ = ["pattern_id", "steps_json"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_BYTES = 10


def steps_json(steps: Sequence[str]) -> str:
    """Return steps as they are stored."""
    return json.dumps(list(steps), ensure_ascii=False, separators=(",", ":"))


def pattern_id(type: str, steps: Sequence[str]) -> str:
    """Return the id of a pattern: ``p`` and 80 bits of BLAKE2b over type and steps, in base 32.

    With a million patterns the chance that two of them share an id is 4e-13.
    """
    data = f"{type}\n{steps_json(steps)}".encode()
    number = int.from_bytes(hashlib.blake2b(data, digest_size=_BYTES).digest(), "big")
    return "p" + "".join(_ALPHABET[number >> shift & 31] for shift in range(_BYTES * 8 - 5, -1, -5))
