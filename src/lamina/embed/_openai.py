"""Any endpoint that speaks OpenAI's embeddings interface, with the standard library alone.

``urllib`` rather than a client package: one kind of POST does not justify a dependency, and what matters here is what
must *not* happen. Redirects are refused, because they would carry the key elsewhere; a proxy is not asked for a
loopback address; the key is in no message, no repr and no exception.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lamina.embed._http import MAX_RESPONSE_BYTES, Poster
from lamina.embed._vectors import checked, checked_texts, clean
from lamina.errors import EmbedderError, InvalidInputError

if TYPE_CHECKING:
    from lamina.embed._protocol import Matrix, Vector

__all__ = ["OpenAIEmbedder"]

_DEFAULT_URL = "https://api.openai.com/v1"
_BATCH = 128
_BATCH_BYTES = 262_144
_MAX_DIM = 16_384


class OpenAIEmbedder:
    """A model behind ``POST {base_url}/embeddings``.

    The endpoint and the key come from the arguments or the environment (``LAMINA_OPENAI_BASE_URL``;
    ``LAMINA_OPENAI_API_KEY``, else ``OPENAI_API_KEY``), never from a store. Texts go out in batches of at most 128 and
    256 KB. A refusal for load (429), an error of the server (5xx) and a broken connection are tried again, with a
    jittered wait that doubles and follows ``Retry-After`` up to 30 s.

    Args:
        model: The model's name there.
        base_url: Base of the interface; ``https``, or ``http`` on a loopback address.
        api_key: The key; OpenAI's own endpoint needs one, others may not.
        dimensions: Ask the endpoint for that many dimensions.
        timeout_s: Longest wait for one answer.
        attempts: Tries of one request before it is given up.
        backoff_s: First wait between two tries.
        max_response_bytes: An answer longer than this is refused.

    Raises:
        EmbedderError: The URL is not allowed, or the key is missing or malformed.
    """

    cheap = False

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        timeout_s: float = 60.0,
        attempts: int = 5,
        backoff_s: float = 0.5,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        if not model.strip():
            raise InvalidInputError("No openai model is named.", hint="Write it as openai:MODEL.")
        if dimensions is not None and not 0 < dimensions <= _MAX_DIM:
            raise InvalidInputError(f"dimensions is {dimensions}.", hint=f"Use 1 to {_MAX_DIM}.")
        url = (base_url or os.environ.get("LAMINA_OPENAI_BASE_URL") or _DEFAULT_URL).rstrip("/")
        host, loopback = _checked_url(url)
        key = api_key or os.environ.get("LAMINA_OPENAI_API_KEY") or os.environ.get("OPENAI_API_KEY") or ""
        self.model = model
        self.url = url
        self._name = f"openai/{model}@{host}"
        self._asked = dimensions
        self._dim = dimensions
        self._lock = threading.Lock()
        self._poster = Poster(
            f"{url}/embeddings",
            key=_checked_key(key, required=url == _DEFAULT_URL),
            direct=loopback,
            timeout_s=timeout_s,
            attempts=attempts,
            backoff_s=backoff_s,
            max_response_bytes=max_response_bytes,
        )

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.model!r}, base_url={self.url!r})"

    @property
    def name(self) -> str:
        """``openai/<model>@<host>``."""
        return self._name

    @property
    def dim(self) -> int:
        """Number of dimensions; asks the endpoint once where it was not given.

        Raises:
            EmbedderError: The endpoint failed.
        """
        if self._dim is None:
            return int(self._request(["dimension"]).shape[1])
        return self._dim

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed texts; see :class:`~lamina.embed.Embedder`. Texts of white space only are not sent."""
        return self._embed(texts)

    def _embed(self, texts: Sequence[str], attempts: int | None = None) -> Matrix:
        import numpy as np

        checked_texts(texts)
        filled = [place for place, text in enumerate(texts) if text.strip()]
        found = [
            (places, self._request([clean(texts[place]) for place in places], attempts))
            for places in _batches(texts, filled)
        ]
        matrix: Matrix = np.zeros((len(texts), self.dim), dtype=np.float32)
        for places, vectors in found:
            matrix[places] = vectors
        return matrix

    def embed_query(self, text: str) -> Vector:
        """Embed a question, just as a text."""
        vector: Vector = self._embed([text], attempts=2)[0]  # someone waits for the answer
        return vector

    def _request(self, texts: list[str], attempts: int | None = None) -> Matrix:
        body: dict[str, object] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self._asked is not None:
            body["dimensions"] = self._asked
        rows = self._rows(self._poster.post(body, attempts=attempts), len(texts))
        vectors = checked(rows, len(texts), self._dim, self._name)
        with self._lock:
            if self._dim not in (None, vectors.shape[1]):
                raise self._odd(f"vectors of {vectors.shape[1]} and of {self._dim} dimensions")
            self._dim = int(vectors.shape[1])
        return vectors

    def _rows(self, answer: object, count: int) -> list[list[float]]:
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or len(data) != count:
            raise self._odd(f"{len(data) if isinstance(data, list) else 'no'} vectors for {count} texts")
        rows: list[list[float] | None] = [None] * count
        for position, entry in enumerate(data):
            index = entry.get("index", position) if isinstance(entry, dict) else None
            vector = entry.get("embedding") if isinstance(entry, dict) else None
            if type(index) is not int or not 0 <= index < count or rows[index] is not None:
                raise self._odd(f"the index {str(index)[:40]!r} among {count} texts")
            if not isinstance(vector, list) or not 0 < len(vector) <= _MAX_DIM:
                raise self._odd("an entry without a usable vector")
            if not all(type(value) in (int, float) for value in vector):
                raise self._odd("a vector that holds something else than numbers")
            rows[index] = vector
        return [row for row in rows if row is not None]

    def _odd(self, what: str) -> EmbedderError:
        return EmbedderError(
            f"The endpoint {self._poster.shown} answered with {what}.",
            hint="Check that it offers OpenAI's embeddings interface and this model.",
            embedder=self._name,
        )


def _batches(texts: Sequence[str], places: list[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    size = 0
    for place in places:
        length = len(texts[place].encode("utf-8", "surrogatepass"))
        if batch and (len(batch) == _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += length
    if batch:
        yield batch


def _checked_url(url: str) -> tuple[str, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    usual = host and not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in {"http", "https"} or not usual or any(ord(sign) <= 32 for sign in url):
        raise EmbedderError(
            "The base URL of the embeddings endpoint is not usable.",  # not shown: it may hold a password
            hint="Give it as https://HOST/v1, without user, password or query, in LAMINA_OPENAI_BASE_URL.",
        )
    loopback = _is_loopback(host)
    if parts.scheme == "http" and not loopback:
        raise EmbedderError(
            f"The embeddings endpoint at {host} would get texts and key unencrypted.",
            hint="Use https; http is for this machine's own addresses only.",
        )
    shown = f"[{host}]" if ":" in host else host
    return (shown if port is None else f"{shown}:{port}"), loopback


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_key(key: str, *, required: bool) -> str:
    key = key.strip()
    if not key and required:
        raise EmbedderError(
            "There is no key for OpenAI's embeddings endpoint.",
            hint="Set LAMINA_OPENAI_API_KEY, or LAMINA_OPENAI_BASE_URL for an endpoint of your own.",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EmbedderError(
            "The key of the embeddings endpoint holds a character that no key has.",
            hint="Look at LAMINA_OPENAI_API_KEY: a line end or a quote may have slipped in.",
        )
    return key
