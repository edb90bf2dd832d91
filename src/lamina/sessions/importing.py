"""Importing files and folders: which are read, by which reader, and what becomes of those that cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from os import PathLike, walk
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError, LaminaError, NotFoundError
from lamina.fs import translate
from lamina.sessions.checks import check_choice, check_path
from lamina.sessions.readers.lines import peek
from lamina.sessions.readers.records import Notes, Record
from lamina.sessions.storing import Import, UnreadableError
from lamina.sessions.values import ImportReport
from lamina.storage.catalog import SqliteCatalog

__all__ = ["FORMATS", "check_source", "import_path"]

FORMATS: Final = ("transcript", "trajectory", "aircher", "duckdb", "lamina")
_READERS: Final = {
    "transcript": "lamina.sessions.readers.transcripts",
    "trajectory": "lamina.sessions.readers.trajectories",
    "aircher": "lamina.sessions.readers.aircher",
    "duckdb": "lamina.sessions.readers.duck",
    "lamina": "lamina.sessions.lines",
}
_SUFFIXES: Final = (".jsonl", ".ndjson", ".traj", ".json", ".duckdb")


def check_source(path: str | PathLike[str], format: str = "auto") -> None:
    """See to it that there is something to import, before a store is made for it.

    Raises:
        NotFoundError: There is no such file, or the folder holds none.
        InvalidInputError: It is a file of none of the formats.
    """
    check_choice(format, "format", ("auto", *FORMATS))
    place = check_path(path)
    _files(place, Notes())
    if format == "auto" and not place.is_dir():
        try:
            _detect(place)
        except OSError as error:
            raise translate(error, place, "read") from error


def import_path(
    catalog: SqliteCatalog,
    path: str | PathLike[str],
    format: str,
    progress: Callable[[int, int], None] | None,
) -> ImportReport:
    """Import a file, or every file of a folder that looks like one of the formats.

    Raises:
        NotFoundError: There is no such file, or the folder holds none.
        InvalidInputError: It is none of the formats, or not text; of a folder's files that is only told as a problem.
    """
    check_choice(format, "format", ("auto", *FORMATS))
    place = check_path(path)
    work = Import(catalog)
    files = _files(place, work.notes)
    total = sum(_size(file) for file in files)
    started = time.perf_counter()
    formats: dict[str, None] = {}
    alone = not place.is_dir()
    for file in files:
        work.notes.file, work.notes.line = ("" if alone else str(file.relative_to(place))), 0
        try:
            try:
                chosen = _detect(file) if format == "auto" else format
            except (LaminaError, OSError) as error:
                raise UnreadableError(error) from error
            formats[chosen] = None
            reader = import_module(_READERS[chosen])
            advance = (lambda _: None) if progress is None else _told(progress, work.notes, total)
            work.run(_read(reader.read(file, work.notes, advance)), str(file.absolute()))
        except UnreadableError as failure:
            told = failure.cause if isinstance(failure.cause, LaminaError) else _unreadable(file, failure.cause)
            if alone:
                raise told from None
            work.notes.problem(told.message.replace(str(file), "it", 1))
    return ImportReport(
        path=str(place),
        format=", ".join(formats),
        sessions=tuple(work.seen),
        new_sessions=work.new_sessions,
        turns=work.turns,
        calls=work.calls,
        known=work.known,
        twice=work.twice,
        unknown=dict(work.notes.unknown.most_common()),
        unknown_at=dict(work.notes.places),
        problems=work.notes.told(),
        masked=work.masker.count,
        bytes=work.notes.read,
        seconds=time.perf_counter() - started,
    )


def _told(progress: Callable[[int, int], None], notes: Notes, total: int) -> Callable[[int], None]:
    return lambda _: progress(min(notes.read, total), total)


def _read(records: Iterable[Record]) -> Iterator[Record]:
    try:
        yield from records
    except (LaminaError, OSError, RecursionError) as error:
        raise UnreadableError(error) from error


def _unreadable(file: Path, error: Exception) -> LaminaError:
    if isinstance(error, OSError):
        return translate(error, file, "read")
    return InvalidInputError(f"{file} is nested too deeply.", hint="Choose another format.", path=str(file))


def _files(place: Path, notes: Notes) -> list[Path]:
    if place.is_dir():
        found = []
        for folder, _, names in walk(place, onerror=lambda error: notes.problem(f"{error.filename}: {error.strerror}")):
            for path in (Path(folder) / name for name in names if name.endswith(_SUFFIXES)):
                if path.is_file():  # a pipe would be waited for without end
                    found.append(path)
                else:
                    notes.problem(f"{path.relative_to(place)}: it is no regular file, or a link to nowhere")
        if not found and not notes.problems:
            raise NotFoundError(
                f"{place} holds no file that could be a session.", hint=f"They end in {', '.join(_SUFFIXES)}."
            )
        return sorted(found)
    if not place.is_file():
        what = f"{place} is no regular file." if place.exists() else f"There is no file {place}."
        raise NotFoundError(what, hint="Name a file or a folder with sessions.", path=str(place))
    return [place]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _detect(path: Path) -> str:
    """Return the format of a file by its name, then by what it holds.

    Raises:
        InvalidInputError: It is none that is known.
    """
    if path.suffix == ".traj":
        return "trajectory"
    if path.suffix == ".duckdb":
        return "duckdb"
    first: Any = None
    if path.suffix != ".json":
        first = peek(path)
        if isinstance(first, dict):
            own = first.get("type") in ("session", "turn", "call", "end") and "message" not in first
            return "lamina" if own else "transcript"
    from lamina.sessions.readers.whole import whole_json

    try:
        document = whole_json(path)
    except InvalidInputError:
        if path.suffix in _SUFFIXES:
            raise  # it is meant to be one, and something is wrong with it
        document = None
    if isinstance(document, dict) and isinstance(document.get("session_id"), str):
        return "aircher"
    if isinstance(document, dict) and ("trajectory" in document or "history" in document):
        return "trajectory"
    raise InvalidInputError(
        f"{path} is no file of sessions.",
        hint=f"The formats are {', '.join(FORMATS)}; name one with --format (format=). "
        "Patterns are imported by `lamina patterns import`, or store.patterns.import_file.",
        path=str(path),
    )
