"""From a spec such as ``"fastembed:BAAI/bge-small-en-v1.5"`` to an embedder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lamina.errors import DependencyError, EmbedderError, InvalidInputError

if TYPE_CHECKING:
    from lamina.embed._protocol import Embedder

__all__ = ["EmbedderSettings", "installed", "resolve"]

_PACKAGES = {
    "fastembed": "fastembed",
    "model2vec": "model2vec",
    "sentence-transformers": "sentence_transformers",
}
_SPECS = "static, none, fastembed:MODEL, model2vec:MODEL_OR_FOLDER, sentence-transformers:MODEL, openai:MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """What embedders take beside their spec. Never filled from a store's own settings file."""

    offline: bool = False
    """Never reach out: no download, no endpoint. For a spec that came with a folder rather than from its user."""
    model_folder: str | None = None
    """Where model runtimes keep what they download; None leaves it to them."""
    base_url: str | None = None
    """Base of the OpenAI-compatible endpoint; None takes the environment's, else OpenAI's own."""
    api_key: str | None = field(default=None, repr=False)
    """Key for it; None takes the environment's."""
    timeout_s: float = 60.0
    """Longest wait for one answer of the endpoint."""


def resolve(spec: str | Embedder | None, settings: EmbedderSettings | None = None) -> Embedder | None:
    """Return the embedder that a spec names. Loads no model and opens no connection.

    Args:
        spec: ``None`` for the default (``static`` where its files are there, else no embedder), ``"none"``,
            ``"static"``, ``"<adapter>:<model>"``, or an embedder, which is returned as it is.
        settings: See :class:`EmbedderSettings`.

    Returns:
        The embedder, or None where recall is to be by text only.

    Raises:
        InvalidInputError: The spec is not known, or the object is not an embedder.
        DependencyError: The package that the spec needs is not installed.
        EmbedderError: The files of ``static`` are damaged, or an endpoint is refused.
    """
    settings = settings or EmbedderSettings()
    if spec is None:
        try:
            return _static()
        except DependencyError:
            return None
    if not isinstance(spec, str):
        return _accept(spec)
    kind, _, model = spec.strip().partition(":")
    kind = kind.strip().lower().replace("_", "-")
    model = model.strip()
    if kind in {"none", "static"} and not model:
        return None if kind == "none" else _static()
    if kind in {*_PACKAGES, "openai"}:
        if not model:
            raise InvalidInputError(f"The embedder {spec!r} names no model.", hint=f"Write it as {kind}:MODEL.")
        return _openai(model, settings) if kind == "openai" else _model(kind, model, settings)
    raise InvalidInputError(f"There is no embedder {spec!r}.", hint=f"Use one of: {_SPECS}.", spec=spec)


def installed() -> list[str]:
    """Return which kinds of spec can be used on this machine, without importing a package or reaching out.

    Returns:
        Sorted, such as ``["model2vec", "openai", "static"]``; ``openai`` where a key or an endpoint is configured in
        the environment. That a package is there does not mean that a model is.
    """
    from lamina.embed import _wordllama

    found = [kind for kind, package in _PACKAGES.items() if _importable(package)]
    if _wordllama.is_installed():
        found.append("static")
    if any(os.environ.get(name) for name in ("LAMINA_OPENAI_API_KEY", "OPENAI_API_KEY", "LAMINA_OPENAI_BASE_URL")):
        found.append("openai")
    return sorted(found)


def _importable(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _accept(candidate: Embedder) -> Embedder:
    missing = [
        name
        for name in ("name", "dim", "cheap", "embed", "embed_query")
        if not hasattr(type(candidate), name) and name not in getattr(candidate, "__dict__", {})
    ]  # looked up without calling: dim may load a model
    if missing:
        raise InvalidInputError(
            f"{type(candidate).__name__} is not an embedder: it has no {', '.join(missing)}.",
            hint="Pass a spec such as 'static', or an object with the methods of lamina.embed.Embedder.",
        )
    return candidate


def _static() -> Embedder:
    from lamina.embed._static import StaticEmbedder

    return StaticEmbedder()


def _openai(model: str, settings: EmbedderSettings) -> Embedder:
    if settings.offline:
        raise EmbedderError(
            f"The embedder openai:{model} needs the network, which is off here.",
            hint="Name it with --embedder or in your own configuration, not in the store's.",
        )
    from lamina.embed._openai import OpenAIEmbedder

    return OpenAIEmbedder(model, base_url=settings.base_url, api_key=settings.api_key, timeout_s=settings.timeout_s)


def _model(kind: str, model: str, settings: EmbedderSettings) -> Embedder:
    if not _importable(_PACKAGES[kind]):
        raise DependencyError(
            f"The embedder {kind}:{model} needs the package {kind}, which is not installed.",
            hint=f"Install it with: pip install 'lamina[{kind}]'",
            package=kind,
        )
    if kind == "fastembed":
        from lamina.embed._fastembed import FastembedEmbedder

        return FastembedEmbedder(model, offline=settings.offline, folder=settings.model_folder)
    if kind == "model2vec":
        from lamina.embed._model2vec import Model2VecEmbedder

        return Model2VecEmbedder(model, offline=settings.offline, folder=settings.model_folder)
    from lamina.embed._sentence_transformers import SentenceTransformersEmbedder

    return SentenceTransformersEmbedder(model, offline=settings.offline, folder=settings.model_folder)
