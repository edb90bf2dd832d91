"""Names: slugs, file names, titles, hooks and ids."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.folder.names import (
    adopted_id,
    collisions,
    file_name,
    folded,
    free_name,
    hook_from,
    id_moment,
    slug,
    title_from,
)
from lamina.storage.records import new_id


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Auth System", "auth_system"),
        ("  The user's role -- and more!  ", "the_users_role_and_more"),
        ("snake_case and kebab-case", "snake_case_and_kebab_case"),
        ("Café à la crème", "cafe_a_la_creme"),
        ("Straße, Ærø, Łódź, Đà Nẵng, Þór, I\u011fd\u0131r", "strasse_aero_lodz_da_nang_thor_igdir"),
        ("ﬁle №5 ½", "file_no5_1_2"),
        ("日本語 メモ", "日本語_メモ"),
        ("Привет, мир", "привет_мир"),
        ("हिन्दी में", "हिन्दी_में"),
        ("C++ / C#", "c_c"),
        ("a/../b\\c:d", "a_b_c_d"),
        ("", "memory"),
        ("!!! 🎉", "memory"),
        ("CON", "con_memory"),
        ("lpt1", "lpt1_memory"),
        ("word " * 20, "word_word_word_word_word_word_word_word_word_word"),
        ("a" * 80, "a" * 50),
        ("short " + "x" * 80, "short"),
    ],
)
def test_slugs(text: str, name: str) -> None:
    """A title becomes lower-case words that any file system and any shell can take."""
    assert slug(text) == name


@settings(max_examples=500)
@given(st.text(max_size=120), st.integers(4, 60))
def test_a_slug_is_safe_short_and_its_own_slug(text: str, most: int) -> None:
    """Never empty, never longer, in NFC, without separators or capitals; made again it does not change."""
    name = slug(text, most)
    assert name
    assert len(name) <= max(most, len("memory"), len("com1_memory"))
    assert name == unicodedata.normalize("NFC", name)
    assert not set(name) & set("/\\.:~ '\"\0")
    assert not any(char.isspace() for char in name)
    assert name == name.strip("_")
    assert slug(name, max(most, len(name))) == name
    assert len(f"feedback_{name}_10000.md".encode()) <= 255


@pytest.mark.parametrize(
    ("type", "title", "name"),
    [
        ("project", "Auth System", "project_auth_system.md"),
        ("user", "User role", "user_role.md"),
        ("user", "Users want dark mode", "user_users_want_dark_mode.md"),
        ("feedback", "feedback", "feedback.md"),
        ("reference", "", "reference_memory.md"),
        ("project", "con", "project_con_memory.md"),
    ],
)
def test_file_names(type: str, title: str, name: str) -> None:
    """The type comes first, once."""
    assert file_name(type, title) == name


def test_free_names_differ_in_more_than_case_or_form() -> None:
    """A name that meets another on macOS counts as taken, and so does the index."""
    assert free_name("a.md", []) == "a.md"
    assert free_name("a.md", ["A.MD"]) == "a_2.md"
    assert free_name("a.md", {"a.md", "A_2.md"}) == "a_3.md"
    assert free_name("café.md", ["CAFE\u0301.md"]) == "café_2.md"
    assert free_name("strasse.md", ["straße.md"]) == "strasse_2.md"
    assert free_name("memory.md", ()) == "memory_2.md"
    assert free_name("no suffix", ["NO SUFFIX"]) == "no suffix_2"


@given(st.lists(st.sampled_from(["a.md", "A.md", "a_2.md", "A_2.MD", "é.md", "e\u0301.md", "É.md"]), max_size=8))
def test_names_given_one_after_the_other_never_meet(wanted: list[str]) -> None:
    """However often the same names are asked for, no two that were given collide."""
    given_names: list[str] = []
    for name in wanted:
        given_names.append(free_name(name, given_names))
    assert collisions(given_names) == []
    assert len({folded(name) for name in given_names}) == len(wanted)


def test_collisions_are_grouped() -> None:
    """Paths that are one on some file system stand together; the others are not named."""
    paths = ["team/a.md", "team/A.md", "b.md", "é.md", "e\u0301.md", "É.md", "a.md", "a.md"]
    assert collisions(paths) == [("e\u0301.md", "É.md", "é.md"), ("team/A.md", "team/a.md")]
    assert collisions([]) == []


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Auth System\n\nTokens live 15 minutes.", "Auth System"),
        ("\n\n## Second level ##\ntext", "Second level"),
        ("Use tabs.\n\n**Why:** they said so.\n\n## Details\n", "Use tabs"),
        ("Some prose first.\n\n# The Title\n", "The Title"),
        ("Only one line", "Only one line"),
        ("First sentence. Second sentence.", "First sentence"),
        ("Wrapped over\ntwo lines. And more.", "Wrapped over two lines"),
        ("Use e.g. uv 0.5 for it. Not pip.", "Use e.g. uv 0.5 for it"),
        ("What now? Nothing.", "What now?"),
        ("第一句。第二句。", "第一句。"),
        ("- [ ] **Buy** `milk` [now](https://x.test/a_(b)) and [[later|soon]]", "Buy milk now and soon"),
        ("> *quoted* words", "quoted words"),
        ("- first\n- second", "first"),
        ("1. one\n2. two", "one"),
        ("![logo](x.png) Name of snake_case_thing", "logo Name of snake_case_thing"),
        ("<!-- note -->\nReal text", "Real text"),
        ("<!-- a\nnote -->\nReal text", "Real text"),
        ("```\n# not a heading\n```\nAfter the code", "After the code"),
        ("---\n\nAfter a rule", "After a rule"),
        ("#hashtag is prose", "#hashtag is prose"),
        ("## Only\n\n### Headings\n", "Only"),
        ("2 * 3 * 4 and a_b_c", "2 * 3 * 4 and a_b_c"),
        ("Windows\r\nline ends", "Windows line ends"),
        ("", ""),
        ("\n \n", ""),
        ("x" * 100, "x" * 79 + "…"),
        ("word " * 16 + "end", ("word " * 16).strip() + "…"),
        ("words " * 16, ("words " * 13).strip() + "…"),
        ("a" * 80, "a" * 80),
    ],
)
def test_titles(text: str, title: str) -> None:
    """The heading or the first sentence, without markup, cut between words and marked where it was cut."""
    assert title_from(text) == title
    assert len(title) <= 80


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("# Auth System\n\nTokens live **15 minutes**. Refresh at 10.", "Tokens live 15 minutes."),
        ("# Only a heading", "Only a heading"),
        ("One line\nand its rest", "One line and its rest"),
        ("Para one\n\nPara two", "Para one"),
        ("Para one\n- item", "Para one"),
        ("", ""),
    ],
)
def test_hooks(text: str, hook: str) -> None:
    """The first sentence of the prose in one line; headings only where there is nothing else."""
    assert hook_from(text) == hook


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from("ab #*_`~[]()<>!|-.\n\\éß日"), max_size=300) | st.text(max_size=300))
def test_titles_and_hooks_are_one_short_line(text: str) -> None:
    """Whatever the text, both fit their limit and hold no line break."""
    for line, most in ((title_from(text), 80), (hook_from(text), 150), (hook_from(text, 20), 20)):
        assert len(line) <= most
        assert line == " ".join(line.split())


@pytest.mark.parametrize("piece", ["[", "[a](", "*a", "_a", "`", "<", "<!--", "[[a|", "~~a", "> - ", "(", "\\"])
def test_markup_that_never_closes_costs_little(piece: str) -> None:
    """The beginnings of markup, repeated to 20,000 characters, are read in time."""
    start = time.perf_counter()
    title_from(piece * (20_000 // len(piece)))
    assert time.perf_counter() - start < 3


def test_adopted_ids_depend_on_scope_path_and_salt_alone() -> None:
    """The same file has the same id in every clone and Unicode form; another scope, path or salt another."""
    id = adopted_id("team", "notes/café.md")
    assert id == adopted_id("team", "notes/cafe\u0301.md")
    assert id == "zf" + id[2:]
    assert len(id) == 18
    assert set(id) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    others = {
        adopted_id("private", "notes/café.md"), adopted_id("team", "notes/cafe.md"),
        adopted_id("team", "notes/café.md", 1), adopted_id("team", "notes/café.md", 2),
        adopted_id("teamnotes", "/café.md"),
    }  # fmt: skip
    assert len(others | {id}) == 6
    assert adopted_id("team", "fog.md") == adopted_id("team", "fog.md", 0)


def test_adopted_ids_are_pinned() -> None:
    """Ids that stores already hold must never change."""
    assert adopted_id("private", "fog.md") == "zfb2zjsmjbq9b8tt7d"
    assert adopted_id("team", "a/b.md", 3) == "zfv9s2ehgxvkt7vbs9"


def test_the_moment_of_an_id() -> None:
    """Our ids say when they were made; adopted, foreign and broken ones say nothing."""
    before = time.time_ns() // 1_000_000
    moment = id_moment(new_id())
    after = time.time_ns() // 1_000_000
    assert moment is not None
    assert before * 1000 <= moment <= after * 1000
    for other in (
        "",
        "fog",
        "zf" + "0" * 16,
        adopted_id("team", "a.md"),
        "0" * 18,
        "z" * 18,
        new_id().upper(),
        "i" * 18,
    ):
        assert id_moment(other) is None


@given(st.integers(946_684_800_000, 7_258_118_399_999), st.integers(0, 2**40 - 1))
def test_every_moment_comes_back(moment: int, tail: int) -> None:
    """Any time from 2000 to 2199, as new_id writes it, is read again whatever the random part."""
    number = moment << 40 | tail
    id = "".join("0123456789abcdefghjkmnpqrstvwxyz"[number >> shift & 31] for shift in range(85, -1, -5))
    assert id_moment(id) == moment * 1000
