"""An SQLite VFS that announces the catalog's file operations at the seam, and passes them on to the default VFS.

Reading, locking and shared memory are inherited. An error that an observer injects reaches SQLite as its own result
code, so it takes the path that a real failure would take.
"""

# ruff: noqa: N802, FBT001  (apsw names the methods and calls them by position)

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import apsw

from lamina.fs._seam import report, report_write

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["registered_name"]

_NAME = "lamina-observed"
_SYNCS_FOLDER = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL

_vfs: _ObservedVFS | None = None
_making = threading.Lock()


def registered_name() -> str:
    """Register the VFS at the first call, and return its name."""
    global _vfs  # noqa: PLW0603  (SQLite keeps one VFS a name for the whole process)
    with _making:
        if _vfs is None:
            _vfs = _ObservedVFS(_NAME, "")
        return _NAME


def _fail(error: OSError, result: int) -> apsw.Error:
    """Return what makes SQLite see ``result``, or ``SQLITE_FULL`` for a write without room."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and result == apsw.SQLITE_IOERR_WRITE:
        result = apsw.SQLITE_FULL
    kinds: dict[int, type[apsw.Error]] = {apsw.SQLITE_FULL: apsw.FullError, apsw.SQLITE_CANTOPEN: apsw.CantOpenError}
    failure: Any = kinds.get(result, apsw.IOError)(str(error))  # the stubs lack the two attributes
    failure.result, failure.extendedresult = result & 0xFF, result
    return failure  # type: ignore[no-any-return]


class _ObservedFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, path: str, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._path = path
        # The default VFS fsyncs the folder at a journal's first fsync, so that its name survives.
        self._folder_due = bool(flags[0] & _SYNCS_FOLDER and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xWrite(self, data: Buffer, offset: int) -> None:
        view = memoryview(data)
        try:
            allowed = report_write(self._path, view, offset)
        except OSError as error:
            raise _fail(error, apsw.SQLITE_IOERR_WRITE) from error
        if allowed < len(view):
            if allowed:
                super().xWrite(bytes(view[:allowed]), offset)
            raise _fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), apsw.SQLITE_IOERR_WRITE)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        try:
            report("truncate", self._path, size=newsize)
        except OSError as error:
            raise _fail(error, apsw.SQLITE_IOERR_TRUNCATE) from error
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        try:
            report("fsync", self._path)
        except OSError as error:
            raise _fail(error, apsw.SQLITE_IOERR_FSYNC) from error
        super().xSync(flags)
        if self._folder_due:
            self._folder_due = False
            with contextlib.suppress(OSError):  # SQLite, too, goes on where the folder cannot be synced
                report("fsync", os.path.dirname(self._path))


class _ObservedVFS(apsw.VFS):
    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _ObservedFile:
        path = "" if name is None else os.path.abspath(name.filename() if isinstance(name, apsw.URIFilename) else name)
        new = bool(flags[0] & apsw.SQLITE_OPEN_CREATE) and not os.path.exists(path)
        try:
            report("create" if new else "open", path)
        except OSError as error:
            raise _fail(error, apsw.SQLITE_CANTOPEN) from error
        return _ObservedFile(name, path, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        path = os.path.abspath(filename)
        try:
            report("unlink", path)
        except OSError as error:
            raise _fail(error, apsw.SQLITE_IOERR_DELETE) from error
        super().xDelete(filename, syncdir)
        if syncdir:
            try:
                report("fsync", os.path.dirname(path))
            except OSError as error:
                raise _fail(error, apsw.SQLITE_IOERR_DIR_FSYNC) from error
