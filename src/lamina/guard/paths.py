"""Paths that someone else gave: a model, a tool, a link in a file. None may lead out of the memory directory.

:func:`safe_relative` judges the name alone, in every reading that a careless program might give it; :func:`contained`
asks the file system where the name leads. Whoever opens a path that came from outside needs both.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from lamina.errors import InvalidInputError
from lamina.fs import translate

__all__ = ["contained", "safe_relative"]

_MOST_PART_BYTES = 255  # NAME_MAX of ext4, APFS, NTFS
_MOST_BYTES = 4096  # PATH_MAX of Linux
_MOST_ROUNDS = 8
"""Layers of URL encoding that are taken off; nobody has a reason for more than one."""

# Look-alikes of / and \ that NFKC leaves alone: fraction and division slash, big solidus, set minus, and their kin.
_SEPARATORS = dict.fromkeys(map(ord, "\\\u2044\u2215\u2216\u29f5\u29f8\u29f9\u2571\u2572\ufe68"), "/")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ENCODED_UTF16 = re.compile(r"%u([0-9a-fA-F]{4})")
_DRIVE = re.compile(r"[A-Za-z]:")
# Names that Windows keeps for devices, with or without a suffix ("Naming Files, Paths, and Namespaces", Microsoft).
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
_OWN = frozenset({".lamina", ".git", "git~1"})  # git~1: the short name that Windows gives .git

_REASONS = {
    "empty": ("names nothing", "Name a file below the memory directory."),
    "control": ("holds a control character", "Use printable characters."),
    "encoding": ("is not encoded as a file name can be", "Write it as plain text in UTF-8."),
    "absolute": ("is absolute", "Name it relative to the memory directory."),
    "parent": ("climbs with ..", "Name a file below the memory directory."),
    "ending": ("has a part that ends with a dot or a space", "Remove the dot or space; Windows drops it."),
    "device": ("has a part that Windows keeps for a device", "Choose another name; a folder travels."),
    "reserved": ("has a part that belongs to the engine or to git", "Name a memory's file."),
    "long": ("is too long", f"Stay within {_MOST_PART_BYTES} bytes a part and {_MOST_BYTES} in all."),
    "outside": ("leads outside the memory directory", "Name a file below it, not a link that leads away."),
    "symlink": ("is a symbolic link", "Write to the file itself, or remove the link first."),
}


def safe_relative(name: object) -> str:
    r"""Return a path below a memory directory in its plain form: NFC, ``/`` between the parts, no ``.`` parts.

    Judged are the name and whatever URL decoding (repeated), NFKC and look-alikes of ``/`` make of it; returned is
    the name as given, so ``100%25.md`` stays what it is. ``\`` counts as ``/``.

    Raises:
        InvalidInputError: It may not be used. ``details["reason"]`` is ``empty``, ``control``, ``encoding``,
            ``absolute``, ``parent``, ``ending``, ``device``, ``reserved`` or ``long``.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"A path is a {type(name).__name__}.", hint="Pass it as str.", reason="type")
    if not name.strip():
        raise _refused(name, "empty")
    if len(name) > _MOST_BYTES:
        raise _refused(name, "long")
    for reading in _readings(name):
        _check(name, reading)
    plain = unicodedata.normalize("NFC", name).replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if not parts:
        raise _refused(name, "empty")
    path = "/".join(parts)
    for reading in _readings(path) if path != name else ():  # what stood before an encoded part may have hidden it
        _check(name, reading)
    if len(path.encode()) > _MOST_BYTES or any(len(part.encode()) > _MOST_PART_BYTES for part in parts):
        raise _refused(name, "long")
    return path


def contained(root: str | os.PathLike[str], relative: str, *, for_writing: bool = False) -> str:
    """Return the absolute path of ``relative`` below ``root``, wherever symbolic links on the way lead.

    What does not exist yet is judged by the deepest folder above it that does. The answer holds for this moment;
    :func:`lamina.fs.write_file` never follows a link that is put there later.

    Args:
        root: The memory directory; it may itself be reached through a link.
        relative: A path as :func:`safe_relative` returns it, or as found by walking ``root``.
        for_writing: Refuse a symbolic link in the last place, even one that stays inside.

    Raises:
        InvalidInputError: It leads outside or is a link where none may be; ``details["reason"]`` is ``empty``,
            ``control``, ``encoding``, ``absolute``, ``parent``, ``outside`` or ``symlink``.
        StorageError: The file system would not say where it leads.
    """
    if not relative or not relative.strip("/."):
        raise _refused(relative, "parent" if ".." in relative else "empty")
    if "\0" in relative:
        raise _refused(relative, "control")
    if relative.startswith("/"):
        raise _refused(relative, "absolute")
    if ".." in relative.replace("\\", "/").split("/"):
        raise _refused(relative, "parent")
    try:
        top = os.path.realpath(root)
        path = Path(top, relative)
        real = Path(os.path.realpath(path))
        # Compared part by part, so that /memory-evil is not below /memory. A link that is left over is a loop.
        if real == Path(top) or not real.is_relative_to(top) or real.is_symlink():
            raise _refused(relative, "outside")
        if for_writing and path.is_symlink():
            raise _refused(relative, "symlink")
    except UnicodeError:
        raise _refused(relative, "encoding") from None
    except OSError as error:
        raise translate(error, relative, "look at") from error
    return str(path)


def _readings(name: str) -> list[str]:
    """Return the name and what decoders make of it, each with ``/`` for every separator."""
    found = [name]
    for _ in range(_MOST_ROUNDS):
        try:
            decoded = unquote(found[-1], errors="strict")  # overlong forms of . and / are no UTF-8
            decoded = _ENCODED_UTF16.sub(lambda match: chr(int(match[1], 16)), decoded)
            decoded.encode()
        except UnicodeError:
            raise _refused(name, "encoding") from None
        if decoded == found[-1]:
            break
        found.append(decoded)
    else:
        raise _refused(name, "encoding")
    folded = [unicodedata.normalize("NFKC", reading) for reading in found]
    return [reading.translate(_SEPARATORS) for reading in dict.fromkeys(found + folded)]


def _check(name: str, reading: str) -> None:
    """Refuse ``name`` for what one reading of it says."""
    if _CONTROL.search(reading):
        raise _refused(name, "control")
    if reading.lstrip().startswith(("/", "~")) or _DRIVE.match(reading.lstrip()):
        raise _refused(name, "absolute")
    for part in reading.split("/"):
        if part in ("", "."):
            continue
        bare = part.rstrip(". ")
        if part.strip() == ".." or (not bare and part.count(".") > 1):
            raise _refused(name, "parent")
        # Format characters (zero-width ones) are ignored by some file systems, what follows a colon by NTFS.
        seen = "".join(char for char in part if unicodedata.category(char) != "Cf").partition(":")[0].casefold()
        if seen.strip(" ").rstrip(". ") in _OWN:
            raise _refused(name, "reserved")
        if seen.partition(".")[0].strip(" ") in _DEVICES:
            raise _refused(name, "device")
        if bare != part:
            raise _refused(name, "ending")


def _refused(name: object, reason: str) -> InvalidInputError:
    what, hint = _REASONS[reason]
    shown = repr(name) if len(repr(name)) <= 120 else f"{repr(name)[:120]}…"
    return InvalidInputError(f"The path {shown} {what}.", hint=hint, path=str(name)[:_MOST_BYTES], reason=reason)
