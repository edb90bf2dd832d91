"""The ways of keeping an array that ``lamina bench states`` compares, each with the same few operations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Icechunk", "Lamina", "LaminaUpdate", "Method", "Npy", "installed", "methods"]

Array = npt.NDArray[np.float32]
JSON_SHARE = 20
"""JSON gets one row of so many; its times and sizes are multiplied, and the table says so."""


class Method:
    """One way of keeping an array in a folder."""

    name = ""
    needs: str | None = None
    """A package that must be installed."""
    share = 1
    keeps_old = False
    """Whether a commit leaves the version before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, array: Array) -> None:
        """Keep an array, the first time or again."""
        raise NotImplementedError

    def update(self, array: Array, rows: npt.NDArray[np.int64]) -> None:
        """Keep an array of which these rows changed since the last time."""
        del rows
        self.save(array)

    def open(self) -> Any:
        """Open what was kept."""
        raise NotImplementedError

    def rows(self, opened: Any, numbers: npt.NDArray[np.int64]) -> Array:
        """Read some rows."""
        return np.asarray(opened[numbers])

    def load(self, opened: Any) -> Array:
        """Read all."""
        return np.asarray(opened)

    def close(self) -> None:
        """Let go of what is open."""

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def sync(self) -> None:
        """Fsync every file; what a method that does not do so itself would have to add."""
        for path in [*self.folder.rglob("*"), self.folder]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def drop_cache(self) -> None:
        """Let the system forget the files, so that the next read is cold."""
        for path in self.folder.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)


class Json(Method):
    """One JSON file."""

    name = "single JSON"
    share = JSON_SHARE

    def save(self, array: Array) -> None:
        """Write it anew."""
        shape = list(array.shape)
        document = {"shapes": {"w": shape}, "w": array.reshape(-1).tolist()}
        (self.folder / "memory_state.json").write_text(json.dumps(document), encoding="ascii")

    def open(self) -> Any:
        """Parse it, for there is no other way."""
        document = json.loads((self.folder / "memory_state.json").read_text(encoding="ascii"))
        return np.array(document["w"], np.float32).reshape(document["shapes"]["w"])


class Npy(Method):
    """``np.save`` and a memory map."""

    name = "np.save"

    def save(self, array: Array) -> None:
        """Write it anew, as a new file."""
        (self.folder / "w.npy").unlink(missing_ok=True)
        np.save(self.folder / "w.npy", array)

    def open(self) -> Any:
        """Map it."""
        return np.load(self.folder / "w.npy", mmap_mode="r")

    def load(self, opened: Any) -> Array:
        """Copy the map."""
        return np.array(opened)


class Protobuf(Method):
    """Shards of a thousand rows, each a protobuf ``BytesValue``."""

    name = "protobuf shards"
    needs = "google.protobuf"

    def save(self, array: Array) -> None:
        """Write every shard."""
        from google.protobuf.wrappers_pb2 import BytesValue

        for start in range(0, len(array), 1000):
            data = BytesValue(value=array[start : start + 1000].tobytes()).SerializeToString()
            (self.folder / f"w_shard_{start}.pb").write_bytes(data)
        self.shape = array.shape

    def update(self, array: Array, rows: npt.NDArray[np.int64]) -> None:
        """Write the shards that changed."""
        from google.protobuf.wrappers_pb2 import BytesValue

        for start in np.unique(rows // 1000) * 1000:
            data = BytesValue(value=array[start : start + 1000].tobytes()).SerializeToString()
            (self.folder / f"w_shard_{start}.pb").write_bytes(data)

    def open(self) -> Any:
        """Nothing is opened yet."""
        return self

    def _shard(self, number: int) -> Array:
        from google.protobuf.wrappers_pb2 import BytesValue

        message = BytesValue.FromString((self.folder / f"w_shard_{number * 1000}.pb").read_bytes())
        return np.frombuffer(message.value, np.float32).reshape(-1, *self.shape[1:])

    def rows(self, opened: Any, numbers: npt.NDArray[np.int64]) -> Array:
        """Read the shards that the rows are in."""
        del opened
        out = np.empty((len(numbers), *self.shape[1:]), np.float32)
        for shard in np.unique(numbers // 1000).tolist():
            places = np.flatnonzero(numbers // 1000 == shard)
            out[places] = self._shard(shard)[numbers[places] - shard * 1000]
        return out

    def load(self, opened: Any) -> Array:
        """Read every shard."""
        del opened
        return np.concatenate([self._shard(number) for number in range(-(-self.shape[0] // 1000))])


class Safetensors(Method):
    """One safetensors file."""

    name = "safetensors"
    needs = "safetensors"

    def save(self, array: Array) -> None:
        """Write it anew."""
        from safetensors.numpy import save_file

        save_file({"w": array}, self.folder / "w.safetensors")

    def open(self) -> Any:
        """Read its header."""
        from safetensors import safe_open

        opened: Any = safe_open
        return opened(self.folder / "w.safetensors", framework="np")

    def rows(self, opened: Any, numbers: npt.NDArray[np.int64]) -> Array:
        """Read slices, one a row."""
        part = opened.get_slice("w")
        return np.stack([part[int(number) : int(number) + 1][0] for number in numbers])

    def load(self, opened: Any) -> Array:
        """Read the tensor."""
        return cast("Array", opened.get_tensor("w"))


class Zarr(Method):
    """A zarr v3 array in chunks of 4,096 rows, on a folder."""

    name = "zarr"
    needs = "zarr"

    def save(self, array: Array) -> None:
        """Write every chunk."""
        self._make(str(self.folder / "w.zarr"), array)[:] = array

    def update(self, array: Array, rows: npt.NDArray[np.int64]) -> None:
        """Write the rows; the chunks that they are in are rewritten."""
        _set_rows(self.open_writable(), array, rows)

    def open(self) -> Any:
        """Read the metadata."""
        return self.open_writable()

    def open_writable(self) -> Any:
        """Open it."""
        import zarr

        return zarr.open_array(str(self.folder / "w.zarr"))

    def rows(self, opened: Any, numbers: npt.NDArray[np.int64]) -> Array:
        """Read rows by their numbers."""
        return np.asarray(opened.oindex[numbers] if len(numbers) > 1 else opened[int(numbers[0])][None])

    def load(self, opened: Any) -> Array:
        """Read every chunk."""
        return np.asarray(opened[:])

    @staticmethod
    def _make(store: Any, array: Array, **options: Any) -> Any:
        import zarr

        chunks = (min(4096, len(array)), *array.shape[1:])
        return zarr.create_array(
            store, shape=array.shape, dtype=array.dtype, chunks=chunks, overwrite=True, compressors=None, **options
        )


class Icechunk(Zarr):
    """The same array in an Icechunk repository: a commit a time."""

    name = "icechunk"
    needs = "icechunk"
    keeps_old = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import icechunk

        icechunk.set_logs_filter("error")  # its warnings go to standard output, where the result is
        self._repository: Any = icechunk.Repository.create(icechunk.local_filesystem_storage(str(folder / "repo")))

    def save(self, array: Array) -> None:
        """Write every chunk, and commit."""
        session = self._repository.writable_session("main")
        self._make(session.store, array, name="w")[:] = array
        session.commit("saved")

    def update(self, array: Array, rows: npt.NDArray[np.int64]) -> None:
        """Write the rows, and commit."""
        import zarr

        session = self._repository.writable_session("main")
        _set_rows(zarr.open_array(session.store, path="w"), array, rows)
        session.commit("changed")

    def open(self) -> Any:
        """Open the newest version."""
        import zarr

        return zarr.open_array(self._repository.readonly_session("main").store, path="w", mode="r")


def _set_rows(target: Any, array: Array, rows: npt.NDArray[np.int64]) -> None:
    if len(rows) == rows[-1] - rows[0] + 1:
        target[int(rows[0]) : int(rows[-1]) + 1] = array[rows]
    else:
        target.oindex[rows] = array[rows]


class Lamina(Method):
    """A state of a store."""

    name = "lamina"
    keeps_old = True
    durability: Literal["full", "relaxed"] = "full"
    precision: str | None = None
    by_update = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import lamina

        self._store = lamina.open(folder / "store", embedder="none", durability=self.durability)

    def save(self, array: Array) -> None:
        """Commit it."""
        self._store.states.commit("w", {"w": array}, precision=self.precision)

    def update(self, array: Array, rows: npt.NDArray[np.int64]) -> None:
        """Commit the whole again, or only the rows."""
        if self.by_update:
            self._store.states.update("w", {"w": (rows, array[rows])})
        else:
            self.save(array)

    def open(self) -> Any:
        """Open the newest version."""
        return self._store.states.open("w")["w"]

    def rows(self, opened: Any, numbers: npt.NDArray[np.int64]) -> Array:
        """Read rows, verified."""
        return np.asarray(opened[numbers] if len(numbers) > 1 else opened[int(numbers[0])][None])

    def load(self, opened: Any) -> Array:
        """Read all, verified."""
        return np.asarray(opened.read())

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def size(self) -> int:
        """Bytes of the engine's folder, its log folded into the catalog first."""
        self._store.states.context.catalog.pool.checkpoint(truncate=True)
        return super().size()


class LaminaUpdate(Lamina):
    """The same, told which rows changed."""

    name = "lamina, update"
    by_update = True


class LaminaRelaxed(Lamina):
    """The same, without waiting for the disk."""

    name = "lamina, relaxed"
    durability = "relaxed"


class LaminaHalf(Lamina):
    """The same, in float16."""

    name = "lamina, float16"
    precision = "float16"


class LaminaInt8(Lamina):
    """The same, in int8 with a scale a row."""

    name = "lamina, int8"
    precision = "int8"


class LaminaDelta(Lamina):
    """The same, read through eight patches of 1 % of the rows each, as after so many updates."""

    name = "lamina, delta"

    def save(self, array: Array) -> None:
        """Commit it; the first time, update eight times as well."""
        fresh = not self._store.states.list()
        super().save(array)
        rng = np.random.default_rng(8)
        for _ in range(8 if fresh else 0):
            rows = np.sort(rng.choice(len(array), max(1, len(array) // 100), replace=False))
            self._store.states.update("w", {"w": (rows, array[rows])})


class LaminaTiers(Lamina):
    """The same, moved to the cold tier and restored from there."""

    name = "lamina, tiers"

    def save(self, array: Array) -> None:
        """Commit it; the first time, put something else in its place, let it go cold, and restore it."""
        fresh = not self._store.states.list()
        super().save(array)
        if fresh:
            version = self._store.states.log("w", limit=1)[0]
            self._store.states.commit("w", {"w": np.zeros_like(array)})
            self._store.optimize()
            self._store.states.restore("w", version)


def methods() -> list[tuple[str, Callable[[Path], Method], str | None, int]]:
    """Return name, maker, the package that is missing (or None) and share of the rows of each method."""
    kinds: list[type[Method]] = [
        Json, Protobuf, Npy, Safetensors, Zarr, Icechunk, Lamina, LaminaUpdate, LaminaRelaxed, LaminaHalf, LaminaInt8,
        LaminaDelta, LaminaTiers,
    ]  # fmt: skip
    return [(kind.name, kind, None if _there(kind.needs) else kind.needs, kind.share) for kind in kinds]


def installed(kind: type[Method]) -> bool:
    """Whether the package that a method needs is installed."""
    return _there(kind.needs)


def _there(package: str | None) -> bool:
    try:
        return package is None or find_spec(package) is not None
    except ModuleNotFoundError:  # the package above it is not there
        return False
