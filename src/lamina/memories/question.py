"""The arguments of one recall, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from lamina.errors import InvalidInputError
from lamina.storage.checks import check_whole
from lamina.types import Mode

__all__ = ["Question"]

MAX_QUERY = 100_000
"""Characters of a query."""
MAX_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What :meth:`Memories.recall` was asked."""

    query: str | None = None
    vector: Any = None
    limit: int = 10
    mode: Mode = "hybrid"
    exact: bool = False
    token_budget: int | None = None
    explain: bool = False
    already_shown: frozenset[str] = frozenset()
    filters: Mapping[str, Any] = field(default_factory=dict)
    include: Sequence[str] = ("memories",)

    def check(self) -> None:
        """Raise unless it can be answered.

        Raises:
            InvalidInputError: It says nothing, or an option has no meaning.
        """
        if self.mode not in get_args(Mode):
            raise InvalidInputError(f"{self.mode!r} is no mode.", hint="Use 'hybrid', 'text' or 'vector'.")
        check_whole(self.limit, "limit", 1, MAX_LIMIT)
        if self.token_budget is not None:
            check_whole(self.token_budget, "token_budget", 1, 2**53)
        known = not isinstance(self.include, str) and {"memories", "patterns"}.issuperset(self.include)
        if not known or not self.include:
            raise InvalidInputError(
                f"include is {self.include!r}.", hint="Name 'memories', 'patterns' or both in a list."
            )
        query: object = self.query
        if query is None and self.vector is None:
            raise InvalidInputError(
                "recall was given neither a query nor a vector.", hint="Pass a query or a vector; `list` shows all."
            )
        if query is None and self.mode == "text":
            raise InvalidInputError(
                "mode='text' was given no words to look for.", hint="Pass a query, or another mode."
            )
        if query is None:
            return
        if not isinstance(query, str):
            raise InvalidInputError(f"The query is a {type(query).__name__}, not a string.", hint="Pass text.")
        if not query.strip():
            raise InvalidInputError("The query is empty.", hint="Ask for something; `list` shows all.")
        if len(query) > MAX_QUERY:
            raise InvalidInputError(
                f"The query has {len(query):,} characters; at most {MAX_QUERY:,} are read.",
                hint="Ask for less at once.",
            )
