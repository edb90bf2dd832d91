"""Export and import of patterns, whichever the form; an import adds only the uses that are not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from lamina import fs
from lamina.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from lamina.patterns.forms import READABLE, WRITABLE, form_of
from lamina.patterns.forms.documents import read_json, read_jsonl, speaks_of_sessions, write_json, write_jsonl
from lamina.patterns.forms.entries import entries, uses_of
from lamina.patterns.forms.graphml import write_graphml
from lamina.patterns.forms.markdown import is_ours, read_markdown
from lamina.patterns.forms.table import read_csv, write_csv
from lamina.patterns.mirror import write_folder
from lamina.patterns.recording import Recorder, Use
from lamina.patterns.related import file_edges
from lamina.patterns.reports import PatternImport
from lamina.patterns.rows import MERGED, root
from lamina.sessions.checks import check_choice
from lamina.sessions.readers.lines import peek
from lamina.sessions.rows import unpacked
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader

__all__ = ["Source", "check_source", "export_to", "exported", "import_entries", "import_from"]

Source: TypeAlias = Callable[[list[str]], Iterator[tuple[str, Any]]]
"""Reads places and entries from their beginning; what it cannot read it adds to the list."""

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


def export_to(catalog: SqliteCatalog, place: Path, form: str | None, *, replace: bool) -> Path:
    """Write all patterns to a file, or to a folder of markdown; return where.

    Raises:
        AlreadyExistsError: It is there, and ``replace`` is False; of a folder: a file in it that is not a pattern's.
        InvalidInputError: There is no such form.
    """
    chosen = form_of(place) if form is None else check_choice(form, "format", WRITABLE)
    if chosen == "markdown":
        if place.is_dir() and any(place.iterdir()) and not replace:
            raise AlreadyExistsError(
                f"{place} is there and not empty.",
                hint="Choose another folder, or replace what it has with --replace (replace=True).",
                path=str(place),
            )
        write_folder(catalog, place)
        return place
    try:
        fs.write_file(place, exported(catalog, chosen), replace=replace)
    except AlreadyExistsError as error:
        hint = "Choose another name, or replace it with --replace (replace=True)."
        raise AlreadyExistsError(error.message, hint=hint, path=str(place)) from None
    return place


def import_from(catalog: SqliteCatalog, place: Path, form: str | None) -> PatternImport:
    """Read patterns and their uses from a file or a folder of markdown.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is none of the forms, or an entry of it makes no sense; what came before it is kept.
    """
    chosen = _chosen(place, form)
    if chosen == "aircher":
        from lamina.patterns.migrate import migrate_files

        return migrate_files(catalog, place)
    return import_entries(catalog, partial(_READERS[chosen], place), str(place), chosen)


def check_source(place: Path, form: str | None) -> None:
    """Read as far as the first pattern of what is to be imported, before a store is made for it.

    Raises:
        NotFoundError: There is no such file, or no pattern's file in the folder.
        InvalidInputError: It is none of the forms, or it holds sessions.
    """
    chosen = _chosen(place, form)
    if chosen != "aircher":
        next(_READERS[chosen](place, []), None)


def _chosen(place: Path, form: str | None) -> str:
    """Return the form of what is to be imported."""
    if not place.exists():
        raise NotFoundError(f"There is no {place}.", hint="Name a file or folder of patterns.", path=str(place))
    chosen = check_choice(_form(place) if form is None else form, "format", READABLE)
    if chosen == "jsonl" and place.is_file() and speaks_of_sessions(peek(place)):
        raise InvalidInputError(
            f"{place} holds sessions, not patterns.",
            hint="Import it with `lamina sessions import`, or store.sessions.import_file; then learn from it.",
            path=str(place),
        )
    return chosen


def _form(place: Path) -> str:
    if not place.is_dir():
        return form_of(place)
    for folder in (place, place / "memory", place / ".aircher" / "memory"):
        if (folder / "patterns").is_dir() and not any(
            is_ours(fs.read_file(path, max_bytes=64 << 20)) for path in sorted((folder / "patterns").rglob("*.md"))[:1]
        ):
            return "aircher"
    return "markdown"


def import_entries(catalog: SqliteCatalog, read: Source, path: str, form: str) -> PatternImport:
    """Store the entries of a source, then read it once more and look for every use of it in the store.

    An entry that makes no sense is a problem, and the others are stored all the same.
    """
    problems: list[str] = []
    counts: Counter[str] = Counter()
    held = _Held()
    for batch in _batches(read(problems), problems):
        _store(catalog, batch, counts, held)
    held = _Held()
    for batch in _batches(read([]), []):
        problems += _lost(catalog, batch, held)
    return PatternImport(
        path=path,
        format=form,
        patterns=counts["new"],
        uses=counts["uses"],
        known=counts["known"],
        problems=tuple(problems),
        verified=not problems,
    )


def _batches(found: Iterator[tuple[str, Any]], problems: list[str]) -> Iterator[list[tuple[Use, list[Use]]]]:
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
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _store(catalog: SqliteCatalog, batch: list[tuple[Use, list[Use]]], counts: Counter[str], held: _Held) -> None:
    added: Counter[str] = Counter()
    with catalog.write("importing patterns") as writer:
        recorder = Recorder(writer)
        held.look(writer)
        for pattern, uses in batch:
            missing = held.claim(writer, recorder.ensure(pattern), uses)
            recorder.add(missing)
            added["uses"] += len(missing)
            added["known"] += len(uses) - len(missing)
        added["new"] += len(recorder.new)
    counts.update(added)


def _lost(catalog: SqliteCatalog, batch: list[tuple[Use, list[Use]]], held: _Held) -> Iterator[str]:
    """Yield what of some entries is not in the store, in words."""
    with catalog.read("verifying an import") as reader:
        held.look(reader)
        for pattern, uses in batch:
            rows = reader.db.execute("SELECT seq FROM pattern WHERE id = ?", (pattern.id,)).fetchall()
            if not rows:
                yield f"pattern {pattern.id} is not in the store"
            elif lost := held.claim(reader, root(reader, rows[0][0])[0], uses):
                yield f"pattern {pattern.id}: {len(lost):,} of {len(uses):,} uses are not in the store"


_Mark: TypeAlias = tuple[Any, ...]
"""What a use says; equal ones cannot be told apart."""


class _Held:
    """Uses of the store that no entry of an import has claimed.

    Patterns that were merged into one count together, and may say the same at the same time: what one entry claimed is
    not there for another one.
    """

    def __init__(self) -> None:
        self._targets: set[int] = set()
        self._families: dict[int, Counter[_Mark]] = {}

    def look(self, reader: Reader) -> None:
        """See which patterns others were merged into."""
        rows = reader.db.execute("SELECT DISTINCT merged_into FROM pattern WHERE state = ?", (MERGED,)).fetchall()
        self._targets = {root(reader, row[0])[0] for row in rows if row[0] is not None}

    def claim(self, reader: Reader, number: int, uses: list[Use]) -> list[Use]:
        """Return the uses that a pattern has fewer times than they are listed."""
        held = self._families.get(number)
        if held is None:
            held = _marks(reader, number)
            if number in self._targets:
                self._families[number] = held
        missing = []
        for use in uses:
            names = [reader.name_id(NameKind.FILE, path) or 0 for path in use.files]
            names += [reader.name_id(NameKind.TOOL, tool) or 0 for tool in use.tools]
            mark = (use.at, int(use.success), use.duration, use.session, tuple(sorted(names)))
            if held[mark] > 0:
                held[mark] -= 1
            else:
                missing.append(use)
        return missing


def _marks(reader: Reader, number: int) -> Counter[_Mark]:
    held: Counter[_Mark] = Counter()
    for at, success, duration, session, links in reader.db.execute(
        "SELECT u.at, u.success, u.duration, s.id, u.links FROM pattern_use u LEFT JOIN session s ON s.seq = u.session "
        "WHERE u.pattern = ?",
        (number,),
    ):
        held[at, success, duration, session, tuple(sorted(unpacked(links)))] += 1
    return held
