"""The floor that makes bytes durable: files, locks, leases, and the seam through which all of it can be watched.

Nothing above this floor writes, renames, locks or fsyncs a file; SQLite does so through :func:`catalog_vfs` while
someone observes. Every failure is one of :mod:`lamina.errors`.
"""

from __future__ import annotations

from lamina.fs._exchange import move_seen, remove_seen, replace_file
from lamina.fs._files import (
    inside,
    make_dir,
    move_file,
    remove_file,
    stray_files,
    sweep_temporary,
    sync_dir,
    write_file,
    write_files,
)
from lamina.fs._journal import Journal
from lamina.fs._kind import filesystem_of, is_network_filesystem
from lamina.fs._leases import Lease, LeaseInfo, live_leases
from lamina.fs._locks import FileLock
from lamina.fs._reading import Stamp, read_file, read_with_stamp, stamp_of
from lamina.fs._seam import Kind, Observer, Operation, ShortWrite, catalog_vfs, count_operations, observe
from lamina.fs._streams import FileReader, FileWriter, sync_file
from lamina.fs._translate import check_poison, clear_poison, poison, translate

__all__ = [
    "FileLock",
    "FileReader",
    "FileWriter",
    "Journal",
    "Kind",
    "Lease",
    "LeaseInfo",
    "Observer",
    "Operation",
    "ShortWrite",
    "Stamp",
    "catalog_vfs",
    "check_poison",
    "clear_poison",
    "count_operations",
    "filesystem_of",
    "inside",
    "is_network_filesystem",
    "live_leases",
    "make_dir",
    "move_file",
    "move_seen",
    "observe",
    "poison",
    "read_file",
    "read_with_stamp",
    "remove_file",
    "remove_seen",
    "replace_file",
    "stamp_of",
    "stray_files",
    "sweep_temporary",
    "sync_dir",
    "sync_file",
    "translate",
    "write_file",
    "write_files",
]
