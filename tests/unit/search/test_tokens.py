"""The tokeniser: what words a text gives, and that no text at all can upset it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.search import tokens as module
from lamina.search.tokens import MAX_TOKEN, STOP_WORDS, query_terms, stem, tokens

ANY_TEXT = st.text(st.characters(), max_size=80)  # lone surrogates included
CODE_LIKE = st.text(st.sampled_from("aZ9_-./\\:@' \u0301é猫กㄱ\u3000\u2019🚀\ud800"), max_size=60)


def _clean(token: str) -> bool:
    """Whether one token is safe to be joined by spaces and split on ASCII punctuation."""
    return (
        0 < len(token) <= MAX_TOKEN
        and not any(c.isspace() for c in token)
        and all(c > "\x7f" or c in "abcdefghijklmnopqrstuvwxyz0123456789" for c in token)
    )


@given(ANY_TEXT | CODE_LIKE)
def test_tokens_are_clean(text: str) -> None:
    """Any string gives tokens of small letters, digits and characters beyond ASCII, and nothing else."""
    assert all(map(_clean, tokens(text)))
    assert all(map(_clean, query_terms(text)))


@given(ANY_TEXT | CODE_LIKE)
def test_tokens_encode_as_utf8(text: str) -> None:
    """What is handed to the index can always be encoded."""
    " ".join(tokens(text)).encode("utf-8")


@given(ANY_TEXT | CODE_LIKE)
def test_query_terms_are_among_the_index_tokens(text: str) -> None:
    """A text is found by its own words: every query term is one of its index tokens, once."""
    terms = query_terms(text)
    assert set(terms) <= set(tokens(text))
    assert len(terms) == len(set(terms))
    assert bool(terms) == bool(tokens(text))


@given(ANY_TEXT | CODE_LIKE, ANY_TEXT | CODE_LIKE)
def test_texts_join_at_white_space(left: str, right: str) -> None:
    """White space parts texts: a text of two halves has the tokens of each, in order."""
    assert tokens(left + "\n" + right) == tokens(left) + tokens(right)


@given(st.text("abcdefghijklmnopqrstuvwxyz", max_size=14))
def test_stemming_never_makes_a_stop_word(word: str) -> None:
    """Only a stop word is a stop word once stemmed."""
    assert (stem(word) in STOP_WORDS) == (word in STOP_WORDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("Caroline's dogs", tokens("caroline dog")),
        ("I\u2019m I'm", ["i", "i"]),
        ("snake_case", tokens("snakecase snake case")),
        ("camelCase", tokens("camelcase camel case")),
        ("HTTPServer", tokens("httpserver http server")),
        ("utf8", ["utf8", "utf", "8"]),
        ("3.14", ["3\u00b714", "3", "14"]),
        ("2023-05-07", ["2023\u00b705\u00b707", "2023", "05", "07"]),
        ("a3f9b2c4", ["a3f9b2c4"]),
        ("src/api.py", tokens("srcapipy src apipy api py")),
        ("Café ﬁne", ["cafe", "fine"]),
        ("猫が好き", ["猫", "猫が", "が好", "好", "好き"]),
        ("한국어", ["한국", "국어"]),
        ("ไทย", ["ไท", "ทย"]),
        ("हिन्दी", ["हिन्दी"]),
        ("ship it 🚀", ["ship", "it", "🚀"]),
        ("", []),
        ("?! ...", []),
        ("\ud800", []),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    """Names, numbers, paths, accents and scripts come apart as documented."""
    assert tokens(text) == expected


@pytest.mark.parametrize(
    "family",
    [
        "paint paints painted painting",
        "party parties",
        "movie movies",
        "box boxes",
        "house houses",
        "hope hoped hoping",
        "run runs running ran",
        "go goes going went gone",
        "child children",
        "buy buys buying bought",
        "agree agreed",
        "create created creating",
        "stop stopped stopping",
        "try tries tried trying",
        "die dies died dying",
        "play plays played playing",
        "potato potatoes",
    ],
)
def test_word_families_share_a_stem(family: str) -> None:
    """Plural, past and continuous forms meet in one stem."""
    assert len({stem(word) for word in family.split()}) == 1


@pytest.mark.parametrize("pair", ["hope hop", "evening even", "news new", "sing s", "bus bu", "wing w"])
def test_other_words_stay_apart(pair: str) -> None:
    """A light stemmer leaves these alone."""
    left, right = pair.split()
    assert stem(left) != stem(right)


def test_query_drops_stop_words_unless_nothing_else() -> None:
    """Stop words yield to other words, and answer when alone."""
    assert query_terms("Where is the cat, and who is the cat?") == ["cat"]
    assert query_terms("To be or not to be") == ["to", "be", "or", "not"]
    assert query_terms("don't") == ["dont"]


def test_lone_han_character_is_a_query() -> None:
    """One Han character finds texts that hold it; a longer run looks for pairs."""
    assert query_terms("猫") == ["猫"]
    assert "猫" in tokens("私の猫です")
    assert query_terms("子猫") == ["子猫"]


def test_long_words_are_bounded() -> None:
    """A huge word is cut, a huge compound gives only its parts."""
    assert tokens("x" * 1000) == ["x" * MAX_TOKEN]
    assert max(map(len, tokens("/".join(["part"] * 200)))) <= MAX_TOKEN
    assert max(map(len, tokens("e" + "\u0301\u0591" * 500 + " ก" + "\u0e34" * 500))) <= MAX_TOKEN


def test_cache_is_bounded() -> None:
    """Many different words do not pile up in memory."""
    for number in range(module._CACHE_LIMIT + 10):
        tokens(f"word{number}")
    assert len(module._cache) <= module._CACHE_LIMIT


def test_huge_input_takes_linear_time() -> None:
    """Hostile lengths of every kind finish quickly."""
    start = time.perf_counter()
    for text in ("a-" * 50_000, "aB" * 50_000, "_" * 100_000, "e\u0301" * 50_000, "猫" * 50_000, "\u0301" * 100_000):
        tokens(text)
        query_terms(text)
    assert time.perf_counter() - start < 10
