"""An opened version: a mapping from names to arrays that are read as far as they are asked for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from lamina.errors import ClosedError, InvalidInputError, NotFoundError
from lamina.states.checks import check_rows, check_slice
from lamina.states.context import StatesContext
from lamina.states.layout import Layout
from lamina.states.manifest import Array, Entry, Manifest
from lamina.states.nested import unflatten
from lamina.states.scattered import read_scattered
from lamina.states.shard import Shard
from lamina.states.types import ArrayInfo, Version
from lamina.storage.frames import Bytes, Coding
from lamina.storage.objects import Stored
from lamina.storage.shards import ObjectKind

__all__ = ["State", "StateArray"]

Anything: TypeAlias = npt.NDArray[Any]

_THREADS_FROM = 8 << 20


class _Hold:
    """Holds a version's bytes for as long as its state or one of its arrays is referred to."""

    def __init__(self, context: StatesContext, id: bytes) -> None:
        self._context = context
        self._id = id
        self._pid = os.getpid()
        self._open = True
        context.lease(id)

    def check(self) -> None:
        """Raise unless the version may be read."""
        self._context.catalog.pool.check()
        if not self._open:
            raise ClosedError("This state is closed.", hint="Open it again with store.states.open().")

    def close(self) -> None:
        """Let go; again does nothing, and so does a forked child."""
        if self._open:
            self._open = False
            if os.getpid() == self._pid:
                self._context.release(self._id)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


class State(Mapping[str, "StateArray"]):
    """A version of a state, read lazily. Made by :meth:`lamina.States.open`.

    Its bytes are held until it is closed, or it and its arrays are forgotten, whatever becomes of the version.
    """

    def __init__(self, context: StatesContext, version: Version, manifest: Manifest) -> None:
        self.version = version
        """What was opened."""
        self._context = context
        self._manifest = manifest
        self._arrays: dict[str, StateArray] = {}
        self._hold = _Hold(context, bytes.fromhex(version.id))

    def __getitem__(self, name: str) -> StateArray:
        """Return an array.

        Raises:
            NotFoundError: There is none of that name.
        """
        self._hold.check()
        held = self._arrays.get(name)
        if held is None:
            array = self._manifest.arrays.get(name)
            if array is None:
                raise NotFoundError(
                    f"Version {self.version.id[:12]} of state {self.version.name!r} has no array {name!r}.",
                    hint=f"It has: {', '.join(list(self._manifest.arrays)[:20])}.",
                    array=str(name),
                )
            held = self._arrays.setdefault(name, self._array(array))
        return held

    def _array(self, array: Array) -> StateArray:
        if self.version.damaged:
            from lamina.states.damaged import DamagedArray

            return DamagedArray(self._hold, array, self._context, self.version)
        return StateArray(self._hold, array, self._context)

    def __iter__(self) -> Iterator[str]:
        return iter(self._manifest.arrays)

    def __len__(self) -> int:
        return len(self._manifest.arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._manifest.arrays

    def __repr__(self) -> str:
        return f"<lamina.State {self.version.name!r} {self.version.id[:12]}, {len(self)} arrays>"

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was committed with it."""
        return self.version.metadata

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays, read whole; each is the caller's own."""
        return {name: self[name].read() for name in self}

    def nested(self) -> dict[str, Any]:
        """Return all arrays, read whole, in dicts within dicts as they were committed: names are split at ``/``.

        Raises:
            InvalidInputError: A name is that of an array and of a dict, as ``a`` and ``a/b`` are.
        """
        return unflatten(self.arrays())

    def close(self) -> None:
        """Let go of the version's bytes. Closing twice does nothing; reading afterwards is a ``ClosedError``."""
        self._hold.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StateArray:
    """One array of a state. What it returns is always the reader's own; every byte was verified."""

    def __init__(self, hold: _Hold, array: Array, context: StatesContext) -> None:
        self._hold = hold
        self._array = array
        self._context = context
        self._layout: Layout = array.layout
        self._found: dict[bytes, Stored] | None = None
        self._shards: dict[int, Shard] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Its name in the state."""
        return self._array.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its elements."""
        return self._layout.dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self._layout.shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return int(np.prod(self._layout.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def layout(self) -> Layout:
        """How it lies in shards."""
        return self._layout

    @property
    def shard_rows(self) -> int:
        """Rows of the stretches that :meth:`shards` yields."""
        return max(1, self._layout.shard_cells // max(1, self._layout.cells_a_row))

    @property
    def entries(self) -> list[Entry]:
        """What each shard is made of."""
        return self._array.entries

    @property
    def precision(self) -> str:
        """``exact``, or what precision was traded for space when it was committed."""
        return self._layout.precision

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<lamina.StateArray {self.name!r} {self.dtype} {self.shape}>"

    def __getitem__(self, key: Any) -> Any:
        """Return part of the array: rows by number, list or slice; further indices apply to what was read.

        Raises:
            InvalidInputError: The index cannot be.
            CorruptionError: A byte that was read is not what was written.
        """
        if type(key) is int and self._layout.precision == "exact" and self._layout.cells_a_row == 1 and self.shape:
            return self._row(key)
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if not self.shape or first is Ellipsis or first is None or (isinstance(key, tuple) and not key):
            return _indexed(self.read(), key, self.name)
        # Of the first axis only what is asked for is read; its index then becomes one into what was read, of the same
        # form, and numpy does the rest: which axes of a result come first depends on the form of every index.
        if isinstance(first, slice):
            start, stop, step = check_slice(first, self.shape[0], self.name)
            read = self._slice(start, stop) if step == 1 else self._rows(np.arange(start, stop, step, dtype=np.int64))
            return _indexed(read, (slice(None), *rest), self.name) if rest else read
        try:
            wanted = np.asarray(first)
        except (TypeError, ValueError):
            wanted = np.empty((), object)
        if wanted.dtype == bool and wanted.ndim != 1:
            return _indexed(self.read(), key, self.name)
        rows = check_rows(wanted if wanted.dtype == bool else wanted.reshape(-1), self._layout, self.name)
        read = self._rows(rows)
        if not wanted.ndim:
            return _indexed(read, (0, *rest), self.name)
        if wanted.ndim > 1 or rest:
            form = rows.shape if wanted.dtype == bool else wanted.shape
            return _indexed(read, (np.arange(rows.size).reshape(form), *rest), self.name)
        return read

    def __iter__(self) -> Iterator[Any]:
        """Yield rows, read shard by shard."""
        for _, block in self.shards():
            yield from block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: FBT001 - numpy passes it so
        """Read the whole array; what numpy calls."""
        if copy is False:
            raise ValueError("a stored array is always copied when it is read; mapped() maps it")
        read = self.read()
        return read if dtype is None else read.astype(dtype, copy=False)

    def __dlpack__(self, **options: Any) -> Any:
        """Read the whole array and hand it out as DLPack."""
        return self.read().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU."""
        return (1, 0)

    def read(self) -> npt.NDArray[Any]:
        """Return the whole array."""
        self._hold.check()
        layout = self._layout
        if layout.precision == "exact":
            out = np.empty(self.shape, self.dtype)
            if layout.cells:
                self._fill(out.reshape(-1).view(np.uint8), 0, layout.shards)
            return out
        out = np.empty(self.shape, self.dtype)
        for start, block in self.shards():
            out[start : start + len(block)] = block
        return out

    def shards(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield ``(first row, rows)`` of stretches of about 4 MB, in order."""
        if not self.shape:
            yield 0, self.read()
            return
        for start in range(0, self._layout.rows, self.shard_rows):
            yield start, self._slice(start, min(start + self.shard_rows, self._layout.rows))

    def mapped(self) -> npt.NDArray[Any]:
        """Return a read-only map of the array's bytes on disk, without copying: every frame is verified first.

        Raises:
            InvalidInputError: It is not one stretch of raw bytes: compressed, changed since it was written whole,
                small enough to lie in the catalog, or of lower precision. ``np.asarray`` reads any array.
            CorruptionError: A byte is not what was written.
        """
        self._hold.check()
        layout = self._layout
        reason = "it is not stored exactly" if layout.precision != "exact" else ""
        if not layout.cells:
            reason = "it is empty"
        spans = []
        for number in range(0 if reason else layout.shards):
            shard = self._shard(number)
            span = None if shard.entry.layers else self._context.objects.raw_span(shard.base)
            if span is None:
                reason = f"shard {number} is compressed, changed or small"
                break
            spans.append((shard, *span))
        if spans and not reason:
            file, offset, _ = spans[0][1:]
            at = offset
            for _, other, start, size in spans:
                if other.path != file.path or start != at:
                    reason = "its shards do not follow each other in one pack"
                at += size
        if reason:
            raise InvalidInputError(
                f"Array {self.name!r} cannot be mapped: {reason}.",
                hint="Read it with np.asarray(), or commit it whole to a new state.",
                array=self.name,
            )
        view = file.map(offset, at - offset)
        done = 0
        for shard, _, _, size in spans:
            table = self._context.objects.table(shard.base)
            for number in range(table.frames):
                start = done + number * table.frame_bytes
                table.decode(number, view[start : start + table.plain_size(number)], shard.base.name)
            done += size
        array: npt.NDArray[Any] = np.frombuffer(view, self.dtype).reshape(self.shape)
        return array

    def info(self) -> ArrayInfo:
        """Return how the array is stored, shard by shard counted."""
        self._hold.check()
        codecs: dict[str, int] = {}
        stored: dict[bytes, int] = {}
        for number in range(self._layout.shards):
            shard = self._shard(number)
            for one in (shard.base, *shard.layers):
                stored[one.address] = one.stored
            name = self._codec(shard)
            codecs[name] = codecs.get(name, 0) + 1
        return ArrayInfo(
            name=self.name,
            dtype=self._array.dtype_name,
            shape=self.shape,
            precision=self.precision,
            bytes=self.nbytes,
            stored=sum(stored.values()),
            shards=self._layout.shards,
            codecs=codecs,
        )

    # --- reading -----------------------------------------------------------------------------------------------------

    def _codec(self, shard: Shard) -> str:
        table = self._context.objects.table(shard.base)
        counts = dict.fromkeys(Coding, 0)
        for coding in table.codings or bytes(table.frames):
            counts[Coding(coding)] += 1
        base = {
            Coding.RAW: "raw", Coding.ZSTD: "zstd", Coding.SHUFFLE: "shuffle+zstd", Coding.CSR: "csr+zstd"
        }[max(counts, key=lambda coding: counts[coding])]  # fmt: skip
        parts = [base]
        for kind, word in (
            (ObjectKind.CELLS, "row patch"), (ObjectKind.ELEMENTS, "element patch"), (ObjectKind.XOR, "XOR delta")
        ):  # fmt: skip
            count = sum(layer.kind is kind for layer in shard.entry.layers)
            if count:
                parts.append(f"{count} {word}{'' if count == 1 else 'es' if word.endswith('h') else 's'}")
        return " + ".join(parts)

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        if shard is None:
            found = self._found
            if found is None:
                with self._lock:
                    if self._found is None:
                        self._found = self._context.objects.find(
                            address for entry in self._array.entries for address in entry.addresses()
                        )
                    found = self._found
            entry = self._array.entries[number]
            shard = self._shards.setdefault(number, Shard(self._context.objects, self._layout, number, entry, found))
        return shard

    def _row(self, row: int) -> npt.NDArray[Any]:
        """Return one row: the common case, without the machinery for many."""
        self._hold.check()
        layout = self._layout
        if not -layout.rows <= row < layout.rows:
            check_rows(row, layout, self.name)
        number, cell = divmod(row + layout.rows if row < 0 else row, layout.shard_cells)
        shard = self._shards.get(number) or self._shard(number)
        found = shard.plain_frame(cell)
        if found is None:
            out = np.empty((1, layout.cell), np.uint8)
            shard.read_cells(np.array([cell], np.int64), out)
            read = layout.decode(out.reshape(-1), self.shape[1:])
        else:
            read = np.frombuffer(found[0], self.dtype, layout.row_elements, found[1]).reshape(self.shape[1:]).copy()
        return read if self.shape[1:] else read[()]

    def _rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return rows by number, each verified; several may be the same."""
        self._hold.check()
        layout = self._layout
        shape = (rows.size, *self.shape[1:])
        if not layout.cells or not rows.size:
            return np.empty(shape, self.dtype)
        per_row, cell = layout.cells_a_row, layout.cell
        cells = rows if per_row == 1 else (rows[:, None] * per_row + np.arange(per_row)).reshape(-1)
        out = np.empty((cells.size, cell), np.uint8)
        numbers = cells // layout.shard_cells
        if cells.size == 1 or (numbers[0] == numbers[-1] and (numbers == numbers[0]).all()):
            number = int(numbers[0])
            self._shard(number).read_cells(cells - number * layout.shard_cells, out)
        else:
            read_scattered(self._context.objects, layout, self._shard, cells, out)
        return layout.decode(out.reshape(-1), shape)

    def _slice(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``; whole shards are read straight into the result."""
        self._hold.check()
        layout = self._layout
        count = max(0, stop - start)
        shape = (count, *self.shape[1:])
        if not layout.cells or not count:
            return np.empty(shape, self.dtype)
        out = np.empty(count * layout.cells_a_row * layout.cell, np.uint8)
        self._copy(out, start * layout.cells_a_row, stop * layout.cells_a_row)
        if layout.precision == "exact":
            aligned = out.view(self.dtype)
            return aligned.reshape(shape)
        return layout.decode(out, shape)

    def _copy(self, out: Bytes, first: int, last: int) -> None:
        """Fill ``out`` with cells ``first`` to ``last``."""
        layout = self._layout
        for number in range(first // layout.shard_cells, -(-last // layout.shard_cells)):
            begin = number * layout.shard_cells
            end = begin + layout.cells_in(number)
            low, high = max(first, begin), min(last, end)
            part = out[(low - first) * layout.cell : (high - first) * layout.cell]
            shard = self._shard(number)
            if (high - low) * 4 >= end - begin:
                if (low, high) == (begin, end):
                    shard.read_all(part)
                else:
                    whole = np.empty((end - begin) * layout.cell, np.uint8)
                    shard.read_all(whole)
                    part[:] = whole[(low - begin) * layout.cell : (high - begin) * layout.cell]
            else:
                shard.read_cells(np.arange(low - begin, high - begin), part.reshape(-1, layout.cell))

    def _fill(self, out: Bytes, first: int, last: int) -> None:
        """Fill ``out`` with all bytes of shards, by several threads where there are many."""
        layout = self._layout
        size = layout.shard_cells * layout.cell

        def one(number: int) -> None:
            start = (number - first) * size
            self._shard(number).read_all(out[start : start + layout.bytes_in(number)])

        if out.size < _THREADS_FROM:
            for number in range(first, last):
                one(number)
            return
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="lamina-read") as pool:
            for _ in pool.map(one, range(first, last)):
                pass


def _indexed(array: Anything, key: Any, name: str) -> Any:
    try:
        return array[key]
    except (IndexError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Array {name!r} cannot be indexed so: {error}.", hint="Index it as numpy does."
        ) from None
