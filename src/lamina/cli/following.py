"""What commands say of files that people changed, and of what is wrong with files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from lamina.cli.output import to_json
from lamina.cli.paint import Paint, clean
from lamina.cli.render import wrap
from lamina.types import Problem, SyncReport

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = ["NOTES", "change_lines", "counted", "followed", "problem_lines", "serious", "sync_document"]

NOTES: Final = frozenset(
    ("index-near-limit", "link-to-nothing", "long-line", "near-duplicate", "oversized", "stale", "type-unknown")
)
"""Codes of what people may want to know and a program need not act on; everything else is a problem."""

_FIRST: Final = (
    "conflict-markers",
    "secret",
    "index-unusable",
    "unreadable",
    "not-utf8",
    "binary",
    "too-large",
    "id-doubled",
    "name-collision",
    "user-in-team",
    "dangling",
    "orphan",
    "doubled",
    "outdated",
    "index-long",
)
"""Codes from the worst on; those that are not named come after them, notes last."""
_SHOWN: Final = 50
_NOTES_SHOWN: Final = 5
_MARGIN: Final = 20  # columns before what a problem says
_WIDEST: Final = 100


def followed(store: Store) -> SyncReport:
    """Lets the catalog follow the files; with what opening the store took over already.

    Raises:
        ReadOnlyError: The store is open for reading only.
        LockedError: Someone kept changing files.
    """
    before, now = store.synced, store.memories.sync()
    if before is None:
        return now
    pairs = {name: (*getattr(before, name), *getattr(now, name)) for name in ("renamed", "moved")}
    names = {
        name: tuple(dict.fromkeys((*getattr(before, name), *getattr(now, name))))
        for name in ("new", "changed", "deleted")
    }
    opened = before.opened + now.opened
    return SyncReport(**names, **pairs, problems=now.problems, files=now.files, opened=opened)


def sync_document(report: SyncReport) -> dict[str, Any]:
    """A sync as JSON."""
    document: dict[str, Any] = {"ok": report.ok, "total": report.total, **to_json(report)}
    for name in ("renamed", "moved"):
        document[name] = [{"from": old, "to": new} for old, new in getattr(report, name)]
    return document


def change_lines(report: SyncReport, paint: Paint, *, most: int = _SHOWN) -> Iterator[str]:
    """A line a file that was taken over; of each kind at most so many, and how many more there are."""
    kinds: tuple[tuple[str, Sequence[str]], ...] = (
        (paint.green("new    "), report.new),
        (paint.yellow("changed"), report.changed),
        (paint.cyan("renamed"), [f"{old} → {new}" for old, new in report.renamed]),
        (paint.cyan("moved  "), [f"{old} → {new}" for old, new in report.moved]),
        (paint.red("deleted"), report.deleted),
    )
    for word, names in kinds:
        for name in names[:most]:
            yield f"{word}  {clean(name)}"
        if len(names) > most:
            yield paint.dim(f"         and {len(names) - most:,} more; --json lists all")


def problem_lines(problems: Iterable[Problem], paint: Paint, width: int) -> Iterator[str]:
    """What is wrong, by file: the file with the worst first, and of each file the worst first; then notes by kind."""
    files: dict[str, list[Problem]] = {}
    notes: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.code in NOTES:
            notes.setdefault(problem.code, []).append(problem)
        else:
            files.setdefault(_file_of(problem), []).append(problem)
    width = min(width, _WIDEST) - _MARGIN
    shown = 0
    for name, found in sorted(files.items(), key=lambda item: (min(map(_weight, item[1])), item[0])):
        if shown >= _SHOWN:
            left = sum(map(len, files.values())) - shown
            yield paint.dim(f"and {left:,} more; --json lists all")
            break
        yield paint.bold(clean(name))
        said = ""
        for problem in sorted(found, key=_weight):
            shown += 1
            style = paint.red if _weight(problem) < len(_FIRST) else paint.yellow
            yield from _entry(problem.code, _told(problem, name), style, width)
            if problem.hint and problem.hint != said:
                said = problem.hint
                yield from _hint(said, paint, width)
    for code, found in sorted(notes.items()):
        yield paint.bold(f"note: {code}")
        for problem in found[:_NOTES_SHOWN]:
            lines = wrap(clean(problem.message), width + _MARGIN - 2)
            yield from (f"  {line}" for line in lines)
        if len(found) > _NOTES_SHOWN:
            yield paint.dim(f"  and {len(found) - _NOTES_SHOWN:,} more; --json lists all")
        for hint in dict.fromkeys(problem.hint for problem in found if problem.hint):
            yield from (paint.dim(f"  {line}") for line in wrap(clean(hint), width + _MARGIN - 2))


def _entry(code: str, text: str, style: Callable[[str], str], width: int) -> Iterator[str]:
    for number, line in enumerate(wrap(clean(text), width)):
        yield f"  {' ' * 17 if number else style(f'{code:<17}')} {line}"


def _hint(text: str, paint: Paint, width: int) -> Iterator[str]:
    yield from (paint.dim(f"{'':{_MARGIN}}{line}") for line in wrap(clean(text), width))


def serious(problems: Iterable[Problem]) -> list[Problem]:
    """Those of the problems that a program should act on."""
    return [problem for problem in problems if problem.code not in NOTES]


def counted(count: int, what: str) -> str:
    """A number of things, in words."""
    many = {"fix": "fixes", "index": "indexes", "memory": "memories"}.get(what, f"{what}s")
    return f"{count:,} {what if count == 1 else many}"


def _weight(problem: Problem) -> int:
    return _FIRST.index(problem.code) if problem.code in _FIRST else len(_FIRST)


def _file_of(problem: Problem) -> str:
    name, colon, line = problem.where.rpartition(":")
    return name if colon and line.isdigit() else problem.where


def _told(problem: Problem, name: str) -> str:
    """A problem's message without the file, which stands above it."""
    line = problem.where[len(name) + 1 :]
    message = problem.message
    for lead in (f"{problem.where}: ", f"{name}: "):
        message = message.removeprefix(lead)
    return f"line {line}: {message}" if line and message != problem.message else message
