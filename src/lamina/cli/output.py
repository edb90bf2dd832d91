"""Results as JSON: the contract of ``--json``, described field by field in ``docs/json.md``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from os import PathLike, fspath
from typing import Any

from lamina.formats.fields import iso_time, memory_to_dict
from lamina.types import Memory

__all__ = ["to_json"]


def to_json(value: Any) -> Any:
    """A result of the store as JSON knows it.

    Dataclasses become objects with every field, :data:`None` where it is not set; times become ISO 8601 in UTC with
    ``Z``; tuples become lists; paths become text. A memory has every field but ``similar``, which is there where it
    was looked for; a hit has ``explanation`` only where it was asked for.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime):
        return iso_time(value)
    if isinstance(value, Memory):
        document = memory_to_dict(value)
        document["metadata"] = to_json(value.metadata)
        return document
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
        if "explanation" in found and found["explanation"] is None:
            del found["explanation"]
        return found
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, PathLike):
        return str(fspath(value))
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    return str(value)
