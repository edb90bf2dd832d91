"""One pointer of an index: the line ``- [Title](file.md) — hook``, read and written.

A pointer is a list item whose first thing is a link to a relative target. Links are CommonMark's (0.31, sections 2.4
and 6.3), read a little more kindly: an emphasised link and a target with bare spaces count too; people write them.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import lru_cache

from lamina.errors import InvalidInputError

__all__ = ["LONGEST_LINE", "Link", "Pointer", "encode_target", "pointer_line", "read_link", "shorten", "target_key"]

LONGEST_LINE = 200
"""Characters of a pointer line that Lamina writes; with 200 lines that is what keeps an index near 25,000 bytes."""
SEPARATOR = " — "
_SHORTEST_HOOK = 12  # less room than that says nothing
_SHORTEST_TITLE = 20
_REMEMBERED = 500  # characters; what is longer is read again, so that what is remembered stays under a few megabytes
_DEEPEST = 12  # columns: three levels of four
_TITLE = r"(?:\\.|[^\[\]\\]|\[(?:\\.|[^\[\]\\]){0,500}\]){0,1000}"
_BARE = r"(?:\\.|[^\\()<>]|\((?:\\.|[^\\()<>]){0,500}\)){0,1000}?"
_LINK = re.compile(
    rf"(?P<prefix>[ \t]*[-*+][ \t]+)(?P<mark>\*\*|__|\*|_|)\[(?P<title>{_TITLE})\]\([ \t]{{0,9}}"
    rf"(?P<dest><(?:\\.|[^<>\\]){{0,1000}}>|{_BARE})"
    r"""(?:[ \t]{1,9}(?:"[^"]{0,500}"|'[^']{0,500}'))?[ \t]{0,9}\)(?P=mark)"""
    r"(?P<separator>[ \t]*(?:(?:\u2014|\u2013|-{1,3}|:)[ \t]*)?)"
)  # the counts bound the work on a line that only looks like a link
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_SUFFIX = re.compile(r"[#?].*", re.DOTALL)
_ESCAPE = re.compile(r"[\\\[\]`<]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_ROUGH = re.compile(r"(?:^|/)(?:\.|/|$)")  # what normpath may change
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_PLAIN_TARGET = re.compile(r"[^\s()'\"!*`&\[\]]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # stands for a byte that is not UTF-8
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Pointer:
    """A line of an index that names a memory.

    Args:
        line: Number of its line, from 0.
        title: The link's text, unescaped.
        target: Path relative to the index's own folder, decoded and normalised, POSIX; without fragment and query.
        hook: What the line says besides; empty where it says nothing. Indented lines below belong to it.
        raw: The line or lines as they stand, with their endings.
        lines: Numbers of those lines; between them there may be pointers nested deeper.
    """

    line: int
    title: str
    target: str
    hook: str
    raw: str
    lines: tuple[int, ...]

    @property
    def indent(self) -> int:
        """Columns before the bullet; a tab reaches to the next multiple of four."""
        return indent_of(self.raw)


@dataclass(frozen=True, slots=True)
class Link:
    """The parts of a pointer line, so that one can be replaced and the others stay as they are."""

    prefix: str
    title: str
    title_span: tuple[int, int]
    target: str
    suffix: str
    target_span: tuple[int, int]
    separator: str
    end: int
    hook: str


def indent_of(line: str) -> int:
    """Return the columns before a line's first visible character; a tab reaches to the next multiple of four."""
    if line[:1] not in (" ", "\t"):
        return 0
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))


def read_link(line: str) -> Link | None:
    """Return the parts of a line if it is a pointer, else None. The line's ending does not matter."""
    if "](" not in line:
        return None
    line = line.rstrip("\r\n")
    return _read(line) if len(line) <= _REMEMBERED else _read.__wrapped__(line)


@lru_cache(maxsize=1024)  # an index is read before and after each of its edits
def _read(line: str) -> Link | None:
    match = _LINK.match(line)
    if match is None or indent_of(match["prefix"]) > _DEEPEST or (not line.isascii() and _SURROGATE.search(line)):
        return None
    written = match["dest"]
    inner = written[1:-1] if written.startswith("<") else written.rstrip(" \t")
    path, suffix = _split(inner)
    target = _decoded(path)
    if target is None:
        return None
    return Link(
        prefix=match["prefix"],
        title=_unescaped(match["title"]).strip(),
        title_span=match.span("title"),
        target=target,
        suffix=suffix,
        target_span=match.span("dest"),
        separator=match["separator"],
        end=match.start("separator"),
        hook=line[match.end() :].strip(),
    )


def pointer_line(title: str, target: str, hook: str = "", *, prefix: str = "- ") -> str:
    """Return the line that points to a memory, without a line ending: ``- [Title](file.md) — hook``.

    The hook is shortened on a word border so that the line has at most 200 characters, and left out where it is empty
    or says what the title says. A title that leaves no room is shortened too; the target never is.

    Args:
        title: Any text; it is brought onto one line and escaped. An empty one becomes the target's name.
        target: Path relative to the index's folder, POSIX, not encoded.
        hook: Any text; it is brought onto one line.
        prefix: Indentation and bullet.

    Raises:
        InvalidInputError: The target is no relative path, or cannot be written in UTF-8.
    """
    written = encode_target(target)
    title = _one_line(title) or _one_line(posixpath.basename(target_key(target)).removesuffix(".md"))
    room = LONGEST_LINE - len(prefix) - len(written) - len("[]()")
    title = _fitting_title(title, max(room, _SHORTEST_TITLE))
    line = f"{prefix}[{_escaped(title)}]({written})"
    hook = fitting_hook(title, hook, LONGEST_LINE - len(line) - len(SEPARATOR))
    return f"{line}{SEPARATOR}{hook}" if hook else line


def fitting_hook(title: str, hook: str, room: int) -> str:
    """Return a hook on one line of at most ``room`` characters; empty where it would say nothing."""
    hook = _one_line(hook)
    if not hook or _plain(hook) == _plain(_one_line(title)):
        return ""
    if len(hook) <= room:
        return hook
    return shorten(hook, room) if room >= _SHORTEST_HOOK else ""


def shorten(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters, ended with ``…`` on a word border where one is near."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    if not text[most - 1].isspace():
        word = cut.rfind(" ")
        cut = cut[:word] if word >= most // 2 else cut  # one long word, or a script without spaces, is cut inside
    return cut.rstrip(" ,;:.-\u2013\u2014\\") + "…"


def encode_target(target: str, suffix: str = "") -> str:
    """Return a target as markdown takes it: bare, or in ``<…>`` where it has spaces, brackets or quotes.

    Args:
        target: Path relative to the index's folder, POSIX, not encoded.
        suffix: A fragment or query that follows it, already encoded.

    Raises:
        InvalidInputError: The target is no relative path, or cannot be written in UTF-8.
    """
    path = _normal(target)  # not NFC: the name is written as the folder has it
    if not path or path == "." or path.startswith("/") or "\0" in path:
        raise InvalidInputError(
            f"{target!r} is no path that an index can point to.", hint="Pass a path relative to the index's folder."
        )
    encoded = "".join(
        _percent(char)
        if char in "%#?:<>\\\u2028\u2029"
        or (not char.isprintable() and char != " ")
        or (char.isspace() and char != " ")
        else char
        for char in path
    )
    if encoded.startswith(" ") or encoded.endswith(" "):
        encoded = encoded.replace(" ", "%20")
    whole = encoded + suffix
    return whole if _PLAIN_TARGET.fullmatch(whole) else f"<{whole}>"


@lru_cache(maxsize=4096)  # every edit of an index compares all of its targets
def target_key(target: str) -> str:
    """Return a target as it is compared: normalised, NFC. ``./a.md`` and ``a.md`` are one."""
    path = _normal(target)
    if not path.isascii():
        import unicodedata

        path = unicodedata.normalize("NFC", path)
    return path


def escape_title(title: str) -> str:
    """Return a title as it stands between a link's brackets: one line, escaped."""
    return _escaped(_one_line(title))


def _fitting_title(title: str, room: int) -> str:
    extra = len(_escaped(title)) - room
    while extra > 0 and len(title) > _SHORTEST_TITLE:
        title = shorten(title, max(len(title) - extra, _SHORTEST_TITLE))
        extra = len(_escaped(title)) - room
    return title


def _escaped(title: str) -> str:
    return _ESCAPE.sub(r"\\\g<0>", title)


def _one_line(text: str) -> str:
    return " ".join(_HIDDEN.sub(" ", text).split())


def _plain(text: str) -> str:
    return text.casefold().rstrip(".!… ")


def _split(written: str) -> tuple[str, str]:
    """Return a link's path and its suffix, the fragment or query."""
    match = _SUFFIX.search(written)
    return (written, "") if match is None else (written[: match.start()], match[0])


def _decoded(path: str) -> str | None:
    """Return the relative path that a link names, or None where it names none."""
    path = _unescaped(path)
    if not path or path.startswith("/") or _SCHEME.match(path):
        return None
    if "%" in path:
        try:
            path = _PERCENT.sub(lambda match: bytes([int(match[1], 16)]), path.encode("utf-8")).decode("utf-8")
        except UnicodeDecodeError:
            return None  # no file that UTF-8 can name
    if "\0" in path or path.startswith("/"):
        return None
    path = _normal(path)
    return None if path == "." else path


def _normal(path: str) -> str:
    """Return a path without ``.``, ``..`` after a name, and doubled slashes."""
    return posixpath.normpath(path) if _ROUGH.search(path) else path


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _percent(char: str) -> str:
    try:
        return "".join(f"%{byte:02X}" for byte in char.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"A target holds a lone surrogate (U+{ord(char):04X}).", hint="Rename the file to a name in UTF-8."
        ) from None
