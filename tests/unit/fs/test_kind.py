from __future__ import annotations

from pathlib import Path

import pytest

from lamina.fs import _kind, filesystem_of, is_network_filesystem

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /mnt/my\\040share rw - nfs4 host:/x rw
31 22 0:27 / /mnt/data rw - ext4 /dev/b rw
32 22 0:28 / /mnt/data rw shared:3 master:1 - FUSE.sshfs host rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home", "ext4"),
        ("/mnt/my share/a", "nfs4"),
        ("/mnt/my share", "nfs4"),
        ("/mnt/my sharex", "ext4"),
        ("/mnt/data/deep/er", "fuse.sshfs"),
    ],
)
def test_mount_table(tmp_path: Path, place: str, kind: str) -> None:
    """The longest mount point above a path decides, the latest mount on it wins, and escapes are read."""
    (tmp_path / "mounts").write_text(TABLE)
    assert _kind._from_mounts(place, str(tmp_path / "mounts")) == kind


def test_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    """A store that is still to be made lies on the file system of the nearest folder above it."""
    assert filesystem_of(tmp_path / "no" / "where") == filesystem_of(tmp_path)
    assert filesystem_of(tmp_path) not in ("", "unknown")


def test_unreadable_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the kind cannot be told, the answer is "unknown", not an error."""

    def broken(_: str) -> str:
        raise OSError

    monkeypatch.setattr(_kind, "_from_mounts", broken)
    monkeypatch.setattr(_kind, "_from_statfs", broken)
    assert filesystem_of(tmp_path) == "unknown"


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.s3fs", "macfuse_sshfs"]
)
def test_network(kind: str) -> None:
    """File systems that are served over a network are known as such."""
    assert is_network_filesystem(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "apfs", "tmpfs", "zfs", "overlay", "fuseblk", "unknown", "f2fs"]
)
def test_local(kind: str) -> None:
    """Local file systems are not refused."""
    assert not is_network_filesystem(kind)
