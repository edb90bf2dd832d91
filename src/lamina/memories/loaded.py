"""What an agent loads: the index of a scope, cut to its limits, and the manifest of its files."""

from __future__ import annotations

import re

from lamina.errors import InvalidInputError
from lamina.folder.index import INDEX_NAME, Index
from lamina.folder.limits import cut, usage_notices
from lamina.folder.pointers import pointer_line
from lamina.memories.context import Context
from lamina.memories.pointers import Ranks, limits_of, read_index
from lamina.storage import mirror
from lamina.storage.names import NameKind
from lamina.storage.records import from_micros, now_micros
from lamina.types import FILE_SCOPES, IndexView

__all__ = ["load_index", "manifest"]

_CONFLICT = (rb"(?m)^<<<<<<< ", rb"(?m)^=======\r?$", rb"(?m)^>>>>>>> ")
"""What git leaves in a file that it could not merge."""
MOST_FILES = 200
"""Files of a manifest, the newest first."""


def load_index(context: Context, scope: str) -> IndexView:
    """Return the index of a file scope as an agent loads it; a file that people made too long is left as it is.

    Raises:
        InvalidInputError: The scope has no files, so it has no index.
    """
    if scope not in FILE_SCOPES:
        raise InvalidInputError(
            f"Scope {scope!r} has no index: its memories are rows.", hint=f"Name {' or '.join(FILE_SCOPES)}, or recall."
        )
    folder = context.folder
    place = folder.scope_folder(scope)
    name = f"{place}/{INDEX_NAME}" if place else INDEX_NAME
    ranks = Ranks(context, place)
    limits = limits_of(context)
    problems: tuple[str, ...] = ()
    data = None
    try:
        data = read_index(folder, place)
    except InvalidInputError as error:
        problems = (error.message,)
    if data is None:
        index = _made(context, scope, place, ranks, problems)
        if index is None:
            return IndexView(scope=scope, path=name, text="", notices=problems)
    else:
        index = Index.parse(data)
        if all(re.search(marker, data) for marker in _CONFLICT):
            problems = (f"{name} holds a merge conflict: keep what is right of both sides, remove the marker lines.",)
    shown = cut(index, limits, ranks, name=name)
    return IndexView(
        scope=scope,
        path=name,
        text=shown.text,
        lines=shown.lines,
        bytes=shown.bytes,
        pointers=len(index.pointers),
        left_out=shown.left_out,
        notices=(*problems, *usage_notices(index, limits, name=name)),
        generated=data is None,
    )


def _made(context: Context, scope: str, place: str, ranks: Ranks, problems: tuple[str, ...]) -> Index | None:
    """Return an index made of the memories, the best-ranked first, where there is no file to read."""
    entries = []
    now = now_micros()
    with context.catalog.read("listing memory files") as reader:
        for row in mirror.ranked(reader.db, reader.name_id(NameKind.SCOPE, scope) or 0):
            path, _, title, description = row[:4]
            if row[9] is None and (row[10] is None or row[10] > now):
                target = path[len(place) + 1 :] if place else path
                entries.append((ranks(target), pointer_line(title or target, target, description or "")))
    if not entries:
        return None
    what = (
        f"{INDEX_NAME} cannot be read: move it away and run `lamina index --fix`"
        if problems
        else f"{INDEX_NAME} is not there; `lamina index --fix` writes it"
    )
    title = "Team memory" if scope == "team" else "Memory"
    head = f"# {title}\n\n> {what}.\n\n"
    lines = [line for _, line in sorted(entries, reverse=True)]
    return Index.parse((head + "\n".join(lines) + "\n").encode())


def manifest(context: Context, scope: str | None, limit: int) -> str:
    """Return one line a memory file, the newest first: ``- [type] path (time): description``."""
    from lamina.memories.adoption import label

    with context.catalog.read("listing memory files") as reader:
        condition = context.condition(reader, scope=scope or list(FILE_SCOPES)).sql()
        seqs = reader.db.execute(
            f"SELECT m.seq FROM memory m WHERE m.path IS NOT NULL AND {condition.text} "
            "ORDER BY m.valid_from DESC, m.path LIMIT ?",
            (*condition.bindings, limit),
        ).fetchall()
        found = reader.records(seq for (seq,) in seqs)
    lines = []
    for record in (found[seq] for (seq,) in seqs if seq in found):
        moment = from_micros(record.valid_from).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(f"- [{record.type}] {record.path} ({moment}): {label(record)[1]}")
    return "\n".join(lines)
