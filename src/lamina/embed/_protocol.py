"""The protocol that every embedder speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector: TypeAlias = NDArray[np.float32]
    """One vector, float32, shape ``(dim,)``."""
    Matrix: TypeAlias = NDArray[np.float32]
    """One vector a row, float32, shape ``(n, dim)``."""

__all__ = ["Embedder", "WeightedQueryEmbedder"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors.

    What an implementation promises, and the contract tests check:

    - a vector is a pure function of the text and of :attr:`name`: neither the batch around it nor what was embedded
      before matters (bit for bit where :attr:`cheap` is true, within rounding for model runtimes);
    - rows have length 1, or are all zero where a text has nothing to embed (it is empty, or only white space);
    - any ``str`` is accepted, lone surrogates included;
    - what goes wrong is a :class:`lamina.EmbedderError` or a :class:`lamina.DependencyError`, nothing else.
    """

    @property
    def name(self) -> str:
        """Identity, recorded in the store: vectors of different names are never compared. Reading it loads nothing."""
        ...

    @property
    def dim(self) -> int:
        """Number of dimensions. A model runtime may load its model to know it."""
        ...

    @property
    def cheap(self) -> bool:
        """True where computing a vector again costs no more than looking it up in a cache."""
        ...

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed texts that are to be stored.

        Args:
            texts: Any number of texts, also none.

        Returns:
            float32, shape ``(len(texts), dim)``, a row a text in the same order.

        Raises:
            EmbedderError: The model or the service failed.
        """
        ...

    def embed_query(self, text: str) -> Vector:
        """Embed a question, which some models treat otherwise than a stored text.

        Returns:
            float32, shape ``(dim,)``.

        Raises:
            EmbedderError: The model or the service failed.
        """
        ...


@runtime_checkable
class WeightedQueryEmbedder(Embedder, Protocol):
    """An embedder whose query vector can follow the store's statistics; stored vectors never do."""

    def embed_query_weighted(self, text: str, weight: Callable[[str], float]) -> Vector:
        """Embed a question in which each word counts as much as ``weight`` says.

        Args:
            text: The question.
            weight: Called with each word in lower case (a run of letters, or a run of digits), returns a finite
                number of at least 0, such as the word's inverse document frequency in the store. What is neither
                letter nor digit has weight 0. Where every weight is 0 the vector is that of ``embed_query``.

        Returns:
            float32, shape ``(dim,)``.

        Raises:
            InvalidInputError: A weight is negative or not finite.
            EmbedderError: The embedder failed.
        """
        ...
