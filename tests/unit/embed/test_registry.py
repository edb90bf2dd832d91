from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lamina.embed
from lamina.embed import EmbedderSettings, StaticEmbedder, _registry, _wordllama, installed, resolve
from lamina.errors import DependencyError, EmbedderError, InvalidInputError


def test_exports_are_there_and_sorted() -> None:
    """Everything in __all__ can be had, and the list is sorted."""
    assert lamina.embed.__all__ == sorted(lamina.embed.__all__)
    assert all(getattr(lamina.embed, name) is not None for name in lamina.embed.__all__)
    assert set(lamina.embed.__all__) <= set(dir(lamina.embed))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lamina.embed.nothing


def test_importing_is_light() -> None:
    """Importing the package, and resolving a spec, loads neither numpy nor any model runtime nor SQLite."""
    code = (
        "import sys, lamina.embed as e; e.resolve('static'); e.installed();"
        "print([m for m in ('numpy','tokenizers','apsw','model2vec','fastembed','urllib.request') if m in sys.modules])"
    )
    source = str(Path(_registry.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )

    assert done.stdout == "[]\n"


def test_the_default_is_static() -> None:
    """Without a spec, and with "static", the default embedder is resolved."""
    assert isinstance(resolve(None), StaticEmbedder)
    assert isinstance(resolve(" Static "), StaticEmbedder)


def test_without_word_vectors_recall_is_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is absent the default is none, and asking for it by name says how to get it."""
    monkeypatch.setattr(_wordllama, "_PACKAGE", "no_such_package_here")

    assert resolve(None) is None
    assert "static" not in installed()
    with pytest.raises(DependencyError, match="pip install wordllama"):
        resolve("static")


def test_none_is_none() -> None:
    """The spec "none" switches vectors off."""
    assert resolve("none") is None


@pytest.mark.parametrize(
    "spec", ["", "magic", "static:x", "none:x", "fastembed", "openai:", "model2vec: ", "a:b:c", "Ω"]
)
def test_unknown_specs_are_refused(spec: str) -> None:
    """A spec that means nothing is an InvalidInputError that says what would."""
    with pytest.raises(InvalidInputError) as caught:
        resolve(spec)

    assert caught.value.hint


def test_an_object_is_taken_as_it_is() -> None:
    """An embedder passes through; something else is refused by the names it lacks."""
    embedder = StaticEmbedder()
    wrong: Any = object()

    assert resolve(embedder) is embedder
    with pytest.raises(InvalidInputError, match="object is not an embedder: it has no name, dim, cheap"):
        resolve(wrong)


def test_taking_an_object_loads_nothing() -> None:
    """Whether an object is an embedder is seen without reading its dim, which may load a model."""

    class Lazy:
        name = "lazy"
        cheap = False

        @property
        def dim(self) -> int:
            raise AssertionError("loaded")

        def embed(self, texts: Any) -> Any:
            """Not called."""

        def embed_query(self, text: str) -> Any:
            """Not called."""

    lazy = Lazy()
    assert resolve(lazy) is lazy


@pytest.mark.parametrize(
    ("kind", "package"),
    [("fastembed", "fastembed"), ("sentence-transformers", "sentence_transformers"), ("model2vec", "model2vec")],
)
def test_a_missing_package_names_the_extra(kind: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter whose package is absent says which extra brings it, when resolved and when made directly."""
    real = importlib.util.find_spec
    monkeypatch.setattr(_registry, "find_spec", lambda name: None if name == package else real(name))
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself does to block an import
    with pytest.raises(DependencyError, match=rf"pip install 'lamina\[{kind}\]'"):
        resolve(f"{kind}:some-model")
    assert kind not in installed()
    cls = getattr(
        lamina.embed,
        {"fastembed": "FastembedEmbedder", "model2vec": "Model2VecEmbedder"}.get(kind, "SentenceTransformersEmbedder"),
    )
    embedder = cls("some-model")
    assert embedder.name == f"{kind}/some-model"
    with pytest.raises(DependencyError, match=rf"pip install 'lamina\[{kind}\]'"):
        embedder.embed(["text"])


def test_installed_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint counts as there when a key or a base URL is configured; the list is sorted."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "openai" not in installed()
    monkeypatch.setenv("LAMINA_OPENAI_BASE_URL", "http://127.0.0.1:1/v1")

    assert {"openai", "static"} <= set(installed())
    assert installed() == sorted(installed())


def test_offline_refuses_an_endpoint() -> None:
    """A spec that came with a folder cannot reach the network."""
    with pytest.raises(EmbedderError, match="network, which is off here"):
        resolve("openai:model", EmbedderSettings(offline=True, api_key="sk-x"))


def test_settings_hide_the_key() -> None:
    """The key is not in the settings' repr."""
    assert "sk-secret" not in repr(EmbedderSettings(api_key="sk-secret"))
