"""Titan's JSON: ``memory_state.json``, ``hope_model_state.json``, and the file that ``save_checkpoint`` writes.

Names change from ``shortTerm`` to ``short_term``; weights, which have numbers for names, become ``weights/0``, those of
the optimizer ``optimizer/NAME``. Arrays are float32 where that is exact, as TensorFlow.js had them. Timestamps are
milliseconds since 1970, and ``metadata["timestamp_unit"]`` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lamina.errors import InvalidInputError
from lamina.formats.json_numbers import parse_json, plain
from lamina.formats.state_file import StateFile, as_array, checked_shape
from lamina.formats.state_source import Source, elements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["format_of", "memory_arrays", "model_arrays", "nested", "number_text", "read", "write_memory", "write_model"]

_FLOATS, _COUNTS, _TIMES = "floats", "counts", "times"
_FIELDS: Final = {
    "shortTerm": ("short_term", _FLOATS),
    "longTerm": ("long_term", _FLOATS),
    "archive": ("archive", _FLOATS),
    "meta": ("meta", _FLOATS),
    "timestamps": ("timestamps", _TIMES),
    "accessCounts": ("access_counts", _COUNTS),
    "surpriseHistory": ("surprise_history", _FLOATS),
    "momentumState": ("momentum_state", _FLOATS),
    "forgettingGate": ("forgetting_gate", _FLOATS),
    "tokenFlowHistory": ("token_flow_history", _FLOATS),
    "flowWeights": ("flow_weights", _FLOATS),
    "levelIndex": ("level_index", _COUNTS),
    "surpriseBuffer": ("surprise_buffer", _FLOATS),
}
_THEIRS: Final = {ours: theirs for theirs, (ours, _) in _FIELDS.items()}
_PIECE: Final = 8192
_REFERENCE: Final = "$array"
"""In ``metadata["auxiliary"]``, an object with this key stands where the file had the array that it names."""


def format_of(keys: list[str]) -> str | None:
    """Return which of the files an object with these keys is, or None."""
    found = set(keys)
    if "shortTerm" in found or ("shapes" in found and not found & {"weights", "memoryState"}):
        return "titan-memory"
    if "memoryState" in found and "format" not in found:
        return "titan-save"
    if {"weights", "shapes"} <= found or {"config", "weights"} <= found:
        return "titan-model"
    return None


def read(source: Source) -> StateFile:
    """Read any of the three.

    Raises:
        InvalidInputError: It is not JSON, a shape does not fit its numbers, or a value is no finite number; names it.
    """
    value = parse_json(source.chunks(), source.name)
    format = format_of(list(value)) if isinstance(value, dict) else None
    notes: list[str] = []
    if format == "titan-memory":
        arrays, metadata = memory_arrays(source, value, notes)
    elif format == "titan-model":
        arrays, metadata = model_arrays(source, value, notes)
    elif format == "titan-save":
        arrays, metadata = _save(source, value, notes)
    else:
        raise source.bad("this is no state of Titan: shortTerm, weights or memoryState is needed.")
    return StateFile(arrays, metadata, str(format), tuple(notes))


def memory_arrays(
    source: Source, value: dict[str, Any], notes: list[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and metadata of a memory state; lists may be flat with ``shapes``, or nested."""
    shapes = value.get("shapes", {})
    if not isinstance(shapes, dict):
        raise source.bad("shapes is no object.")
    arrays: dict[str, NDArray[Any]] = {}
    metadata: dict[str, Any] = {}
    for key, item in value.items():
        if key == "shapes":
            continue
        ours, kind = _FIELDS.get(key, (key, ""))
        if key in _FIELDS or (key in shapes and isinstance(item, list | _array_type())):
            arrays[ours] = _shaped(source, key, item, shapes.get(key), kind)
        elif key == "momentumDecay":
            metadata["momentum_decay"] = plain(item)
        elif key == "auxiliary":
            metadata["auxiliary"] = _tensors(source, item, "auxiliary", arrays)
        else:
            metadata[key] = plain(item)
    if "timestamps" in arrays:
        metadata["timestamp_unit"] = "ms"
        _note_times(arrays["timestamps"], notes)
    return arrays, metadata


def _array_type() -> Any:
    import numpy as np

    return np.ndarray


def _note_times(times: NDArray[Any], notes: list[str]) -> None:
    import numpy as np

    if len(times) and (np.abs(times) > 1 << 24).any() and np.array_equal(times.astype(np.float32), times):
        notes.append("The timestamps passed through 32-bit floats, which know today's time to 131 seconds only.")


def _shaped(source: Source, key: str, item: Any, shape: Any, kind: str) -> NDArray[Any]:
    import numpy as np

    array = nested(source, key, item)
    if shape is not None:
        wanted = checked_shape(shape, f"{source.name}: {key}")
        if elements(wanted) != array.size:
            raise source.bad(
                f"{key} has {array.size:,} numbers, but its shape {list(wanted)} needs {elements(wanted):,}.", array=key
            )
        array = array.reshape(wanted)
    if kind == _FLOATS and array.dtype.kind == "i":  # a tensor of whole numbers is written without points
        narrow = array.astype(np.float32)
        return narrow if np.array_equal(narrow.astype(np.float64), array) else array.astype(np.float64)
    if kind in (_COUNTS, _TIMES):
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        if np.array_equal(whole, array):
            return whole.astype(np.int32) if kind == _COUNTS and _fits_32(whole) else whole
        if kind == _COUNTS:
            index = int(np.argmax(whole != array))
            raise source.bad(f"{key}[{index}] is {array.reshape(-1)[index]}, not a whole number.", array=key)
    return array


def _fits_32(array: NDArray[Any]) -> bool:
    return array.size == 0 or (int(array.min()) >= -(1 << 31) and int(array.max()) < 1 << 31)


def nested(source: Source, path: str, item: Any) -> NDArray[Any]:
    """Return numbers, flat or in nested lists of one length, as an array.

    Raises:
        InvalidInputError: A place holds no number, or lists differ in length; names the place.
    """
    import numpy as np

    if hasattr(item, "dtype"):
        return np.asarray(item)
    if isinstance(item, (int, float)) and not isinstance(item, bool):
        return np.asarray(item, dtype=np.float64 if isinstance(item, float) else None)
    if not isinstance(item, list):
        raise source.bad(f"{path} is {_shown(item)}, not a number.", place=path)
    parts = [nested(source, f"{path}[{index}]", part) for index, part in enumerate(item)]
    for index, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise source.bad(
                f"{path}[{index}] has the shape {list(part.shape)}, not {list(parts[0].shape)}.", place=path
            )
    return np.stack(parts)


def _shown(item: Any) -> str:
    return "null" if item is None else json.dumps(item)[:40]


def _tensors(source: Source, item: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """Move every ``{"data", "shape"}`` below a value to ``arrays``, and return what is left."""
    if isinstance(item, dict):
        if set(item) == {"data", "shape"}:
            arrays[path] = _shaped(source, path, item["data"], item["shape"], "")
            return {_REFERENCE: path}
        return {key: _tensors(source, inner, f"{path}/{key}", arrays) for key, inner in item.items()}
    if isinstance(item, list):
        return [_tensors(source, inner, f"{path}/{index}", arrays) for index, inner in enumerate(item)]
    return plain(item)


def model_arrays(
    source: Source, value: dict[str, Any], notes: list[str], prefix: str = ""
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and metadata of a model: ``weights``, ``shapes``, ``config``, ``optimizer``."""
    arrays = _weights(source, value, prefix + "weights", None)
    metadata = {key: plain(item) for key, item in value.items() if key not in ("weights", "shapes", "optimizer")}
    optimizer = value.get("optimizer")
    if isinstance(optimizer, dict):
        names = plain(optimizer.get("names"))
        arrays |= _weights(source, optimizer, prefix + "optimizer", names if isinstance(names, list) else None)
    elif optimizer is not None:
        notes.append("optimizer is no object and was passed over.")
    return arrays, metadata


def _weights(source: Source, value: dict[str, Any], prefix: str, names: list[Any] | None) -> dict[str, NDArray[Any]]:
    weights, shapes = _as_list(value.get("weights")), _as_list(value.get("shapes"))
    if weights is None or shapes is None or len(weights) != len(shapes):
        raise source.bad(f"{prefix}: weights and shapes are no lists of one length.")
    if names is not None and (len(set(map(str, names))) != len(names) or len(names) != len(weights)):
        raise source.bad(f"{prefix}: the names do not fit the weights.")
    found: dict[str, NDArray[Any]] = {}
    for index, (numbers, shape) in enumerate(zip(weights, shapes, strict=True)):
        name = f"{prefix}/{index if names is None else names[index]}"
        found[name] = _shaped(source, f"{prefix}[{index}]", numbers, shape, _FLOATS)
    return found


def _as_list(value: Any) -> list[Any] | None:
    if hasattr(value, "dtype"):  # an empty list counts as one of numbers
        return [] if len(value) == 0 else None
    return value if isinstance(value, list) else None


def _save(source: Source, value: dict[str, Any], notes: list[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    state, model = value["memoryState"], value.get("modelSnapshot")
    if not isinstance(state, dict):
        raise source.bad("memoryState is no object.")
    if "shapes" not in state and isinstance(value.get("shapes"), dict):  # where older files keep them
        state = {**state, "shapes": value["shapes"]}
    arrays, metadata = memory_arrays(source, state, notes)
    if isinstance(model, dict):
        more, of_model = model_arrays(source, model, notes, "model/")
        arrays |= more
        metadata["model"] = of_model
    rest = {key: plain(item) for key, item in value.items() if key not in ("memoryState", "modelSnapshot", "shapes")}
    if rest.pop("checksum", None) is not None:
        notes.append("The checksum was not checked: it depends on how one JavaScript engine writes numbers.")
    return arrays, metadata | rest


def write_memory(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write ``memory_state.json``: shapes, then each array as a flat list of numbers; notes say whose type is lost.

    Timestamps are written in milliseconds, from whatever ``metadata["timestamp_unit"]`` says that they are in.

    Raises:
        InvalidInputError: A value is not finite, which JSON cannot hold, or two arrays would have one name; names it.
    """
    inside = set(_references(metadata.get("auxiliary")))
    names = [name for name in arrays if name not in inside]
    shapes: dict[str, list[int]] = {}
    for name in names:
        theirs = _THEIRS.get(name, name)
        if theirs in shapes or theirs in ("shapes", "auxiliary", "momentumDecay"):
            raise InvalidInputError(f"titan-memory cannot hold an array {name!r}.", hint="Rename it.", array=name)
        shapes[theirs] = list(as_array(arrays[name], name).shape)
    yield b'{"shapes":' + json.dumps(shapes, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    retyped: list[str] = []
    for name in names:
        array = as_array(arrays[name], name)
        dtype = array.dtype
        if name == "timestamps":
            array = _in_millis(array, metadata.get("timestamp_unit", "ms"))
        _note_type(dtype, array, name, _FIELDS.get(_THEIRS.get(name, name), (name, ""))[1], retyped)
        yield f",{json.dumps(_THEIRS.get(name, name), ensure_ascii=False)}:".encode()
        yield from _numbers(array, name)
    for name in inside & set(arrays):
        array = as_array(arrays[name], name)
        _note_type(array.dtype, array, name, "", retyped, pointed=True)
    _note_types(retyped, notes)
    if "auxiliary" in metadata:
        yield b',"auxiliary":'
        yield json.dumps(_filled(metadata["auxiliary"], arrays), ensure_ascii=False, allow_nan=False).encode("utf-8")
    taken = {"shapes", "auxiliary", "timestamp_unit"} | set(shapes)
    for key, value in metadata.items():
        theirs = "momentumDecay" if key == "momentum_decay" else key
        if theirs not in taken:
            yield f",{json.dumps(theirs)}:{json.dumps(value, ensure_ascii=False, allow_nan=False)}".encode()
    yield b"}"


def _references(value: Any) -> Iterator[str]:
    """Yield the names of the arrays that stand inside of ``auxiliary``."""
    if isinstance(value, Mapping) and set(value) == {_REFERENCE}:
        yield str(value[_REFERENCE])
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _references(item)


def _in_millis(times: NDArray[Any], unit: Any) -> NDArray[Any]:
    """Return timestamps in the milliseconds that Titan wants."""
    import numpy as np

    if unit not in ("us", "ms", "s"):
        raise InvalidInputError(f"timestamp_unit is {unit!r}.", hint="Use us, ms or s.")
    if unit == "us":
        return times // 1000 if times.dtype.kind in "iu" and not (times % 1000).any() else times / 1000
    return times if unit == "ms" else np.asarray(times, dtype=np.float64) * 1000


def write_model(arrays: Mapping[str, Any], metadata: Mapping[str, Any], notes: list[str]) -> Iterator[bytes]:
    """Write ``hope_model_state.json``; ``weights/0`` and so on, ``optimizer/NAME``, and metadata beside them.

    Raises:
        InvalidInputError: Another array is there, a number is missing, or a value is not finite.
    """
    weights = [name for name in arrays if name.startswith("weights/")]
    optimizer = [name for name in arrays if name.startswith("optimizer/")]
    if len(weights) + len(optimizer) != len(arrays) or {f"weights/{i}" for i in range(len(weights))} != set(weights):
        raise InvalidInputError(
            "titan-model has a place for the arrays weights/0, weights/1, ... and optimizer/NAME only.",
            hint="Rename the arrays, or choose safetensors.",
        )
    config = metadata.get("config", {})
    yield b'{"config":' + json.dumps(config, ensure_ascii=False, allow_nan=False).encode("utf-8") + b","
    yield from _weights_text(arrays, [f"weights/{index}" for index in range(len(weights))])
    retyped: list[str] = []
    for name in (*weights, *optimizer):
        array = as_array(arrays[name], name)
        _note_type(array.dtype, array, name, _FLOATS, retyped)
    _note_types(retyped, notes)
    if optimizer:
        yield b',"optimizer":{'
        yield from _weights_text(arrays, optimizer)
        bare = [name.removeprefix("optimizer/") for name in optimizer]
        yield f',"names":{json.dumps(bare, ensure_ascii=False)}}}'.encode()
    for key, value in metadata.items():
        if key in ("weights", "shapes", "optimizer"):
            notes.append(f"The metadata {key} would be taken for arrays; it was left out.")
        elif key != "config":
            yield f",{json.dumps(key)}:{json.dumps(value, ensure_ascii=False, allow_nan=False)}".encode()
    yield b"}"


def _weights_text(arrays: Mapping[str, Any], names: list[str]) -> Iterator[bytes]:
    yield b'"weights":['
    shapes = []
    for index, name in enumerate(names):
        array = as_array(arrays[name], name)
        shapes.append(list(array.shape))
        yield b"," if index else b""
        yield from _numbers(array, name)
    yield f'],"shapes":{json.dumps(shapes)}'.encode()


def _filled(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {_REFERENCE}:
            name = str(value[_REFERENCE])
            if name not in arrays:
                raise InvalidInputError(f"auxiliary names the array {name!r}, which is not there.", hint="Give it.")
            array = as_array(arrays[name], name)
            array = array.astype("u1") if array.dtype.kind == "b" else array  # true and false are no numbers of JSON
            return {"data": array.reshape(-1).tolist(), "shape": list(array.shape)}
        return {str(key): _filled(item, arrays) for key, item in value.items()}
    return [_filled(item, arrays) for item in value] if isinstance(value, (list, tuple)) else value


def _note_type(
    dtype: np.dtype[Any], written: NDArray[Any], name: str, kind: str, retyped: list[str], *, pointed: bool = False
) -> None:
    """Note an array that the reader gives another dtype: numbers of JSON have none, and whole ones get no point."""
    import numpy as np

    if not written.size or written.dtype.kind == "c":
        return
    wide = written.reshape(-1).astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = bool(np.array_equal(wide.astype(np.float32).astype(np.float64), wide))
    whole = bool(((wide == np.rint(wide)) & (np.abs(wide) < 2.0**63)).all())
    if kind == _COUNTS and not whole:
        raise InvalidInputError(f"{name!r} must hold whole numbers in titan-memory.", hint="Round them.", array=name)
    in_full = bool((np.abs(wide) < 1e16).all()) and not (np.signbit(wide) & (wide == 0)).any()
    back = np.dtype(np.float32 if narrow else np.float64)
    if written.dtype.kind in "biu" or (whole and in_full and not pointed):
        back = back if kind == _FLOATS else np.dtype(np.int64)
    if whole and kind in (_COUNTS, _TIMES):
        back = np.dtype(np.int32 if kind == _COUNTS and _fits_32(wide) else np.int64)
    if back != dtype:
        retyped.append(f"{name} as {back} instead of {dtype}")


def _note_types(retyped: list[str], notes: list[str]) -> None:
    if retyped:
        shown = ", ".join(retyped[:5]) + (f" and {len(retyped) - 5:,} more" if len(retyped) > 5 else "")
        notes.append(f"JSON keeps numbers without their type; the values are the same, but there come back {shown}.")


def _numbers(array: NDArray[Any], name: str) -> Iterator[bytes]:
    import numpy as np

    if array.dtype.kind == "c":
        raise InvalidInputError(f"{name!r} holds complex numbers, which JSON has not.", hint="Split it.", array=name)
    flat = array.reshape(-1)
    if flat.dtype.kind not in "iub":
        flat = flat.astype(np.float64)
        finite = np.isfinite(flat)
        if not finite.all():
            index = int(np.argmin(finite))
            raise InvalidInputError(
                f"{name}[{index}] is {flat[index]}, which JSON cannot hold.",
                hint="Choose safetensors or npz.",
                array=name,
                index=index,
            )
    yield b"["
    for start in range(0, len(flat), _PIECE):
        text = ",".join(number_text(value) for value in flat[start : start + _PIECE].tolist())
        yield (("," if start else "") + text).encode()
    yield b"]"


def number_text(value: float) -> str:
    """Return a number as JSON, whole ones without a point; the digits give exactly the same number back."""
    text = repr(int(value) if isinstance(value, bool) else value)
    return text.removesuffix(".0") if text != "-0.0" else text
