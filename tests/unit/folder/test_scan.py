from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import LaminaError, NotFoundError
from lamina.folder import scan as module
from lamina.folder.scan import MAX_DEPTH, MAX_FILE_BYTES, Found, Scan, scan
from lamina.fs import stamp_of


def fill(root: Path, paths: Iterable[str]) -> None:
    """Make files, each holding its own path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def codes(found: Scan) -> list[tuple[str, str]]:
    """Return the problems as ``(code, where)``, sorted."""
    return sorted((problem.code, problem.where) for problem in found.problems)


def test_memories_and_indexes(tmp_path: Path) -> None:
    """Markdown files are memories but for the indexes; scope by folder, stamp by status, all paths relative."""
    paths = ["a.md", "B.MD", "sub/deep er/ü.md", "team/c.md", "team/sub/d.md", "teams/e.md", "sub/team/f.md"]
    fill(
        tmp_path,
        [*paths, "MEMORY.md", "MEMORY.more.md", "team/MEMORY.md", "sub/MEMORY.md", "memory.txt", "md", "x.mdx"],
    )
    found = scan(tmp_path)
    assert set(found.files) == set(paths)
    assert {path for path in paths if found.files[path].scope == "team"} == {"team/c.md", "team/sub/d.md"}
    assert {memory.scope for memory in found.files.values()} == {"team", "private"}
    assert set(found.indexes) == {"MEMORY.md", "MEMORY.more.md", "team/MEMORY.md", "sub/MEMORY.md"}
    assert found.indexes["team/MEMORY.md"].scope == "team"
    for path, memory in {**found.files, **found.indexes}.items():
        assert memory == Found(path, memory.scope, memory.stamp)
        assert memory.stamp == stamp_of(tmp_path / path)
    assert (found.problems, found.skipped, found.unseen) == ((), {}, ())


def test_an_index_is_written_exactly_so(tmp_path: Path) -> None:
    """Other spellings of the index's name are memories, and a name that collides with it is reported."""
    fill(tmp_path, ["MEMORY.md", "Memory.md", "sub/MEMORY.MD", "MEMORY.more.md.md"])
    if len(os.listdir(tmp_path)) < 4:
        pytest.skip("this file system takes the two for one")
    found = scan(tmp_path)
    assert list(found.indexes) == ["MEMORY.md"]
    assert set(found.files) == {"Memory.md", "sub/MEMORY.MD", "MEMORY.more.md.md"}
    assert codes(found) == [("name-collision", "MEMORY.md")]


def test_what_is_passed_over(tmp_path: Path) -> None:
    """Hidden things, what tools keep, and subfolders that are a store or a repository of their own are no memories."""
    fill(tmp_path, [".lamina/x.md", ".git/x.md", ".hidden.md", ".obsidian/x.md", "node_modules/p/x.md"])
    fill(tmp_path, ["sub/__pycache__/x.md", "env/pyvenv.cfg", "env/x.md", "other/.lamina/catalog.db", "other/x.md"])
    fill(tmp_path, ["repo/.git/HEAD", "repo/x.md", "linked/.git", "linked/x.md", "team/.git/HEAD", "team/in.md"])
    fill(tmp_path, ["team/.lamina/catalog.db", "team/repo/.git/HEAD", "team/repo/x.md", "kept.md"])
    found = scan(tmp_path)
    assert set(found.files) == {"kept.md", "team/in.md"}
    assert found.problems == ()
    assert found.skipped == {
        ".lamina": "hidden",
        ".git": "hidden",
        ".hidden.md": "hidden",
        ".obsidian": "hidden",
        "node_modules": "tool",
        "sub/__pycache__": "tool",
        "env": "virtual-environment",
        "other": "store",
        "repo": "git-repository",
        "linked": "git-repository",
        "team/.git": "hidden",
        "team/.lamina": "hidden",
        "team/repo": "git-repository",
    }


def test_what_editors_leave(tmp_path: Path) -> None:
    """Backups, swap files, lock links and our own temporary files are never taken for memories."""
    fill(tmp_path, ["a.md", "a.md~", "#a.md#", ".a.md.swp", ".a.md.swo", "4913", "a.md.tmp", "a.md.orig", "a.md.bak"])
    fill(tmp_path, [".lamina-1-0123456789abcdef.tmp", ".lamina-1-0123456789abcdef.swap"])
    (tmp_path / ".#a.md").symlink_to("somebody@somewhere.1:2")
    found = scan(tmp_path)
    assert list(found.files) == ["a.md"]
    assert found.problems == ()


def test_ignore(tmp_path: Path) -> None:
    """Patterns pass over files and whole folders; what they hid is named."""
    fill(tmp_path, ["a.md", "a.draft.md", "drafts/b.md", "sub/drafts/c.md", "sub/d.draft.md", "old/e.md", "MEMORY.md"])
    found = scan(tmp_path, ignore=["*.draft.md", "drafts/", "old/*", "", "/"])
    assert set(found.files) == {"a.md", "sub/drafts/c.md"}
    reasons = dict.fromkeys(["a.draft.md", "drafts", "sub/d.draft.md", "old/e.md"], "ignored")
    assert found.skipped == reasons
    assert set(found.indexes) == {"MEMORY.md"}
    assert not scan(tmp_path, ignore=["*"]).files


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link with a memory's or an index's name is reported, one to a folder passed over; loops end nothing."""
    root = tmp_path / "store"
    fill(root, ["a.md", "sub/b.md"])
    fill(tmp_path, ["outside/secret.md"])
    (root / "link.md").symlink_to("a.md")
    (root / "broken.md").symlink_to("nowhere")
    (root / "loop.md").symlink_to("loop.md")
    (root / "MEMORY.md").symlink_to(tmp_path / "outside" / "secret.md")
    (root / "team").symlink_to(tmp_path / "outside")
    (root / "sub" / "up").symlink_to("..")
    (root / "text").symlink_to("a.md")
    found = scan(root)
    assert set(found.files) == {"a.md", "sub/b.md"}
    assert not found.indexes
    names = ["MEMORY.md", "broken.md", "link.md", "loop.md", "team"]
    assert codes(found) == [("symlink", name) for name in names]
    assert found.skipped == {"sub/up": "symlink", "team": "symlink", "text": "symlink"}
    (tmp_path / "way").symlink_to("store")
    assert set(scan(tmp_path / "way").files) == set(found.files)  # the store's own folder may be reached by one


def test_no_regular_files(tmp_path: Path) -> None:
    """Pipes and sockets with a memory's name and folders with an index's are reported; nothing waits for them."""
    os.mkfifo(tmp_path / "pipe.md")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.md"))
    fill(tmp_path, ["MEMORY.md/inner.md", "folder.md/inner.md"])
    found = scan(tmp_path)
    assert codes(found) == [("not-regular", "MEMORY.md"), ("not-regular", "pipe.md"), ("not-regular", "socket.md")]
    assert set(found.files) == {"MEMORY.md/inner.md", "folder.md/inner.md"}


def test_huge_files(tmp_path: Path) -> None:
    """A file at the limit is a memory, a larger one is reported and not known to be gone."""
    fill(tmp_path, ["edge.md", "huge.md"])
    os.truncate(tmp_path / "edge.md", MAX_FILE_BYTES)
    os.truncate(tmp_path / "huge.md", MAX_FILE_BYTES + 1)
    found = scan(tmp_path)
    assert list(found.files) == ["edge.md"]
    assert codes(found) == [("too-large", "huge.md")]
    assert not found.covers("huge.md")
    assert found.covers("gone.md")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A name that is not UTF-8 is reported in a form that can be printed, file or folder."""
    try:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.md", "wb"):
            pass
        os.mkdir(os.fsencode(tmp_path) + b"/dir\xff")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    fill(tmp_path, ["café.md"])
    found = scan(tmp_path)
    assert list(found.files) == ["café.md"]
    assert codes(found) == [("name", "caf\\xe9.md"), ("name", "dir\\xff")]
    for problem in found.problems:
        problem.message.encode()


def test_names_that_collide(tmp_path: Path) -> None:
    """Names that differ only in case or in the accents' encoding are all listed, and reported once a group."""
    nfc, nfd = unicodedata.normalize("NFC", "é.md"), unicodedata.normalize("NFD", "é.md")
    fill(tmp_path, ["a.md", "A.md", "a.MD", "b.md", "sub/a.md", "Sub/A.md", nfc, nfd, "straße.md", "STRASSE.md"])
    if len(os.listdir(tmp_path)) < 10:
        pytest.skip("this file system takes them for one")
    found = scan(tmp_path)
    assert len(found.files) == 10
    assert codes(found) == [("name-collision", name) for name in ("A.md", "STRASSE.md", "Sub/A.md", nfd)]


def test_what_cannot_be_listed_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be read is reported, and nothing below it counts as gone; a vanished one is no problem."""
    fill(tmp_path, ["a.md", "gone.md", "sub/b.md", "subway/c.md", "went/d.md"])
    honest = module._list

    def refuse(folder: str) -> list[os.DirEntry[str]]:
        if folder.endswith("/sub"):
            raise PermissionError(13, "Permission denied")
        if folder.endswith("/went"):
            raise FileNotFoundError
        entries = honest(folder)
        (tmp_path / "gone.md").unlink(missing_ok=True)
        return entries

    monkeypatch.setattr(module, "_list", refuse)
    found = scan(tmp_path)
    assert set(found.files) == {"a.md", "subway/c.md"}
    assert codes(found) == [("unreadable", "sub")]
    assert "Permission denied" in found.problems[0].message
    assert found.unseen == ("sub",)
    assert [path for path in ("sub", "sub/b.md", "subway/x.md", "went/d.md") if found.covers(path)] == [
        "subway/x.md",
        "went/d.md",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anywhere")
def test_rights(tmp_path: Path) -> None:
    """A folder without rights for us is reported, whether its names or only their status are withheld."""
    fill(tmp_path, ["closed/a.md", "names/b.md"])
    (tmp_path / "closed").chmod(0)
    (tmp_path / "names").chmod(0o400)
    try:
        assert codes(scan(tmp_path)) == [("unreadable", "closed"), ("unreadable", "names/b.md")]
    finally:
        (tmp_path / "closed").chmod(0o700)
        (tmp_path / "names").chmod(0o700)


def test_depth(tmp_path: Path) -> None:
    """Folders are entered down to the limit; a deeper one is reported, and nothing below it counts as gone."""
    deep = "/".join("d" * MAX_DEPTH)
    fill(tmp_path, [f"{deep}/in.md", f"{deep}/e/out.md"])
    found = scan(tmp_path)
    assert list(found.files) == [f"{deep}/in.md"]
    assert codes(found) == [("too-deep", f"{deep}/e")]
    assert not found.covers(f"{deep}/e/out.md")


def test_limit(tmp_path: Path) -> None:
    """With more files than the limit the scan stops, says so, and claims of nothing that it is gone."""
    fill(tmp_path, [f"{number}.md" for number in range(5)])
    assert scan(tmp_path, limit=5).covers("gone.md")
    found = scan(tmp_path, limit=4)
    assert list(found.files) == ["0.md", "1.md", "2.md", "3.md"]
    assert codes(found) == [("too-many", "")]
    assert not found.covers("gone.md")


def test_a_root_that_is_none(tmp_path: Path) -> None:
    """A folder that is missing, or a file in its place, is an error of ours."""
    with pytest.raises(NotFoundError):
        scan(tmp_path / "none")
    fill(tmp_path, ["file"])
    with pytest.raises(LaminaError):
        scan(tmp_path / "file")


def test_order(tmp_path: Path) -> None:
    """The order is that of names, a folder's own files before those of its subfolders, however they were made."""
    paths = ["a.md", "c.md", "b/a.md", "b/c/a.md", "d/a.md"]
    fill(tmp_path, reversed(paths))
    assert list(scan(tmp_path).files) == paths


names = st.sampled_from(["a.md", "b.md", "MEMORY.md", ".x.md", "c.txt", "sub", "team", "node_modules", "d.md~"])
trees = st.recursive(st.just(None), lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=12)


@given(tree=trees)
def test_any_tree(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object] | None) -> None:
    """Every markdown file below no hidden or tool folder is found exactly once, in files or in indexes."""
    root = tmp_path_factory.mktemp("tree")
    expected = set()

    def build(place: Path, inner: object, hidden: bool) -> None:
        if not isinstance(inner, dict):
            place.write_bytes(b"")
            if place.suffix == ".md" and not hidden:
                expected.add(place.relative_to(root).as_posix())
            return
        place.mkdir(exist_ok=True)
        for name, below in inner.items():
            build(place / name, below, hidden or name[0] == "." or name == "node_modules")

    build(root, tree or {}, hidden=False)
    found = scan(root)
    assert {*found.files, *found.indexes} == expected
    assert all((path.rpartition("/")[2] == "MEMORY.md") == (path in found.indexes) for path in expected)
    assert found == scan(root)


_AUDITED = """
import sys
from lamina.folder.scan import scan
scan(sys.argv[2])
opened = []
sys.addaudithook(lambda event, args: opened.append(args) if event == "open" else None)
found = scan(sys.argv[1])
print(len(found.files), len(opened))
"""


def test_five_thousand_files(tmp_path: Path) -> None:
    """Five thousand files are found with none of them opened, in the order of the time that their status costs."""
    fill(tmp_path / "store", (f"{('', 'team/', 'sub/')[number % 3]}project_{number:05}.md" for number in range(5000)))
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-c", _AUDITED, str(tmp_path / "store"), str(tmp_path / "empty")]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["5000", "0"]

    def bare() -> None:
        for place, _, _ in os.walk(tmp_path / "store"):
            with os.scandir(place) as entries:
                for entry in entries:
                    entry.stat(follow_symlinks=False)

    times: dict[str, float] = {}
    for _ in range(5):
        for name, work in (("bare", bare), ("scan", lambda: scan(tmp_path / "store"))):
            start = time.perf_counter()
            work()
            times[name] = min(times.get(name, 9.0), time.perf_counter() - start)
    assert times["scan"] < 4 * times["bare"]
