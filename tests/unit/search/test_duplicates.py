"""Near-duplicates: signatures are the same everywhere and forever, and close texts meet in a band."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from lamina.search.duplicates import THRESHOLD, bands, resemblance

WORDS = st.lists(st.sampled_from(["red", "fox", "jumps", "over", "猫", "caf\u00e9", "7", "🦊"]), max_size=12)
KNOWN = (808453977982834163, 4614852456868934588, -7297688879043107233, -4392491490174522857)


def _edited(generator: random.Random, words: list[str], edits: int) -> list[str]:
    result = list(words)
    for number in range(edits):
        result[generator.randrange(len(result))] = f"new{number}"
    return result


def _pairs(least: float, most: float, count: int) -> list[tuple[list[str], list[str]]]:
    """Generated pairs of texts whose resemblance lies from ``least`` to below ``most``."""
    generator = random.Random(20_240_117)
    found: list[tuple[list[str], list[str]]] = []
    while len(found) < count:
        words = [f"w{generator.randrange(5000)}" for _ in range(generator.randrange(40, 160))]
        other = _edited(generator, words, generator.choice([0, 1, 2, 3, 8, 20, 40]))
        if least <= resemblance(words, other) < most:
            found.append((words, other))
    return found


def _meeting(pairs: list[tuple[list[str], list[str]]]) -> float:
    """Share of the pairs that have a band in common."""
    return sum(bool(set(bands([one])[0]) & set(bands([two])[0])) for one, two in pairs) / len(pairs)


def test_bands_are_what_stores_hold() -> None:
    """The bands of a text never change: they are stored, and a later version must find them."""
    assert KNOWN == bands([["the", "quick", "brown", "fox"]])[0]


def test_bands_are_the_same_in_another_process() -> None:
    """Nothing of the process, such as its hash seed, goes into a band."""
    program = "from lamina.search.duplicates import bands; print(bands([['the', 'quick', 'brown', 'fox']])[0])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert str(KNOWN) == done.stdout.strip()


@given(st.lists(WORDS, max_size=8))
def test_a_batch_gives_what_each_text_gives_alone(texts: list[list[str]]) -> None:
    """Empty texts between others shift nothing."""
    assert [bands([words])[0] for words in texts] == bands(texts)


@given(WORDS)
def test_a_text_has_four_bands_that_sqlite_can_hold(words: list[str]) -> None:
    """Four different signed 64-bit numbers, none for a text without tokens."""
    found = bands([words])[0]
    assert (4 if words else 0) == len(found) == len(set(found))
    assert all(-(2**63) <= band < 2**63 for band in found)


@given(WORDS.filter(bool))
def test_identical_texts_share_every_band(words: list[str]) -> None:
    """The same tokens, however often they are said, are the same signature."""
    assert bands([words])[0] == bands([list(words)])[0]
    assert bands([words * 2])[0] == bands([words * 3])[0]


def test_nine_in_ten_close_texts_are_found() -> None:
    """At a resemblance of 0.9 and more at least nine pairs in ten meet; in theory it is 998 in a thousand."""
    assert _meeting(_pairs(0.9, 1.01, 200)) >= 0.9


def test_most_texts_at_the_threshold_are_found() -> None:
    """Just above the threshold, theory says 98 in a hundred."""
    assert _meeting(_pairs(THRESHOLD, 0.88, 200)) >= 0.9


def test_texts_without_a_common_word_do_not_meet() -> None:
    """Strangers share no band, so that a write looks at few candidates."""
    pairs = [([f"a{n}x{k}" for k in range(30)], [f"b{n}y{k}" for k in range(30)]) for n in range(200)]
    assert _meeting(pairs) == 0


@given(WORDS, WORDS)
def test_resemblance_is_a_symmetric_share(one: list[str], two: list[str]) -> None:
    """It lies from 0 to 1, is the same both ways, and 1 for the same text."""
    found = resemblance(one, two)
    assert 0 <= found <= 1
    assert found == resemblance(two, one)
    assert resemblance(one, one) == 1


def test_resemblance_counts_words_and_pairs() -> None:
    """Worked out by hand: 2 words and 1 pair are common, of 4 words and 3 pairs."""
    assert 3 / 7 == resemblance(["a", "b", "c"], ["a", "b", "d"])
    assert 2 / 4 == resemblance(["a", "b"], ["b", "a"])
    assert 0 == resemblance(["a"], [])
    assert 1 == resemblance([], [])
