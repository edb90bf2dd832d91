"""What callers give: names, arrays, rows, checked before anything is done with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import InvalidInputError, LaminaError
from lamina.states.layout import PRECISIONS, Layout, dtype_name

__all__ = ["check_metadata", "check_name", "check_precision", "check_rows", "check_slice", "check_step", "check_text",
           "fit_values", "flatten", "to_array"]  # fmt: skip

_MOST_NAME = 512
_MOST_TEXT = 10_000
_MOST_METADATA = 1_000_000
_MOST_ARRAYS = 100_000
_HEX = re.compile(r"[0-9a-f]{64}")


def check_name(name: Any, what: str = "The name of a state") -> str:
    """Return a name of a state, branch, tag or array.

    Raises:
        InvalidInputError: It is no text of 1 to 512 characters without control characters, or looks like an id.
    """
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME or name != name.strip():
        raise InvalidInputError(
            f"{what} must be a text of 1 to {_MOST_NAME} characters without blanks around it, not {name!r:.80}.",
            hint="Choose another name.",
        )
    if any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in name):
        raise InvalidInputError(f"{what} holds a control character: {name!r:.80}.", hint="Choose another name.")
    if _HEX.fullmatch(name):
        raise InvalidInputError(f"{what} looks like the id of a version: {name}.", hint="Choose another name.")
    return name


def check_text(text: Any, what: str) -> str | None:
    """Return a message or the like, or None.

    Raises:
        InvalidInputError: It is no text, or longer than 10,000 characters.
    """
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > _MOST_TEXT or any(0xD800 <= ord(char) < 0xE000 for char in text):
        raise InvalidInputError(f"{what} must be a text of at most {_MOST_TEXT:,} characters.", hint="Shorten it.")
    return text


def check_step(step: Any) -> int | None:
    """Return a step, or None.

    Raises:
        InvalidInputError: It is no whole number from 0 to 2**62.
    """
    if step is None:
        return None
    if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or not 0 <= step < 1 << 62:
        raise InvalidInputError(f"step = {step!r} is not a whole number from 0.", hint="Pass an int.")
    return int(step)


def check_metadata(metadata: Any) -> dict[str, Any] | None:
    """Return metadata as JSON gives it back, or None.

    Raises:
        InvalidInputError: It is no JSON object of at most 1 MB, or holds NaN or Infinity.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidInputError("metadata must be a mapping.", hint="Pass a dict.")
    try:
        text = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False, default=_plain)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        at = _not_json(metadata)
        raise InvalidInputError(
            f"metadata cannot be written as JSON{f' at {at!r}' if at else ''}: {error}.",
            hint="Use text, finite numbers, lists and dicts.",
            key=at,
        ) from None
    if len(text) > _MOST_METADATA:
        raise InvalidInputError("metadata is longer than 1 MB.", hint="Put large values into an array.")
    found: dict[str, Any] = json.loads(text)
    return found or None


def _plain(value: Any) -> Any:
    """Return a number of numpy as one of Python's."""
    if isinstance(value, np.generic) and isinstance(found := value.item(), (bool, int, float, str)):
        return found
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _not_json(value: Any, path: str = "") -> str:
    """Return where in a mapping or list the first value stands that JSON cannot hold, such as ``deep/loss/1``."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, one in pairs:
        place = f"{path}/{key}" if path else str(key)
        try:
            json.dumps(one, allow_nan=False, default=_plain)
        except RecursionError:
            return place
        except (TypeError, ValueError):
            return _not_json(one, place) or place if isinstance(one, (Mapping, list, tuple)) else place
    return path


def check_precision(precision: Any, names: Iterator[str] | list[str]) -> dict[str, str]:
    """Return the precision of each array that is not exact.

    Args:
        precision: None, the name of one, or a mapping from arrays to names.
        names: Of all arrays.

    Raises:
        InvalidInputError: There is no such precision or array.
    """
    names = list(names)
    if precision is None:
        return {}
    wanted = dict(precision) if isinstance(precision, Mapping) else dict.fromkeys(names, precision)
    for name, value in wanted.items():
        if name not in names:
            raise InvalidInputError(f"precision names the array {name!r}, which is not there.", hint="Correct it.")
        if value not in PRECISIONS:
            raise InvalidInputError(f"{value!r} is no precision.", hint=f"Use one of {', '.join(PRECISIONS)}.")
    return {name: value for name, value in wanted.items() if value != "exact"}


def flatten(arrays: Any, prefix: str = "") -> dict[str, Any]:
    """Return the arrays of a mapping by name; those of mappings within are called ``outer/inner``.

    Raises:
        InvalidInputError: It is no mapping, two arrays have one name, or a name cannot be.
    """
    if not isinstance(arrays, Mapping):
        raise InvalidInputError(
            f"A state is a mapping from names to arrays, and this is of type {type(arrays).__name__}.",
            hint='Pass a dict such as {"weights": array}.',
        )
    found: dict[str, Any] = {}
    for key, value in arrays.items():
        name = prefix + check_name(key, "The name of an array")
        if isinstance(value, Mapping) and not hasattr(value, "__array__"):
            inner = flatten(value, name + "/")
        else:
            inner = {name: value}
        for one, array in inner.items():
            if one in found:
                raise InvalidInputError(f"Two arrays are called {one!r}.", hint="Rename one of them.")
            found[one] = array
    if len(found) > _MOST_ARRAYS:
        raise InvalidInputError(f"A state has at most {_MOST_ARRAYS:,} arrays.", hint="Join some of them.")
    return found


def to_array(value: Any, name: str) -> npt.NDArray[Any]:
    """Return what someone gave as a numpy array, in its own byte order, without copying where that is possible.

    Raises:
        InvalidInputError: It cannot be read as an array of a dtype that can be stored.
    """
    if value is None:
        raise InvalidInputError(f"Array {name!r} is None.", hint="Pass an array, or leave the name out.", array=name)
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInputError(
            f"Array {name!r} is masked, and a mask cannot be stored.",
            hint="Pass .filled(), and the mask as an array of its own where it matters.",
            array=name,
        )
    try:
        if isinstance(value, np.ndarray):
            array: npt.NDArray[Any] = value
        elif hasattr(value, "__array__") or not hasattr(value, "__dlpack__"):
            array = np.asarray(value)
        else:
            array = np.from_dlpack(value)
    except LaminaError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a foreign array raises when it is asked for its values
        raise InvalidInputError(
            f"Array {name!r} cannot be read: {error}.", hint="Pass a numpy array, a buffer or a DLPack tensor."
        ) from None
    array = np.asarray(array)  # a subclass may answer differently
    try:
        dtype_name(array.dtype)
    except InvalidInputError as error:
        message = f"Array {name!r}: {error.message}"
        if array.dtype.hasobject and not isinstance(value, np.ndarray):
            message = f"Array {name!r} is of type {type(value).__name__}, which numpy holds as Python objects alone."
        raise InvalidInputError(message, hint=error.hint, array=name) from None
    return array


def fit_values(values: npt.NDArray[Any], dtype: np.dtype[Any], name: str) -> npt.NDArray[Any]:
    """Return values in the dtype of the array that they go into; a float may be rounded, nothing else may change.

    Args:
        values: What is to be stored; no copy is made where it has the dtype already.
        dtype: Of the array.
        name: Of the array, for the message.

    Raises:
        InvalidInputError: The kinds differ (floats for integers, say), an integer is out of range, a finite number
            would become infinite, or a text or a time would be cut.
    """
    if values.dtype == dtype:
        return values
    if not values.size:  # an empty list is of floats to numpy, whatever it is for
        return np.empty(values.shape, dtype)
    given = values.astype(np.float64) if values.dtype.kind == "V" else values
    bounds = _bounds(dtype)
    if bounds is not None:
        if given.dtype.kind not in "biu" and _bounds(values.dtype) is None:
            raise _changes(values, dtype, name)
        low, high = int(given.min()), int(given.max())
        if low < bounds[0] or high > bounds[1]:
            raise InvalidInputError(
                f"Array {name!r} is {dtype}, which holds {bounds[0]} to {bounds[1]}, not "
                f"{low if low < bounds[0] else high}.",
                hint="Give values that fit, or commit the array with another dtype.",
                array=name,
            )
        return given.astype(dtype)
    numbers = "biuf" if dtype.kind in "fV" else "biufc" if dtype.kind == "c" else dtype.kind
    if given.dtype.kind not in numbers:
        raise _changes(values, dtype, name)
    with np.errstate(all="ignore"):
        made = given.astype(dtype)
    if dtype.kind in "fcV":
        kept = np.isfinite(made) if given.dtype.kind in "biu" else np.isfinite(made) | ~np.isfinite(given)
        if dtype.kind == "V" and given.dtype.kind == "f":
            kept &= ~np.isnan(made) | np.isnan(given)  # there are floats without infinity
    else:
        kept = np.asarray(made.astype(given.dtype) == given)
        if dtype.kind in "mM":
            kept |= np.isnat(given)
    if not kept.all():
        wrong = given.reshape(-1)[int(np.argmin(kept.reshape(-1)))]
        raise InvalidInputError(
            f"Array {name!r} is {dtype}, which cannot hold {wrong!s:.80}.",
            hint="Give values that fit, or commit the array with another dtype.",
            array=name,
        )
    return made


def _bounds(dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Return the smallest and the largest number of a dtype of integers; None for any other."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if dtype.kind != "V":
        return None
    import ml_dtypes

    try:
        found: Any = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    except ValueError:
        return None
    return int(found.min), int(found.max)


def _changes(values: npt.NDArray[Any], dtype: np.dtype[Any], name: str) -> InvalidInputError:
    return InvalidInputError(
        f"Array {name!r} is {dtype}; values of {values.dtype} would change in it.",
        hint="Convert them first.",
        array=name,
    )


def check_rows(rows: Any, layout: Layout, name: str) -> npt.NDArray[np.int64]:
    """Return row numbers from 0; negative ones count from the end.

    Raises:
        InvalidInputError: They are no whole numbers, or one is beyond the array.
    """
    if isinstance(rows, slice):
        return np.arange(*check_slice(rows, layout.rows, name), dtype=np.int64)
    try:
        given = np.asarray(rows)
    except (TypeError, ValueError):
        given = np.empty(0, object)
    if given.dtype == bool and given.shape == (layout.rows,):
        return np.flatnonzero(given)
    if given.size == 0 and given.dtype.kind in "fiu":
        return np.empty(0, np.int64)
    if given.dtype.kind not in "iu" or given.ndim > 1:
        raise InvalidInputError(
            f"The rows of array {name!r} are no whole numbers.", hint="Pass a row number, a list of them or a slice."
        )
    if given.dtype.kind == "u" and given.max() >= 1 << 62:
        raise InvalidInputError(f"Array {name!r} has no row {given.max()}.", hint="Count from 0.")
    numbers = given.reshape(-1).astype(np.int64)
    wrong = (numbers >= layout.rows) | (numbers < -layout.rows)
    if wrong.any():
        raise InvalidInputError(
            f"Array {name!r} has {layout.rows:,} rows, and no row {int(numbers[wrong][0])}.", hint="Count from 0."
        )
    numbers[numbers < 0] += layout.rows
    return numbers


def check_slice(rows: slice, length: int, name: str) -> tuple[int, int, int]:
    """Return start, stop and step of a slice of so many rows.

    Raises:
        InvalidInputError: One of its parts is no whole number, or the step is 0.
    """
    try:
        return rows.indices(length)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Array {name!r} cannot be sliced so: {error}.", hint="Slice it by whole numbers."
        ) from None
