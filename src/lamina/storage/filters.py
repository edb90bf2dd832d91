"""Filters: which revisions a question is about, checked once and compiled to SQL.

``where`` speaks what users of mem0 and LangGraph know: ``{"key": value}`` or ``{"key": {operator: value}}`` with ``eq
ne in nin gt gte lt lte contains icontains exists`` (each also with a leading ``$``), ``"*"`` for "the key is there",
and ``AND`` ``OR`` ``NOT`` (also ``$and`` ``$or`` ``$not``) over lists of such objects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from lamina.errors import InvalidInputError
from lamina.storage.dialect import SqliteDialect

__all__ = ["Filter", "Sql", "compile_where"]

_OPERATORS = frozenset({"eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "contains", "icontains", "exists"})
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_LOGIC = {"and": "AND", "$and": "AND", "or": "OR", "$or": "OR", "not": "NOT", "$not": "NOT"}
_MAX_DEPTH = 30
_MAX_CONDITIONS = 500


@dataclass(frozen=True, slots=True)
class Sql:
    """A condition and its bindings."""

    text: str
    bindings: tuple[Any, ...] = ()

    @staticmethod
    def joined(parts: Sequence[Sql], by: str) -> Sql:
        """Join conditions with AND or OR."""
        text = f" {by} ".join(part.text for part in parts)
        return Sql(f"({text})", tuple(binding for part in parts for binding in part.bindings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which revisions are meant. Times are microseconds; ids are the catalog's own for names."""

    scopes: tuple[int, ...] | None = None
    types: tuple[int, ...] | None = None
    tags: tuple[int, ...] | None = None
    """All of them; an id of -1 stands for a tag that no memory has."""
    since: int | None = None
    until: int | None = None
    where: Sql | None = None
    as_of: int | None = None
    """The moment to answer for; None is now."""
    now: int = 0
    expired: bool = False
    """Also what is expired or superseded (``list`` and ``count`` show it; ``recall`` does not)."""

    @property
    def plain(self) -> bool:
        """True where scope and type say everything, so that the text index alone can apply them."""
        return self.tags is None and self.since is None and self.until is None and self.where is None

    def sql(self, alias: str = "m") -> Sql:
        """Return the whole condition on a ``memory`` row."""
        parts: list[Sql] = []
        if self.as_of is None:
            parts.append(Sql(f"{alias}.valid_to = 0"))
        else:
            parts.append(
                Sql(
                    f"{alias}.valid_from <= ? AND ({alias}.valid_to = 0 OR {alias}.valid_to > ?)",
                    (self.as_of, self.as_of),
                )
            )
        if not self.expired:
            moment = self.now if self.as_of is None else self.as_of
            parts.append(
                Sql(
                    f"{alias}.superseded_by IS NULL AND ({alias}.valid_until IS NULL OR {alias}.valid_until > ?)",
                    (moment,),
                )
            )
        for column, ids in (("scope", self.scopes), ("type", self.types)):
            if ids is not None:
                parts.append(Sql(f"{alias}.{column} IN ({', '.join('?' * len(ids))})", ids))
        has_tag = f"{alias}.seq IN (SELECT t.memory FROM memory_tag t WHERE t.tag = ?)"
        parts += [Sql(has_tag, (tag,)) for tag in self.tags or ()]
        if self.since is not None:
            parts.append(Sql(f"{alias}.created_at >= ?", (self.since,)))
        if self.until is not None:
            parts.append(Sql(f"{alias}.created_at < ?", (self.until,)))
        if self.where is not None:
            parts.append(self.where)
        return Sql.joined(parts, "AND")


def compile_where(where: Mapping[str, Any], column: str = "m.metadata") -> Sql:
    """Check a ``where`` filter and compile it.

    Args:
        where: As described at the top of this module.
        column: The JSON column that it speaks about.

    Raises:
        InvalidInputError: An operator or a value that has no meaning here; it names the key.
    """
    return _Compiler(column).compile(where, 0)


class _Compiler:
    def __init__(self, column: str) -> None:
        self.column = column
        self.conditions = 0

    def compile(self, where: Any, depth: int) -> Sql:
        if not isinstance(where, Mapping):
            raise _bad(f"A filter must be an object of keys, not {type(where).__name__}.")
        if depth > _MAX_DEPTH:
            raise _bad(f"The filter is nested deeper than {_MAX_DEPTH} levels.")
        parts = [self._entry(key, value, depth) for key, value in where.items()]
        if not parts:
            self._count()
            return Sql("1 = 1")
        return Sql.joined(parts, "AND")

    def _entry(self, key: Any, value: Any, depth: int) -> Sql:
        if not isinstance(key, str) or not key:
            raise _bad(f"A filter's key must be a name, not {key!r}.")
        if "\0" in _text(key, key):
            raise _bad(f"The key {key!r} holds a null character, where SQLite would stop comparing.")
        logic = _LOGIC.get(key) or (_LOGIC.get(key.lower()) if key.isupper() else None)
        if logic is not None:
            branches = list(value) if isinstance(value, (list, tuple)) else [value]
            if not branches:
                raise _bad(f"{key} needs at least one condition.")
            parts = [self.compile(branch, depth + 1) for branch in branches]
            joined = Sql.joined(parts, "OR" if logic == "OR" else "AND")
            return self._negated(joined) if logic == "NOT" else joined
        if value == "*":
            return self._exists(key, wanted=True)
        if isinstance(value, Mapping) and value:
            names = [str(name).removeprefix("$") for name in value]
            known = [name in _OPERATORS for name in names]
            if all(known):
                parts = [
                    self._operation(key, name, operand) for name, operand in zip(names, value.values(), strict=True)
                ]
                return Sql.joined(parts, "AND")
            if any(known) or any(str(name).startswith("$") for name in value):
                unknown = next(name for name, ok in zip(value, known, strict=True) if not ok)
                raise _bad(f"{unknown!r} (for {key!r}) is no operator.")
        return self._equal(key, value)

    def _count(self) -> None:
        self.conditions += 1
        if self.conditions > _MAX_CONDITIONS:
            raise _bad(f"The filter has more than {_MAX_CONDITIONS} conditions, list entries included.")

    def _counted(self, key: str) -> str:
        """Return a key's JSON path, counting one more condition."""
        self._count()
        return SqliteDialect.json_path(key)

    def _operation(self, key: str, name: str, operand: Any) -> Sql:
        if name == "eq":
            return self._equal(key, operand)
        if name == "ne":
            return self._negated(self._equal(key, operand))
        if name in ("in", "nin"):
            if not isinstance(operand, (list, tuple, set, frozenset)):
                raise _bad(f"{name} (for {key!r}) needs a list.")
            if len(operand) > _MAX_CONDITIONS:
                raise _bad(f"{name} (for {key!r}) lists more than {_MAX_CONDITIONS} values.")
            if not operand:
                self._count()
            any_of = Sql.joined([self._equal(key, item) for item in operand], "OR") if operand else Sql("1 = 0")
            return any_of if name == "in" else self._negated(any_of)
        if name in _COMPARISONS:
            return self._compare(key, name, operand)
        if name == "exists":
            if not isinstance(operand, bool):
                raise _bad(f"exists (for {key!r}) is true or false.")
            return self._exists(key, wanted=operand)
        return self._contains(key, operand, folded=name == "icontains")

    def _equal(self, key: str, value: Any) -> Sql:
        value = _as_stored(value)
        path = self._counted(key)
        if value is None or isinstance(value, bool):
            kind = "null" if value is None else str(value).lower()
            return self._typed("{kind} = ?", key, kind)
        if isinstance(value, (int, float)):
            number = self._number(key, value)
            return Sql(f"({self._kind()} IN ('integer', 'real') AND {self._value()} = ?)", (path, path, number))
        if isinstance(value, str):
            return Sql(f"({self._kind()} = 'text' AND {self._value()} = ?)", (path, path, _text(key, value)))
        if isinstance(value, (list, tuple, Mapping)):
            try:
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                raise _bad(f"The value for {key!r} cannot be compared: {error}.") from None
            kind = "object" if isinstance(value, Mapping) else "array"
            return Sql(f"({self._kind()} = '{kind}' AND {self._value()} = ?)", (path, path, _text(key, text)))
        raise _bad(f"The value for {key!r} is a {type(value).__name__}, which no filter can compare.")

    def _compare(self, key: str, name: str, operand: Any) -> Sql:
        path = self._counted(key)
        operand = _as_stored(operand)
        value: str | float
        if isinstance(operand, str):
            kinds, value = "'text'", _text(key, operand)
        elif isinstance(operand, (int, float)) and not isinstance(operand, bool):
            kinds, value = "'integer', 'real'", self._number(key, operand)
        else:
            raise _bad(f"{name} (for {key!r}) compares numbers or texts, not {type(operand).__name__}.")
        return Sql(
            f"COALESCE({self._kind()} IN ({kinds}) AND {self._value()} {_COMPARISONS[name]} ?, 0)", (path, path, value)
        )

    def _contains(self, key: str, operand: Any, *, folded: bool) -> Sql:
        path = self._counted(key)
        if not isinstance(operand, (str, int, float)) or isinstance(operand, bool):
            raise _bad(f"contains (for {key!r}) looks for a text or a number.")
        if not isinstance(operand, str):
            inside = (
                f"EXISTS (SELECT 1 FROM {SqliteDialect.json_each.format(column=self.column)} e "
                "WHERE e.type IN ('integer', 'real') AND e.value = ?)"
            )
            return Sql(f"({self._kind()} = 'array' AND {inside})", (path, path, self._number(key, operand)))
        operand = _text(key, operand)
        test = (SqliteDialect.contains_folded if folded else SqliteDialect.contains).format(value=self._value())
        member = "casefold(e.value) = casefold(?)" if folded else "e.value = ?"
        inside = (
            f"EXISTS (SELECT 1 FROM {SqliteDialect.json_each.format(column=self.column)} e "
            f"WHERE e.type = 'text' AND {member})"
        )
        return Sql(
            f"COALESCE(CASE {self._kind()} WHEN 'text' THEN {test} WHEN 'array' THEN {inside} END, 0)",
            (path, path, operand, path, operand),
        )

    def _exists(self, key: str, *, wanted: bool) -> Sql:
        self._counted(key)
        return self._typed("{kind} IS NOT NULL" if wanted else "{kind} IS NULL", key)

    def _typed(self, condition: str, key: str, *bindings: Any) -> Sql:
        text = condition.format(kind=self._kind())
        return Sql(f"COALESCE({text}, 0)", (SqliteDialect.json_path(key), *bindings))

    @staticmethod
    def _negated(condition: Sql) -> Sql:
        return Sql(f"NOT COALESCE({condition.text}, 0)", condition.bindings)

    @staticmethod
    def _number(key: str, value: float) -> float:
        out = abs(value) >= 2**63 if isinstance(value, int) else not math.isfinite(value)
        if out:
            raise _bad(f"The number for {key!r} is out of range.")
        return value

    def _value(self) -> str:
        return SqliteDialect.json_value.format(column=self.column)

    def _kind(self) -> str:
        return SqliteDialect.json_kind.format(column=self.column)


def _as_stored(value: Any) -> Any:
    """Return a time as metadata stores it."""
    return value.isoformat() if isinstance(value, date) else value


def _text(key: str, value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad(f"The value for {key!r} holds a lone surrogate, which no stored text can hold.") from None
    return value


def _bad(message: str) -> InvalidInputError:
    return InvalidInputError(
        message, hint="See the filters in docs/recall.md: {'key': value} or {'key': {'gte': value}}, AND, OR, NOT."
    )
