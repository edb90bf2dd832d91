"""Where the memories that ``lamina tour`` uses are kept.

They live in the project's ``examples/`` folder; the wheel carries a copy beside this module.
"""

from __future__ import annotations

from pathlib import Path

from lamina.errors import NotFoundError

__all__ = ["tour_file"]


def tour_file() -> Path:
    """Return the path of ``tour.jsonl``, one memory a line.

    Returns:
        The copy inside an installed wheel, else the file of the source tree.

    Raises:
        NotFoundError: Neither is there.
    """
    here = Path(__file__).resolve().parent
    candidates = (here / "tour.jsonl", here.parents[2] / "examples" / "tour.jsonl")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise NotFoundError(
        "The example memories are not part of this installation.",
        hint="Reinstall lamina, or name a file of your own: lamina tour FILE.",
        looked_at=[str(candidate) for candidate in candidates],
    )
