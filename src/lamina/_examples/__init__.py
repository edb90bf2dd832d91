"""Where the memories that ``lamina tour`` uses are kept.

They live in the project's ``examples/`` folder; the wheel carries a copy beside this module.
"""

from __future__ import annotations

from pathlib import Path

from lamina.errors import NotFoundError

__all__ = ["memory_folder", "tour_file"]


def tour_file() -> Path:
    """Return the path of ``tour.jsonl``, one memory a line.

    Returns:
        The copy inside an installed wheel, else the file of the source tree.

    Raises:
        NotFoundError: Neither is there.
    """
    return _find("tour.jsonl", "tour.jsonl")


def memory_folder() -> Path:
    """Return the path of the project's own memory directory; it is to be copied, not opened as a store.

    Returns:
        The copy inside an installed wheel, else the folder of the source tree.

    Raises:
        NotFoundError: Neither is there.
    """
    return _find("project-memory", "project-memory/MEMORY.md").parent


def _find(name: str, file: str) -> Path:
    """Return a file of the examples, where it is there.

    Args:
        name: What people call it.
        file: Relative to the examples.
    """
    here = Path(__file__).resolve().parent
    candidates = (here / file, here.parents[2] / "examples" / file)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise NotFoundError(
        f"The examples ({name}) are not part of this installation.",
        hint="Reinstall lamina, or name a file of your own: lamina import FILE.",
        looked_at=[str(candidate) for candidate in candidates],
    )
