"""A model of a disk that forgets what was not synced.

It promises no more than POSIX does: an fsync of a file keeps its bytes, an fsync of a folder keeps its names, a rename
is atomic, and everything else may be kept, lost or torn, in any order, until then.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

__all__ = ["SECTOR", "Disk", "Loss"]

SECTOR = 512
"""Bytes that a disk writes as one; a write is torn between them and never inside one."""

Loss = Literal["all", "nothing", "random"]
"""How much of what was not synced goes: all of it, nothing (a killed process), or a part that the seed decides."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Write:
    offset: int
    data: bytes


@dataclass(slots=True)
class _Truncate:
    size: int


@dataclass(slots=True, eq=False)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[_Write | _Truncate] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Folder:
    durable: dict[str, _Node] = field(default_factory=dict)
    current: dict[str, _Node] = field(default_factory=dict)
    pending: list[dict[str, _Node | None]] = field(default_factory=list)
    """Each change of names: what a name means from then on (None: nothing); one change is atomic."""

    def change(self, names: dict[str, _Node | None]) -> None:
        self.pending.append(names)
        _apply_names(self.current, names)


_Node = _File | _Folder


class Disk:
    """Files and folders under one root, each as what is durable plus what is pending. All paths are relative to it."""

    def __init__(self) -> None:
        self.root = _Folder()

    def load(self, folder: str, keep: Callable[[str], bool]) -> None:
        """Take the content of a real folder as durable; files that ``keep`` denies are left out."""
        for place, folders, files in os.walk(folder):
            here = self._folder(os.path.relpath(place, folder))
            for name in folders:
                here.durable[name] = here.current[name] = _Folder()
            for name in files:
                path = os.path.join(place, name)
                if keep(path) and os.path.isfile(path):
                    with open(path, "rb") as file:
                        here.durable[name] = here.current[name] = _File(bytearray(file.read()))

    def make(self, path: str, *, folder: bool = False) -> None:
        """Make an empty file or folder, its name pending; nothing where the name is taken, as the real call fails."""
        parent, name = self._place(path)
        if name not in parent.current:
            parent.change({name: _Folder() if folder else _File()})

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Write to a file."""
        self._file(path).pending.append(_Write(offset, data))

    def truncate(self, path: str, size: int) -> None:
        """Set a file's length."""
        self._file(path).pending.append(_Truncate(size))

    def sync(self, path: str) -> None:
        """Make a file's bytes durable, or a folder's names."""
        node = self._find(path)
        if isinstance(node, _Folder):
            node.durable, node.pending = dict(node.current), []
        else:
            for change in node.pending:
                _apply(node.durable, change)
            node.pending = []

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, atomically within one folder."""
        source, name = self._place(old)
        target, other = self._place(new)
        node = source.current[name]
        if source is target:
            source.change({name: None, other: node})
        else:
            target.change({other: node})
            source.change({name: None})

    def exchange(self, one: str, other: str) -> None:
        """Let two names of one folder change places, as one change."""
        folder, first = self._place(one)
        second = other.rpartition("/")[2]
        folder.change({first: folder.current[second], second: folder.current[first]})

    def link(self, old: str, new: str) -> None:
        """Give a file a second name; nothing where that is taken."""
        target, other = self._place(new)
        if other not in target.current:
            target.change({other: self._find(old)})

    def unlink(self, path: str) -> None:
        """Take a name away."""
        parent, name = self._place(path)
        if name in parent.current:
            parent.change({name: None})

    def materialise(self, folder: str, rng: random.Random, loss: Loss) -> None:
        """Write what may be left after a power loss into a real, empty folder. The model itself is not changed."""
        self._materialise(self.root, folder, rng, loss, {})

    def _materialise(self, node: _Folder, folder: str, rng: random.Random, loss: Loss, done: dict[int, bytes]) -> None:
        names = dict(node.durable)
        for change in _survivors(node.pending, rng, loss):
            _apply_names(names, change)
        for name, child in sorted(names.items()):
            path = os.path.join(folder, name)
            if isinstance(child, _Folder):
                os.mkdir(path, 0o700)
                self._materialise(child, path, rng, loss, done)
                continue
            if id(child) not in done:  # two names of one file show the same bytes
                done[id(child)] = _content(child, rng, loss)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(done[id(child)])

    def _find(self, path: str) -> _Node:
        node: _Node = self.root
        for name in path.split("/"):
            if name in ("", "."):
                continue
            if isinstance(node, _File):
                raise KeyError(path)
            node = node.current[name]
        return node

    def _folder(self, path: str) -> _Folder:
        node = self._find(path)
        if isinstance(node, _File):
            raise KeyError(path)
        return node

    def _file(self, path: str) -> _File:
        node = self._find(path)
        if isinstance(node, _Folder):
            raise KeyError(path)
        return node

    def _place(self, path: str) -> tuple[_Folder, str]:
        parent, _, name = path.rpartition("/")
        return self._folder(parent), name


def _apply(content: bytearray, change: _Write | _Truncate) -> None:
    if isinstance(change, _Truncate):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def _apply_names(names: dict[str, _Node], change: dict[str, _Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _survivors(pending: list[_T], rng: random.Random, loss: Loss) -> list[_T]:
    """Choose which pending changes survive; each file and folder has its own luck, as disks reorder between them."""
    if loss == "nothing":
        return pending
    if loss == "all" or not pending:
        return []
    luck = rng.random()
    if luck < 0.2:
        return []
    if luck < 0.35:
        return pending
    if luck < 0.65:
        return pending[: rng.randint(0, len(pending))]
    return [change for change in pending if rng.random() < 0.5]


def _content(file: _File, rng: random.Random, loss: Loss) -> bytes:
    content = bytearray(file.durable)
    for change in _survivors(file.pending, rng, loss):
        if loss == "random" and isinstance(change, _Write) and rng.random() < 0.3:
            _tear(content, change, rng)
        else:
            _apply(content, change)
    return bytes(content)


def _tear(content: bytearray, change: _Write, rng: random.Random) -> None:
    """Write only some sectors; now and then one comes back as garbage, within the bytes that were being written."""
    start, stop = change.offset, change.offset + len(change.data)
    while start < stop:
        end = min(stop, (start // SECTOR + 1) * SECTOR)
        luck = rng.random()
        if luck < 0.55:
            _apply(content, _Write(start, change.data[start - change.offset : end - change.offset]))
        elif luck < 0.65:
            _apply(content, _Write(start, rng.randbytes(end - start)))
        start = end
