"""Names of files, titles and ids: what a memory's file is called, and how names from elsewhere are told apart."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable

__all__ = [
    "adopted_id",
    "collisions",
    "file_name",
    "folded",
    "free_name",
    "free_names",
    "hook_from",
    "id_moment",
    "slug",
    "title_from",
]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # the alphabet of lamina.storage.records.new_id
_ID_LENGTH = 18
_ADOPTED = "zf"
"""Begins an adopted id. Read as a time it would be the year 37000, so that it never looks like one of ``new_id``."""
_FIRST_MS, _LAST_MS = 946_684_800_000, 7_258_118_400_000  # 2000 and 2200: what a clock may plausibly have said

_INDEX = "memory.md"
_FALLBACK = "memory"
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
# Latin letters that Unicode does not decompose.
_LETTERS = str.maketrans({
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i", "ħ": "h",
    "ŋ": "n", "'": None, "\u2019": None,
})  # fmt: skip

_MOST_TITLE = 80
_HEADING = re.compile(r"[ ]{0,3}(#{1,6})[ \t]+(\S.*)")
_MOST_READ = 20_000
"""Characters of a text in which its title is looked for."""
_MOST_PARAGRAPH = 2_000
"""Characters of its first paragraph that are looked at."""
_FENCE = re.compile(r"[ \t]*(```+|~~~+)")
_RULE = re.compile(r"[ \t]*([-*_=])(?:[ \t]*\1){2,}[ \t]*$")
_MARKER = re.compile(r"^[ \t]*(?:(?:>|[-*+]|\d{1,3}[.)])[ \t]+|\[[ xX]\][ \t]+)+")
_SENTENCE_END = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bcf)(?<!\bvs)(?<!\betc)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bSt)(?<!\bNo)"
    r"[.!?][\"')\]\u201d\u2019]?(?=\s|$)|[\u3002\uff01\uff1f]"
)
_COMMENT = re.compile(r"<!--.*?(?:-->|$)", re.DOTALL)
_MARKUP = (
    (re.compile(r"<!--.*?(?:-->|$)"), ""),
    (re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+[\"'][^\"']*[\"'])?\)"), r"\1"),
    (re.compile(r"\[\[[^\[\]|]*\|([^\[\]]*)\]\]|\[\[([^\[\]]*)\]\]"), r"\1\2"),
    (re.compile(r"\[([^\[\]]+)\]\[[^\[\]]*\]"), r"\1"),
    (re.compile(r"<(https?://[^<>\s]*)>"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"`+([^`]*)`+"), r"\1"),
    (re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*]*\S)\1(?![\w*])"), r"\2"),
    (re.compile(r"(?<![\w_])(_{1,3})(?=\S)([^_]*\S)\1(?![\w_])"), r"\2"),
    (re.compile(r"~~(?=\S)([^~]*\S)~~"), r"\1"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)


def slug(text: str, most: int = 50) -> str:
    """Return a text as a part of a file name: lower case, words joined by ``_``, never empty.

    Latin letters lose their accents; letters of other scripts stay. A name that Windows keeps for a device gets a
    word more.

    Args:
        text: Any text, usually a title.
        most: Characters; the cut falls between words where it can.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    plain = "".join(map(_latin, plain.translate(_LETTERS))).lower()
    words = "".join(char if char.isalnum() or unicodedata.category(char) in _MARKS else " " for char in plain).split()
    words = [word for word in words if any(map(str.isalnum, word))]
    name = ""
    for word in words:
        longer = f"{name}_{word}" if name else word
        if len(longer) > most:
            break
        name = longer
    name = name or (words[0][: max(1, most)] if words else _FALLBACK)
    name = unicodedata.normalize("NFC", name)
    return f"{name}_{_FALLBACK}" if name in _DEVICES else name


_MARKS = frozenset({"Mn", "Mc"})  # vowel signs of Indic scripts belong to the word


def _latin(char: str) -> str:
    """Return a Latin letter without its accent, anything else as it is."""
    if char.isascii():
        return char
    base = "".join(part for part in unicodedata.normalize("NFKD", char) if unicodedata.category(part) != "Mn")
    return base if base and base.isascii() else char


def file_name(type: str, title: str) -> str:
    """Return ``{type}_{slug}.md``; a title that begins with its type does not say it twice."""
    kind, name = slug(type), slug(title)
    return f"{name}.md" if name == kind or name.startswith(f"{kind}_") else f"{kind}_{name}.md"


def folded(path: str) -> str:
    """Return the form in which two names that meet on some file system are equal.

    That is Unicode's canonical caseless matching (The Unicode Standard, D145), with ``ß`` and ``ss`` alike.
    """
    if path.isascii():  # thousands are folded for each name that is chosen
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def free_name(name: str, taken: Collection[str]) -> str:
    """Return ``name``, or with ``_2``, ``_3``… before its suffix where that is taken.

    Names that differ only in case or Unicode form count as one, since they meet on macOS. ``MEMORY.md`` is always
    taken.
    """
    return free_names([name], taken)[0]


def free_names(names: Iterable[str], taken: Collection[str]) -> list[str]:
    """Return a free name for each of several, as :func:`free_name` does; no two of them are alike."""
    used = {folded(other) for other in taken} | {_INDEX}
    found = []
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        if not dot or not stem:
            stem, suffix = name, ""
        number, candidate = 2, name
        while folded(candidate) in used:
            candidate = f"{stem}_{number}{dot if suffix else ''}{suffix}"
            number += 1
        used.add(folded(candidate))
        found.append(candidate)
    return found


def collisions(paths: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of paths that differ only in case or Unicode form, each sorted, the groups too."""
    groups: dict[str, set[str]] = {}
    for path in paths:
        groups.setdefault(folded(path), set()).add(path)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def title_from(text: str) -> str:
    """Return a title for a text: its heading, else its first sentence; at most 80 characters, without markup.

    The heading is one in the first line, or else the first of level 1. A title that was cut ends with ``…``. Empty
    where the text says nothing.
    """
    heading, paragraph = _opening(text)
    return _cut(_plain(heading) or _sentence(paragraph).rstrip(". "), _MOST_TITLE)


def hook_from(text: str, most: int = 150) -> str:
    """Return the first sentence of a text's prose in one line without markup, its heading where it has no prose.

    Args:
        text: Markdown.
        most: Characters; what was cut ends with ``…``.
    """
    heading, paragraph = _opening(text)
    return _cut(_sentence(paragraph) or _plain(heading), most)


def _opening(text: str) -> tuple[str, str]:
    """Return the heading that speaks for a text and its first paragraph of prose, either may be empty."""
    heading, paragraph, fence = "", "", ""
    last_heading, top, ended = "", False, False
    for line in _COMMENT.sub("", text[:_MOST_READ]).splitlines():
        mark = _FENCE.match(line)
        if fence or mark:
            if mark and not fence:
                fence = mark[1]
            elif mark and mark[1].startswith(fence):
                fence = ""
            ended = ended or bool(paragraph)
        elif found := _HEADING.match(line):
            first = not paragraph and not last_heading
            words = _heading_words(found[2])
            last_heading = last_heading or words
            if not top and (first or len(found[1]) == 1):
                heading, top = words, first or len(found[1]) == 1
            ended = ended or bool(paragraph)
        elif not line.strip() or _RULE.match(line):
            ended = ended or bool(paragraph)
        elif not ended:
            if paragraph and _MARKER.match(line):
                ended = True
            else:
                paragraph = f"{paragraph} {line.strip()}" if paragraph else _MARKER.sub("", line).strip()
        if ended and top:
            break
    return (heading or ("" if paragraph else last_heading))[:_MOST_PARAGRAPH], paragraph[:_MOST_PARAGRAPH]


def _heading_words(line: str) -> str:
    """Return a heading without the marks that may close it."""
    words = line.rstrip()
    open_ = words.rstrip("#")
    return open_.rstrip() if open_ != words and (not open_ or open_[-1] in " \t") else words


def _sentence(paragraph: str) -> str:
    plain = _plain(paragraph)
    end = _SENTENCE_END.search(plain)
    return plain[: end.end()] if end else plain


def _plain(markdown: str) -> str:
    for pattern, replacement in _MARKUP:
        markdown = pattern.sub(replacement, markdown)
    return " ".join(markdown.split())


def _cut(line: str, most: int) -> str:
    if len(line) <= most:
        return line
    kept = line[:most]  # one character more than fits, so that a word which ends right there stays whole
    space = kept.rfind(" ")
    kept = kept[:space] if space > most // 2 else kept[: most - 1]
    return kept.rstrip(" ,;:-\u2013\u2014") + "…"


def adopted_id(scope: str, path: str, salt: int = 0) -> str:
    """Return the id of a file that came without one: a function of scope and path alone, so that clones agree.

    18 characters, 80 bits of BLAKE2b after ``zf``.

    Args:
        scope: Such as ``team``.
        path: Relative to the store; its Unicode form does not matter.
        salt: Above 0, another id, for a path whose id is already another memory's.
    """
    said = f"{scope}\0{unicodedata.normalize('NFC', path)}" + (f"\0{salt}" if salt > 0 else "")
    number = int.from_bytes(hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=10).digest(), "big")
    return _ADOPTED + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(75, -1, -5))


def id_moment(id: str) -> int | None:
    """Return when an id was made, in microseconds since 1970 (exact to the millisecond); None where it does not say.

    Only ids of :func:`lamina.storage.records.new_id` say it: 90 bits in base 32, the upper 50 of them milliseconds. A
    time outside 2000 to 2199 is taken for chance.
    """
    if len(id) != _ID_LENGTH or not all(char in _ALPHABET for char in id):
        return None
    number = 0
    for char in id:
        number = number << 5 | _ALPHABET.index(char)
    moment = number >> 40
    return moment * 1000 if _FIRST_MS <= moment < _LAST_MS else None
