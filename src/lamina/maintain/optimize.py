"""Making a store smaller and faster, and removing what nothing refers to."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Any

from lamina import fs
from lamina.folder.scan import scan
from lamina.maintain.stats import bytes_on_disk
from lamina.memories.context import Context
from lamina.storage.filters import Filter

__all__ = ["collect_garbage", "optimize_store"]

_DICTIONARY_FROM = 1_000
_LEFTOVER_AGE = 3600.0
_LEFTOVER = ".lamina-*.tmp"


def optimize_store(context: Context) -> dict[str, Any]:
    """Merge the text indexes, train the dictionary on the store as it is, give back unused pages."""
    folder = context.catalog.path.parent.parent
    before = bytes_on_disk(folder)["total"]
    recoded = 0
    with context.catalog.write("optimizing") as writer:
        writer.scrub_text()
        writer.prune_endings()
        if writer.count(Filter(expired=True)) >= _DICTIONARY_FROM:
            dictionary = writer.newest_dictionary() or writer.train_dictionary()
            if dictionary:
                recoded = writer.recode(dictionary)
        writer.db.pragma("optimize", 0x10002)
    context.catalog.pool.checkpoint(truncate=True)
    rewritten = context.catalog.pool.vacuum(-1)  # also clears what deletions left in unused room
    after = bytes_on_disk(folder)["total"]
    return {"bytes_before": before, "bytes_after": after, "bodies_recoded": recoded, "file_rewritten": rewritten}


def collect_garbage(engine: Path, *, dry_run: bool) -> dict[str, Any]:
    """Remove temporary files that an interrupted write left more than an hour ago, beside memory files too."""
    oldest = time.time() - _LEFTOVER_AGE
    sizes: dict[Path, int] = {}
    beside = {engine.parent, *(engine.parent / file.path for file in scan(engine.parent).files.values())}
    folders = {path if path.is_dir() else path.parent for path in beside}
    found = [path for folder in sorted(folders) for path in folder.glob(_LEFTOVER)]
    for path in (*engine.rglob(_LEFTOVER), *found):
        with contextlib.suppress(OSError):  # it went meanwhile, or may not be looked at
            known = path.lstat()
            if stat.S_ISREG(known.st_mode) and known.st_mtime < oldest:
                sizes[path] = known.st_size
    if not dry_run:
        for folder in sorted({path.parent for path in sizes}):
            fs.sweep_temporary(folder, older_than_s=_LEFTOVER_AGE)
        sizes = {path: size for path, size in sizes.items() if not os.path.lexists(path)}  # what really went
    return {"files": [path.name for path in sorted(sizes)], "bytes": sum(sizes.values()), "dry_run": dry_run}
