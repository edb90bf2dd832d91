"""Every way through which the public face writes, each as a workload that the fault rig can break."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.errors import AlreadyExistsError, LaminaError
from lamina.store import Store
from lamina.store import open as open_store
from lamina.store import repair as repair_store
from lamina.testing._faults import Acknowledge, FaultOutcome
from lamina.testing._folder_invariants import check_folder
from lamina.testing._ledger import Ledger
from lamina.testing._workloads import FILE_OPERATIONS, FileScribe, Scribe

__all__ = ["FILE_PATHS", "WRITE_PATHS", "PathRig", "TinyEmbedder"]

BACKUP = "backup"
"""Where, beside the store, the backup path writes."""


class TinyEmbedder:
    """Vectors that cost nothing: counts of letters by place in the alphabet, of length one."""

    dim = 8
    cheap = True

    def __init__(self, name: str = "tiny/8") -> None:
        self.name = name

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row a text."""
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        """Return the vector of a text."""
        counts = np.bincount(np.frombuffer(text.encode("utf-8"), dtype=np.uint8) % self.dim, minlength=self.dim)
        row = counts.astype(np.float32)
        norm = float(np.linalg.norm(row))
        return row / norm if norm else row


def _create(folder: Path, acknowledge: Acknowledge) -> None:
    with open_store(folder / "store", embedder=TinyEmbedder()) as store:
        Scribe(store, acknowledge, label="created").add()


def _step(operation: str) -> Callable[[Path, Acknowledge], None]:
    def work(folder: Path, acknowledge: Acknowledge) -> None:
        with open_store(folder / "store", embedder=TinyEmbedder()) as store:
            mine = [memory.id for memory in store.memories.list(limit=None)]
            scribe = Scribe(store, acknowledge, label=operation, mine=mine)
            scribe.step(operation)
            scribe.step(operation)

    return work


def _upkeep(act: Callable[[Store, Path], object]) -> Callable[[Path, Acknowledge], None]:
    def work(folder: Path, acknowledge: Acknowledge) -> None:
        with open_store(folder / "store", embedder=TinyEmbedder()) as store:
            act(store, folder)
        acknowledge({"begin": 0, "op": "upkeep"})
        acknowledge({"done": 0})

    return work


def _reindex(folder: Path, acknowledge: Acknowledge) -> None:
    with open_store(folder / "store", embedder=TinyEmbedder("other/8")) as store:
        store.reindex()
    acknowledge({"begin": 0, "op": "upkeep"})
    acknowledge({"done": 0})


def _salvage(folder: Path, acknowledge: Acknowledge) -> None:
    repair_store(folder / "store")
    acknowledge({"begin": 0, "op": "upkeep"})
    acknowledge({"done": 0})


WRITE_PATHS: dict[str, Callable[[Path, Acknowledge], None]] = {
    "create": _create,
    "add": _step("add"),
    "add_many": _step("add_many"),
    "update": _step("update"),
    "delete": _step("delete"),
    "purge": _step("purge"),
    "supersede": _step("supersede"),
    "feedback": _step("feedback"),
    "backup": _upkeep(lambda store, folder: store.backup(folder / BACKUP)),
    "reindex": _reindex,
    "optimize": _upkeep(lambda store, _: store.optimize()),
    "repair": _upkeep(lambda store, _: store.repair()),
    "salvage": _salvage,
}
"""Each write path of the public face; ``salvage`` is :func:`lamina.repair` of a store whose text index is damaged."""


def _file_step(operation: str) -> Callable[[Path, Acknowledge], None]:
    def work(folder: Path, acknowledge: Acknowledge) -> None:
        with open_store(folder / "store", embedder=TinyEmbedder()) as store:
            mine = sorted(memory.id for memory in store.memories.list(limit=None))
            FileScribe(store, acknowledge, label=operation, mine=mine).step(operation)

    return work


def _follow(folder: Path, acknowledge: Acknowledge) -> None:
    """Take over what people did with their own programs, which is for the ledger to know: nothing that it looks at."""
    with open_store(folder / "store", embedder=TinyEmbedder()) as store:
        files = sorted(memory.path for memory in store.memories.list(limit=None) if memory.path is not None)
        for path in files:
            place = folder / "store" / path
            place.write_bytes(place.read_bytes().replace(b"\n---\n", b"\n# seen by ana\n---\n", 1))
        (folder / "store" / "MEMORY.md").unlink(missing_ok=True)
        store.memories.sync()
        store.memories.fix_index()
    acknowledge({"begin": 0, "op": "upkeep"})
    acknowledge({"done": 0})


FILE_PATHS: dict[str, Callable[[Path, Acknowledge], None]] = {
    **{f"file {operation}": _file_step(operation) for operation in FILE_OPERATIONS},
    "file sync": _follow,
}
"""Each way through which memories that are files are written, and the way by which the catalog follows them."""


@dataclass(slots=True)
class PathRig:
    """Prepares folders for a write path, and judges what a fault left of them.

    Args:
        path: One of :data:`WRITE_PATHS` or :data:`FILE_PATHS`.
        scratch: An empty folder of the rig's own.
    """

    path: str
    scratch: Path
    _ledger: Ledger | None = None

    def make_folder(self, name: str) -> Path:
        """Return a fresh folder with the store that the path expects."""
        folder = self.scratch / name
        folder.mkdir(parents=True)
        if self.path != "create":
            shutil.copytree(self._template() / "store", folder / "store")
        return folder

    def check(self, outcome: FaultOutcome) -> None:
        """Check that all that was acknowledged is there, nothing is there in part, and the store works on.

        Raises:
            AssertionError: It is not so.
        """
        folder = outcome.folder
        ledger = Ledger.replayed(outcome.acknowledged, self._ledger)
        if self.path == "salvage" and outcome.error is not None:
            repair_store(folder / "store")  # an interrupted repair is repeated, and loses nothing
        files = self.path in FILE_PATHS
        loose = 5 if self.path == "file sync" else 0  # people took an index away, and no program puts it back unasked
        ledger.check(
            folder / "store",
            embedder=TinyEmbedder(),
            level="full" if files else "structure",
            # a draft whose removal failed is left to `lamina gc`
            further=(lambda store: check_folder(store, left=1, loose=loose)) if files else None,
        )
        with open_store(folder / "store", embedder=TinyEmbedder()) as store:  # it takes the next write
            kept = store.memories.add("written after the fault", type="project" if files else "record")
            assert store.memories.get(kept.id).text == "written after the fault"
            store.memories.delete(kept.id, purge=True)
        if self.path == "backup":
            self._check_backup(folder, ledger, finished=outcome.error is None)
        shutil.rmtree(folder)

    def _check_backup(self, folder: Path, ledger: Ledger, *, finished: bool) -> None:
        """A finished backup is whole; an unfinished one is no store, or a whole one, and never a part of one."""
        copy = folder / BACKUP
        if finished:
            ledger.copy().check(copy)
            return
        if (copy / ".lamina" / "catalog.db").exists():
            ledger.copy().check(copy)
        with open_store(folder / "store", embedder="none") as store:
            try:
                store.backup(copy)
            except AlreadyExistsError:
                shutil.rmtree(copy)  # what the hint says
                store.backup(copy)
        ledger.copy().check(copy)

    def _template(self) -> Path:
        folder = self.scratch / "template"
        if self._ledger is None:
            said: list[Any] = []
            with open_store(folder / "store", embedder=TinyEmbedder()) as store:
                rows, files = (made(store, said.append, label="template") for made in (Scribe, FileScribe))
                if self.path in FILE_PATHS:
                    for step in ("add", "add", "add", "add", "add", "to_row", "supersede"):
                        files.step(step)
                else:
                    for step in ("add", "add", "add", "add", "add", "add", "update", "delete"):
                        rows.step(step)
            self._ledger = Ledger.replayed(said)
            if self.path == "salvage":
                _damage_text_index(folder / "store" / ".lamina" / "catalog.db")
        return folder


def _damage_text_index(path: Path) -> None:
    """Break the text index's own table, which repair can make anew from the memories."""
    import apsw

    db = apsw.Connection(str(path))
    try:
        root: Any = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'text_now_data'").fetchall()[0][0]
        size: Any = db.execute("PRAGMA page_size").fetchall()[0][0]
    except apsw.Error as error:  # pragma: no cover - the template is healthy
        raise LaminaError(f"The template cannot be damaged: {error}.") from error
    finally:
        db.close()
    with open(path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
