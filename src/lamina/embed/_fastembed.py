"""ONNX models through the ``fastembed`` package."""

from __future__ import annotations

from typing import Any

from lamina.embed._model import ModelEmbedder

__all__ = ["FastembedEmbedder"]


class FastembedEmbedder(ModelEmbedder):
    """A text model of ``fastembed``, such as ``BAAI/bge-small-en-v1.5``.

    Questions go through the model's query side, texts through its passage side. The package downloads a model at its
    first use, unless ``offline``.

    Args:
        model: A name that ``fastembed`` knows.
        offline: Never download.
        folder: Where models are kept.
    """

    _extra = "fastembed"
    _package = "fastembed"

    def _load(self, package: Any) -> Any:
        return package.TextEmbedding(
            model_name=self.model, cache_dir=self.folder, local_files_only=self.offline, lazy_load=False
        )

    def _run(self, loaded: Any, texts: list[str], *, query: bool) -> Any:
        return list(loaded.query_embed(texts) if query else loaded.passage_embed(texts))
