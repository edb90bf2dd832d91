from __future__ import annotations

import gc
import os
import random
import shutil
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.embed import Embedder, StaticEmbedder, WeightedQueryEmbedder, _static, _wordllama
from lamina.errors import DependencyError, EmbedderError, InvalidInputError
from lamina.testing import EmbedderTests

EMBEDDER = StaticEmbedder()
ANY_TEXT = st.text(st.characters(), max_size=80)  # lone surrogates included


class TestContract(EmbedderTests):
    """The default embedder keeps the contract, bit for bit."""

    def make_embedder(self) -> Embedder:
        """Return one."""
        return StaticEmbedder()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the two files that a test may damage."""
    files = _wordllama.locate()
    for path in (files.table, files.tokenizer):
        target = tmp_path / "wordllama" / path.parent.name / path.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(path, target)
    return tmp_path / "wordllama"


def table_of(package: Path) -> Path:
    """Return the table in a copy."""
    return package / "weights" / "l2_supercat_256.safetensors"


@given(st.lists(ANY_TEXT, max_size=12), st.randoms())
def test_a_vector_depends_on_its_text_alone(texts: list[str], chance: random.Random) -> None:
    """Alone or in any batch and order, a text gives the same bits; they are finite and of length 1 or 0."""
    together = EMBEDDER.embed(texts)
    order = list(range(len(texts)))
    chance.shuffle(order)
    shuffled = EMBEDDER.embed([texts[place] for place in order])

    for place, text in enumerate(texts):
        assert together[place].tobytes() == EMBEDDER.embed_query(text).tobytes()
    assert shuffled.tobytes() == together[order].tobytes()
    length = np.linalg.norm(together.astype(np.float64), axis=1)
    assert np.all((np.abs(length - 1) < 1e-6) | (length == 0))


def test_large_batches_change_nothing() -> None:
    """A batch of several blocks, and words forgotten and read again, give the same bits as one by one."""
    texts = [f"memory {number} of agent {number % 7} ships w{number:x}" for number in range(700)]
    small = StaticEmbedder()
    together = EMBEDDER.embed(texts)

    assert together.tobytes() == np.stack([small.embed_query(text) for text in texts]).tobytes()


def test_forgetting_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for only a few words the vectors are the same, and the memory stays bounded."""
    texts = ["alpha beta gamma", "delta epsilon zeta", "alpha zeta, eta"] * 5
    expected = EMBEDDER.embed(texts)
    monkeypatch.setattr(_static, "_REMEMBERED", 4)
    small = StaticEmbedder()

    assert expected.tobytes() == small.embed(texts).tobytes()
    assert small._rows is not None
    assert len(small._rows) < 4 + 10


def test_it_is_the_mean_of_the_table() -> None:
    """The vector is the mean of the pieces' rows as plain numpy computes it, but for the fixed point's rounding."""
    files = _wordllama.locate()
    vocabulary = _wordllama.read_vocabulary(files.tokenizer)
    rows = np.frombuffer(files.table.read_bytes()[96:], dtype="<f2").reshape(32_000, 256).astype(np.float64)
    mean = rows[[vocabulary[piece] for piece in ("▁hello", ",", "▁world")]].mean(axis=0)

    np.testing.assert_allclose(EMBEDDER.embed_query("Hello, world"), mean / np.linalg.norm(mean), atol=5e-5)


def test_known_bits() -> None:
    """A text's vector is the same as ever: another one needs another embedder name."""
    vector = EMBEDDER.embed_query("Lamina keeps what was said; 42 times \u2013 漢字.")

    assert vector[:4].tobytes().hex() == "b6f7333ddeef1b3eb83108bd4b98b2bd"
    assert EMBEDDER.name == "static/wordllama-l2-256"


def test_meaning() -> None:
    """Related texts are nearer than unrelated ones."""
    query, near, far = EMBEDDER.embed(["a puppy playing", "The dog runs in the garden", "quarterly tax report"])

    assert query @ near > query @ far + 0.1


def test_a_long_text_takes_bounded_memory() -> None:
    """Two megabytes of text, with and without spaces, take a few megabytes beside the text."""
    EMBEDDER.embed_query("warm up é")
    for text in ("word and another. " * 120_000, "a" * 2_000_000, "漢字" * 500_000):
        gc.collect()
        tracemalloc.start()
        vector = EMBEDDER.embed_query(text)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert peak < 12_000_000
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-6


def test_a_long_text_is_the_sum_of_its_words() -> None:
    """The same sentence a thousand times has the sentence's own vector, bit for bit."""
    sentence = "The rollout moved to Thursday, again. "

    assert EMBEDDER.embed_query(sentence).tobytes() == EMBEDDER.embed_query(sentence * 1_024).tobytes()


def test_speaks_the_weighted_protocol() -> None:
    """It offers weighted queries."""
    assert isinstance(EMBEDDER, WeightedQueryEmbedder)


def test_weights_reach_the_words() -> None:
    """The weight is asked for each word in lower case, and a heavy word pulls the vector towards itself."""
    asked: list[str] = []

    def weight(word: str) -> float:
        asked.append(word)
        return 9.0 if word == "paris" else 0.5

    vector = EMBEDDER.embed_query_weighted("What's in Paris-2024, 東京?", weight)
    plain = EMBEDDER.embed_query("What's in Paris-2024, 東京?")
    paris = EMBEDDER.embed_query("Paris")

    assert asked == ["what", "s", "in", "paris", "2024", "東京"]
    assert vector @ paris > plain @ paris + 0.2


@given(ANY_TEXT)
def test_weighted_queries_take_any_text(text: str) -> None:
    """Any text gives a finite vector of length 1 or 0, and without any weight it is the plain one."""
    vector = EMBEDDER.embed_query_weighted(text, lambda word: float(len(word)))
    length = float(np.linalg.norm(vector))

    assert abs(length - 1) < 1e-6 or length == 0
    assert EMBEDDER.embed_query_weighted(text, lambda _: 0.0).tobytes() == EMBEDDER.embed_query(text).tobytes()


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_bad_weights_are_refused(bad: float) -> None:
    """A weight that is negative or not finite is an InvalidInputError that names the word."""
    with pytest.raises(InvalidInputError, match="'word'"):
        EMBEDDER.embed_query_weighted("word", lambda _: bad)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b""), "header"),
        (lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"), "header claims"),
        (lambda path: path.write_bytes(struct.pack("<Q", 88) + b"{" * 88), "header cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, expected"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes, expected"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"F16", b"F32")), "holds F32"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"[32000,256]", b"[32000,999]")), "holds F16"),
        (lambda path: flip(path, 100), "not the known ones"),
        (lambda path: flip(path, 16_384_095), "not the known ones"),
        (lambda path: (path.unlink(), path.mkdir()), "missing"),
    ],
)
def test_a_damaged_table_is_refused(package: Path, damage: Callable[[Path], object], reason: str) -> None:
    """A table that is missing, cut, grown, of another kind or changed is an error that says what to do."""
    damage(table_of(package))
    with pytest.raises(EmbedderError, match=reason) as caught:
        StaticEmbedder(package)

    assert "pip install" in caught.value.hint
    assert caught.value.details["path"] == str(table_of(package))


def flip(path: Path, at: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x40]))


def test_damage_in_the_middle(package: Path) -> None:
    """A changed byte that opening does not look at is found by verify, and a value out of range already in use."""
    whole = StaticEmbedder(package)
    whole.verify()
    row = _wordllama.read_vocabulary(_wordllama.locate().tokenizer)["▁garden"]
    with table_of(package).open("r+b") as file:
        file.seek(96 + 512 * row)
        file.write(b"\x00\x7e")  # NaN
    damaged = StaticEmbedder(package)
    with pytest.raises(EmbedderError, match="out of range"):
        damaged.embed(["in the garden"])
    with pytest.raises(EmbedderError, match="checksum"):
        damaged.verify()


def test_a_table_cut_while_in_use(package: Path) -> None:
    """A table that shrinks under an open embedder is an error, not the end of the process."""
    embedder = StaticEmbedder(package)
    embedder.embed(["here"])
    with table_of(package).open("r+b") as file:
        file.truncate(1_000)
    with pytest.raises(EmbedderError, match="cut short"):
        embedder.embed(["entirely other words"])


def test_a_damaged_vocabulary(package: Path) -> None:
    """A damaged tokenizer file is an error at the first text, and a missing one at once."""
    path = package / "tokenizers" / "l2_supercat_tokenizer_config.json"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(EmbedderError, match="vocabulary"):
        StaticEmbedder(package).embed(["text"])
    path.unlink()
    with pytest.raises(EmbedderError, match="missing"):
        StaticEmbedder(package)


def test_the_file_is_let_go(package: Path) -> None:
    """An embedder that is no longer used closes its file."""
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    embedder = StaticEmbedder(package)
    embedder.embed(["text"])
    assert len(os.listdir("/dev/fd")) == before + 1
    del embedder
    gc.collect()

    assert len(os.listdir("/dev/fd")) == before


def test_the_package_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package there is a DependencyError that says how to get it, and it is not reported as installed."""
    monkeypatch.setattr(_wordllama, "_PACKAGE", "no_such_package_here")
    with pytest.raises(DependencyError, match="pip install wordllama"):
        StaticEmbedder()

    assert not _wordllama.is_installed()


def test_what_is_loaded() -> None:
    """Making one loads no numpy, using one loads neither tokenizers nor wordllama."""
    code = (
        "import sys; from lamina.embed import StaticEmbedder; e = StaticEmbedder(); a = 'numpy' in sys.modules;"
        "e.embed_query('text é'); print(a, [m for m in ('tokenizers', 'wordllama', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )

    assert done.stdout.split(maxsplit=1) == ["False", "[]\n"]


SOURCE = str(Path(_static.__file__).parents[2])
