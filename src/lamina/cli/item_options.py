"""Options that describe a memory, shared by ``add``, ``import`` and ``update``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from lamina.cli.params import MEMORY_TYPE, Metadata, When, tag_option, tags_of

__all__ = ["described", "item_options", "merged_metadata", "per_option"]

F = TypeVar("F", bound=Callable[..., Any])

per_option = click.option(
    "--per",
    type=click.Choice(["paragraph", "line", "file"]),
    help="What makes one memory of plain text.",
)


def item_options(function: F) -> F:
    """``--title --description --type --tag --importance --source --thread --created-at --valid-until --metadata``."""
    for option in (
        click.option(
            "--metadata", type=Metadata(), multiple=True, metavar="KEY=VALUE|JSON", help="Your own facts; repeat."
        ),
        click.option("--valid-until", type=When("end"), metavar="TIME", help="From then on it is not recalled."),
        click.option("--created-at", type=When(), metavar="TIME", help="When it happened; now if not given."),
        click.option("--thread", metavar="NAME", help="The conversation or document it belongs to."),
        click.option("--source", metavar="TEXT", help="Where it comes from: a URL, a file, a tool."),
        click.option("--importance", type=click.FloatRange(0, 1), metavar="0..1", help="Weighs a little in ranking."),
        tag_option("Repeat, or separate with commas."),
        click.option("--type", "type_", type=MEMORY_TYPE, help="Knowledge of one of four kinds, or a record."),
    ):
        function = option(function)
    return function


def merged_metadata(parts: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Several ``--metadata`` as one object; the last of two equal keys wins."""
    return {key: value for part in parts for key, value in part.items()}


def described(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of :func:`item_options` as arguments of ``add``; what was not given is left out."""
    found = {
        name: options[name]
        for name in ("title", "description", "importance", "source", "thread", "position", "created_at", "valid_until")
        if options.get(name) is not None
    }
    if options.get("type_"):
        found["type"] = options["type_"]
    if options.get("tags"):
        found["tags"] = tags_of(options["tags"])
    if options.get("metadata"):
        found["metadata"] = merged_metadata(options["metadata"])
    return found
