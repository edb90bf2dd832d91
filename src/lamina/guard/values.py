"""What tells a secret from a placeholder, a name, code, an id or prose."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

__all__ = ["USUAL", "entropy", "is_assigned", "is_drawn", "is_placeholder", "is_wordy", "may_be_assigned"]

# For lower case; each alternative begins with a literal character, so that the engine skips to it in one step.
_PLACEHOLDER = re.compile(
    r"example|placeholder|change[_-]?me|replace[_-]?(?:me|with)|insert[_-]?|redacted|masked|hidden|dummy|sample|todo"
    r"|your(?:[_-]|(?<=\byour))|_here\b|-here\b|xxxx|\*\*\*|\.\.\.|\u2026|<|>|\$\{|\$\(|\{[^{}]*\}|%\(|00000000|deadbeef"
    r"|not[_-]?a[_-]?real"
)
# Passwords of getting-started pages.
_USUAL_TEXT = """
    pass passwd password passw0rd pwd secret user username root admin guest test testing token apikey key local dev
    postgres mysql redis mongo rabbit minio minioadmin minio123 hunter2 mypassword mysecretpassword letmein foo bar
    foobar password1 password123 pass123 admin123 secret123 user123 test123 p@ssw0rd p@ssword s3cret s3cr3t
"""
USUAL = frozenset(_USUAL_TEXT.split())
# What the rest of a name says about it: not the secret, but something about it.
_ABOUT = re.compile(
    r"hash|digest|sha\d|md5|sum|name|file|path|dir|url|uri|endpoint|type|count|len|limit|max|min|size|ttl|expir|field"
    r"|header|prefix|pattern|regex|hint|label|env|var|policy|format|id$|ids$|version|kind|arn|ref|manager|store|scope",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_OUR_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{18}")
_NUMBER_OR_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|\d[\d.,:_-]*|[a-z]{2,10}://.*")
_PATH = re.compile(r"[/.~]?[\w.-]+(?:/[\w.-]+)+")
_NAMED = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]{4,}|[A-Z]{5,}")
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
_UNSPOKEN = re.compile(r"[^aeiouy]{4}", re.IGNORECASE)


def is_placeholder(value: str) -> bool:
    """Return whether a value stands for a secret and is none: ``<TOKEN>``, ``${VAR}``, ``xxxx``, AWS's ``…EXAMPLE``."""
    if _PLACEHOLDER.search(value.lower()):
        return True
    if len(set(value)) <= max(2, min(6, len(value) // 4)):
        return True
    steps = sum(abs(ord(one) - ord(next)) <= 1 for one, next in pairwise(value))  # 1234567890, abcdefgh, aaaa
    return steps * 2 > len(value)


def is_assigned(suffix: str, value: str, *, quoted: bool, password: bool) -> bool:
    """Tell a value that someone chose or drew from code, names, numbers and ids; in doubt it is none.

    Args:
        suffix: How the name goes on behind ``password``, ``token`` and the like.
        value: What stands behind the name.
        quoted: Whether quotes are around it.
        password: Whether people choose such values; else they are drawn.
    """
    if not password and len(value) < (12 if quoted else 16):
        return False
    if _ABOUT.search(suffix) or is_placeholder(value) or value.lower() in USUAL:
        return False
    if _NUMBER_OR_CODE.fullmatch(value) or _PATH.fullmatch(value):
        return False
    digits, letters = _counted(value)
    if password:
        return digits + _odd(value) > 0 and letters > 0 and (quoted or not is_wordy(value))
    if _UUID.fullmatch(value) or _OUR_ID.fullmatch(value):
        return False
    drawn = digits >= 2 or (len(value) >= 24 and entropy(value) >= 4.0)
    return drawn and letters >= 2 and not is_wordy(value) and entropy(value) >= 3.0


def may_be_assigned(suffix: str, value: str, *, quoted: bool, password: bool, least: int = 8) -> bool:
    """Tell the same where in doubt it is one: what is only masked may be masked in vain.

    Args:
        suffix: How the name goes on.
        value: What stands behind the name.
        quoted: Whether quotes are around it.
        password: Whether people choose such values; else they are drawn.
        least: Characters of the shortest that is drawn.
    """
    if _ABOUT.search(suffix) or value[0] in "$%" or value.lower() in USUAL or is_placeholder(value):
        return False
    digits, letters = _counted(value)
    if _NUMBER_OR_CODE.fullmatch(value):
        return password and quoted and value.isdigit()
    wordy = is_wordy(value)
    if _PATH.fullmatch(value) and (wordy or value[0] in "/.~"):
        return False
    if " " in value:  # a sentence, unless a part of it was drawn
        parts = [part for part in value.split() if len(part) >= 8]
        mixed = (part[1:] not in (part[1:].lower(), part[1:].upper()) and not is_wordy(part) for part in parts)
        return any(map(is_drawn, parts)) or any(mixed)
    if wordy and (not password or any(char in "-_./" for char in value)):
        return False
    if password:
        named = _NAMED.search(value) is not None  # a variable that holds it
        return letters > 0 and (digits + _odd(value) > 0 or not (wordy or named))
    return len(value) >= least and is_drawn(value)


def is_drawn(value: str) -> bool:
    """Return whether a value could be drawn by a machine: letters with digits among them, or no words."""
    digits, letters = _counted(value)
    return letters > 0 and (digits > 0 or (len(value) >= 16 and entropy(value) >= 3.5)) and not is_wordy(value)


def is_wordy(value: str) -> bool:
    """Return whether most of a value is words, as in ``must-be-12-characters``."""
    solid = sum(map(str.isalnum, value))
    return sum(len(word) for word in _WORD.findall(value) if _is_spoken(word)) >= 0.6 * solid


def entropy(value: str) -> float:
    """Return Shannon's entropy of a value's characters, in bits a character."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def _counted(value: str) -> tuple[int, int]:
    return sum(map(str.isdigit, value)), sum(map(str.isalpha, value))


def _odd(value: str) -> int:
    return sum(not char.isalnum() and char not in " -_./:=" for char in value)


def _is_spoken(word: str) -> bool:
    """Return whether letters could be a word: a vowel in four, no four consonants in a row. Most drawn ones fail."""
    return len(_VOWEL.findall(word)) * 4 >= len(word) and not _UNSPOKEN.search(word)
