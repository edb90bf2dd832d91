"""What a state file holds: named arrays that load when they are asked for, and metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import DependencyError, InvalidInputError
from lamina.formats.state_source import elements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ArrayEntry",
    "LazyArrays",
    "StateFile",
    "as_array",
    "as_arrays",
    "checked_shape",
    "named_dtype",
    "only",
    "raw_bytes",
    "spec_of",
]

MAX_DIMENSIONS: Final = 64
"""Most dimensions of an array, as in numpy."""


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """An array that is not loaded yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], NDArray[Any]] = field(repr=False)


class LazyArrays(Mapping[str, "NDArray[Any]"]):
    """Named arrays of a file; each is read, and checked, whenever it is asked for, and is then the caller's own."""

    def __init__(self, entries: Mapping[str, ArrayEntry]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._entries[name].load()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def spec(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return an array's shape and dtype without reading it."""
        entry = self._entries[name]
        return entry.shape, entry.dtype

    def entry(self, name: str) -> ArrayEntry:
        """Return an array that is not loaded yet."""
        return self._entries[name]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {entry.dtype}{list(entry.shape)}" for name, entry in self._entries.items())
        return f"<LazyArrays {shown}>"


@dataclass(frozen=True, slots=True)
class StateFile:
    """A state as a file holds it."""

    arrays: Mapping[str, NDArray[Any]]
    """Named arrays; names of nested things have ``/`` between their parts."""
    metadata: dict[str, Any]
    """JSON values."""
    format: str
    """The format's name, as :func:`lamina.formats.write_state` takes it."""
    notes: tuple[str, ...] = ()
    """What a reader should know: what the format could not hold exactly, or what was passed over."""


def as_array(value: Any, name: str) -> NDArray[Any]:
    """Return what a caller passed as an array in C order: anything that numpy or DLPack can read.

    Raises:
        InvalidInputError: It is no array of numbers or booleans.
        LaminaError: An array of a store cannot be read, such as a CorruptionError.
    """
    import numpy as np

    from lamina.states.checks import to_array

    array = to_array(value, name)
    if array.dtype.kind in "USMm":
        raise InvalidInputError(
            f"Array {name!r} is of the dtype {array.dtype}, which files of states do not hold.",
            hint="Leave it out, or turn it into numbers or booleans.",
            array=name,
        )
    return np.asarray(array, order="C")


def as_arrays(arrays: Mapping[Any, Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield what a caller passed, array after array, each checked and converted when its turn comes."""
    for name in arrays:
        if not isinstance(name, str) or not name:
            raise InvalidInputError(f"{name!r} is no name of an array.", hint="Use non-empty strings as names.")
        yield name, as_array(arrays[name], name)


def spec_of(arrays: Mapping[str, Any], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and little-endian dtype of an array, without loading it where its mapping or type tells them."""
    import numpy as np

    if isinstance(arrays, LazyArrays):
        shape, dtype = arrays.spec(name)
    else:
        value = arrays[name]
        if not isinstance(getattr(value, "dtype", None), np.dtype):
            value = as_array(value, name)
        shape, dtype = tuple(value.shape), value.dtype
    if dtype.hasobject or dtype.kind in "USMm" or dtype.names:
        as_array(arrays[name], name)
    return shape, dtype.newbyteorder("<")


def raw_bytes(arrays: Mapping[str, Any], name: str) -> memoryview:
    """Return an array's bytes, little-endian and in the order of C."""
    import numpy as np

    array = as_array(arrays[name], name)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array.reshape(-1).view(np.uint8).data


def only(arrays: Mapping[str, Any], names: Iterable[str], format: str) -> None:
    """Refuse arrays that a format has no place for, rather than leave them out.

    Raises:
        InvalidInputError: One of ``arrays`` is none of ``names``.
    """
    known = tuple(names)
    for name in arrays:
        if name not in known:
            raise InvalidInputError(
                f"{format} has no place for the array {name!r}.",
                hint=f"It holds {', '.join(known)}; choose safetensors or npz, which hold anything.",
                array=str(name),
            )


_EXTENDED: Final = {
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
}
"""Number types that numpy itself has not; the package ml_dtypes brings them."""


def named_dtype(name: str, what: str) -> np.dtype[Any]:
    """Return a dtype by its name.

    Raises:
        DependencyError: The type needs ml_dtypes, which is not installed.
        InvalidInputError: It is no number or boolean type.
    """
    import numpy as np

    if name in _EXTENDED:
        from importlib import import_module

        try:
            extended: np.dtype[Any] = np.dtype(getattr(import_module("ml_dtypes"), name))
        except ImportError as error:
            raise DependencyError(
                f"{what} has the type {name}, which numpy has not.", hint="Run `pip install ml_dtypes`.", dtype=name
            ) from error
        return extended
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype(object)
    if dtype.kind not in "biufc":
        raise InvalidInputError(f"{what} has the unknown type {name!r}.", hint="Use numbers or booleans.", dtype=name)
    return dtype


def checked_shape(value: Any, what: str) -> tuple[int, ...]:
    """Return a shape that a file gives.

    Raises:
        InvalidInputError: It is no list of whole numbers from 0, or has more than 64 dimensions.
    """
    listed = value.tolist() if hasattr(value, "tolist") else value
    if (
        not isinstance(listed, (list, tuple))
        or len(listed) > MAX_DIMENSIONS
        or any(isinstance(length, bool) or not isinstance(length, int) or length < 0 for length in listed)
    ):
        raise InvalidInputError(f"{what} has no valid shape.", hint="A shape is a list of whole numbers from 0.")
    shape = tuple(listed)
    if elements(tuple(max(1, length) for length in shape)) >= 1 << 60:
        raise InvalidInputError(f"{what} has the impossible shape {listed}.", hint="Is the file damaged?")
    return shape
