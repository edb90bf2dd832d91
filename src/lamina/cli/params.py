"""Values of options: times in people's words, metadata, filters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from lamina.formats.fields import FieldError, parse_time, split_tags
from lamina.types import MEMORY_TYPES

__all__ = ["MEMORY_TYPE", "Fields", "Metadata", "When", "filter_arguments", "filter_options", "tag_option", "tags_of"]

MEMORY_TYPE: Final = click.Choice(MEMORY_TYPES)

_SPAN: Final = re.compile(r"(\+?)(\d{1,6})\s*(min|h|d|w|m|y)")
_SECONDS: Final = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800, "m": 30 * 86_400, "y": 365 * 86_400}
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:  # generic for the type checker; older versions of click know no subscript
    _TimeParam = click.ParamType[datetime]
    _ObjectParam = click.ParamType[dict[str, Any]]
    _PairParam = click.ParamType[tuple[str, str]]
else:
    _TimeParam = _ObjectParam = _PairParam = click.ParamType


class When(_TimeParam):
    """A moment: ``2026-03-01``, ``2026-03-01T09:30``, ``7d`` ago, ``+2w`` from now, ``today``, ``yesterday``.

    Args:
        day: Which end of a day a date alone means.
    """

    name = "time"

    def __init__(self, day: Literal["start", "end"] = "start") -> None:
        self.day = day

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parses what was typed; without an offset it is local time."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            return self._parse(text)
        except (FieldError, OverflowError, ValueError):
            self.fail(
                f"{text!r} is no time. Write 2026-03-01, 2026-03-01T09:30, 7d (ago), +2w (from now), today or "
                "yesterday; the units are min h d w m y.",
                param,
                ctx,
            )

    def _parse(self, text: str) -> datetime:
        now = datetime.now(UTC).astimezone()
        if text == "now":
            return now.astimezone(UTC)
        span = _SPAN.fullmatch(text)
        if span:
            length = timedelta(seconds=int(span[2]) * _SECONDS[span[3]])
            return (now + length if span[1] else now - length).astimezone(UTC)
        days = {"today": 0, "yesterday": 1, "tomorrow": -1}.get(text)
        if days is not None:
            text = (now - timedelta(days=days)).date().isoformat()
        if _DATE.fullmatch(text):
            date = datetime.fromisoformat(text)
            date = date + timedelta(days=1) if self.day == "end" else date
            return date.astimezone().astimezone(UTC)  # midnight where the user is
        value = datetime.fromisoformat(text)
        return value.astimezone().astimezone(UTC) if value.tzinfo is None else parse_time(text)


class Metadata(_ObjectParam):
    """``KEY=VALUE``, or a JSON object. A value that reads as a number, true, false or null is one."""

    name = "metadata"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Parses one occurrence."""
        if isinstance(value, dict):
            return value
        text = str(value)
        if text.lstrip().startswith("{"):
            try:
                parsed = json.loads(text)
            except (ValueError, RecursionError) as error:
                self.fail(f"{text!r} is not JSON: {error}", param, ctx)
            if isinstance(parsed, dict):
                return parsed
        key, equals, raw = text.partition("=")
        if not equals or not key:
            self.fail(f"{text!r} is neither KEY=VALUE nor a JSON object.", param, ctx)
        return {key: _scalar(raw)}


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str | list | dict) else value


class Fields(_PairParam):
    """``FIELD=COLUMN``: which column of a file gives a field."""

    name = "field"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parses one occurrence."""
        from lamina.formats.fields import SETTABLE

        if isinstance(value, tuple):
            return value
        name, equals, column = str(value).partition("=")
        if not equals or not column:
            self.fail(f"{value!r} is not FIELD=COLUMN.", param, ctx)
        if name not in SETTABLE:
            self.fail(f"{name!r} is no field of a memory; there are {', '.join(SETTABLE)}.", param, ctx)
        return name, column


def tags_of(values: tuple[str, ...]) -> tuple[str, ...]:
    """Tags of a repeatable option; each may hold several, separated by commas."""
    try:
        return tuple(dict.fromkeys(tag for value in values for tag in split_tags(value)))
    except FieldError as error:
        raise click.BadParameter(str(error), param_hint="--tag") from None


def tag_option(help_text: str) -> Callable[[F], F]:
    """``--tag``, repeatable, with commas allowed."""
    return click.option("--tag", "tags", multiple=True, metavar="TAG", help=help_text)


def filter_options(function: F) -> F:
    """``--type --tag --where``: which memories are meant."""
    for option in (
        click.option(
            "--where",
            type=Metadata(),
            multiple=True,
            metavar="KEY=VALUE|JSON",
            help='Only with this metadata; JSON knows {"key": {"gt": 3}}, AND, OR, NOT.',
        ),
        tag_option("Only with this tag; repeat for several, all must be there."),
        click.option("--type", "types", type=MEMORY_TYPE, multiple=True, help="Only this type; repeat for several."),
    ):
        function = option(function)
    return function


def filter_arguments(
    types: tuple[str, ...], tags: tuple[str, ...], where: tuple[Mapping[str, Any], ...]
) -> dict[str, Any]:
    """The filters of :func:`filter_options` as the store takes them; what was not given is left out."""
    found: dict[str, Any] = {}
    if types:
        found["type"] = types[0] if len(types) == 1 else list(types)
    if tags:
        found["tags"] = tags_of(tags)
    if where:
        found["where"] = dict(where[0]) if len(where) == 1 else {"AND": [dict(part) for part in where]}
    return found
