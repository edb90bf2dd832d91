"""Bodies on their way in and out of the catalog: as they are, or zstd with a dictionary trained on the store.

Texts of about 100 bytes are too short for a general compressor; a dictionary made of the store's own texts saves
30-46 % of them at 1-3 µs each, where zlib saves 4-17 % (docs/design/001).
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from lamina.errors import CorruptionError, DependencyError

__all__ = ["PLAIN", "RAW", "BodyCodec", "damaged", "dictionary_hash", "train_dictionary"]

RAW = 0
PLAIN = 1
FIRST_DICTIONARY = 2
LEVEL = 3
DICTIONARY_BYTES = 32 << 10
MIN_TO_COMPRESS = 48
"""Bytes under which nothing is gained."""
MIN_WITHOUT_DICTIONARY = 512
MAX_BODY_BYTES = 64 << 20
"""Bound on a decoded body, checked before anything is allocated."""


def _zstd() -> ModuleType:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise DependencyError(
            f"The zstd codec is not installed ({error}).", hint="Run `pip install backports.zstd`."
        ) from None
    return zstd  # type: ignore[no-any-return, unused-ignore]


class BodyCodec:
    """Encodes and decodes bodies; holds the dictionaries that it has met.

    Args:
        load: Returns the bytes of dictionary ``id``, or None.
    """

    def __init__(self, load: Callable[[int], bytes | None]) -> None:
        self._load = load
        self._dictionaries: dict[int, Any] = {}
        self._local = threading.local()

    def encode(self, text: str, dictionary: int) -> tuple[int, bytes]:
        """Return ``(codec, body)`` for a text, the smaller of raw and compressed.

        Args:
            text: Any text without lone surrogates.
            dictionary: The newest dictionary's id, or 0 where none was trained.
        """
        raw = text.encode("utf-8")
        if len(raw) < MIN_TO_COMPRESS or (not dictionary and len(raw) < MIN_WITHOUT_DICTIONARY):
            return RAW, raw
        body = self._compressor(dictionary).compress(raw, _zstd().ZstdCompressor.FLUSH_FRAME)
        return (dictionary or PLAIN, body) if len(body) < len(raw) else (RAW, raw)

    def decode(self, codec: int, body: bytes, where: str, load: Callable[[int], bytes | None] | None = None) -> str:
        """Return the text of a stored body.

        Args:
            codec: As stored beside it.
            body: The stored bytes.
            where: What it belongs to, for messages.
            load: Returns a dictionary as it was at the body's own moment: it may have been retired since.

        Raises:
            CorruptionError: The bytes are not what was written.
        """
        try:
            if codec == RAW:
                text = body.decode("utf-8")
            else:
                dictionary = self._dictionary(codec, load) if codec >= FIRST_DICTIONARY else None
                text = self._decompressed(body, dictionary)
        except ValueError as error:
            raise damaged(where, str(error)) from None
        return text

    def learn(self, number: int, data: bytes) -> None:
        """Keep a dictionary that a transaction in progress made."""
        self._dictionaries[number] = _zstd().ZstdDict(data)
        self._local = threading.local()

    def forget(self, number: int) -> None:
        """Drop a dictionary whose transaction was undone."""
        self._dictionaries.pop(number, None)
        self._local = threading.local()

    @staticmethod
    def _decompressed(body: bytes, dictionary: Any) -> str:
        zstd = _zstd()
        try:
            size = zstd.get_frame_info(body).decompressed_size
            if size is None or size > MAX_BODY_BYTES:
                raise ValueError(f"a body of {size} bytes is out of bounds")
            # One frame and no more: a second one could be of any size.
            decompressor = zstd.ZstdDecompressor(zstd_dict=dictionary)
            text = decompressor.decompress(body, max_length=size + 1)
            if not decompressor.eof or decompressor.unused_data or len(text) != size:
                raise ValueError("its length differs from what its header says")
            return str(text, "utf-8")
        except zstd.ZstdError as error:
            raise ValueError(str(error)) from None

    def _compressor(self, dictionary: int) -> Any:
        """Return this thread's compressor: making one costs five times what a short text does."""
        held = self._local.__dict__.setdefault("compressors", {})
        if dictionary not in held:
            prepared = self._dictionary(dictionary).as_digested_dict if dictionary else None
            held[dictionary] = _zstd().ZstdCompressor(LEVEL, zstd_dict=prepared)
        return held[dictionary]

    def _dictionary(self, codec: int, load: Callable[[int], bytes | None] | None = None) -> Any:
        known = self._dictionaries.get(codec)
        if known is None:
            data = (load or self._load)(codec)
            if data is None:
                raise ValueError(f"dictionary {codec} is missing")
            known = self._dictionaries[codec] = _zstd().ZstdDict(data)
        return known


def train_dictionary(texts: Sequence[str]) -> bytes | None:
    """Train a dictionary on texts of the store, or return None where they are too few or too alike."""
    zstd = _zstd()
    samples = [text.encode("utf-8") for text in texts]
    try:
        return bytes(zstd.train_dict(samples, DICTIONARY_BYTES).dict_content)
    except (zstd.ZstdError, ValueError):
        return None


def dictionary_hash(data: bytes) -> int:
    """Return the signed 64-bit BLAKE2b hash of a dictionary."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def damaged(where: str, why: str) -> CorruptionError:
    """Return the error for stored bytes that are not what was written."""
    return CorruptionError(
        f"What is stored of {where} is damaged: {why}.",
        hint="Run `lamina verify --level full` to find what else is, and restore it from a backup.",
        where=where,
    )
