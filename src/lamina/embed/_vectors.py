"""What every adapter does to the texts it sends and the vectors it gets back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lamina.errors import EmbedderError, InvalidInputError

if TYPE_CHECKING:
    from lamina.embed._protocol import Matrix

__all__ = ["checked", "checked_texts", "clean"]


def checked_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return ``texts`` if it is a sequence of ``str``.

    Raises:
        InvalidInputError: It is a single string, or holds something that is not a string.
    """
    if isinstance(texts, str):
        raise InvalidInputError("embed() was given one string.", hint="Pass a list of texts, or use embed_query().")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(
                f"Text {position} is {type(text).__name__}, not str.", hint="Pass strings only.", position=position
            )
    return texts


def clean(text: str) -> str:
    """Return the text as valid Unicode: lone surrogates, which no model accepts, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def checked(raw: Any, count: int, dim: int | None, name: str) -> Matrix:
    """Return what a model gave as unit rows.

    Args:
        raw: Anything that numpy can make a matrix of.
        count: Rows expected.
        dim: Columns expected; None accepts any number above 0.
        name: The embedder's name, for the error.

    Returns:
        float32, shape ``(count, dim)``; rows of length 1, all-zero rows stay as they are.

    Raises:
        EmbedderError: Wrong shape, or a value that is not finite.
    """
    import numpy as np

    try:
        matrix = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.ndim != 2 or matrix.shape[0] != count or matrix.shape[1] == 0 or dim not in (None, matrix.shape[1]):
        raise EmbedderError(
            f"{name} gave vectors of shape {matrix.shape}, expected ({count}, {dim or 'any'}).",
            hint="Check that the model is the one the store was made with.",
            embedder=name,
        )
    if not np.isfinite(matrix).all():
        raise EmbedderError(
            f"{name} gave a vector with a value that is not finite.",
            hint="The model is damaged or does not fit this text; try another embedder.",
            embedder=name,
        )
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    matrix = matrix / np.where(largest == 0.0, 1.0, largest)  # so that squares neither overflow nor vanish
    length = np.sqrt(np.add.reduce(matrix * matrix, axis=1, keepdims=True))
    result: Matrix = (matrix / np.where(length == 0.0, 1.0, length)).astype(np.float32)
    return result
