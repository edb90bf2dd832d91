"""Finds and checks the two files of the ``wordllama`` package; never imports it, and needs no numpy.

Importing ``wordllama`` costs more than everything else in a short command, configures logging, and its loader may try a
download. Its wheel is only a carrier of two files here, and these are the same bytes in every release looked at (0.2.2
to 0.4.0, but for a newline at the end of the tokenizer file).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from lamina.errors import DependencyError, EmbedderError

__all__ = [
    "DIM",
    "TOKENS",
    "Files",
    "damaged",
    "files_in",
    "is_installed",
    "locate",
    "open_table",
    "read_vocabulary",
    "unreadable",
    "verify_table",
]

TOKENS = 32_000
"""Entries of the vocabulary, and rows of the table."""
DIM = 256
"""Columns of the table."""

_PACKAGE = "wordllama"
_TABLE = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_ROW_BYTES = DIM * 2
_TABLE_BYTES = TOKENS * _ROW_BYTES
_MAX_HEADER = 4_096
_MAX_VOCABULARY = 1_000_000
_SAMPLE = 65_536
_TABLE_CRC = 0x56C6AE6F
_SAMPLE_CRC = 0xE66C9B1D
_VOCABULARY_CRC = 0x5FDECCCD
_HINT = "Reinstall the word vectors with: pip install --force-reinstall wordllama"


@dataclass(frozen=True, slots=True)
class Files:
    """Where the two files are."""

    table: Path
    """safetensors file with the float16 table."""
    tokenizer: Path
    """JSON file with the vocabulary."""


def locate() -> Files:
    """Find the files without importing the package that carries them.

    Raises:
        DependencyError: The package is not installed.
        EmbedderError: The package is there, a file of it is not.
    """
    from importlib.util import find_spec  # 3 ms, which a command that embeds nothing need not pay

    try:
        spec = find_spec(_PACKAGE)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DependencyError(
            "The word vectors are not installed, so recall is by text only.",
            hint="Install them with: pip install wordllama",
            package=_PACKAGE,
        )
    return files_in(Path(next(iter(spec.submodule_search_locations))))


def files_in(folder: Path) -> Files:
    """Return the two files of a folder that is laid out as the package is.

    Raises:
        EmbedderError: One of them is missing.
    """
    files = Files(folder / _TABLE, folder / _TOKENIZER)
    for path in (files.table, files.tokenizer):
        if not path.is_file():
            raise EmbedderError(f"The file of word vectors {path} is missing.", hint=_HINT, path=str(path))
    return files


def is_installed() -> bool:
    """Return True where :func:`locate` would find both files."""
    try:
        locate()
    except (DependencyError, EmbedderError):
        return False
    return True


def open_table(path: Path) -> tuple[int, int]:
    """Open the table and check that it is the one this package knows, reading 128 KB of its 16 MB.

    Returns:
        The file descriptor, which the caller closes, and the offset of the first row in bytes.

    Raises:
        EmbedderError: The file cannot be read, is cut short, or is another table.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return descriptor, _check_table(descriptor, path)
    except OSError as error:
        os.close(descriptor)
        raise unreadable(path, error) from error
    except BaseException:
        os.close(descriptor)
        raise


def _check_table(descriptor: int, path: Path) -> int:
    size = os.fstat(descriptor).st_size
    prefix = os.pread(descriptor, 8, 0)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 0 < length <= _MAX_HEADER:  # before anything of that length is read
        raise damaged(path, f"its header claims {length} bytes")
    try:
        entry = json.loads(os.pread(descriptor, length, 8))["embedding.weight"]
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, "its header cannot be read") from error
    if kind != "F16" or shape != [TOKENS, DIM] or begin != 0 or end != _TABLE_BYTES:
        raise damaged(path, f"it holds {kind} {shape}, expected F16 [{TOKENS}, {DIM}]")
    first = 8 + int(length)
    if size != first + _TABLE_BYTES:
        raise damaged(path, f"it has {size:,} bytes, expected {first + _TABLE_BYTES:,}")
    head = os.pread(descriptor, _SAMPLE, first)
    tail = os.pread(descriptor, _SAMPLE, first + _TABLE_BYTES - _SAMPLE)
    if zlib.crc32(tail, zlib.crc32(head)) != _SAMPLE_CRC:
        raise damaged(path, "its values are not the known ones")
    return first


def verify_table(path: Path) -> None:
    """Check every byte of the table file.

    Raises:
        EmbedderError: A byte differs, or the file cannot be read.
    """
    checksum = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
    except OSError as error:
        raise unreadable(path, error) from error
    if checksum != _TABLE_CRC:
        raise damaged(path, "its checksum is wrong")


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read the vocabulary: each piece with its id, which is also its row in the table.

    The merges that follow it in the file are not read, because the vocabulary implies them: a checksum makes sure that
    it is the vocabulary for which that holds (``_pieces`` says how, a test compares them).

    Raises:
        EmbedderError: The file cannot be read, or holds another vocabulary.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_VOCABULARY)
    except OSError as error:
        raise unreadable(path, error) from error
    begin = data.find(b'"vocab": {') + len(b'"vocab": ')
    end = data.rfind(b"}", begin, data.find(b'"merges"', begin)) + 1
    section = data[begin:end]
    if zlib.crc32(section) != _VOCABULARY_CRC:
        raise damaged(path, "its vocabulary is not the known one")
    vocabulary: dict[str, int] = json.loads(section)
    return vocabulary


def damaged(path: Path, reason: str) -> EmbedderError:
    """Return the error for a file whose content is not the known one."""
    return EmbedderError(f"The file of word vectors {path} cannot be used: {reason}.", hint=_HINT, path=str(path))


def unreadable(path: Path, error: OSError) -> EmbedderError:
    """Return the error for a file that the system would not read."""
    return EmbedderError(
        f"The file of word vectors {path} cannot be read: {error.strerror}.", hint=_HINT, path=str(path)
    )
