"""One JSON request over HTTP that is bounded in every way: time, size, tries; and keeps its key to itself."""

from __future__ import annotations

import http.client
import json
import math
import random
import time
import urllib.error
import urllib.request
from typing import Any, NoReturn

from lamina.errors import EmbedderError

__all__ = ["MAX_RESPONSE_BYTES", "Poster"]

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""128 vectors of 16,384 numbers as JSON stay below this."""
_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT = 30.0
_SHOWN = 300


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None  # urllib then raises the 3xx as an error


class _TransientError(Exception):
    """A failure that may pass; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Poster:
    """Posts JSON to one URL and returns JSON.

    Args:
        url: Where to.
        key: Bearer token, or empty.
        direct: Ask no proxy.
        timeout_s: Longest wait for one answer, from connecting to its last byte.
        attempts: Tries before giving up.
        backoff_s: First wait between tries; it doubles, is cut at 30 s, and is shortened by up to half at random.
        max_response_bytes: An answer longer than this is refused.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        direct: bool,
        timeout_s: float,
        attempts: int,
        backoff_s: float,
        max_response_bytes: int,
    ) -> None:
        self.shown = url
        self._key = key
        self._timeout = timeout_s
        self._attempts = attempts
        self._backoff = backoff_s
        self._limit = max_response_bytes
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if direct:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def __repr__(self) -> str:
        return f"Poster({self.shown!r})"

    def post(self, body: dict[str, object], *, attempts: int | None = None) -> Any:
        """Send ``body`` and return the answer.

        Args:
            body: What to send.
            attempts: At most that many tries, where someone is waiting.

        Raises:
            EmbedderError: Refused, unreachable, too slow, too long, or not JSON.
        """
        data = json.dumps(body).encode("ascii")
        reason = ""
        tries = self._attempts if attempts is None else min(attempts, self._attempts)
        for attempt in range(1, tries + 1):
            try:
                return self._once(data)
            except _TransientError as error:
                reason = str(error)
                if attempt < tries:
                    wait = min(_LONGEST_WAIT, self._backoff * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
                    time.sleep(max(wait, min(_LONGEST_WAIT, error.wait)))
        raise self._failure(
            f"{reason} ({tries} of {tries} tries)", "Check the network and the endpoint, then try again."
        )

    def _once(self, data: bytes) -> Any:
        request = urllib.request.Request(  # noqa: S310  (scheme checked by the caller)
            self.shown, data=data, method="POST", headers={"Content-Type": "application/json", "User-Agent": "lamina"}
        )
        if self._key:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        deadline = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                raw = self._read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            cause = getattr(error, "reason", error)
            raise _TransientError(self._safe(f"could not be reached ({type(cause).__name__}: {cause})")) from None
        try:
            return json.loads(raw, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise self._failure("answered with something that is not JSON", "Check the base URL.") from None

    def _read(self, response: Any, deadline: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := response.read1(65_536):
            size += len(chunk)
            if size > self._limit:
                raise self._failure(f"answered with more than {self._limit:,} bytes", "Check the base URL.")
            if time.monotonic() > deadline:
                raise _TransientError(f"took longer than {self._timeout:g} s")
            chunks.append(chunk)
        if response.length:  # what Content-Length promised and did not come
            raise _TransientError("broke off its answer")
        return b"".join(chunks)

    def _refused(self, error: urllib.error.HTTPError) -> NoReturn:
        try:
            text = error.read(4_096).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            text = ""
        reason = self._safe(f"refused with HTTP {error.code}: {text}".rstrip(": "))
        if error.code in _AGAIN:
            raise _TransientError(reason, _seconds(error.headers.get("Retry-After")))
        hints = {
            401: "Check the key in LAMINA_OPENAI_API_KEY.",
            403: "Check what the key is allowed to do.",
            404: "Check the model's name and the base URL.",
        }
        if 300 <= error.code < 400:
            raise self._failure(reason, "Redirects are not followed: give the final base URL.") from None
        hint = hints.get(error.code, "Check the model's name and the length of the texts.")
        raise self._failure(reason, hint) from None

    def _safe(self, text: str) -> str:
        text = text.replace(self._key, "***") if self._key else text  # some servers quote the key they refuse
        text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

    def _failure(self, what: str, hint: str) -> EmbedderError:
        return EmbedderError(f"The embeddings endpoint {self.shown} {what}.", hint=hint, url=self.shown)


def _seconds(value: str | None) -> float:
    try:
        seconds = float(value or 0.0)
    except ValueError:
        return 0.0  # a date: the usual wait will do
    return seconds if math.isfinite(seconds) and seconds > 0.0 else 0.0


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
