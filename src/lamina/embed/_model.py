"""What the adapters of model runtimes share: load late, load once, wrap what goes wrong, check what comes back."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lamina.embed._vectors import checked, checked_texts, clean
from lamina.errors import DependencyError, EmbedderError, InvalidInputError, LaminaError

if TYPE_CHECKING:
    from lamina.embed._protocol import Matrix, Vector

__all__ = ["ModelEmbedder", "identity"]

_SAMPLE = 65_536


class ModelEmbedder(ABC):
    """An embedder around a model that a third package runs.

    Construction imports nothing and reads no model; the first use does, and so may :attr:`dim`.

    Args:
        model: The model's name at its publisher, or the path of a folder that holds it.
        offline: Never download: a model that is not on this machine is an error.
        folder: Where downloaded models are kept; None leaves it to the package.
    """

    cheap: bool = False
    _extra: str
    """Name of the extra, which is also the first part of :attr:`name`."""
    _package: str
    """Name under which the package is imported."""

    def __init__(self, model: str, *, offline: bool = False, folder: str | Path | None = None) -> None:
        if not model.strip():
            raise InvalidInputError(f"No {self._extra} model is named.", hint=f"Write it as {self._extra}:MODEL.")
        self.model = model
        self.offline = offline
        self.folder = None if folder is None else str(folder)
        self._name = f"{self._extra}/{identity(model)}"
        self._lock = threading.RLock()
        self._loaded: Any = None
        self._dim: int | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, offline={self.offline})"

    @property
    def name(self) -> str:
        """``<package>/<model>``; for a local folder its name and a digest of the model's files."""
        return self._name

    @property
    def dim(self) -> int:
        """Number of dimensions; loads the model to learn it.

        Raises:
            DependencyError: The package is not installed.
            EmbedderError: The model cannot be loaded.
        """
        if self._dim is None:
            return int(self._embed(["dimension"], query=False).shape[1])
        return self._dim

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed texts that are to be stored; see :class:`~lamina.embed.Embedder`."""
        return self._embed(checked_texts(texts), query=False)

    def embed_query(self, text: str) -> Vector:
        """Embed a question; see :class:`~lamina.embed.Embedder`."""
        vector: Vector = self._embed(checked_texts([text]), query=True)[0]
        return vector

    @abstractmethod
    def _load(self, package: Any) -> Any:
        """Return the model, ready to run. May raise anything."""

    @abstractmethod
    def _run(self, loaded: Any, texts: list[str], *, query: bool) -> Any:
        """Return one vector a text, in order. May raise anything."""

    def _embed(self, texts: Sequence[str], *, query: bool) -> Matrix:
        import numpy as np

        filled = [place for place, text in enumerate(texts) if text.strip()]
        with self._lock:  # few runtimes say that they are safe to call from several threads
            if filled:
                if self._loaded is None:
                    self._loaded = self._guard("load", lambda: self._load(self._import()))
                cleaned = [clean(texts[place]) for place in filled]
                raw = self._guard("run", lambda: self._run(self._loaded, cleaned, query=query))
                vectors = checked(raw, len(filled), self._dim, self.name)
                self._dim = int(vectors.shape[1])
            matrix: Matrix = np.zeros((len(texts), self.dim), dtype=np.float32)
        if filled:
            matrix[filled] = vectors
        return matrix

    def _import(self) -> Any:
        try:
            return import_module(self._package)
        except ImportError as error:
            raise DependencyError(
                f"The embedder {self.name} needs the package {self._extra}, which cannot be imported: {error}.",
                hint=f"Install it with: pip install 'lamina[{self._extra}]'",
                package=self._extra,
            ) from error

    def _guard(self, what: str, action: Any) -> Any:
        try:
            return action()
        except LaminaError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a runtime raises becomes ours
            self._fail(what, error)

    def _fail(self, what: str, error: Exception) -> NoReturn:
        hint = "Check the model's name, and that it was downloaded." if what == "load" else "Try another embedder."
        if what == "load" and self.offline:
            hint = "Downloads are off here: load the model once while they are on, or name a local folder."
        reason = " ".join(str(error).split())[:300]
        raise EmbedderError(
            f"The embedder {self.name} failed to {what}: {type(error).__name__}: {reason}",
            hint=hint,
            embedder=self.name,
        ) from error


def identity(model: str) -> str:
    """Return what names a model in a store: its published name, or for a local folder its name and a digest.

    The digest covers sizes, small files whole, and both ends of large ones, so two models of one folder name differ,
    and the same model keeps its identity on another machine.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return model
    digest = hashlib.blake2b(digest_size=6)
    try:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".safetensors", ".json", ".txt", ".onnx", ".bin", ".model"} and path.is_file():
                size = path.stat().st_size
                digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode("utf-8", "surrogateescape"))
                with path.open("rb") as file:
                    digest.update(file.read(_SAMPLE))
                    file.seek(max(0, size - _SAMPLE))
                    digest.update(file.read(_SAMPLE))
    except OSError as error:
        raise EmbedderError(
            f"The model folder {folder} cannot be read: {error.strerror}.", hint="Check its files.", path=str(folder)
        ) from error
    return f"{folder.resolve().name}-{digest.hexdigest()}"
