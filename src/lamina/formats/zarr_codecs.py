"""Chunks of Zarr: from stored bytes to an array, through the codecs that its metadata names."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import CorruptionError
from lamina.formats.state_file import checked_shape
from lamina.formats.state_source import Source, elements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Chunk", "check_codecs", "crc32c", "decode"]

_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, bit-reversed
_LANES: Final = 1024
_MOST_SHARD: Final = 1 << 32
_EMPTY: Final = (1 << 64) - 1
_KNOWN: Final = ("bytes", "transpose", "gzip", "zstd", "crc32c", "sharding_indexed")
_BLOSC_HINT: Final = "Rewrite it without blosc, such as with `zarr.codecs.ZstdCodec()`."


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a chunk has to become."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    codecs: list[dict[str, Any]]


def check_codecs(source: Source, codecs: list[dict[str, Any]]) -> None:
    """Refuse codecs that are not read, those inside of shards included.

    Raises:
        InvalidInputError: One is not known.
    """
    for codec in codecs:
        name = codec.get("name")
        if name not in _KNOWN:
            raise source.bad(f"the codec {name!r} is not read.", _BLOSC_HINT if name == "blosc" else "")
        inner = _options(codec).get("codecs", []) if name == "sharding_indexed" else []
        if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
            raise source.bad("the codecs of a shard are no list.")
        check_codecs(source, inner)


def decode(source: Source, data: bytes, chunk: Chunk) -> NDArray[Any]:
    """Return a chunk as an array.

    Raises:
        InvalidInputError: A codec is not known, or the chunk has not the size that it should have.
        CorruptionError: A checksum does not fit.
    """
    import numpy as np

    names = [str(codec.get("name")) for codec in chunk.codecs]
    middle = next((at for at, name in enumerate(names) if name in ("bytes", "sharding_indexed")), None)
    if middle is None:
        raise source.bad(f"the codecs {', '.join(names)} lead to no array.")
    orders = [_order(source, codec, len(chunk.shape)) for codec in chunk.codecs[:middle]]
    shape = chunk.shape
    for order in orders:
        shape = tuple(shape[axis] for axis in order)
    packers = chunk.codecs[middle + 1 :]
    sharded = names[middle] == "sharding_indexed"
    limit = elements(shape) * chunk.dtype.itemsize
    for index, codec in reversed(list(enumerate(packers))):
        inner = [one for one in packers[:index] if one.get("name") == "crc32c"]
        data = _unpack(source, data, codec, _MOST_SHARD if sharded else limit + 4 * len(inner))
    if sharded:
        values = _shard(source, data, Chunk(shape, chunk.dtype, chunk.fill, chunk.codecs), chunk.codecs[middle])
    else:
        stored = chunk.dtype.newbyteorder(">" if _options(chunk.codecs[middle]).get("endian") == "big" else "<")
        if len(data) != limit:
            raise source.bad(f"a chunk of {list(shape)} {chunk.dtype} needs {limit:,} bytes, but has {len(data):,}.")
        values = np.frombuffer(data, dtype=stored).reshape(shape)
    for order in reversed(orders):
        values = values.transpose(np.argsort(order))
    return values


def _options(codec: dict[str, Any]) -> dict[str, Any]:
    value = codec.get("configuration")
    return value if isinstance(value, dict) else {}


def _order(source: Source, codec: dict[str, Any], dimensions: int) -> list[int]:
    order = _options(codec).get("order")
    if codec.get("name") != "transpose" or not isinstance(order, list) or sorted(order) != list(range(dimensions)):
        raise source.bad(f"the codec {codec.get('name')!r} is not known, or its order is wrong.")
    return order


def _unpack(source: Source, data: bytes, codec: dict[str, Any], most: int) -> bytes:
    name = codec.get("name")
    if name == "crc32c":
        return _checked(source, data)
    try:
        if name == "gzip":
            stream = zlib.decompressobj(31)
            plain_bytes = stream.decompress(data, most + 1)
            whole = stream.eof
        elif name == "zstd":
            plain_bytes, whole = _unzstd(data, most + 1)
        else:
            raise source.bad(f"the codec {name!r} does not stand here.")
    except (zlib.error, EOFError) as error:
        raise CorruptionError(
            f"{source.name} is damaged ({error}).", hint="Take it from where it came from again.", path=source.name
        ) from None
    if len(plain_bytes) > most or not whole:
        raise source.bad(f"a chunk does not end within the {most:,} bytes that it may have.")
    return plain_bytes


def _unzstd(data: bytes, most: int) -> tuple[bytes, bool]:
    from importlib import import_module

    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        zstd = import_module("backports.zstd")
    stream = zstd.ZstdDecompressor()
    try:
        return stream.decompress(data, most), bool(stream.eof)
    except zstd.ZstdError as error:
        raise EOFError(str(error)) from None


def _checked(source: Source, data: bytes) -> bytes:
    if len(data) < 4 or crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise CorruptionError(
            f"{source.name} is damaged: its CRC-32C differs.",
            hint="Take it from where it came from again.",
            path=source.name,
        )
    return data[:-4]


def _shard(source: Source, data: bytes, chunk: Chunk, codec: dict[str, Any]) -> NDArray[Any]:
    """Return the array of a shard: inner chunks, found through an index of offsets and lengths."""
    import numpy as np

    options = _options(codec)
    inner = checked_shape(options.get("chunk_shape"), f"{source.name}: an inner chunk")
    if len(inner) != len(chunk.shape) or any(
        not step or length % step for length, step in zip(chunk.shape, inner, strict=True)
    ):
        raise source.bad(f"inner chunks of {list(inner)} do not divide {list(chunk.shape)}.")
    counts = tuple(length // step for length, step in zip(chunk.shape, inner, strict=True))
    checks = [one.get("name") for one in options.get("index_codecs", [])]
    if [name for name in checks if name != "bytes"] not in ([], ["crc32c"]):
        raise source.bad(f"an index through {checks} is not read.")
    size = 16 * elements(counts) + (4 if "crc32c" in checks else 0)
    if size > len(data):
        raise source.bad("a shard is shorter than its index.")
    raw = data[:size] if options.get("index_location") == "start" else data[-size:]
    index = np.frombuffer(_checked(source, raw) if "crc32c" in checks else raw, dtype="<u8").reshape(*counts, 2)
    result = np.full(chunk.shape, chunk.fill, dtype=chunk.dtype)
    part = Chunk(inner, chunk.dtype, chunk.fill, list(options.get("codecs", [])))
    for place in itertools.product(*[range(count) for count in counts]):
        offset, length = (int(value) for value in index[place])
        if offset == _EMPTY and length == _EMPTY:
            continue
        if offset + length > len(data):
            raise source.bad("the index of a shard leads beyond its end.")
        where = tuple(slice(i * step, (i + 1) * step) for i, step in zip(place, inner, strict=True))
        result[where] = decode(source, data[offset : offset + length], part)
    return result


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (RFC 3720) of some bytes: the standard library has only the other CRC-32.

    A thousand lanes go through the table at once, and are then joined: a checksum is linear, so passing over the
    lanes that follow is a multiplication with a matrix of bits.
    """
    import numpy as np

    table = _table()
    step = len(data) // _LANES
    state = 0xFFFFFFFF
    if step >= 16:
        lanes = np.frombuffer(data, dtype=np.uint8, count=step * _LANES).reshape(_LANES, step)
        sums = np.zeros(_LANES, dtype=np.uint32)
        for column in range(step):
            sums = table[(sums ^ lanes[:, column]) & 0xFF] ^ (sums >> np.uint32(8))
        shift = _zeros(step)
        for one in sums.tolist():
            state = _times(shift, state) ^ one
        data = data[step * _LANES :]
    plain_table = table.tolist()
    for byte in data:
        state = plain_table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


@cache
def _table() -> NDArray[np.uint32]:
    import numpy as np

    values = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        values.append(value)
    return np.array(values, dtype=np.uint32)


def _times(matrix: list[int], vector: int) -> int:
    total, row = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[row]
        vector >>= 1
        row += 1
    return total


@cache
def _zeros(count: int) -> list[int]:
    """Return the matrix that takes a checksum over ``count`` zero bytes: one byte's, raised by squaring."""
    table = _table().tolist()
    power = [table[(1 << bit) & 0xFF] ^ ((1 << bit) >> 8) for bit in range(32)]
    result = [1 << bit for bit in range(32)]
    while count:
        if count & 1:
            result = [_times(power, row) for row in result]
        power = [_times(power, row) for row in power]
        count >>= 1
    return result
