from __future__ import annotations

import hashlib
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lamina.embed import Embedder
from lamina.errors import InvalidInputError
from lamina.testing import EmbedderTests

Matrix = NDArray[np.float32]


class Toy:
    """A sound embedder: eight numbers from a hash of the text."""

    name = "toy/8"
    dim = 8
    cheap = True

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed texts."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidInputError("not a list of texts")
        return np.array([self.row(text) for text in texts], dtype=np.float32).reshape(len(texts), self.dim)

    def embed_query(self, text: str) -> Matrix:
        """Embed a query."""
        return np.array(self.embed([text])[0])

    def row(self, text: str) -> NDArray[np.float64]:
        """Return one vector."""
        if not text.strip():
            return np.zeros(self.dim)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        row = np.frombuffer(digest[:8], dtype=np.uint8).astype(np.float64) - 127.5
        return row / np.linalg.norm(row)


class TestToy(EmbedderTests):
    """A sound embedder passes the whole contract."""

    def make_embedder(self) -> Embedder:
        """Return one."""
        return Toy()


class NotUnit(Toy):
    def row(self, text: str) -> NDArray[np.float64]:
        """Return a row of length 2."""
        return super().row(text) * 2


class WrongType(Toy):
    def embed(self, texts: Sequence[str]) -> Any:
        """Return float64."""
        return super().embed(texts).astype(np.float64)


class Centred(Toy):
    def embed(self, texts: Sequence[str]) -> Matrix:
        """Let the batch leak into each row."""
        rows = super().embed(texts)
        if len(rows) > 1:
            rows = rows - np.float32(0.1) * rows.mean(axis=0)
        unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))
        return unit


class Forgetful(Toy):
    count = 0

    def row(self, text: str) -> NDArray[np.float64]:
        """Depend on what came before."""
        Forgetful.count += 1
        return super().row(f"{text}{Forgetful.count}")


class NoSurrogates(Toy):
    def row(self, text: str) -> NDArray[np.float64]:
        """Fail where text is not valid Unicode."""
        text.encode()
        return super().row(text)


class Shared(Toy):
    buffer = np.zeros((100, 8), dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return a view of one buffer."""
        rows = super().embed(texts)
        self.buffer[: len(rows)] = rows
        return self.buffer[: len(rows)]


class Careless(Toy):
    def embed(self, texts: Sequence[str]) -> Matrix:
        """Accept anything."""
        return super().embed([str(text) for text in texts])


class BlankIsSomething(Toy):
    def row(self, text: str) -> NDArray[np.float64]:
        """Embed blanks too."""
        return super().row(text or "nothing")


class OneColumnMore(Toy):
    dim = 9

    def row(self, text: str) -> NDArray[np.float64]:
        """Return a row shorter than announced."""
        return np.append(super().row(text)[:8], 0.0)

    def embed_query(self, text: str) -> Matrix:
        """Return one entry less."""
        return super().embed_query(text)[:8]

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed texts."""
        return np.array([self.row(text) for text in texts], dtype=np.float32)


class NewName(Toy):
    @property
    def name(self) -> str:  # type: ignore[override]
        """Return another name for each instance."""
        return f"toy/{id(self)}"


class Racing(Toy):
    def __init__(self) -> None:
        self.current = ""

    def row(self, text: str) -> NDArray[np.float64]:
        """Keep the text where other threads overwrite it."""
        self.current = text
        threading.Event().wait(0.0005)
        return super().row(self.current)


def run(contract: EmbedderTests, name: str) -> None:
    """Run one method of the contract as pytest would."""
    method: Callable[..., None] = getattr(contract, name)
    for arguments in cases(method):
        method(contract.make_embedder(), **arguments)


def cases(method: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each case of a test."""
    marks = [mark for mark in getattr(method, "pytestmark", []) if mark.name == "parametrize"]
    if not marks:
        yield {}
    for mark in marks:
        for value in mark.args[1]:
            yield {mark.args[0]: value}


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (NotUnit, "test_rows_have_length_one"),
        (NotUnit, "test_query_shape"),
        (WrongType, "test_shape_and_type"),
        (Centred, "test_the_batch_does_not_matter"),
        (Forgetful, "test_deterministic"),
        (NoSurrogates, "test_odd_texts"),
        (Shared, "test_the_result_is_the_callers"),
        (Careless, "test_refuses_what_is_no_text"),
        (BlankIsSomething, "test_nothing_to_embed"),
        (OneColumnMore, "test_query_shape"),
        (OneColumnMore, "test_no_texts"),
        (NewName, "test_name"),
        (Racing, "test_threads"),
    ],
)
def test_the_contract_catches(broken: Callable[[], Embedder], caught_by: str) -> None:
    """Each rule of the contract fails for an embedder that breaks it, and passes for a sound one."""

    class Contract(EmbedderTests):
        def make_embedder(self) -> Embedder:
            return broken()

    run(TestToy(), caught_by)
    with pytest.raises((AssertionError, UnicodeEncodeError, pytest.fail.Exception)):
        run(Contract(), caught_by)


def test_every_rule_is_a_test() -> None:
    """The contract holds only tests with a line that says what they pin."""
    names = [name for name, _ in inspect.getmembers(EmbedderTests, inspect.isfunction) if name.startswith("test_")]
    assert len(names) >= 14
    assert all(getattr(EmbedderTests, name).__doc__ for name in names)
