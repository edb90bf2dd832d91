"""Names with slashes back into mappings within mappings: what ``flatten`` does, undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.errors import InvalidInputError

__all__ = ["unflatten"]


def unflatten(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays in dicts within dicts, their names split at each ``/``.

    Raises:
        InvalidInputError: A name is that of an array and of a mapping, as ``a`` and ``a/b`` are.
    """
    found: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {"": found}
    for name, array in arrays.items():
        path, _, last = name.rpartition("/")
        place = inner.get(path)
        if place is None:
            place = found
            walked = ""
            for part in path.split("/"):
                walked = f"{walked}/{part}" if walked else part
                if walked not in inner:
                    if part in place:
                        raise _twice(walked)
                    inner[walked] = place[part] = {}
                place = inner[walked]
        if last in place:
            raise _twice(name)
        place[last] = array
    return found


def _twice(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name!r} is the name of an array and the beginning of another's, so they cannot lie in dicts.",
        hint="Take arrays(), by name.",
        array=name,
    )
