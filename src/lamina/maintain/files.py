"""Checking that the folder's files and the catalog's rows say the same."""

from __future__ import annotations

from collections.abc import Iterator

from lamina import fs
from lamina.errors import LaminaError
from lamina.memories.adoption import content_hash, read_memory, same, to_record
from lamina.memories.context import Context
from lamina.memories.folder import MAX_FILE_BYTES, scope_of
from lamina.memories.syncing import look
from lamina.storage import mirror
from lamina.types import Problem

__all__ = ["check_files"]

_SYNC = "Run `lamina sync`."


def check_files(context: Context, *, full: bool, checked: dict[str, int]) -> Iterator[Problem]:
    """Compare rows with files: by what the disk says of each file, and with ``full`` by every byte.

    What people wrote wrongly into a file is no damage of the store; ``lamina sync`` tells it.
    """
    found = look(context)
    checked["files"] = len(found.scan.files)
    for file in found.changed:
        yield _problem("folder-ahead", file.path, "was changed since the last sync")
    for path in found.vanished:
        yield _problem("folder-ahead", path, "is gone since the last sync")
    for path in found.unseen:
        yield _problem("file-unknown", path, "belongs to a memory, and the catalog has no row of the file")
    with context.catalog.read("verifying files") as reader:
        for path in mirror.unmatched(reader.db):
            message = "is known as the file of a memory that is not there"
            yield _problem("file-unmatched", path, message, "Run `lamina repair`.")
    if full:
        changed = {file.path for file in found.changed}
        for path in sorted(set(found.scan.files) - changed):
            yield from _compare(context, path)


def _compare(context: Context, path: str) -> Iterator[Problem]:
    with context.catalog.read("verifying files") as reader:
        row = mirror.by_path(reader.db, [path]).get(path)
        if row is None or row.memory is None or row.leaving:
            return
        try:
            record = reader.current(row.memory)
        except LaminaError:
            return  # a damaged row was told already
    try:
        data, stamp = fs.read_with_stamp(context.folder.absolute(path), max_bytes=MAX_FILE_BYTES)
        if content_hash(data) != row.hash:
            yield _problem("file-differs", path, "does not hold what was read, though the disk says it did not change")
            return
        read = read_memory(data, path)
    except LaminaError:
        return  # what cannot be read as a memory is told by sync
    if record is None or record.path != path:
        return  # told as unmatched
    mtime = stamp.mtime_ns // 1000
    says, _ = to_record(read, id=record.id, path=path, scope=scope_of(path), mtime=mtime, before=record)
    if not same(record, says):
        yield _problem("file-differs", path, "says something else than its row", "Run `lamina repair`, then sync.")


def _problem(code: str, path: str, message: str, hint: str = _SYNC) -> Problem:
    return Problem(code=code, where=path, message=f"{path} {message}", hint=hint)
