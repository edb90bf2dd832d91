"""Memories, hits and times for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from lamina.cli.paint import Paint, clean, columns, one_line
from lamina.types import Explanation, Hit, Memory

__all__ = [
    "ago",
    "explanation_lines",
    "hit_lines",
    "local",
    "matcher",
    "memory_lines",
    "short_line",
    "size",
    "when",
    "wrap",
]

_STEPS: Final = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (86_400, 3600, "hour"),
    (30 * 86_400, 86_400, "day"),
    (365 * 86_400, 30 * 86_400, "month"),
    (float("inf"), 365 * 86_400, "year"),
)
_SNIPPET_SCAN: Final = 100_000  # characters looked at for the best place to show
_TELLING: Final = 0.01  # a word that counts less is not worth a line
_CHUNK: Final = re.compile(r"\S+")
_WORD: Final = re.compile(r"\w[^\s()\[\]{}<>,;:!?\"*`]{0,39}(?<=\w)|\w")
_PROSE: Final = 100  # longer lines are hard to read


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago, or how far ahead, in one unit."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    length = abs(seconds)
    if length < 10:
        return "just now"
    for limit, unit, name in _STEPS:
        if length < limit:
            count = int(length // unit)
            text = f"{count} {name}{'' if count == 1 else 's'}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    raise AssertionError("the last step has no limit")


def local(moment: datetime) -> str:
    """A time on the user's clock."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def when(moment: datetime) -> str:
    """A time both ways."""
    return f"{ago(moment)} ({local(moment)})"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def wrap(text: str, width: int) -> list[str]:
    """Words on lines of at most ``width`` columns; a longer word is broken."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        rest = word
        if line and columns(line) + 1 + columns(rest) <= width:
            line = f"{line} {rest}"
            continue
        if line:
            lines.append(line)
        while columns(rest) > width:
            cut = next(index for index in range(len(rest), 0, -1) if columns(rest[:index]) <= width or index == 1)
            lines.append(rest[:cut])
            rest = rest[cut:]
        line = rest
    return [*lines, line] if line else lines


def matcher(query: str) -> Callable[[str], bool]:
    """A test for whether a word of a text is one that the query asked for, as the text index sees words."""
    from lamina.search.tokens import query_terms, tokens

    wanted = frozenset(query_terms(query))
    return lambda word: not wanted.isdisjoint(tokens(word))


def hit_lines(
    rank: int, hit: Hit, paint: Paint, *, width: int, matches: Callable[[str], bool], rows: int
) -> Iterator[str]:
    """One answer: its title, the part of the text that matches, why, and when and where it comes from."""
    memory = hit.memory
    width = min(width, _PROSE)
    margin = "   "
    number = f"{rank}."
    if memory.title:
        yield f"{paint.bold(number)}{' ' * (4 - len(number))}{paint.bold(one_line(memory.title, width - 4))}"
        lead = margin + " "
    else:
        lead = f"{paint.bold(number)}{' ' * (4 - len(number))}"
    lines, left = _excerpt(hit, width - 4, rows, matches)
    for line in lines:
        yield lead + _highlight(line, paint, matches)
        lead = margin + " "
    if left:
        yield paint.dim(f"    (+{left:,} more characters: lamina get {memory.id})")
    for line in wrap(clean(f"why: {hit.why}"), width - 4):
        yield paint.dim(f"    {line}")
    yield from _fact_lines(memory, paint, width, 4, age=hit.age)


def _excerpt(hit: Hit, width: int, rows: int, matches: Callable[[str], bool]) -> tuple[list[str], int]:
    """The whole text where there is room, else the lines of the passage that matched."""
    text = hit.memory.text
    lines, left = snippet(text, width, rows, matches)
    if not left or not hit.passage or hit.passage == text:
        return lines, left
    lines, more = snippet(hit.passage, width, rows, matches)
    start = text.find(hit.passage)
    if start > 0 and lines and not lines[0].startswith("… "):
        lines[0] = f"… {lines[0]}"
    if text[max(start, 0) + len(hit.passage) :].strip() and lines and not lines[-1].endswith(" …"):
        lines[-1] += " …"
    return lines, len(text) - len(hit.passage) + more


def snippet(text: str, width: int, rows: int, matches: Callable[[str], bool]) -> tuple[list[str], int]:
    """The lines of a text that say most about a query.

    Returns:
        At most ``rows`` lines, and how many characters of the text they leave out.
    """
    shown = clean(text[:_SNIPPET_SCAN])
    lines = wrap(shown, width - 2)  # room for the marks of what is left out
    start = 0
    if len(lines) > rows:
        found = [{word.lower() for word in _CHUNK.findall(line) if matches(word)} for line in lines]
        scores = [len(set().union(*found[index : index + rows])) for index in range(len(lines) - rows + 1)]
        start = scores.index(max(scores))
    chosen = lines[start : start + rows]
    left = max(0, len(text) - sum(map(len, chosen)) - len(chosen)) if len(lines) > rows or len(text) > len(shown) else 0
    if start and chosen:
        chosen[0] = "… " + chosen[0]
    if left and chosen and start + rows < len(lines):
        chosen[-1] += " …"
    return chosen, left


def _highlight(line: str, paint: Paint, matches: Callable[[str], bool]) -> str:
    if not paint.enabled:
        return line
    return _WORD.sub(lambda found: paint.mark(found.group()) if matches(found.group()) else found.group(), line)


def _fact_lines(memory: Memory, paint: Paint, width: int, indent: int, *, age: str = "") -> Iterator[str]:
    if memory.path:
        file = one_line(memory.path, width - indent - len(age) - 3)
        yield " " * indent + paint.cyan(file) + (paint.dim(f" · {age}") if age else "")
    facts = [when(memory.created_at), memory.type, clean(memory.scope)]
    if memory.path and (memory.updated_at - memory.created_at).days > 0:
        facts.insert(1, f"changed {ago(memory.updated_at)}")
    if memory.tags:
        facts.append(" ".join(f"#{clean(tag)}" for tag in memory.tags))
    if memory.source:
        facts.append(one_line(memory.source, 60))
    if memory.valid_until is not None:
        past = memory.valid_until <= datetime.now(UTC)
        facts.append(f"{'expired' if past else 'valid until'} {local(memory.valid_until)}")
    if memory.superseded_by:
        facts.append(f"superseded by {memory.superseded_by}")
    lines = wrap(" · ".join(facts), width - indent)
    last = lines.pop() + " · "
    for line in lines:
        yield " " * indent + paint.dim(line)
    if columns(last) + len(memory.id) <= width - indent:
        yield " " * indent + paint.dim(last) + paint.cyan(memory.id)
    else:
        yield " " * indent + paint.dim(last.removesuffix(" · "))
        yield " " * indent + paint.cyan(memory.id)


def short_line(memory: Memory, paint: Paint, width: int) -> str:
    """A memory on one line: id, age, type, its title or the beginning of its text, and its file where there is room."""
    age = ago(memory.created_at)
    marks = "".join(
        mark
        for mark, there in (
            ("superseded ", memory.superseded_by is not None),
            ("expired ", memory.valid_until is not None and memory.valid_until <= datetime.now(UTC)),
        )
        if there
    )
    head = f"{memory.id}  {age:>14}  {memory.type:<9}  "
    room = max(20, width - len(head) - len(marks))
    text = one_line(memory.title or memory.text[: 8 * width], room)
    file = ""
    if memory.path and columns(text) + 2 + columns(memory.path) <= room:
        file = " " * (room - columns(text) - columns(memory.path)) + paint.dim(clean(memory.path))
    return f"{paint.cyan(memory.id)}  {paint.dim(f'{age:>14}')}  {memory.type:<9}  {paint.yellow(marks)}{text}{file}"


def memory_lines(memory: Memory, paint: Paint) -> Iterator[str]:
    """A whole memory: its fields, an empty line, its text."""
    rows = [
        ("id", paint.cyan(memory.id)),
        ("title", clean(memory.title or "")),
        ("about", clean(memory.description or "")),
        ("type", memory.type),
        ("scope", clean(memory.scope)),
        ("tags", " ".join(f"#{clean(tag)}" for tag in memory.tags)),
        ("importance", "" if memory.importance == 0.5 else f"{memory.importance:g}"),
        ("source", clean(memory.source or "")),
        (
            "thread",
            clean(memory.thread or "") + (f", position {memory.position}" if memory.position is not None else ""),
        ),
        ("created", when(memory.created_at)),
        ("updated", "" if memory.updated_at == memory.created_at else when(memory.updated_at)),
        ("valid until", "" if memory.valid_until is None else when(memory.valid_until)),
        ("superseded by", memory.superseded_by or ""),
        ("file", clean(memory.path or "")),
        ("used", _uses(memory)),
    ]
    rows += [(clean(str(key)), clean(str(value))) for key, value in memory.metadata.items()]
    known = [(name, value) for name, value in rows if value]
    margin = max(len(name) for name, _ in known) + 2
    for name, value in known:
        yield f"{paint.dim(f'{name:<{margin}}')}{value}"
    yield ""
    yield from clean(memory.text).split("\n")


def _uses(memory: Memory) -> str:
    parts = [f"{memory.uses:,} time{'' if memory.uses == 1 else 's'}"] if memory.uses else []
    parts += [f"{count} {name}" for count, name in ((memory.helped, "helped"), (memory.hurt, "hurt")) if count]
    return ", ".join(parts)


def explanation_lines(explanation: Explanation, paint: Paint, width: int) -> Iterator[str]:
    """Each signal that spoke with its weight, and each word with its share."""
    for name, value in explanation.signals.items():
        weight = explanation.weights.get(name, 0.0)
        if value:
            yield f"    {name:<12} {value:8.3f} x {weight:5.2f} = {value * weight:7.3f}"
    total = sum(value * explanation.weights.get(name, 0.0) for name, value in explanation.signals.items())
    yield f"    {'score':<12} {'':17}{total:8.3f}"
    for term in explanation.terms:
        if term.score >= _TELLING:
            yield paint.dim(
                f"    word {clean(term.word or term.term)!r}: {term.count} here, in {term.documents:,} "
                f"passage{'' if term.documents == 1 else 's'}, {term.score:.2f}"
            )
    for note in explanation.notes:
        yield from (paint.yellow(f"    {line}") for line in wrap(clean(note), width - 4))
