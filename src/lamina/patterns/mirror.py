"""A folder of markdown that follows the patterns: for people to read, for git to keep, for a store that is replaced.

The catalog leads and the folder follows: a file that says something else is replaced, one whose pattern is gone is
removed, and files that are no pattern's are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lamina import fs
from lamina.errors import InvalidInputError, LaminaError
from lamina.patterns.forms.entries import entries
from lamina.patterns.forms.markdown import INDEX, file_name, is_ours, render, render_index
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.names import NameKind
from lamina.storage.reader import Reader
from lamina.storage.records import from_micros

__all__ = ["Mirror", "write_folder"]

_MAX_BYTES = 256 << 20


class Mirror:
    """A folder that is kept in step with the patterns of one handle; made by ``store.patterns.mirror``.

    Attributes:
        folder: Where.
        problem: What kept the last change from reaching the folder, or None; the catalog has it all the same, and
            :meth:`refresh` brings the folder up to date.
    """

    def __init__(self, catalog: SqliteCatalog, folder: Path) -> None:
        self._catalog = catalog
        self.folder = folder
        self.problem: str | None = None

    def refresh(self) -> int:
        """Bring the whole folder up to date, also after changes by other processes; return how many files changed."""
        changed = write_folder(self._catalog, self.folder)
        self.problem = None
        return changed

    def catch_up(self) -> None:
        """Bring the folder up to date after a change; a folder that cannot be written is told, not raised."""
        try:
            self.refresh()
        except LaminaError as error:
            self.problem = str(error)

    def follow(self, ids: Iterable[str]) -> None:
        """Write the files of patterns that just changed; a folder that cannot be written is told, not raised."""
        if self.problem is not None:
            self.catch_up()
            return
        try:
            for entry in entries(self._catalog, list(dict.fromkeys(ids))):
                _write(self.folder, file_name(entry), render(entry))
            _write(self.folder, INDEX, _index(self._catalog))
        except LaminaError as error:
            self.problem = str(error)

    def __repr__(self) -> str:
        return f"<lamina.Mirror {str(self.folder)!r}>"


def write_folder(catalog: SqliteCatalog, folder: Path) -> int:
    """Make a folder say what the store says; return how many files were written or removed.

    Raises:
        InvalidInputError: There is a file where the folder should be.
        StorageError: The folder cannot be read or written.
    """
    try:
        return _written(catalog, folder)
    except OSError as error:
        raise fs.translate(error, folder, "write") from error


def _written(catalog: SqliteCatalog, folder: Path) -> int:
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file, not a folder.", hint="Name a folder.")
    fs.make_dir(folder, mode=0o700)  # uses name sessions and files
    wanted = {INDEX}
    changed = 0
    for entry in entries(catalog):
        name = file_name(entry)
        wanted.add(name)
        changed += _write(folder, name, render(entry))
    changed += _write(folder, INDEX, _index(catalog))
    for path in sorted(folder.glob("*/*.md")):
        if path.relative_to(folder).as_posix() not in wanted and is_ours(fs.read_file(path, max_bytes=_MAX_BYTES)):
            fs.remove_file(path, missing_ok=True)
            changed += 1
    return changed


def _write(folder: Path, name: str, data: bytes) -> bool:
    """Write a file unless it says so already; return whether it was written."""
    path = folder / name
    try:
        return _replaced(path, data)
    except OSError as error:
        raise fs.translate(error, path, "write") from error


def _replaced(path: Path, data: bytes) -> bool:
    if path.is_file() and path.stat().st_size == len(data) and fs.read_file(path, max_bytes=_MAX_BYTES) == data:
        return False
    if not path.parent.is_dir():
        fs.make_dir(path.parent, mode=0o700)
    fs.write_file(path, data, replace=True)
    return True


def _index(catalog: SqliteCatalog) -> bytes:
    with catalog.read("listing patterns") as reader:
        return render_index(_totals(reader))


def _totals(reader: Reader) -> list[tuple[dict[str, object], int, int, str]]:
    import json

    rows = reader.db.execute(
        "SELECT p.id, n.value, p.steps, p.uses, p.successes, p.last_used FROM pattern p JOIN name n ON n.id = p.type "
        "AND n.kind = ? WHERE p.state = 0 ORDER BY p.id",
        (int(NameKind.PATTERN_TYPE),),
    )
    return [
        (
            {"id": id, "type": kind, "steps": json.loads(steps)},
            uses,
            good,
            from_micros(last).isoformat() if uses else "",
        )
        for id, kind, steps, uses, good, last in rows
    ]
