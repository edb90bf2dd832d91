"""Paths that outsiders gave: which are refused and why, what the others become, where links may lead."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import InvalidInputError, LaminaError
from lamina.guard.paths import contained, safe_relative

ATTACKS: list[tuple[str, str]] = [
    ("", "empty"),
    ("  ", "empty"),
    (".", "empty"),
    ("./", "empty"),
    ("a\0.md", "control"),
    ("a%00.md", "control"),
    ("a\n.md", "control"),
    ("a%250a.md", "control"),
    ("a\x85.md", "control"),
    ("gpj\u202e.md", "control"),
    ("/etc/passwd", "absolute"),
    ("//server/share", "absolute"),
    ("\\\\server\\share", "absolute"),
    ("\\etc", "absolute"),
    ("%2fetc/passwd", "absolute"),
    ("%252fetc", "absolute"),
    ("\uff0fetc", "absolute"),
    ("\u2215etc", "absolute"),
    ("~/notes.md", "absolute"),
    ("~root/notes.md", "absolute"),
    ("%7e/notes.md", "absolute"),
    ("C:\\notes.md", "absolute"),
    ("c:notes.md", "absolute"),
    ("C%3a/notes.md", "absolute"),
    ("\uff23:/notes.md", "absolute"),
    (" /etc", "absolute"),
    ("..", "parent"),
    ("../x.md", "parent"),
    ("a/../x.md", "parent"),
    ("a/../../x.md", "parent"),
    ("..\\x.md", "parent"),
    ("a\\..\\..\\x.md", "parent"),
    ("%2e%2e/x.md", "parent"),
    ("%2e%2e%2fx.md", "parent"),
    ("..%2fx.md", "parent"),
    ("..%5cx.md", "parent"),
    ("%252e%252e%252fx.md", "parent"),
    ("%25252e%25252e%25252fx.md", "parent"),
    ("%u002e%u002e%u2215x.md", "parent"),
    ("\uff0e\uff0e/x.md", "parent"),
    ("\uff0e\uff0e\uff0fx.md", "parent"),
    ("%ef%bc%8e%ef%bc%8e%ef%bc%8fx.md", "parent"),
    ("\u2024\u2024/x.md", "parent"),
    ("\u2025/x.md", "parent"),
    ("..\u2215x.md", "parent"),
    ("..\u2044x.md", "parent"),
    ("..\u29f8x.md", "parent"),
    ("..\uff3cx.md", "parent"),
    ("..\ufe68x.md", "parent"),
    (".. /x.md", "parent"),
    (" ../x.md", "parent"),
    ("a/.../x.md", "parent"),
    ("a/ .. /x.md", "parent"),
    ("%c0%ae%c0%ae%c0%afx.md", "encoding"),
    ("%e0%80%ae/x.md", "encoding"),
    ("a\ud800.md", "encoding"),
    ("%" + "25" * 20 + "2e.md", "encoding"),
    ("a./x.md", "ending"),
    ("a /x.md", "ending"),
    ("x.md.", "ending"),
    ("x.md ", "ending"),
    ("x.md%20", "ending"),
    ("x\u2024", "ending"),
    ("con", "device"),
    ("CON.md", "device"),
    ("a/nul.tar.gz", "device"),
    ("aux .md", "device"),
    ("Com1", "device"),
    ("com\u00b9.md", "device"),
    ("lpt9.md", "device"),
    ("conin$", "device"),
    (".lamina/catalog.db", "reserved"),
    (".LAMINA/catalog.db", "reserved"),
    ("team/.git/config", "reserved"),
    (".Git", "reserved"),
    (".g\u200cit/hooks", "reserved"),
    (".git::$INDEX_ALLOCATION/config", "reserved"),
    ("GIT~1/config", "reserved"),
    (".git./config", "reserved"),
    ("%2egit/config", "reserved"),
    ("a" * 256 + ".md", "long"),
    ("\u00e9" * 128 + ".md", "long"),
    ("/".join(["a" * 200] * 21), "long"),
]


@pytest.mark.parametrize(("name", "reason"), ATTACKS)
def test_attacks_are_refused_with_their_reason(name: str, reason: str) -> None:
    """Each way to lead out, or to name what no memory may be, is refused, and the details say which it was."""
    with pytest.raises(InvalidInputError) as caught:
        safe_relative(name)
    assert caught.value.details["reason"] == reason
    assert caught.value.hint
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.md", "a.md"),
        ("team/reference_dashboards.md", "team/reference_dashboards.md"),
        ("./team//a.md", "team/a.md"),
        ("team\\a.md", "team/a.md"),
        ("team/", "team"),
        ("cafe\u0301.md", "caf\u00e9.md"),
        ("\u65e5\u672c\u8a9e.md", "\u65e5\u672c\u8a9e.md"),
        ("100%.md", "100%.md"),
        ("100%25.md", "100%25.md"),
        ("a b.md", "a b.md"),
        ("wait\u2026 what.md", "wait\u2026 what.md"),
        ("\u00bd cup.md", "\u00bd cup.md"),
        ("..a.md", "..a.md"),
        ("a..b.md", "a..b.md"),
        (".hidden.md", ".hidden.md"),
        (".gitignore", ".gitignore"),
        ("console.md", "console.md"),
        ("user_con.md", "user_con.md"),
        ("a~1.md", "a~1.md"),
        ("a" * 252 + ".md", "a" * 252 + ".md"),
    ],
)
def test_ordinary_names_pass(name: str, plain: str) -> None:
    """What people call files stays, in NFC and with one kind of separator."""
    assert safe_relative(name) == plain


_PIECES = ["..", ".", "/", "\\", "%2e", "%2f", "%5c", "%25", "a", "\uff0e", "\u2215", "\u2024", " "]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(_PIECES) | st.characters(), max_size=12).map("".join))
def test_whatever_passes_stays_below(name: str) -> None:
    """A name that is let through is NFC, relative, without climbing parts, passes again, and leads below the root."""
    try:
        plain = safe_relative(name)
    except InvalidInputError:
        return
    assert plain == unicodedata.normalize("NFC", plain)
    assert not plain.startswith("/")
    assert not {"", ".", ".."} & set(plain.split("/"))
    assert safe_relative(plain) == plain
    assert os.path.normpath(os.path.join("/root/x", plain)).startswith("/root/x/")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A memory directory beside a folder whose name begins as its own does."""
    (tmp_path / "memory" / "team").mkdir(parents=True)
    (tmp_path / "memory-evil").mkdir()
    (tmp_path / "memory-evil" / "secret.md").write_text("secret")
    (tmp_path / "memory" / "team" / "a.md").write_text("a")
    return tmp_path / "memory"


def _reason(root: Path, relative: str, *, for_writing: bool = False) -> str:
    with pytest.raises(InvalidInputError) as caught:
        contained(root, relative, for_writing=for_writing)
    return str(caught.value.details["reason"])


def test_what_is_there_and_what_is_not_yet(root: Path) -> None:
    """Files, folders and places that do not exist yet are found below the root, also when the root is a link."""
    assert contained(root, "team/a.md") == str(root.resolve() / "team" / "a.md")
    assert contained(root, "new/deeper/b.md", for_writing=True) == str(root.resolve() / "new" / "deeper" / "b.md")
    (root.parent / "link").symlink_to(root)
    assert contained(root.parent / "link", "team/a.md") == str(root.resolve() / "team" / "a.md")
    assert contained("/", "etc") == "/etc"


@pytest.mark.parametrize(
    ("relative", "reason"),
    [
        ("", "empty"), (".", "empty"), ("..", "parent"), ("../memory-evil/secret.md", "parent"),
        ("team/../../memory-evil/secret.md", "parent"), ("team\\..\\..\\x", "parent"), ("/etc/passwd", "absolute"),
        ("a\0b", "control"), ("a\ud800b", "encoding"),
    ],
)  # fmt: skip
def test_names_that_lead_out_are_refused(root: Path, relative: str, reason: str) -> None:
    """The name itself may not lead out, even where nobody asked safe_relative."""
    assert _reason(root, relative) == reason


def test_links_that_lead_out_are_refused(root: Path) -> None:
    """A link to a file, a folder, a sibling with the same beginning, nothing, or up and back out leads nowhere."""
    evil = root.parent / "memory-evil"
    (root / "file.md").symlink_to(evil / "secret.md")
    (root / "folder").symlink_to(evil)
    (root / "relative").symlink_to("../memory-evil")
    (root / "dangling.md").symlink_to(root.parent / "nothing.md")
    (root / "team" / "up").symlink_to("..")
    (root / "chain.md").symlink_to("file.md")
    (root / "itself").symlink_to(root)
    for relative in (
        "file.md", "folder/secret.md", "folder/new.md", "relative/secret.md", "dangling.md", "chain.md",
        "team/up/folder/secret.md", "folder", "itself",
    ):  # fmt: skip
        assert _reason(root, relative) == "outside", relative
        assert _reason(root, relative, for_writing=True) == "outside", relative


def test_links_that_stay_inside_may_be_read_not_replaced(root: Path) -> None:
    """A link inside leads on when reading; in the last place it is refused for writing, on the way it is not."""
    (root / "alias.md").symlink_to("team/a.md")
    (root / "later.md").symlink_to("team/later.md")
    (root / "ours").symlink_to("team")
    assert contained(root, "alias.md") == str(root.resolve() / "alias.md")
    assert contained(root, "ours/a.md", for_writing=True) == str(root.resolve() / "ours" / "a.md")
    assert contained(root, "later.md") == str(root.resolve() / "later.md")
    for relative in ("alias.md", "later.md", "ours"):
        assert _reason(root, relative, for_writing=True) == "symlink"


def test_a_loop_of_links_is_refused(root: Path) -> None:
    """Links that lead to each other lead nowhere."""
    (root / "one.md").symlink_to("two.md")
    (root / "two.md").symlink_to("one.md")
    assert _reason(root, "one.md") == "outside"


def test_a_name_too_long_for_the_file_system_is_our_error(root: Path) -> None:
    """No foreign exception escapes, whatever the file system says of the name."""
    with pytest.raises(LaminaError):
        contained(root, "a" * 5000)


def test_a_part_that_hides_an_encoded_root() -> None:
    """What `./` hides is judged, too: the plain form of a name is a name that passes."""
    with pytest.raises(InvalidInputError) as caught:
        safe_relative("./%2f")

    assert "absolute" == caught.value.details["reason"]
