from __future__ import annotations

import json
import logging
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from lamina.embed import Embedder, OpenAIEmbedder, StaticEmbedder
from lamina.errors import EmbedderError, InvalidInputError
from lamina.testing import EmbedderTests

KEY = "sk-very-secret-0123456789"
MODEL = StaticEmbedder()

Answer = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's script says, then as a sound endpoint does."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take one request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
        answer = self.server.script.pop(0) if self.server.script else sound
        answer(self, body)

    def do_GET(self) -> None:
        """Nobody should."""
        self.server.seen.append({"path": self.path, "headers": dict(self.headers), "body": None})
        self.send(200, b"{}")

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Send one answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


class Server(ThreadingHTTPServer):
    """A real server on a loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.seen: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def embedder(self, **options: Any) -> OpenAIEmbedder:
        """Return an embedder that asks this server."""
        defaults: dict[str, Any] = {"api_key": KEY, "backoff_s": 0.001, "timeout_s": 5.0}
        return OpenAIEmbedder("small", base_url=self.url, **(defaults | options))


def sound(handler: Handler, body: dict[str, Any]) -> None:
    """Answer with the default embedder's vectors, last first, and not of unit length."""
    rows = MODEL.embed(body["input"]) * 3.0
    data = [{"object": "embedding", "index": place, "embedding": row.tolist()} for place, row in enumerate(rows)]
    handler.send(200, json.dumps({"object": "list", "data": data[::-1], "model": body["model"]}).encode())


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with a status."""
    return lambda handler, _: handler.send(code, body, **headers)


def raw(body: str | bytes) -> Answer:
    """Answer 200 with these bytes."""
    return status(200, body if isinstance(body, bytes) else body.encode())


def vectors(*entries: Any) -> Answer:
    """Answer with these entries of ``data``."""
    return raw(json.dumps({"data": list(entries)}))


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """One server for the module."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(shared: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, with nothing seen and nothing scripted."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shared.script.clear()
    shared.seen.clear()
    return shared


class TestContract(EmbedderTests):
    """An endpoint keeps the contract."""

    @pytest.fixture(autouse=True)
    def endpoint(self, server: Server) -> None:
        """Give the tests a server."""
        self.server = server

    def make_embedder(self) -> Embedder:
        """Return one."""
        return self.server.embedder()


def test_what_is_sent(server: Server) -> None:
    """One POST to the embeddings path, with model, texts, plain floats and the key."""
    server.embedder(dimensions=256).embed(["a cat", "é \ud800"])
    request = server.seen[0]

    assert request["path"] == "/v1/embeddings"
    assert request["headers"]["Authorization"] == f"Bearer {KEY}"
    assert request["body"] == {
        "model": "small",
        "input": ["a cat", "é \ufffd"],
        "encoding_format": "float",
        "dimensions": 256,
    }


def test_the_index_decides_the_order(server: Server) -> None:
    """Vectors are put where their index says, and scaled to length 1."""
    texts = ["a cat", "a dog", "tax"]
    np.testing.assert_allclose(server.embedder().embed(texts), MODEL.embed(texts), atol=1e-6)


def test_batches_are_bounded(server: Server) -> None:
    """No request has more than 128 texts or, with more than one, more than 256 KB; blank texts are not sent."""
    texts = [f"text {number}" for number in range(300)] + [" "] + ["é" * 100_000] * 3
    rows = server.embedder().embed(texts)
    batches = [request["body"]["input"] for request in server.seen]

    assert [len(batch) for batch in batches] == [128, 128, 45, 1, 1]
    assert all(len(batch) == 1 or sum(len(text.encode()) for text in batch) <= 262_144 for batch in batches)
    assert not rows[300].any()
    np.testing.assert_allclose(rows[299], MODEL.embed_query("text 299"), atol=1e-6)


@pytest.mark.parametrize("codes", [[429], [500, 503], [429, 502, 504, 408]])
def test_load_is_waited_out(server: Server, codes: list[int]) -> None:
    """429 and 5xx are tried again until the endpoint answers."""
    server.script.extend(status(code, b"busy") for code in codes)
    rows = server.embedder().embed(["a cat"])

    assert len(server.seen) == len(codes) + 1
    np.testing.assert_allclose(rows, MODEL.embed(["a cat"]), atol=1e-6)


def test_retry_after_is_honoured(server: Server) -> None:
    """The wait that the server asks for is kept; one that is no number is ignored."""
    server.script.append(status(429, Retry_After="0.3"))
    server.script.append(status(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"))
    begin = time.monotonic()
    server.embedder().embed(["a cat"])

    assert 0.3 <= time.monotonic() - begin < 3


def test_tries_are_bounded(server: Server) -> None:
    """After the tries are used up the error says what the server said; a question gives up sooner."""
    server.script.extend([status(503, b"no room at the inn")] * 9)
    with pytest.raises(EmbedderError, match="HTTP 503: no room at the inn"):
        server.embedder(attempts=3).embed(["a cat"])
    assert len(server.seen) == 3
    with pytest.raises(EmbedderError, match="503"):
        server.embedder().embed_query("a cat")

    assert len(server.seen) == 5


@pytest.mark.parametrize(
    ("code", "hint"), [(400, "length"), (401, "key"), (403, "allowed"), (404, "model"), (302, "Redirects")]
)
def test_refusals_are_final(server: Server, code: int, hint: str) -> None:
    """A refusal is not tried again, and its hint says where to look."""
    server.script.append(status(code, b'{"error": "because"}'))
    with pytest.raises(EmbedderError, match=rf"HTTP {code}.*because") as caught:
        server.embedder().embed(["a cat"])

    assert hint in caught.value.hint
    assert len(server.seen) == 1


def test_redirects_carry_no_key(server: Server) -> None:
    """A redirect is refused: neither texts nor key go where it points."""
    server.script.extend([status(code, Location=f"{server.url}/elsewhere") for code in (301, 303, 307, 308)])
    for _ in range(4):
        with pytest.raises(EmbedderError, match="HTTP 30"):
            server.embedder().embed(["a cat"])

    assert {request["path"] for request in server.seen} == {"/v1/embeddings"}
    assert len(server.seen) == 4


GOOD = {"index": 0, "embedding": [1.0, 2.0]}


@pytest.mark.parametrize(
    "answer",
    [
        raw(""),
        raw("<html>"),
        raw("[" * 100_000),
        raw(b"\xff\xfe"),
        raw("[]"),
        raw("{}"),
        raw('{"data": {}}'),
        vectors(),
        vectors(GOOD),
        vectors(GOOD, GOOD),
        vectors(GOOD, GOOD, GOOD),
        vectors(GOOD, {"index": 2, "embedding": [1.0, 2.0]}),
        vectors(GOOD, {"index": -1, "embedding": [1.0, 2.0]}),
        vectors(GOOD, {"index": True, "embedding": [1.0, 2.0]}),
        vectors(GOOD, {"index": "1", "embedding": [1.0, 2.0]}),
        vectors(GOOD, {"index": 1}),
        vectors(GOOD, {"index": 1, "embedding": []}),
        vectors(GOOD, {"index": 1, "embedding": [1.0]}),
        vectors(GOOD, {"index": 1, "embedding": [1.0, "2.0"]}),
        vectors(GOOD, {"index": 1, "embedding": [1.0, None]}),
        vectors(GOOD, {"index": 1, "embedding": [1.0, True]}),
        vectors(GOOD, {"index": 1, "embedding": [1.0] * 20_000}),
        vectors(GOOD, {"index": 1, "embedding": "AACAPw=="}),
        vectors(GOOD, None),
        raw('{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [NaN, 2]}]}'),
        raw('{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1e999, 2]}]}'),
        raw(f'{{"data": [{{"index": 0, "embedding": [1, 2]}}, {{"index": 1, "embedding": [1{"0" * 400}, 2]}}]}}'),
    ],
)
def test_bad_answers_are_refused(server: Server, answer: Answer) -> None:
    """Not JSON, missing, doubled or foreign indices, no vectors, mixed or foreign sizes, and NaN are EmbedderErrors."""
    server.script.append(answer)
    embedder = server.embedder(attempts=1)
    with pytest.raises(EmbedderError):
        embedder.embed(["a", "b"])


def test_dimensions_are_checked(server: Server) -> None:
    """Vectors of another size than asked for, or than before, are refused."""
    with pytest.raises(EmbedderError, match=r"expected \(1, 64\)"):
        server.embedder(dimensions=64).embed(["a"])
    embedder = server.embedder()
    embedder.embed(["a"])
    server.script.append(vectors(GOOD))
    with pytest.raises(EmbedderError, match=r"expected \(1, 256\)"):
        embedder.embed(["a"])


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_answer_is_not_read(server: Server, announced: bool) -> None:
    """An answer that exceeds the bound is dropped while it is read, whether or not it says its length."""

    def huge(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(10**12))
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _turn in range(10_000):
            handler.wfile.write(b"1" * 65_536)

    server.script.append(huge)
    with pytest.raises(EmbedderError, match="more than 1,000,000 bytes"):
        server.embedder(max_response_bytes=1_000_000).embed(["a"])


def test_a_broken_answer_is_tried_again(server: Server) -> None:
    """An answer cut short, and a connection that closes without one, are tried again."""

    def cut(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b'{"data": [')

    def hang_up(handler: Handler, _: dict[str, Any]) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    server.script.extend([cut, hang_up])
    server.embedder().embed(["a cat"])

    assert len(server.seen) == 3


@pytest.mark.parametrize("kind", ["silent", "dripping"])
def test_a_slow_answer_ends(server: Server, kind: str) -> None:
    """An endpoint that says nothing, or a byte at a time, is given up at the time limit."""
    done = threading.Event()

    def slow(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.flush()
        while not done.wait(0.02):
            if kind == "dripping":
                handler.wfile.write(b" ")

    server.script.append(slow)
    begin = time.monotonic()
    with pytest.raises(EmbedderError, match=r"longer than|timed out|TimeoutError"):
        server.embedder(timeout_s=0.2, attempts=1).embed(["a"])
    done.set()

    assert time.monotonic() - begin < 3


def test_nobody_listens() -> None:
    """A refused connection is an EmbedderError after the bounded tries."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EmbedderError, match="could not be reached"):
        OpenAIEmbedder("m", base_url=url, backoff_s=0.001, attempts=2).embed(["a"])


def leaves_no_key(embedder: OpenAIEmbedder, error: BaseException | None, log: str = "") -> None:
    """Check that the key is nowhere to be seen."""
    shown = [repr(embedder), str(embedder), repr(embedder._poster), embedder.name, log]
    if error is not None:
        shown += [
            "".join(traceback.format_exception(error)),
            repr(error),
            json.dumps(getattr(error, "to_dict", dict)()),
        ]
        shown.append(repr(pickle.dumps(error)))
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize("code", [400, 401, 429, 500])
def test_the_key_is_never_shown(server: Server, caplog: pytest.LogCaptureFixture, code: int) -> None:
    """A server that quotes the key, in whatever answer, does not get it into an error, a log or a repr."""
    caplog.set_level(logging.DEBUG)
    server.script.extend([status(code, f"\x1b[31mbad key {KEY}\x1b[0m, {'x' * 9_000}".encode())] * 2)
    embedder = server.embedder(attempts=2)
    with pytest.raises(EmbedderError, match=r"\*\*\*") as caught:
        embedder.embed(["a"])

    leaves_no_key(embedder, caught.value, caplog.text)
    assert len(str(caught.value)) < 700
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY}\u2026", f"{KEY} {KEY}", f"\x00{KEY}"])
def test_a_malformed_key_is_refused(key: str) -> None:
    """A key with a line end, a space or a foreign character is refused without being shown."""
    with pytest.raises(EmbedderError, match="character that no key has") as caught:
        OpenAIEmbedder("m", api_key=key)

    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("secret", ["https://u:p4ss@host/v1", "https://:p4ss@host/v1", "https://host/v1?key=p4ss"])
def test_a_url_with_a_secret_is_refused(secret: str) -> None:
    """A base URL with a user, a password or a query is refused without being shown."""
    with pytest.raises(EmbedderError, match="not usable") as caught:
        OpenAIEmbedder("m", base_url=secret, api_key=KEY)

    assert "p4ss" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "host/v1", "ftp://h/v1", "file:///etc/passwd", "https://", "https://h:x/v1", "https://h/ v"]
)
def test_unusable_urls_are_refused(url: str) -> None:
    """What is no http(s) URL is refused."""
    with pytest.raises(EmbedderError):
        OpenAIEmbedder("m", base_url=url or "http://", api_key=KEY)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "192.168.1.1", "0.0.0.0", "127.0.0.1.example.com", "[::]"])
def test_plain_http_is_for_loopback(host: str) -> None:
    """Plain http to another machine is refused."""
    with pytest.raises(EmbedderError, match="unencrypted"):
        OpenAIEmbedder("m", base_url=f"http://{host}/v1", api_key=KEY)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:8080/v1/", "localhost:8080"),
        ("http://127.8.9.1/v1", "127.8.9.1"),
        ("http://[::1]:1/v1", "[::1]:1"),
        ("https://Example.com/v1", "example.com"),
        (None, "api.openai.com"),
    ],
)
def test_the_identity(url: str | None, host: str) -> None:
    """The identity is model and host, and is known without a connection."""
    assert OpenAIEmbedder("text-3", base_url=url, api_key=KEY).name == f"openai/text-3@{host}"


def test_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base URL and key come from the environment; Lamina's own key goes first, arguments before either."""
    monkeypatch.setenv("LAMINA_OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    OpenAIEmbedder("m").embed(["a"])
    monkeypatch.setenv("LAMINA_OPENAI_API_KEY", "first")
    OpenAIEmbedder("m").embed(["a"])
    OpenAIEmbedder("m", api_key="given").embed(["a"])

    assert [request["headers"]["Authorization"] for request in server.seen] == [
        "Bearer second",
        "Bearer first",
        "Bearer given",
    ]


def test_without_a_key(server: Server) -> None:
    """OpenAI's own endpoint needs a key; another may do without, and then none is sent."""
    with pytest.raises(EmbedderError, match="There is no key"):
        OpenAIEmbedder("m")
    OpenAIEmbedder("m", base_url=server.url).embed(["a"])

    assert "Authorization" not in server.seen[0]["headers"]


def test_no_proxy_for_loopback(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not handed what goes to this machine itself."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    server.embedder(attempts=1).embed(["a"])

    assert len(server.seen) == 1


@pytest.mark.parametrize("options", [{"model": " "}, {"dimensions": 0}, {"dimensions": 10**9}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """A blank model and absurd dimensions are InvalidInputErrors."""
    with pytest.raises(InvalidInputError):
        OpenAIEmbedder(**({"model": "m", "api_key": KEY} | options))


def test_dim_asks_once(server: Server) -> None:
    """The number of dimensions is asked of the endpoint once; given, not at all."""
    embedder = server.embedder()
    assert (embedder.dim, embedder.dim) == (256, 256)
    assert server.embedder(dimensions=12).dim == 12
    assert len(server.seen) == 1
