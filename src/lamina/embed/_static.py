"""The default embedder: a table of word vectors, no model runtime, no download.

**What it computes.** A text is cut into pieces (``_pieces``), each piece has a row of 256 numbers, and the vector is
the mean of the rows, scaled to length 1. The rows are taken in fixed point with 12 fractional bits (an error of at most
0.00012, where the entries average 0.69 and float16 itself is no finer above 0.25), so a sum is a sum of whole numbers:
exact, whatever the order, the batch, the machine or its BLAS. That makes a vector a pure function of its text, bit for
bit, and lets whole words be remembered as one row.

**Where the table comes from.** The file ``l2_supercat_256.safetensors`` in the wheel of ``wordllama`` (which is neither
copied nor imported). The package's metadata says "License: MIT", Copyright (c) 2024 Lee Miller. Its README says that
WordLlama starts "by extracting the token embedding codebook" from language models and trains a small context-less model
on it, and that this table uses the Llama 2 vocabulary and was trained from the concatenated codebooks of several
models, LLaMA 2 70B and Phi 3 medium among them. The licences of those models (for Llama 2 the Llama 2 Community
License) are not part of the wheel; whether they reach derived tables is not settled there, and nothing here decides it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.embed import _pieces, _wordllama
from lamina.embed._vectors import checked_texts
from lamina.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lamina.embed._protocol import Matrix, Vector

__all__ = ["StaticEmbedder"]

_SCALE = 4_096.0
_TOO_LONG = float(_wordllama.DIM * 2**48)
"""Squared length of a row whose every entry is 2**24, where float32 no longer holds each whole number."""
_ROW_BYTES = _wordllama.DIM * 2
_REMEMBERED = 8_192
_BLOCK = 256


class StaticEmbedder:
    """Mean of word vectors; :class:`~lamina.embed.WeightedQueryEmbedder`.

    Construction only finds and checks the files (a fraction of a millisecond, no numpy); the vocabulary is read at the
    first text. Rows of the table are read one by one as words need them, by ``pread``: a file that is damaged under way
    gives an error, where a memory map would end the process. The rows of the latest 8,192 different words are kept
    (8 MB, at most 16 MB within one call). Safe to use from several threads.

    Args:
        folder: A folder with the layout of the ``wordllama`` package; None finds the installed one.

    Raises:
        DependencyError: The ``wordllama`` package is not installed.
        EmbedderError: A file is missing, damaged, or another table than the known one.
    """

    name = "static/wordllama-l2-256"
    """Table and method; it changes when either does."""
    dim = _wordllama.DIM
    cheap = True

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._files = _wordllama.locate() if folder is None else _wordllama.files_in(Path(folder))
        self._descriptor, self._first = _wordllama.open_table(self._files.table)
        weakref.finalize(self, os.close, self._descriptor)
        self._lock = threading.Lock()
        self._rows: _Rows | None = None

    def __repr__(self) -> str:
        return f"StaticEmbedder(name={self.name!r}, dim={self.dim})"

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed texts.

        Args:
            texts: Any number of texts of any length; memory beside the result does not grow with either.

        Returns:
            float32, shape ``(len(texts), 256)``; rows of length 1, all zero for a text of white space only.

        Raises:
            InvalidInputError: ``texts`` is one string, or holds something else than strings.
            EmbedderError: A file of the table turned out to be damaged.
        """
        import numpy as np

        checked_texts(texts)
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        sums = np.empty((min(len(texts), _BLOCK), self.dim), dtype=np.float64)
        for begin in range(0, len(texts), _BLOCK):
            block = texts[begin : begin + _BLOCK]
            for row, text in enumerate(block):
                self._sum(text, sums[row])
            result[begin : begin + len(block)] = _unit(sums[: len(block)])
        return result

    def embed_query(self, text: str) -> Vector:
        """Embed a question, just as a text."""
        vector: Vector = self.embed([text])[0]
        return vector

    def embed_query_weighted(self, text: str, weight: Callable[[str], float]) -> Vector:
        """Embed a question whose words count as ``weight`` says; see :class:`~lamina.embed.WeightedQueryEmbedder`.

        Raises:
            InvalidInputError: ``text`` is not a string, or a weight is negative or not finite.
            EmbedderError: A file of the table turned out to be damaged.
        """
        import numpy as np

        checked_texts([text])
        total = np.zeros((1, self.dim), dtype=np.float64)
        for piece in _pieces.slices(text):
            for word, parts in _pieces.words(piece):
                factor = float(weight(word))
                if not isfinite(factor) or factor < 0.0:
                    raise InvalidInputError(
                        f"The weight of {word!r} is {factor}.", hint="Weights are finite and at least 0."
                    )
                if factor:
                    total[0] += factor * self._add(parts)
        vector: Vector = _unit(total)[0]
        return vector if vector.any() else self.embed_query(text)

    def verify(self) -> None:
        """Check every byte of the table (about 10 ms).

        Raises:
            EmbedderError: A byte differs.
        """
        _wordllama.verify_table(self._files.table)

    def _sum(self, text: str, into: NDArray[np.float64]) -> None:
        if len(text) <= _pieces.SLICE:
            into[:] = self._add(_pieces.parts(text))
            return
        into[:] = 0.0
        for piece in _pieces.slices(text):
            into += self._add(_pieces.parts(piece))  # whole numbers below 2**53: still exact

    def _add(self, parts: list[str]) -> NDArray[np.int32]:
        import numpy as np

        with self._lock:
            rows = self._rows
            if rows is None or len(rows) >= _REMEMBERED:
                rows = self._rows = self._fresh(rows)
            places = [rows[part] for part in parts]
            # at most 4,096 characters of at most 4 pieces of less than 2**16 each: within int32
            total: NDArray[np.int32] = np.add.reduce(rows.table.take(places, axis=0), axis=0, dtype=np.int32)
        return total

    def _fresh(self, old: _Rows | None) -> _Rows:
        pieces = old.pieces if old else _pieces.Pieces(_wordllama.read_vocabulary(self._files.tokenizer))
        return _Rows(pieces, self._read)

    def _read(self, ids: list[int]) -> NDArray[np.float32]:
        import numpy as np

        try:
            data = b"".join([os.pread(self._descriptor, _ROW_BYTES, self._first + _ROW_BYTES * row) for row in ids])
        except OSError as error:
            raise _wordllama.unreadable(self._files.table, error) from error
        if len(data) != _ROW_BYTES * len(ids):
            raise _wordllama.damaged(self._files.table, "it was cut short while in use")
        values = np.frombuffer(data, dtype="<f2").astype(np.float32)
        values *= _SCALE
        np.rint(values, out=values)
        # a part has at most 384 pieces (128 letters of 3 bytes), each below 2**15: whole numbers that float32 holds
        total: NDArray[np.float32] = np.add.reduce(values.reshape(len(ids), self.dim), axis=0)
        if not total.dot(total) < _TOO_LONG:  # NaN fails too
            raise _wordllama.damaged(self._files.table, "a value is out of range")
        return total


class _Rows(dict[str, int]):
    """Part of a text to its row in ``table``: the sum of its pieces' vectors. A part not there is added."""

    def __init__(self, pieces: _pieces.Pieces, read: Callable[[list[int]], NDArray[np.float32]]) -> None:
        import numpy as np

        super().__init__()
        self.pieces = pieces
        self.table: NDArray[np.int32] = np.empty((256, _wordllama.DIM), dtype=np.int32)
        self._read = read

    def __missing__(self, part: str) -> int:
        import numpy as np

        place = len(self)
        if place == len(self.table):
            larger = np.empty((2 * place, _wordllama.DIM), dtype=np.int32)
            larger[:place] = self.table
            self.table = larger
        self.table[place] = self._read(self.pieces.ids(part))
        self[part] = place
        return place


def _unit(sums: NDArray[np.float64]) -> Matrix:
    import numpy as np

    length = np.sqrt(np.add.reduce(sums * sums, axis=1, keepdims=True))
    unit: Matrix = (sums / np.where(length == 0.0, 1.0, length)).astype(np.float32)
    return unit
