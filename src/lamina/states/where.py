"""Conditions on the columns of slots, such as ``surprise > 0.8 and not access_count == 0``: parsed, never evaluated.

Grammar::

    condition = term { "or" term }
    term      = factor { "and" factor }
    factor    = "not" factor | "(" condition ")" | column operator number
    operator  = "<" | "<=" | ">" | ">=" | "==" | "=" | "!="

``nan`` and ``inf`` are numbers; comparisons with NaN are as in IEEE 754.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import InvalidInputError

__all__ = ["matching"]

_TOKEN = re.compile(
    r"\s*(?:(?P<op><=|>=|==|!=|<|>|=)|(?P<open>\()|(?P<close>\))"
    r"|(?P<number>[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf\b|nan\b))|(?P<name>[A-Za-z_]\w*))",
    re.ASCII,
)
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
}
_MOST_CHARS = 2_000
_MOST_DEPTH = 50

Mask = npt.NDArray[np.bool_]


def matching(condition: Any, columns: Mapping[str, npt.NDArray[Any]]) -> Mask:
    """Return which slots a condition holds for.

    Args:
        condition: As above.
        columns: By name, all of one length.

    Raises:
        InvalidInputError: It cannot be read, or names a column that is not there; the position is in the details.
    """
    if not isinstance(condition, str) or len(condition) > _MOST_CHARS:
        raise InvalidInputError(
            f"A condition is a text of at most {_MOST_CHARS:,} characters.", hint='Such as "surprise > 0.8".'
        )
    return _Parser(condition, columns).parse()


class _Parser:
    def __init__(self, text: str, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        self._text = text
        self._columns = columns
        self._at = 0
        self._depth = 0
        self._kind, self._token, self._start = "", "", 0
        self._next()

    def parse(self) -> Mask:
        mask = self._condition()
        if self._kind != "end":
            raise self._wrong("the condition should end here")
        return mask

    def _condition(self) -> Mask:
        mask = self._term()
        while (self._kind, self._token.lower()) == ("name", "or"):
            self._next()
            mask = mask | self._term()
        return mask

    def _term(self) -> Mask:
        mask = self._factor()
        while (self._kind, self._token.lower()) == ("name", "and"):
            self._next()
            mask = mask & self._factor()
        return mask

    def _factor(self) -> Mask:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise self._wrong("it is nested too deeply")
        try:
            if (self._kind, self._token.lower()) == ("name", "not"):
                self._next()
                return ~self._factor()
            if self._kind == "open":
                self._next()
                mask = self._condition()
                if self._kind != "close":
                    raise self._wrong("a ) is missing")
                self._next()
                return mask
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Mask:
        if self._kind != "name":
            raise self._wrong("the name of a column is missing")
        column = self._columns.get(self._token)
        if column is None:
            raise self._wrong(f"there is no column {self._token!r}; there are {', '.join(self._columns)}")
        self._next()
        if self._kind != "op":
            raise self._wrong("an operator such as > is missing")
        compare = _OPERATORS[self._token]
        self._next()
        if self._kind != "number" and self._token.lower() not in ("inf", "nan"):
            raise self._wrong("a number is missing")
        exact = self._token.lstrip("+-").isdigit() and column.dtype.kind in "iu"
        number: Any = int(self._token) if exact else float(self._token)
        if exact and abs(number) >= 1 << 63:
            number = float(self._token)
        self._next()
        mask: Mask = np.asarray(compare(column, number), dtype=bool)
        return mask

    def _next(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            self._start = self._at
            if self._text[self._at :].strip():
                raise self._wrong("this cannot be read")
            self._kind, self._token = "end", ""
            return
        self._kind, self._token = match.lastgroup, match[match.lastgroup]
        self._start, self._at = match.start(match.lastgroup), match.end()

    def _wrong(self, why: str) -> InvalidInputError:
        return InvalidInputError(
            f"The condition {self._text!r} is wrong at character {self._start + 1}: {why}.",
            hint='Write conditions such as "surprise > 0.8 and access_count >= 3".',
            position=self._start,
        )
