from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.embed import (
    Embedder,
    EmbedderSettings,
    FastembedEmbedder,
    Model2VecEmbedder,
    SentenceTransformersEmbedder,
    resolve,
)
from lamina.embed._model import ModelEmbedder, identity
from lamina.errors import DependencyError, EmbedderError, InvalidInputError
from lamina.testing import EmbedderTests


def need(package: str) -> None:
    """Skip where a package is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="module")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of model2vec in a folder, made here: bytes, with random vectors."""
    need("model2vec")
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = ["[UNK]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), pre_tokenizers.Split("", "isolated")]
    )
    vectors = np.random.default_rng(1).standard_normal((len(pieces), 24)).astype(np.float32)
    folder = tmp_path_factory.mktemp("models") / "bytes"
    StaticModel(vectors, tokenizer, config={"normalize": True}).save_pretrained(folder)
    return folder


class TestModel2Vec(EmbedderTests):
    """A model of model2vec on disk keeps the contract."""

    @pytest.fixture(autouse=True)
    def model(self, static_model: Path) -> None:
        """Give the tests the model's folder."""
        self.folder = static_model

    def make_embedder(self) -> Embedder:
        """Return one."""
        return Model2VecEmbedder(str(self.folder), offline=True)


def test_a_local_model_resolves(static_model: Path) -> None:
    """A folder works as a spec, without network, and its identity holds the folder's name but not its place."""
    embedder = resolve(f"model2vec:{static_model}", EmbedderSettings(offline=True))

    assert embedder is not None
    assert embedder.dim == 24
    assert embedder.name.startswith("model2vec/bytes-")
    assert str(static_model.parent) not in embedder.name


def test_identity_follows_the_content(tmp_path: Path) -> None:
    """Two folders of one name and other content differ; a copy elsewhere has the same identity."""
    for place, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / place / "m").mkdir(parents=True)
        (tmp_path / place / "m" / "model.safetensors").write_bytes(content * 200_000)
    first, copy, other = (identity(str(tmp_path / place / "m")) for place in "abc")

    assert first == copy != other
    assert identity("org/published-name") == "org/published-name"


@pytest.mark.parametrize(
    "content", [{}, {"config.json": b"{"}, {"config.json": b"{}", "model.safetensors": b"\xff" * 64}]
)
def test_a_broken_model_is_our_error(tmp_path: Path, content: dict[str, bytes]) -> None:
    """Whatever the package raises for a folder without a usable model becomes an EmbedderError that names it."""
    need("model2vec")
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    embedder = Model2VecEmbedder(str(tmp_path), offline=True)
    with pytest.raises(EmbedderError, match="failed to load") as caught:
        embedder.embed(["text"])

    assert caught.value.details["embedder"] == embedder.name


def test_offline_needs_a_folder() -> None:
    """With downloads off, a published name is refused before anything is asked of the network."""
    need("model2vec")
    with pytest.raises(EmbedderError, match="not a local folder"):
        Model2VecEmbedder("minishlab/potion-base-8M", offline=True).embed(["text"])


class Given(ModelEmbedder):
    """An adapter over the standard library's json, whose model is whatever the test gives."""

    _extra = "given"
    _package = "json"

    def __init__(self, answer: Any, **options: Any) -> None:
        super().__init__("model", **options)
        self.answer = answer
        self.loads = 0
        self.seen: list[tuple[list[str], bool]] = []

    def _load(self, package: Any) -> Any:
        self.loads += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _run(self, loaded: Any, texts: list[str], *, query: bool) -> Any:
        self.seen.append((texts, query))
        return loaded(texts)


def ones(texts: list[str]) -> Any:
    """Return a row of ones a text."""
    return np.ones((len(texts), 4))


def test_loaded_late_and_once() -> None:
    """Construction, name and blank texts load nothing of the model twice; the query side is told apart."""
    embedder = Given(ones)
    assert (embedder.name, embedder.loads) == ("given/model", 0)
    assert embedder.dim == 4
    embedder.embed(["a", " ", "b"])
    embedder.embed_query("c")

    assert embedder.loads == 1
    assert embedder.seen == [(["dimension"], False), (["a", "b"], False), (["c"], True)]


def test_models_never_see_lone_surrogates() -> None:
    """What is not valid Unicode is replaced before a model gets it; pairs are joined."""
    embedder = Given(ones)
    embedder.embed(["x\ud800y", "\ud83d\ude00"])

    assert embedder.seen == [(["x\ufffdy", "😀"], False)]


@pytest.mark.parametrize(
    "answer",
    [
        lambda texts: np.ones((len(texts) + 1, 4)),
        lambda texts: np.ones(len(texts)),
        lambda texts: np.ones((len(texts), 0)),
        lambda texts: [[1.0], [1.0, 2.0]],
        lambda texts: [["x"]] * len(texts),
        lambda texts: None,
        lambda texts: np.full((len(texts), 4), np.nan),
        lambda texts: np.full((len(texts), 4), np.inf),
        lambda texts: [[10**400]] * len(texts),
        lambda texts: 1 / 0,
    ],
)
def test_a_bad_answer_is_our_error(answer: Any) -> None:
    """Wrong shapes, values that are no finite numbers, and whatever the runtime raises become an EmbedderError."""
    with pytest.raises(EmbedderError, match="given/model"):
        Given(answer).embed(["a", "b"])


def test_dimensions_must_not_change() -> None:
    """A model that gives other dimensions than before is refused."""
    sizes = iter([4, 5])
    embedder = Given(lambda texts: np.ones((len(texts), next(sizes))))
    embedder.embed(["a"])
    with pytest.raises(EmbedderError, match="shape"):
        embedder.embed(["b"])


def test_extreme_vectors_become_unit_vectors() -> None:
    """Vectors whose squares overflow or vanish are scaled like any other; an all-zero one stays."""
    rows = Given(lambda texts: [[1e300, 1e300], [1e-300, 0.0], [0.0, 0.0]]).embed(["a", "b", "c"])

    np.testing.assert_allclose(rows, [[0.5**0.5, 0.5**0.5], [1, 0], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("offline", [True, False])
def test_loading_errors_are_wrapped(offline: bool) -> None:
    """What loading raises keeps its words, on one line, with what to do; ours pass through."""
    with pytest.raises(EmbedderError, match="failed to load: OSError: no such model") as caught:
        Given(OSError("no\n such model"), offline=offline).embed(["a"])
    assert ("Downloads are off" in caught.value.hint) is offline
    with pytest.raises(DependencyError):
        Given(DependencyError("x")).embed(["a"])


@pytest.mark.parametrize("cls", [FastembedEmbedder, Model2VecEmbedder, SentenceTransformersEmbedder])
def test_a_model_must_be_named(cls: type[ModelEmbedder]) -> None:
    """A blank model name is refused."""
    with pytest.raises(InvalidInputError):
        cls(" ")


SENTENCE_TRANSFORMERS = os.environ.get("TEST_SENTENCE_TRANSFORMERS_MODEL", "")
FASTEMBED = os.environ.get("TEST_FASTEMBED_MODEL", "")


@pytest.mark.skipif(
    not SENTENCE_TRANSFORMERS or importlib.util.find_spec("sentence_transformers") is None,
    reason="needs sentence-transformers, and TEST_SENTENCE_TRANSFORMERS_MODEL naming a model on this machine",
)
class TestSentenceTransformers(EmbedderTests):
    """A transformer model on this machine keeps the contract, where there is one."""

    def make_embedder(self) -> Embedder:
        """Return one."""
        return SentenceTransformersEmbedder(SENTENCE_TRANSFORMERS, offline=True)


@pytest.mark.skipif(
    not FASTEMBED or importlib.util.find_spec("fastembed") is None,
    reason="needs fastembed, and TEST_FASTEMBED_MODEL naming a model on this machine",
)
class TestFastembed(EmbedderTests):
    """An ONNX model on this machine keeps the contract, where there is one."""

    def make_embedder(self) -> Embedder:
        """Return one."""
        return FastembedEmbedder(FASTEMBED, offline=True)
