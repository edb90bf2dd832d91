"""Static models through the ``model2vec`` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.embed._model import ModelEmbedder
from lamina.errors import EmbedderError

__all__ = ["Model2VecEmbedder"]


class Model2VecEmbedder(ModelEmbedder):
    """A static model of ``model2vec``: its published name, such as ``minishlab/potion-base-8M``, or a local folder.

    Args:
        model: Name or folder. A name is downloaded at its first use, unless ``offline``.
        offline: Never download: ``model`` has to be a folder.
        folder: Not used by this package; its downloads lie where ``huggingface_hub`` keeps them.
    """

    cheap = True
    _extra = "model2vec"
    _package = "model2vec"

    def _load(self, package: Any) -> Any:
        path = Path(self.model).expanduser()
        if self.offline and not path.is_dir():
            raise EmbedderError(
                f"The model {self.model} is not a local folder, and downloads are off here.",
                hint="Name the folder that holds the model.",
                embedder=self.name,
            )
        return package.StaticModel.from_pretrained(str(path) if path.is_dir() else self.model)

    def _run(self, loaded: Any, texts: list[str], *, query: bool) -> Any:  # noqa: ARG002  one side only
        return loaded.encode(texts, max_length=None, show_progress_bar=False, use_multiprocessing=False)
