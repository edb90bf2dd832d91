"""Links between memories: which a text holds, and where they lead."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.folder.links import Link, Places, links, resolve, without_code


def _found(text: str) -> list[tuple[str, str, int]]:
    return [(link.kind, link.target, link.line) for link in links(text)]


def _wiki(target: str) -> Link:
    return Link(kind="wiki", target=target, line=1)


def _relative(target: str) -> Link:
    return Link(kind="relative", target=target, line=1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see [[auth-system]]", [("wiki", "auth-system", 1)]),
        ("\n[[Auth System|the system]] and [[fog#Limits]]", [("wiki", "Auth System", 2), ("wiki", "fog", 2)]),
        ("| [[a\\|b]] | x |", [("wiki", "a", 1)]),
        ("[[a]][[b]]\n\n[[c]]", [("wiki", "a", 1), ("wiki", "b", 1), ("wiki", "c", 3)]),
        ("[text](fog.md)", [("relative", "fog.md", 1)]),
        ('[text](../team/a.md#part "title") x', [("relative", "../team/a.md", 1)]),
        ("[text](my%20notes.MD)", [("relative", "my%20notes.MD", 1)]),
        ("[text](<my notes.md>)", [("relative", "my notes.md", 1)]),
        ("[text](a_(b).md)", [("relative", "a_(b).md", 1)]),
        ("[x]: notes/a.md\n[y]: <b c.md> 'title'", [("relative", "notes/a.md", 1), ("relative", "b c.md", 2)]),
        ("[a](b.md) [[c]] [d](e.md)", [("relative", "b.md", 1), ("wiki", "c", 1), ("relative", "e.md", 1)]),
        ("- [Title](file.md) — hook", [("relative", "file.md", 1)]),
        ("one\r\n[[two]]\r\n", [("wiki", "two", 2)]),
    ],
)
def test_links_are_found_in_order_with_their_lines(text: str, found: list[tuple[str, str, int]]) -> None:
    """Wiki links and relative links to markdown, in all the forms that people write."""
    assert _found(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://x.test/b.md)", "[a](http:b.md)", "[a](mailto:b@c.md)", "[a](#part)", "[a](/abs/b.md)",
        "[a](//x/b.md)", "[a](b.txt)", "[a](b)", "![a](b.png)", "[[]]", "[[#part]]", "[[|x]]", "[[a\nb]]", "[ [a] ]",
        "`[[a]]`", "``[a](b.md) ` ``", "```\n[[a]]\n```", "~~~md\n[a](b.md)\n~~~", "> ```\n> [[a]]\n> ```",
        "- x\n  ```\n  [[a]]\n  ```", "```\n[[a]]\n", "`` ` [[a]]\nmore `` x", "[a](c:\\b.md)", "x.md", "",
    ],
)  # fmt: skip
def test_what_is_no_link_to_a_memory(text: str) -> None:
    """URLs, anchors, absolute paths, other files, and everything in code are left out."""
    assert _found(text) == []


def test_code_ends_where_it_ends() -> None:
    """Links after a fence, between code spans and beside an unpaired backtick are found."""
    text = "```py\n[[no]]\n```\n[[one]] `x` [[two]] `y`\n\na ` b [[three]]\n\n````\n```\n[[no]]\n````\n[[four]]"
    assert [target for _, target, _ in _found(text)] == ["one", "two", "three", "four"]


@given(st.text(alphabet=st.sampled_from("`~ab[]()>\n\r\t -1.md|#\u2028"), max_size=200))
def test_code_is_blanked_in_place(text: str) -> None:
    """Whatever the text, length and lines stay, and no other character changes than to a space."""
    prose = without_code(text)
    assert len(prose) == len(text)
    assert all(new in (old, " ") for old, new in zip(text, prose, strict=True))
    assert [at for at, char in enumerate(prose) if char in "\r\n"] == [at for at, c in enumerate(text) if c in "\r\n"]
    for link in links(text):
        assert 1 <= link.line <= text.count("\n") + 1


KNOWN = {
    "project_auth_system.md": "Auth System",
    "fog.md": "",
    "vehicle-loading-plan.md": "vehicle-loading-plan",
    "team/fog.md": "Weather",
    "team/reference_dash boards.md": "Dashboards",
    "team/deep/Café.md": "",
    "deep/only.md": "C#",
}


@pytest.mark.parametrize(
    ("target", "path", "leads"),
    [
        ("Auth System", "fog.md", "project_auth_system.md"),
        ("auth-system", "fog.md", "project_auth_system.md"),
        ("AUTH_SYSTEM", "fog.md", "project_auth_system.md"),
        ("project_auth_system", "fog.md", "project_auth_system.md"),
        ("project-auth system.md", "fog.md", "project_auth_system.md"),
        ("Vehicle loading plan", "fog.md", "vehicle-loading-plan.md"),
        ("fog", "project_auth_system.md", "fog.md"),
        ("fog", "team/reference_dash boards.md", "team/fog.md"),
        ("weather", "fog.md", "team/fog.md"),
        ("reference dash-boards", "fog.md", "team/reference_dash boards.md"),
        ("cafe", "fog.md", "team/deep/Café.md"),
        ("CAFE\u0301", "fog.md", "team/deep/Café.md"),
        ("team/fog", "fog.md", "team/fog.md"),
        ("deep/café.md", "team/fog.md", "team/deep/Café.md"),
        ("not there", "fog.md", None),
        ("!!!", "fog.md", None),
        ("../../etc/passwd", "fog.md", None),
    ],
)
def test_wiki_links_lead_by_name_stem_and_file_name(target: str, path: str, leads: str | None) -> None:
    """Case, hyphen, underscore and space are alike; a file beside the one that links comes first."""
    assert resolve(_wiki(target), path=path, known=KNOWN) == leads


@pytest.mark.parametrize(
    ("target", "path", "leads"),
    [
        ("fog.md", "project_auth_system.md", "fog.md"),
        ("fog.md", "team/x.md", "team/fog.md"),
        ("../fog.md", "team/x.md", "fog.md"),
        ("./deep/../fog.md", "team/x.md", "team/fog.md"),
        ("team/reference_dash%20boards.md", "fog.md", "team/reference_dash boards.md"),
        ("FOG.MD", "x.md", "fog.md"),
        ("team/deep/Cafe%CC%81.md", "x.md", "team/deep/Café.md"),
        ("../fog.md", "x.md", None),
        ("../main/fog.md", "x.md", None),
        ("..%2ffog.md", "x.md", None),
        ("%2e%2e/fog.md", "x.md", None),
        ("%252e%252e/fog.md", "team/x.md", None),
        ("%2ffog.md", "x.md", None),
        ("file%3a///fog.md", "x.md", None),
        ("..\\fog.md", "team/x.md", None),
        ("fog.md%00", "x.md", None),
        ("missing.md", "x.md", None),
    ],
)
def test_relative_links_lead_from_their_folder_and_never_out(target: str, path: str, leads: str | None) -> None:
    """Decoded once, against the folder of the file that links; above the root there is nothing."""
    assert resolve(_relative(target), path=path, known=KNOWN) == leads


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("./\\%2eEfoga-_ md|#:\x00é"), max_size=30), st.sampled_from(sorted(KNOWN)))
def test_every_answer_is_a_known_path(target: str, path: str) -> None:
    """Whatever a link says, it leads to a file that is known, or nowhere."""
    places = Places(KNOWN)
    for link in (_wiki(target), _relative(target)):
        assert places.resolve(link, path=path) in {None, *KNOWN}


@pytest.mark.parametrize("piece", ["[[a", "](", "](<", "`", "``` `", "[a]: ", "` `` ", "](a(", "\n```", "[[a]]\n"])
def test_markup_that_never_closes_costs_little(piece: str) -> None:
    """The beginnings of links and code, repeated to 200,000 characters, are read in time."""
    start = time.perf_counter()
    links(piece * (200_000 // len(piece)) + "[[x]] .md")
    assert time.perf_counter() - start < 3
