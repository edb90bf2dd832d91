"""Which kind of file system a path lies on, and whether SQLite's shared memory can be trusted there."""

from __future__ import annotations

import contextlib
import os
import re
import sys

__all__ = ["filesystem_of", "is_network_filesystem"]

_NETWORK = re.compile(
    r"9p|afpfs|afs|beegfs|ceph|cephfs|cifs|coda|davfs|fhgfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs\d?|ocfs2|orangefs"
    r"|panfs|pvfs2|smb\d|smbfs|sshfs|webdav"
)
_NETWORK_FUSE = re.compile(
    r"(fuse|macfuse|osxfuse).*(sshfs|s3|gcs|blob|rclone|gluster|ceph|dav|smb|nfs|juicefs|goofys|drive|moosefs|mfs|lizard)"
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: str | os.PathLike[str]) -> str:
    """Return the kind of file system that holds ``path``, such as ``"ext4"``, ``"apfs"`` or ``"nfs4"``.

    Args:
        path: A file or folder; where it does not exist yet, the nearest folder above it counts.

    Returns:
        The kernel's name in lower case, or ``"unknown"`` where it cannot be told.
    """
    place = os.path.realpath(os.fspath(path))
    while not os.path.exists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return (_from_statfs(place) if sys.platform == "darwin" else _from_mounts(place)) or "unknown"
    return "unknown"


def is_network_filesystem(kind: str) -> bool:
    """Return True where ``kind`` (as :func:`filesystem_of` names it) is served over a network.

    SQLite's write-ahead log needs shared memory between all its users, which no network file system gives.
    """
    return bool(_NETWORK.fullmatch(kind) or _NETWORK_FUSE.match(kind))


def _from_mounts(place: str, table: str = "/proc/self/mountinfo") -> str:
    """Return the type of the last mount on the longest mount point above ``place``."""
    best, kind = -1, ""
    with open(table, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
            inside = (place + "/").startswith(point.rstrip("/") + "/")
            if inside and len(point) >= best:  # a later mount on the same point covers the earlier one
                best, kind = len(point), after.split(" ")[0].lower()
    return kind


def _from_statfs(place: str) -> str:
    """Return ``f_fstypename`` of macOS ``struct statfs`` with 64-bit inodes: 16 bytes at offset 72."""
    import ctypes.util  # 10 ms, and macOS alone asks this way

    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    statfs = getattr(libc, "statfs$INODE64", None) or libc.statfs
    buffer = ctypes.create_string_buffer(4096)
    if statfs(os.fsencode(place), buffer) != 0:
        return ""
    return buffer.raw[72:88].split(b"\0")[0].decode("ascii", "replace").lower()
