"""Links between memories: ``[[name]]`` and relative links to markdown files, and where they lead."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from lamina.folder.names import folded, slug

__all__ = ["Link", "Places", "links", "resolve", "without_code"]

_FENCE = re.compile(r"[ \t>]*(?:[-*+][ \t]+|\d{1,3}[.)][ \t]+)?(`{3,}|~{3,})(.*)")
_TICKS = re.compile(r"`+")
_VISIBLE = re.compile(r"[^\n\r]")
_WIKI = re.compile(r"\[\[([^\[\]\n]{1,300})\]\]")
_INLINE = re.compile(
    r"(?<!\\)\]\(\s{0,9}(?:<([^<>\n]{1,1000})>|([^\s<>()]{1,1000}(?:\([^\s<>()]{0,200}\)[^\s<>()]{0,200})?))"
)
_REFERENCE = re.compile(r"^[ ]{0,3}\[[^\[\]\n]{1,300}\]:[ \t]{0,9}(?:<([^<>\n]{1,1000})>|(\S{1,1000}))", re.MULTILINE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_SLUG = 1000

Kind = Literal["wiki", "relative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link in a memory's text."""

    kind: Kind
    target: str
    """What it names, without a heading and without the text that is shown; a relative link is still URL-encoded."""
    line: int
    """Where it stands, from 1."""


def links(text: str) -> tuple[Link, ...]:
    """Return the links of a text to other memories, in order, those in code left out.

    Found are ``[[name]]``, ``[[name|shown]]`` and ``[[name#heading]]``, and links to ``.md`` files that are neither
    URLs nor absolute. A link into the text itself (``#heading``) is none.
    """
    if "[[" not in text and ".md" not in text.lower():
        return ()
    prose = without_code(text)
    found = [*_matches(prose, _WIKI, "wiki"), *_matches(prose, _INLINE, "relative")]
    found += _matches(prose, _REFERENCE, "relative")
    result: list[Link] = []
    seen, line = 0, 1
    for start, kind, target in sorted(found):
        line += prose.count("\n", seen, start)
        seen = start
        result.append(Link(kind=kind, target=target, line=line))
    return tuple(result)


def _matches(prose: str, pattern: re.Pattern[str], kind: Kind) -> Iterator[tuple[int, Kind, str]]:
    """Yield place, kind and target of each link that ``pattern`` finds."""
    for match in pattern.finditer(prose):
        target = next((group for group in match.groups() if group), "")
        target = target.partition("|" if kind == "wiki" else "?")[0].partition("#")[0].rstrip("\\").strip()
        if target and (kind == "wiki" or _is_relative(target)):
            yield match.start(), kind, target


def _is_relative(target: str) -> bool:
    return target.lower().endswith(".md") and not target.startswith(("/", "\\")) and not _SCHEME.match(target)


class Places:
    """Where the names of a folder's memories lead; made once for many links.

    Args:
        known: The name in each file's front matter (empty where it has none) by its path relative to the store.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self._exact = {path: path for path in known}
        self._folded: dict[str, list[str]] = {}
        self._names: dict[str, list[tuple[int, str]]] = {}
        for path, name in known.items():
            self._folded.setdefault(folded(path), []).append(path)
            base = posixpath.basename(path)
            keys = dict.fromkeys((_key(name), _key(_stem(base))) if name else (_key(_stem(base)),))
            for rank, key in enumerate(keys):
                self._names.setdefault(key, []).append((rank, path))

    def resolve(self, link: Link, *, path: str) -> str | None:
        """Return the path that ``link`` leads to from the file at ``path``, or None.

        Both kinds disregard case; a wiki link also takes hyphen, underscore and space for one. Among several a file in
        the same folder comes first, then one found by the name in its front matter, then the shortest path.
        """
        return self._relative(link.target, path) if link.kind == "relative" else self._wiki(link.target, path)

    def _wiki(self, target: str, path: str) -> str | None:
        folder = posixpath.dirname(path)
        if "/" in target:
            for start in (folder, ""):
                for suffix in ("", ".md"):
                    if found := self._at(posixpath.join(start, target + suffix)):
                        return found
        candidates = self._names.get(_key(_stem(target)), ())
        best = min(
            candidates,
            key=lambda place: (posixpath.dirname(place[1]) != folder, place[0], len(place[1]), place[1]),
            default=None,
        )
        return best[1] if best else None

    def _relative(self, target: str, path: str) -> str | None:
        decoded = unquote(target)
        if _CONTROL.search(decoded) or "\\" in decoded or _SCHEME.match(decoded):
            return None
        return self._at(posixpath.join(posixpath.dirname(path), decoded))

    def _at(self, place: str) -> str | None:
        """Return the known path at ``place``; one above the root is none."""
        place = posixpath.normpath(place)
        if place.startswith(("/", "../")) or place == "..":
            return None
        return self._exact.get(place) or min(self._folded.get(folded(place), ()), default=None)


def resolve(link: Link, *, path: str, known: Mapping[str, str]) -> str | None:
    """Return the path that ``link`` leads to from the file at ``path``, or None; :class:`Places` serves many links.

    Args:
        link: One of :func:`links`.
        path: The file that holds it, relative to the store.
        known: The name in each file's front matter by its path.
    """
    return Places(known).resolve(link, path=path)


def _stem(name: str) -> str:
    return name[:-3] if name.lower().endswith(".md") else name


def _key(name: str) -> str:
    """Return a name as wiki links are compared; one without a letter or digit stands for itself."""
    return slug(name, _MOST_SLUG) if any(map(str.isalnum, name)) else folded(name.strip())


def without_code(text: str) -> str:
    """Return a markdown text of the same length and lines with spaces in place of fenced and inline code."""
    if "`" not in text and "~~~" not in text:
        return text
    out: list[str] = []
    paragraph: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            out.append(_VISIBLE.sub(" ", line))
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):  # ```x``` in one line is inline code
            out.extend(_without_spans(paragraph))
            fence = mark[1]
            out.append(_VISIBLE.sub(" ", line))
        elif line.strip():
            paragraph.append(line)
        else:
            out.extend(_without_spans(paragraph))
            out.append(line)
    out.extend(_without_spans(paragraph))
    return "".join(out)


def _without_spans(paragraph: list[str]) -> list[str]:
    """Blank the code spans of a paragraph's lines, and empty the list. A span ends at a run of as many backticks."""
    text = "".join(paragraph)
    paragraph.clear()
    runs = [match.span() for match in _TICKS.finditer(text)]
    if len(runs) < 2:
        return [text]
    following: dict[int, int] = {}  # length of a run: its next place, seen from the right
    closing: list[int | None] = []
    for place in range(len(runs) - 1, -1, -1):
        length = runs[place][1] - runs[place][0]
        closing.append(following.get(length))
        following[length] = place
    closing.reverse()
    parts: list[str] = []
    done = place = 0
    while place < len(runs):
        end = closing[place]
        if end is None:
            place += 1
            continue
        start, stop = runs[place][0], runs[end][1]
        parts += [text[done:start], _VISIBLE.sub(" ", text[start:stop])]
        done, place = stop, end + 1
    parts.append(text[done:])
    return parts
