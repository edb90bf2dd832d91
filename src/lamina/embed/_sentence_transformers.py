"""Transformer models through the ``sentence-transformers`` package."""

from __future__ import annotations

from typing import Any

from lamina.embed._model import ModelEmbedder

__all__ = ["SentenceTransformersEmbedder"]


class SentenceTransformersEmbedder(ModelEmbedder):
    """A model of ``sentence-transformers``: its published name, or a local folder.

    Models with a prompt for questions get it where the package offers ``encode_query``. Code that a model brings along
    is never run. The package downloads a model at its first use, unless ``offline``.

    Args:
        model: Name or folder.
        offline: Never download.
        folder: Where models are kept.
    """

    _extra = "sentence-transformers"
    _package = "sentence_transformers"

    def _load(self, package: Any) -> Any:
        return package.SentenceTransformer(
            self.model, cache_folder=self.folder, local_files_only=self.offline, trust_remote_code=False
        )

    def _run(self, loaded: Any, texts: list[str], *, query: bool) -> Any:
        side = getattr(loaded, "encode_query" if query else "encode_document", loaded.encode)
        return side(texts, batch_size=32, show_progress_bar=False, convert_to_numpy=True)
