from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.embed import _pieces, _wordllama
from lamina.errors import EmbedderError

FILES = _wordllama.locate()
VOCABULARY = _wordllama.read_vocabulary(FILES.tokenizer)
PIECES = _pieces.Pieces(VOCABULARY)

LETTERS = st.sampled_from("aáeéßñçøаяθλ the ing tion er ction qz")  # noqa: RUF001
SCRIPTS = st.sampled_from("漢字テストひらがな한국어العربيةहिन्दी😀👩‍👩‍👧²³½ⅷ\ufffd\ufffd──…–—¿¡")  # noqa: RUF001
ODD = st.sampled_from("\x00\x07\x7f\u200b\u202e\ufeff\u0301\ue000\U0010ffff")
TEXTS = st.text(
    st.one_of(LETTERS, SCRIPTS, ODD, st.characters(exclude_categories=["Cs"]), st.sampled_from("aaaa====....    0123")),
    max_size=60,
)


@pytest.fixture(scope="module")
def reference() -> Any:
    """The Rust tokenizer over the same file; its special tokens are taken out, since they are plain text here."""
    tokenizers = pytest.importorskip("tokenizers")
    definition = json.loads(FILES.tokenizer.read_text("utf-8"))
    definition["added_tokens"] = []
    definition["post_processor"] = None
    return tokenizers.Tokenizer.from_str(json.dumps(definition))


def ids(text: str) -> list[int]:
    """Return the ids of a text's pieces."""
    return [number for part in _pieces.parts(text) for number in PIECES.ids(part)]


def normal(text: str) -> str:
    """Do to a text what is documented to happen before it is cut."""
    return " ".join(unicodedata.normalize("NFC", text.lower()).replace("▁", " ").split())


@given(TEXTS)
def test_same_pieces_as_the_reference(reference: Any, text: str) -> None:
    """Any text gives exactly the ids of the Rust tokenizer, whatever its script."""
    assert ids(text) == reference.encode(normal(text)).ids


@pytest.mark.parametrize(
    "text",
    [
        "When did Caroline go to the LGBTQ support group?",
        "def get_user_name(self) -> str:\n    return self._name  # x²+y²., (²)",
        '{"a": [1, 2.50, -3e10], "b": "\\\\n"}',
        "Die Straße führt über den Fluß. ÁÉÍ naïve Đà Nẵng",
        "今天天气很好，我们去公园吧。検索エンジン",  # noqa: RUF001
        "<s> not special </s> <unk> <0x0A>",
        "aaaaaaaaaaaa ======== ........ ababababab ________",
        "e\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467 \x00\x1f",
        "▁a▁▁b",
    ],
)
def test_same_pieces_on_chosen_texts(reference: Any, text: str) -> None:
    """Code, digits, accents, CJK, runs, and what looks like special or byte tokens agree with the Rust tokenizer."""
    assert ids(text) == reference.encode(normal(text)).ids


def test_no_piece_crosses_a_part() -> None:
    """Every piece of the vocabulary lies within one part, which is what makes cutting exact."""
    part = _pieces._patterns()[0]
    whole = {text for text, number in VOCABULARY.items() if number >= 259}
    crossing = [
        text
        for text in whole
        if "".join(text.split()) == text and set(text) != {"▁"} and len(part.findall(text.replace("▁", " "))) != 1
    ]

    assert crossing == []


def test_the_vocabulary_implies_the_merges() -> None:
    """The merges in the file are those that the vocabulary implies, in the order that the ranks give."""
    merges = [tuple(pair.split(" ")) for pair in json.loads(FILES.tokenizer.read_text("utf-8"))["model"]["merges"]]
    implied = {
        (text[:cut], text[cut:])
        for text in VOCABULARY
        for cut in range(1, len(text))
        if text[:cut] in VOCABULARY and text[cut:] in VOCABULARY
    }
    ranks = [PIECES._rank(*pair) for pair in merges if set("".join(pair)) != {"▁"}]

    assert implied == set(merges)
    assert ranks == sorted(ranks)


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_patterns_agree(text: str) -> None:
    """For ASCII the quick patterns cut as the full ones do."""
    full_part, full_word = _pieces._patterns()

    assert full_part.findall(text) == _pieces._ASCII_PART.findall(text)
    assert full_word.findall(text) == _pieces._ASCII_WORD.findall(text)


@given(TEXTS)
def test_words_have_the_same_parts(text: str) -> None:
    """The parts of a text's words are the text's parts that hold a letter or a digit, in order."""
    of_words = [part for _, parts in _pieces.words(text) for part in parts]
    of_text = _pieces.parts(text)

    assert [part.strip() for part in of_words if part.strip()] == [
        part.strip() for part in of_text if any(sign.isalnum() and sign != "²" for sign in part)
    ]


def _long(parts: list[str]) -> str:
    """Repeat the parts until the text spans several slices."""
    joined = "".join(parts)
    return joined * (2 * _pieces.SLICE // len(joined) + 1)


@given(st.lists(st.text(st.sampled_from("ab \n\t漢"), min_size=1, max_size=40), min_size=1, max_size=20).map(_long))
def test_slices_are_the_text(text: str) -> None:
    """Slices put together are the text, and none is longer than promised."""
    slices = list(_pieces.slices(text))

    assert text == "".join(slices)
    assert max(map(len, slices)) <= _pieces.SLICE


def test_slices_do_not_cut_words() -> None:
    """A long text has the same parts as a whole as in slices."""
    text = "some words of a long text\n" * 1_000

    assert _pieces.parts(text) == [part for piece in _pieces.slices(text) for part in _pieces.parts(piece)]


def test_white_space_does_not_matter() -> None:
    """Layout, case and the spelling of accents leave the pieces alone."""
    assert ids("one two é") == ids("\n One\u00a0\t TWO\r\n\u3000E\u0301 ")


def test_lone_surrogates_have_pieces() -> None:
    """A lone surrogate becomes its three bytes instead of an error."""
    assert [VOCABULARY[name] for name in ("▁", "<0xED>", "<0xA0>", "<0x80>")] == ids("\ud800")


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    """A vocabulary that differs in one letter is an error that names the file."""
    data = FILES.tokenizer.read_bytes()
    at = data.index(b'"the"')
    for damaged in (data[:at] + b'"thE"' + data[at + 5 :], data[: len(data) // 4], b"", b"\x00" * 100):
        path = tmp_path / "tokenizer.json"
        path.write_bytes(damaged)
        with pytest.raises(EmbedderError, match=r"vocabulary.*pip install"):
            _wordllama.read_vocabulary(path)
