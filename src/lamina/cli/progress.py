"""Bars for long work: on a terminal only, on standard error only, and gone when the work is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lamina.cli.shell import is_terminal

__all__ = ["progress"]


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Shows how far work has come.

    Args:
        label: What is being done.
        total: How much there is; None where nobody knows.

    Yields:
        A function that takes how much is done and, where it became known, how much there is.
    """
    if not is_terminal(sys.stderr):
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    counted = [BarColumn(bar_width=30), MofNCompleteColumn()] if total else [TextColumn("{task.fields[done]}")]
    columns = [SpinnerColumn(), TextColumn("{task.description}"), *counted, TimeElapsedColumn()]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total, done="")
        yield lambda done, total=total: bar.update(task, completed=done, total=total, done=f"{done:,}")
