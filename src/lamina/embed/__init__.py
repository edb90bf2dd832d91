"""Embedders: what turns a text into a vector.

Exports load on first use, so importing this package loads neither numpy nor any model.

- :class:`Embedder` is the protocol that everything else in Lamina works with;
- :func:`resolve` turns a spec such as ``"static"`` or ``"fastembed:MODEL"`` into one;
- :class:`StaticEmbedder` is the default: no download, no network, no model runtime;
- :class:`EmbeddingCache` and :class:`CachedEmbedder` spare repeated work for the expensive ones.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.embed._cache import CachedEmbedder, CacheStats, EmbeddingCache, forget_cached
    from lamina.embed._fastembed import FastembedEmbedder
    from lamina.embed._model2vec import Model2VecEmbedder
    from lamina.embed._openai import OpenAIEmbedder
    from lamina.embed._protocol import Embedder, WeightedQueryEmbedder
    from lamina.embed._registry import EmbedderSettings, installed, resolve
    from lamina.embed._sentence_transformers import SentenceTransformersEmbedder
    from lamina.embed._static import StaticEmbedder

__all__ = [
    "CacheStats",
    "CachedEmbedder",
    "Embedder",
    "EmbedderSettings",
    "EmbeddingCache",
    "FastembedEmbedder",
    "Model2VecEmbedder",
    "OpenAIEmbedder",
    "SentenceTransformersEmbedder",
    "StaticEmbedder",
    "WeightedQueryEmbedder",
    "forget_cached",
    "installed",
    "resolve",
]

_HOME = {
    "CacheStats": "_cache",
    "CachedEmbedder": "_cache",
    "Embedder": "_protocol",
    "EmbedderSettings": "_registry",
    "EmbeddingCache": "_cache",
    "FastembedEmbedder": "_fastembed",
    "Model2VecEmbedder": "_model2vec",
    "OpenAIEmbedder": "_openai",
    "SentenceTransformersEmbedder": "_sentence_transformers",
    "StaticEmbedder": "_static",
    "WeightedQueryEmbedder": "_protocol",
    "forget_cached": "_cache",
    "installed": "_registry",
    "resolve": "_registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"lamina.embed.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
