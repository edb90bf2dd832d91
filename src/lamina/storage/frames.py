"""Frames: about 16 KB, the unit of hash, compression, patching and random access.

A frame's hash is that of its plain bytes, so what it stands for can be stored raw today and compressed tomorrow under
the same address. Codecs of bytes to bytes: raw, zstd, byte shuffle + zstd; of arrays to bytes: raw and CSR (compressed
sparse rows), which is then compressed as well.
"""

from __future__ import annotations

import sys
import threading
from enum import IntEnum
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from lamina.errors import DependencyError

__all__ = [
    "COLD_GAIN",
    "FRAME_BYTES",
    "HASH_BYTES",
    "WARM_GAIN",
    "Coding",
    "choose",
    "decode",
    "digest",
    "digests",
    "encode",
]

Bytes: TypeAlias = npt.NDArray[np.uint8]

FRAME_BYTES = 16_384
"""Target size. A thousand random slots of a cold gigabyte are 16 MB to fetch and to verify, where frames of 64 KB make
it 64 MB; and one changed row in a hundred leaves 85 % of the frames as they were, where it leaves 53 % of those. What
it costs: hashing is 15 % slower, and a gigabyte has 2 MB of hashes (docs/bench-states.md)."""
HASH_BYTES = 32

WARM_GAIN = 0.10
"""Share that compression must save at a commit. Noise in float32 saves 8 % at a tenth of the speed of a raw write
(exponents are never noise), trained weights 17-44 %."""
COLD_GAIN = 0.05
"""Share that it must save when a shard goes cold, where nobody waits."""
LEVEL = 1
"""Higher levels were slower and no smaller on shuffled floats."""

_SAMPLE = 8_192
_CSR_MOST = 0.25
"""Share of nonzero elements above which CSR is not tried."""


class Coding(IntEnum):
    """How a frame is stored; append-only."""

    RAW = 0
    ZSTD = 1
    SHUFFLE = 2
    """Byte shuffle, then zstd."""
    CSR = 3
    """Compressed sparse rows, then zstd."""


_local = threading.local()


def digest(data: Any) -> bytes:
    """Return the BLAKE3 hash (32 bytes) of bytes."""
    return blake3(data).digest()


def digests(data: memoryview, size: int) -> bytes:
    """Return the hashes of pieces of ``size`` bytes (the last may be shorter), one after the other."""
    return b"".join([blake3(data[start : start + size]).digest() for start in range(0, len(data), size)])


def encode(frame: Bytes, width: int, coding: Coding, *, level: int = LEVEL) -> bytes | None:
    """Return the frame in a coding, or None where that is no smaller than raw or cannot be.

    Args:
        frame: Plain bytes, contiguous.
        width: Bytes of one element.
        coding: Any but RAW.
        level: Of zstd.
    """
    if coding is Coding.SHUFFLE and width > 1 and frame.size % width == 0:
        plain: Any = np.ascontiguousarray(frame.reshape(-1, width).T)
    elif coding is Coding.CSR:
        plain = _csr(frame, width)
        if plain is None:
            return None
    else:
        plain = frame
    data: bytes = _compressor(level).compress(plain, _zstd().ZstdCompressor.FLUSH_FRAME)
    return data if len(data) < frame.size else None


def decode(data: Any, width: int, coding: int, size: int) -> Any:
    """Return the plain bytes of a stored frame; whoever asks compares their hash.

    Args:
        data: As stored.
        width: Bytes of one element.
        coding: As stored beside it.
        size: Plain bytes; nothing longer is made.

    Raises:
        ValueError: The bytes cannot have been written by :func:`encode`.
    """
    if coding == Coding.RAW:
        return data
    if coding not in (Coding.ZSTD, Coding.SHUFFLE, Coding.CSR):
        raise ValueError(f"coding {coding} is unknown")
    zstd = _zstd()
    try:
        # One frame and no more; CSR of a frame that pays is smaller than the frame.
        decompressor = zstd.ZstdDecompressor()
        plain = decompressor.decompress(data, max_length=size + 1)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from None
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("its compressed bytes do not end where they should")
    if coding == Coding.CSR:
        return _dense(plain, width, size)
    if len(plain) != size:
        raise ValueError(f"it has {len(plain)} bytes instead of {size}")
    if coding == Coding.SHUFFLE and width > 1 and size % width == 0:
        planes = np.frombuffer(plain, np.uint8).reshape(width, -1)
        if width > 4:
            return np.ascontiguousarray(planes.T).data.cast("B")
        joined = np.empty((planes.shape[1], width), np.uint8)
        for place, plane in enumerate(planes):  # five times as fast as transposing where elements are this short
            joined[:, place] = plane
        return joined.data.cast("B")
    return plain


def choose(content: Bytes, width: int, frame_bytes: int, *, gain: float = WARM_GAIN) -> tuple[Coding, float]:
    """Measure which coding is smallest, on samples of a shard: its beginning, middle and end, or its middle alone.

    Args:
        content: Plain bytes of the shard.
        width: Bytes of one element.
        frame_bytes: Of one frame.
        gain: The share that must be saved.

    Returns:
        The coding, and the share of the plain bytes that it needs; RAW and 1.0 where nothing pays.
    """
    if content.size < 64:
        return Coding.RAW, 1.0
    piece = min(_SAMPLE - _SAMPLE % width if width < _SAMPLE else content.size, content.size)
    last = content.size - piece
    middle = min(last, (last // 2) // width * width)
    places = sorted({0, middle, last}) if content.size > _SAMPLE * 8 else [middle]
    samples = [content[place : place + piece] for place in places if piece]
    total = sum(sample.size for sample in samples)
    best, share = Coding.RAW, 1.0
    for coding in _candidates(samples[0], width):
        size = sum(len(data) if (data := encode(sample, width, coding)) else sample.size for sample in samples)
        if size / total < share:
            best, share = coding, size / total
    if 1.0 - gain < share < 1.0 - gain * 0.9 and total < content.size:
        size = min(frame_bytes, content.size)  # a longer piece compresses a little better: look once more
        data = encode(content[:size], width, best)
        share = len(data) / size if data else 1.0
    return (best, share) if share <= 1.0 - gain else (Coding.RAW, 1.0)


def _candidates(sample: Bytes, width: int) -> list[Coding]:
    codings = [Coding.SHUFFLE if width > 1 else Coding.ZSTD]
    if width > 1 and _elements(sample, width) is not None:
        zeros = np.count_nonzero(sample) / sample.size
        if zeros < _CSR_MOST:
            codings += [Coding.ZSTD, Coding.CSR]
    return codings


# --- CSR -------------------------------------------------------------------------------------------------------------


def _elements(frame: Bytes, width: int) -> Any:
    """Return the frame as unsigned integers of ``width`` bytes, or None where there are none of that width."""
    if width not in (1, 2, 4, 8) or frame.size % width:
        return None
    return frame.view(f"<u{width}")


def _csr(frame: Bytes, width: int) -> bytes | None:
    """Return a frame as rows of 256 elements: counts a row, columns, values; None where it is no smaller."""
    elements = _elements(frame, width)
    if elements is None:
        return None
    (places,) = np.nonzero(elements)
    if places.size * (width + 1) + elements.size // 256 + 1 >= frame.size // 2:
        return None
    rows = -(-elements.size // 256)
    counts = np.bincount(places >> 8, minlength=rows).astype("<u2")
    values = elements[places].view(np.uint8).reshape(-1, width).T if width > 1 else elements[places]
    return counts.tobytes() + (places & 255).astype(np.uint8).tobytes() + np.ascontiguousarray(values).tobytes()


def _dense(data: bytes, width: int, size: int) -> memoryview:
    if width not in (1, 2, 4, 8) or size % width:
        raise ValueError("CSR of elements of this width cannot be")
    total = size // width
    rows = -(-total // 256)
    if len(data) < 2 * rows:
        raise ValueError("its CSR is too short")
    counts = np.frombuffer(data, "<u2", rows)
    number = int(counts.sum(dtype=np.int64))
    if counts.max(initial=0) > 256 or len(data) != 2 * rows + number * (width + 1):
        raise ValueError("its CSR has the wrong length")
    columns = np.frombuffer(data, np.uint8, number, 2 * rows)
    places = np.repeat(np.arange(rows, dtype=np.int64) << 8, counts) + columns
    if number and int(places.max()) >= total:
        raise ValueError("its CSR names an element that is not there")
    values = np.frombuffer(data, np.uint8, number * width, 2 * rows + number).reshape(width, -1).T
    out = np.zeros((total, width), np.uint8)
    out[places] = values
    return out.data.cast("B")


# --- zstd ------------------------------------------------------------------------------------------------------------


def _compressor(level: int) -> Any:
    """Return this thread's compressor; making one costs as much as a small frame does."""
    held: dict[int, Any] = _local.__dict__.setdefault("compressors", {})
    if level not in held:
        held[level] = _zstd().ZstdCompressor(level)
    return held[level]


def _zstd() -> ModuleType:
    module: ModuleType | None = _local.__dict__.get("zstd")
    if module is None:
        try:
            if sys.version_info >= (3, 14):
                from compression import zstd
            else:
                from backports import zstd
        except ImportError as error:
            raise DependencyError(
                f"The zstd codec is not installed ({error}).", hint="Run `pip install backports.zstd`."
            ) from None
        module = _local.zstd = zstd
    return module  # type: ignore[no-any-return, unused-ignore]
