"""``lamina watch``: a sync whenever something changes, however editors write."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.cli import watching

_WAIT = 20.0


class Watcher:
    """``lamina watch`` in a process of its own; ``told`` has the documents that it printed."""

    def __init__(self, place: Path, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lamina.cli", "--store", str(place), "watch", *options],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def until(self, kind: str, wanted: Any) -> dict[str, Any]:
        """The first document that names a file in one of its lists."""
        end = time.monotonic() + _WAIT
        seen = []
        while time.monotonic() < end:
            try:
                document: dict[str, Any] = json.loads(self.lines.get(timeout=0.2))
            except queue.Empty:
                assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
                continue
            seen.append(document)
            if wanted in document[kind]:
                return document
        raise AssertionError(f"{kind} never had {wanted}; {seen}")

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Interrupts it; its exit code, and what it said."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Waits for its end; its exit code, and what it said."""
        code = self.process.wait(timeout=_WAIT)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


Watch = Callable[..., Watcher]


@pytest.fixture
def folder(place: Path) -> Path:
    """A store with one memory file."""
    lamina.open(place).close()
    _write(place / "here.md", "A file that is there from the beginning.")
    return place


@pytest.fixture
def watch(folder: Path) -> Iterator[Watch]:
    """Starts watchers, and ends them."""
    started: list[Watcher] = []

    def start(*options: str, **environment: str) -> Watcher:
        started.append(Watcher(folder, *(options or ("--json",)), **environment))
        return started[-1]

    yield start
    for watcher in started:
        if watcher.process.poll() is None:
            watcher.process.kill()
        watcher.process.wait()
        for stream in (watcher.process.stdout, watcher.process.stderr):
            assert stream is not None
            stream.close()


def _write(path: Path, body: str) -> None:
    path.write_text(f"---\nname: {path.stem}\ntype: project\n---\n\n{body}\n", encoding="utf-8")


def test_each_change_is_taken_over_as_it_happens(folder: Path, watch: Watch) -> None:
    """New, changed by truncation, changed by rename, renamed and deleted; then Ctrl-C ends it with 130."""
    watcher = watch()
    watcher.until("new", "here.md")
    _write(folder / "new.md", "Something new.")
    watcher.until("new", "new.md")
    with (folder / "new.md").open("r+", encoding="utf-8") as file:  # as nano writes
        text = file.read()
        file.seek(0)
        file.truncate()
        file.flush()
        time.sleep(0.05)
        file.write(text.replace("Something", "Another thing"))
    watcher.until("changed", "new.md")
    swap = folder / ".new.md.swp"  # as vim does: a swap file, the old one aside, the new one, the old one gone
    swap.write_bytes(b"b0VIM")
    (folder / "new.md").rename(folder / "new.md~")
    _write(folder / "new.md", "Written by rename.")
    (folder / "new.md~").unlink()
    swap.unlink()
    document = watcher.until("changed", "new.md")
    assert (document["new"], document["deleted"], document["renamed"]) == ([], [], [])
    (folder / "new.md").rename(folder / "newer.md")
    watcher.until("renamed", {"from": "new.md", "to": "newer.md"})
    (folder / "newer.md").unlink()
    watcher.until("deleted", "newer.md")
    code, said = watcher.end()
    assert code == 130
    assert "Traceback" not in said


def test_what_was_watched_is_recalled(folder: Path, watch: Watch) -> None:
    """When a line is printed, another process already recalls the change."""
    watcher = watch()
    watcher.until("new", "here.md")
    _write(folder / "port.md", "The staging database listens on 5433.")
    watcher.until("new", "port.md")
    with lamina.open(folder, read_only=True) as store:
        assert store.memories.recall("staging database")[0].memory.path == "port.md"


def test_problems_are_told_when_they_come_and_go(folder: Path, watch: Watch) -> None:
    """A conflict is told once when it appears; its file is new when it is mended."""
    watcher = watch()
    watcher.until("new", "here.md")
    (folder / "fought.md").write_text("<<<<<<< a\n1\n=======\n2\n>>>>>>> b\n")
    end = time.monotonic() + _WAIT
    while time.monotonic() < end:
        if [problem["code"] for problem in json.loads(watcher.lines.get(timeout=_WAIT))["problems"]]:
            break
    _write(folder / "fought.md", "Mended.")
    assert watcher.until("new", "fought.md")["ok"] is True


def test_polling_where_the_system_cannot_watch(folder: Path, watch: Watch) -> None:
    """Polling finds the same changes."""
    watcher = watch("--json", WATCHFILES_FORCE_POLLING="1")
    watcher.until("new", "here.md")
    _write(folder / "new.md", "Something new.")
    watcher.until("new", "new.md")


def test_the_folder_is_removed(folder: Path, watch: Watch) -> None:
    """A folder that goes away under it is an error that names it, and ends with 3."""
    watcher = watch()
    watcher.until("new", "here.md")
    folder.rename(folder.with_name("elsewhere"))
    code, said = watcher.ended()
    assert code == 3
    assert "was removed, renamed or replaced" in said
    shutil.rmtree(folder.with_name("elsewhere"))


def test_for_a_time(folder: Path, watch: Watch) -> None:
    """--for ends it with 0; the words for people name the folder and the changes."""
    watcher = watch("--for", "1")
    code, said = watcher.ended()
    assert code == 0
    assert f"watching {folder}: 1 memory file" in said
    assert watcher.lines.get(timeout=_WAIT) == "new      here.md\n"


# --- the loop itself -------------------------------------------------------------------------------------------------


def test_no_room_for_a_watch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no watch left, it is said, and polling goes on."""
    import watchfiles

    asked: list[bool | None] = []

    def no_room(*_: Any, force_polling: bool | None, **__: Any) -> Iterator[set[Any]]:
        asked.append(force_polling)
        if not force_polling:
            raise OSError(28, "No space left on device")
        yield set()

    monkeypatch.setattr(watchfiles, "watch", no_room)
    said: list[str] = []
    with lamina.open(folder) as store:
        reports = list(watching.watch(store, tell=said.append))
    assert asked == [None, True]
    assert len(reports) == 1
    assert "No space left" in said[0]


def test_a_busy_folder_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that had to wait too long is said and repeated, and the watch goes on."""
    monkeypatch.setattr(watching, "RETRY_S", 0.0)
    stop = threading.Event()
    said: list[str] = []
    with lamina.open(folder) as store:
        sync = store.memories.sync
        answers = [lamina.LockedError("Someone keeps the folder."), None]

        def busy() -> lamina.SyncReport:
            error = answers.pop(0) if answers else None
            if error is not None:
                raise error
            return sync()

        monkeypatch.setattr(store.memories, "sync", busy)
        for report in watching.watch(store, stop=stop, tell=said.append):
            assert report.files == 1
            stop.set()
    assert said == ["Someone keeps the folder. It is tried again."]


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is an error of ours that names it."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with lamina.open(folder) as store, pytest.raises(lamina.DependencyError, match="watchfiles"):
        next(watching.watch(store))


@pytest.mark.parametrize(
    ("path", "concerns"),
    [
        ("a.md", True),
        ("team/a.md", True),
        ("notes", True),
        ("", True),
        (".lamina/catalog.db-wal", False),
        (".git/index", False),
        ("team/.a.md.swp", False),
        ("a.md~", False),
    ],
)
def test_what_wakes_it(path: str, concerns: bool) -> None:
    """The engine's own writes, git's and swap files wake nobody."""
    top = os.path.join(os.sep, "store")
    assert watching._concerns(top, os.path.join(top, path) if path else top) is concerns
