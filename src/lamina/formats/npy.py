"""NumPy's own files: one array (``.npy``), or a ZIP of them (``.npz``). Objects, which would be pickles, are refused.

Metadata of an ``.npz`` lies in the comment of the ZIP, where no program that goes through its arrays finds it. What
does not fit there, more than 65,000 bytes, lies beside the arrays as ``lamina.json``, which numpy hands out as bytes.
An ``.npy`` has none.
"""

from __future__ import annotations

import ast
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, cast

from lamina.errors import CorruptionError, InvalidInputError, LaminaError
from lamina.formats.state_file import ArrayEntry, LazyArrays, StateFile, checked_shape, raw_bytes, spec_of
from lamina.formats.state_source import CHUNK_BYTES, Source, elements
from lamina.formats.zip_stream import SourceFile, ZipStream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAGIC", "read_npy", "read_npz", "write_npy", "write_npz"]

MAGIC: Final = b"\x93NUMPY"
_MOST_HEADER: Final = 1 << 20
_METADATA: Final = "lamina.json"
_COMMENT: Final = b"lamina.json "
"""What the comment of a ZIP begins with where metadata follows."""
_MOST_COMMENT: Final = 65_000
_MOST_METADATA: Final = 1 << 26
_MOST_INFLATION: Final = 1040
"""Deflate makes at most about 1,032 bytes of one."""


def read_npy(source: Source) -> StateFile:
    """Read one array, called ``array``; it loads when it is asked for.

    Raises:
        InvalidInputError: The header is wrong, the array holds objects, or the file has not the length that it says.
    """
    start, shape, dtype, fortran = _header(source.read(0, min(source.size, 12 + _MOST_HEADER)), source)
    size = elements(shape) * dtype.itemsize
    if start + size != source.size:
        raise source.bad(
            f"the shape {list(shape)} of {dtype} needs {size:,} bytes, but {source.size - start:,} are there."
        )

    def load() -> NDArray[Any]:
        stored = source.array(start, dtype, shape[::-1] if fortran else shape, "the array")
        return stored.transpose() if fortran else stored

    return StateFile(LazyArrays({"array": ArrayEntry(shape, dtype, load)}), {}, "npy")


def _header(head: bytes, source: Source, what: str = "the array") -> tuple[int, tuple[int, ...], np.dtype[Any], bool]:
    """Return where the data begins, the shape, the dtype, and whether it is in Fortran's order."""
    if not head.startswith(MAGIC) or len(head) < 12:
        raise source.bad(f"{what} has no header of numpy.")
    if head[6] == 1:
        length, start = struct.unpack_from("<H", head, 8)[0], 10
    elif head[6] in (2, 3):
        length, start = struct.unpack_from("<I", head, 8)[0], 12
    else:
        raise source.bad(f"{what} has version {head[6]} of numpy's format; 1 to 3 are known.")
    if length > _MOST_HEADER or start + length > len(head):
        raise source.bad(f"the header of {what} would have {length:,} bytes.")
    try:
        values = ast.literal_eval(head[start : start + length].decode("utf-8" if head[6] == 3 else "latin-1"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        values = None
    if not isinstance(values, dict) or values.keys() != {"descr", "fortran_order", "shape"}:
        raise source.bad(f"the header of {what} cannot be read.")
    shape = checked_shape(values["shape"], f"{source.name}: {what}")
    return start + length, shape, _dtype(values["descr"], source, what), bool(values["fortran_order"])


def _dtype(descr: Any, source: Source, what: str) -> np.dtype[Any]:
    import numpy as np

    try:
        dtype = np.dtype(descr) if isinstance(descr, str) else np.dtype(object)
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype(object)
    if dtype.kind not in "biufc":
        raise source.bad(
            f"{what} holds {descr!r}, not numbers or booleans.",
            "Objects in such files are pickles, which can run code; they are never read.",
        )
    return dtype


def read_npz(source: Source) -> StateFile:
    """Read the directory and each array's header; arrays load when they are asked for.

    Raises:
        InvalidInputError: It is no whole ZIP, an entry is no array of numbers, or a length lies.
    """
    entries: dict[str, ArrayEntry] = {}
    metadata: dict[str, Any] = {}
    notes: list[str] = []
    with _opened(source) as archive:
        names = [info.filename for info in archive.infolist()]
        if len(set(names)) != len(names):
            raise source.bad("a name is there twice.")
        if archive.comment.startswith(_COMMENT):
            metadata = _parsed(archive.comment[len(_COMMENT) :], source)
        for info in archive.infolist():
            if info.file_size > (info.compress_size + 64) * _MOST_INFLATION:
                raise source.bad(f"{info.filename!r} says that it grows to {info.file_size:,} bytes, which it cannot.")
            if info.filename == _METADATA:
                metadata = _read_metadata(archive, info, source)
            elif info.filename.endswith(".npy"):
                entries[info.filename.removesuffix(".npy")] = _member(archive, info, source)
            else:
                notes.append(f"{info.filename!r} is no array and was passed over.")
    return StateFile(LazyArrays(entries), metadata, "npz", tuple(notes))


@contextmanager
def _opened(source: Source) -> Iterator[zipfile.ZipFile]:
    """Open the archive; what the ZIP modules raise becomes an error of ours."""
    try:
        with zipfile.ZipFile(cast("IO[bytes]", SourceFile(source))) as archive:
            yield archive
    except LaminaError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        if "CRC" in str(error):
            raise CorruptionError(
                f"{source.name} is damaged ({error}).", hint="Take it from where it came from again.", path=source.name
            ) from None
        raise source.bad(f"the ZIP archive cannot be read ({error}).") from None
    except (NotImplementedError, RuntimeError, ValueError, OverflowError, OSError, struct.error) as error:
        raise source.bad(f"the ZIP archive cannot be read ({error}).") from None


def _read_metadata(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Source) -> dict[str, Any]:
    if info.file_size > _MOST_METADATA:
        raise source.bad(f"{_METADATA} has {info.file_size:,} bytes; at most {_MOST_METADATA:,} are read.")
    return _parsed(archive.read(info), source)


def _parsed(text: bytes, source: Source) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise source.bad(f"{_METADATA} is no JSON object.")
    return value


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Source) -> ArrayEntry:
    what = f"the array {info.filename.removesuffix('.npy')!r}"
    with archive.open(info) as stream:
        head = stream.read(12)
        if len(head) == 12:
            wanted = struct.unpack_from("<H", head, 8)[0] if head[6] == 1 else struct.unpack_from("<I", head, 8)[0]
            head += stream.read(min(wanted, _MOST_HEADER))
    start, shape, dtype, fortran = _header(head, source, what)
    size = elements(shape) * dtype.itemsize
    if start + size != info.file_size:
        raise source.bad(f"{what} needs {size:,} bytes, but has {info.file_size - start:,}.")

    def load() -> NDArray[Any]:
        return _load(source, info.filename, start, shape, dtype, fortran=fortran)

    return ArrayEntry(shape, dtype, load)


def _load(
    source: Source, name: str, start: int, shape: tuple[int, ...], dtype: np.dtype[Any], *, fortran: bool
) -> NDArray[Any]:
    import numpy as np

    with _opened(source) as archive, archive.open(name) as stream:
        stream.read(start)
        result = np.empty(shape[::-1] if fortran else shape, dtype=dtype)
        view = result.reshape(-1).view(np.uint8).data
        while view:
            piece = stream.read(min(len(view), CHUNK_BYTES))
            if not piece:
                raise source.bad(f"the array {name!r} ends too early.")
            view[: len(piece)] = piece
            view = view[len(piece) :]
        if stream.read(1):  # also what makes zipfile check the CRC
            raise source.bad(f"the array {name!r} goes on after its end.")
    return result.transpose() if fortran else result


def write_npy(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes | memoryview]:
    """Write the one array of a state.

    Raises:
        InvalidInputError: There is not exactly one array.
    """
    if len(arrays) != 1:
        raise InvalidInputError(f"npy holds one array, not {len(arrays)}.", hint="Choose npz.")
    if metadata:
        notes.append("npy has no place for metadata; it was left out.")
    (name,) = arrays
    yield _npy_header(*spec_of(arrays, name), name)
    yield raw_bytes(arrays, name)


def write_npz(arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """Write an uncompressed ZIP of arrays, one at a time, which :func:`numpy.load` reads; equal states, equal bytes."""
    archive = ZipStream()
    for name in arrays:
        shape, dtype = spec_of(arrays, name)
        head = _npy_header(shape, dtype, name)
        size = len(head) + elements(shape) * dtype.itemsize
        yield from archive.member(f"{name}.npy", size, [head, raw_bytes(arrays, name)])
    text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False).encode("utf-8") if metadata else b""
    if len(text) > _MOST_COMMENT:
        yield from archive.member(_METADATA, len(text), [text])
    yield from archive.finish(_COMMENT + text if 0 < len(text) <= _MOST_COMMENT else b"")


def _npy_header(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> bytes:
    if dtype.kind not in "biufc":
        raise InvalidInputError(
            f"numpy's files have no type for {name!r}, which is {dtype}.", hint="Choose safetensors.", array=name
        )
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    padded = text + " " * (-(len(text) + 11) % 64) + "\n"  # so that the data is aligned
    return MAGIC + b"\x01\x00" + struct.pack("<H", len(padded)) + padded.encode("latin-1")
