"""Export and import of patterns, whichever the form; an import adds only the uses that are not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final

from lamina import fs
from lamina.errors import AlreadyExistsError, InvalidInputError, LaminaError, NotFoundError
from lamina.patterns.forms import READABLE, WRITABLE, form_of
from lamina.patterns.forms.documents import read_json, read_jsonl, write_json, write_jsonl
from lamina.patterns.forms.entries import entries, entry_ids, uses_of
from lamina.patterns.forms.graphml import write_graphml
from lamina.patterns.forms.markdown import is_ours, read_markdown
from lamina.patterns.forms.table import read_csv, write_csv
from lamina.patterns.mirror import write_folder
from lamina.patterns.recording import Recorder, Use
from lamina.patterns.related import file_edges
from lamina.patterns.reports import PatternImport
from lamina.sessions.checks import check_choice
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.writer import Writer

__all__ = ["export_to", "exported", "import_entries", "import_from"]

_READERS: Final = {"json": read_json, "jsonl": read_jsonl, "csv": read_csv, "markdown": read_markdown}
_WRITERS: Final = {"json": write_json, "jsonl": write_jsonl, "csv": write_csv}
_USES_AT_ONCE: Final = 20_000


def exported(catalog: SqliteCatalog, form: str) -> Iterator[bytes]:
    """Yield all patterns in a form that is one file.

    Raises:
        InvalidInputError: It is none.
    """
    check_choice(form, "format", tuple(name for name in WRITABLE if name != "markdown"))
    if form == "graphml":
        with catalog.read("exporting the graph of files") as reader:
            edges = list(file_edges(reader, min_uses=1))
        yield from write_graphml(edges)
        return
    yield from _WRITERS[form](entries(catalog))


def export_to(
    catalog: SqliteCatalog, path: str | PathLike[str], form: str | None, *, replace: bool
) -> tuple[Path, str, int]:
    """Write all patterns to a file, or to a folder of markdown; return where, in which form, and how many.

    Raises:
        AlreadyExistsError: It is there, and ``replace`` is False; of a folder: a file in it that is not a pattern's.
        InvalidInputError: There is no such form.
    """
    place = Path(fspath(path)).expanduser().absolute()
    chosen = check_choice(form_of(place.suffix) if form is None else form, "format", WRITABLE)
    count = len(entry_ids(catalog))
    if chosen == "markdown":
        if place.is_dir() and any(place.iterdir()) and not replace:
            raise AlreadyExistsError(
                f"{place} is there and not empty.",
                hint="Choose another folder, or replace what it has.",
                path=str(place),
            )
        write_folder(catalog, place)
        return place, chosen, count
    fs.write_file(place, exported(catalog, chosen), replace=replace, mode=0o644)
    return place, chosen, count


def import_from(catalog: SqliteCatalog, path: str | PathLike[str], form: str | None) -> PatternImport:
    """Read patterns and their uses from a file or a folder of markdown.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is none of the forms, or an entry of it makes no sense; what came before it is kept.
    """
    place = Path(fspath(path)).expanduser().absolute()
    if not place.exists():
        raise NotFoundError(f"There is no {place}.", hint="Name a file or folder of patterns.", path=str(place))
    chosen = check_choice(_form(place) if form is None else form, "format", READABLE)
    if chosen == "aircher":
        from lamina.patterns.migrate import migrate_files

        return migrate_files(catalog, place)
    problems: list[str] = []
    return import_entries(catalog, _READERS[chosen](place, problems), str(place), chosen, problems)


def _form(place: Path) -> str:
    if not place.is_dir():
        return form_of(place.suffix)
    for folder in (place, place / "memory", place / ".aircher" / "memory"):
        if (folder / "patterns").is_dir() and not any(
            is_ours(fs.read_file(path, max_bytes=64 << 20)) for path in sorted((folder / "patterns").rglob("*.md"))[:1]
        ):
            return "aircher"
    return "markdown"


def import_entries(
    catalog: SqliteCatalog, found: Iterator[tuple[str, Any]], path: str, form: str, problems: list[str]
) -> PatternImport:
    """Store entries; one that makes no sense is a problem, and the others are stored all the same."""
    counts: Counter[str] = Counter()
    batch: list[tuple[Use, list[Use]]] = []
    size = 0
    for where, entry in found:
        try:
            batch.append(uses_of(entry, where))
        except InvalidInputError as error:
            problems.append(error.message)
            continue
        size += len(batch[-1][1]) + 1
        if size >= _USES_AT_ONCE:
            _store(catalog, batch, counts)
            batch, size = [], 0
    _store(catalog, batch, counts)
    return PatternImport(
        path=path,
        format=form,
        patterns=counts["new"],
        uses=counts["uses"],
        known=counts["known"],
        problems=tuple(problems),
        verified=not problems and counts["missing"] == 0,
    )


def _store(catalog: SqliteCatalog, batch: list[tuple[Use, list[Use]]], counts: Counter[str]) -> None:
    if not batch:
        return
    added: Counter[str] = Counter()
    with catalog.write("importing patterns") as writer:
        recorder = Recorder(writer)
        for pattern, uses in batch:
            number = recorder.ensure(pattern)
            missing = _missing(writer, number, uses)
            recorder.add(missing)
            added["uses"] += len(missing)
            added["known"] += len(uses) - len(missing)
            added["missing"] += len(_missing(writer, number, uses))
        added["new"] += len(recorder.new)
    counts.update(added)


def _missing(writer: Writer, number: int, uses: list[Use]) -> list[Use]:
    """Return the uses that a pattern has fewer times than they are listed; they are told apart by what they say."""
    held: Counter[tuple[Any, ...]] = Counter()
    for row in writer.db.execute(
        "SELECT u.at, u.success, u.duration, s.id FROM pattern_use u LEFT JOIN session s ON s.seq = u.session "
        "WHERE u.pattern = ?",
        (number,),
    ):
        held[tuple(row)] += 1
    missing = []
    for use in uses:
        mark = (use.at, int(use.success), use.duration, use.session)
        if held[mark] > 0:
            held[mark] -= 1
        else:
            missing.append(use)
    return missing


def check_form(form: str) -> None:
    """Raise unless there is such a form.

    Raises:
        InvalidInputError: There is none.
    """
    try:
        check_choice(form, "format", WRITABLE)
    except LaminaError as error:
        raise InvalidInputError(error.message, hint=error.hint) from None
