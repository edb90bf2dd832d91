"""Words of a text, as the text index stores them.

One tokeniser serves documents and queries alike. Its tokens hold only ``a-z``, ``0-9`` and characters beyond
ASCII, so they can be joined by spaces and given to a tokeniser that splits on ASCII punctuation.

* Text is brought to NFKC and lower case; accents of Latin, Greek and Cyrillic letters are dropped.
* ``snake_case``, ``camelCase``, ``dotted.names``, ``utf8`` and ``paths/to/file.py`` give the whole (its parts joined)
  and the parts. Numbers joined by punctuation (``2023-05-07``, ``3.14``) keep a joint in the whole, so that
  ``1.0`` is not ``10``.
* Scripts written without spaces (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) and Hangul give overlapping pairs of
  characters, a mark staying with its base. A Han character is indexed on its own as well, so that a query of one
  finds it.
* English words are stemmed lightly. The endings follow steps 1 and 5a of Porter, "An algorithm for suffix
  stripping" (1980), which extend the idea of Harman's S-stemmer (1991); the code, the exceptions and the table of
  irregular forms were written for this project.
* Stop words (our own list: English articles, pronouns, auxiliaries, most prepositions, question words) are indexed,
  so that a query made of nothing else still answers; a query that has other words drops them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import chain, pairwise
from typing import Final

__all__ = ["MAX_TOKEN", "STOP_WORDS", "query_terms", "stem", "tokens"]

MAX_TOKEN: Final = 64
"""Longest token in characters: longer words are cut, longer compounds give only their parts."""

_CACHE_LIMIT: Final = 32_768
_CACHE_LONGEST: Final = 32
_NUMBER_JOINT: Final = "\u00b7"

_STOP_TEXT: Final = """
    a an the this that these those there here
    i me my mine myself we us our ours ourselves you your yours yourself yourselves
    he him his himself she her hers herself it its itself they them their theirs themselves
    am is are was were be been being do does did done doing have has had having
    can could shall should will would might must ought
    and or but nor if then else than as because so while although though until unless
    of at by for with about into to from in on onto against among within without toward towards upon via per
    what which who whom whose when where why how
    not no yes too very just also only such either neither some any all
    again ever still yet
    isnt arent wasnt werent dont doesnt didnt havent hasnt hadnt cant cannot couldnt shouldnt wont wouldnt mustnt
"""
STOP_WORDS: Final = frozenset(_STOP_TEXT.split())
"""Surface forms that a query drops when it holds any other word."""

_IRREGULAR_FORMS: Final = """
    become:became begin:began,begun bite:bit,bitten blow:blew,blown break:broke,broken bring:brought build:built
    buy:bought catch:caught child:children choose:chose,chosen come:came deal:dealt die:dying draw:drew,drawn
    drink:drank,drunk drive:drove,driven eat:ate,eaten fall:fell,fallen feed:fed feel:felt fight:fought
    find:found fly:flew,flown foot:feet forget:forgot,forgotten forgive:forgave,forgiven freeze:froze,frozen
    get:got,gotten give:gave,given go:goes,went,gone grow:grew,grown hang:hung hear:heard hide:hid,hidden hold:held
    keep:kept know:knew,known lead:led learn:learnt leave:left lend:lent lie:lying lose:lost make:made man:men
    mean:meant meet:met mouse:mice pay:paid person:people ride:rode,ridden ring:rang,rung rise:risen run:ran
    say:said see:saw,seen seek:sought sell:sold send:sent shake:shook,shaken shoot:shot show:shown
    sing:sang,sung sit:sat sleep:slept speak:spoke,spoken spend:spent stand:stood steal:stole,stolen stick:stuck
    swim:swam,swum take:took,taken teach:taught tear:tore,torn tell:told think:thought throw:threw,thrown tie:tying
    tooth:teeth understand:understood use:used,using wake:woke,woken wear:wore,worn wife:wives win:won woman:women
    write:wrote,written
"""
_IRREGULAR: Final[dict[str, str]] = {
    form: base
    for base, _, forms in (entry.partition(":") for entry in _IRREGULAR_FORMS.split())
    for form in forms.split(",")
}

_UNSTEMMED_TEXT: Final = "anything everything nothing something evening morning wedding ceiling news series species"
_UNSTEMMED: Final = frozenset(_UNSTEMMED_TEXT.split())

_POSSESSIVE: Final = frozenset(("s", "m", "re", "ve", "ll", "d"))
_ASCII_RUN: Final = re.compile(r"[A-Za-z0-9]+(?:[_\-./\\:@']+[A-Za-z0-9]+)*")
_LEVELS: Final = (re.compile(r"[/\\:@]+"), re.compile(r"\.+"), re.compile(r"[_\-']+"))
_CAMEL: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*|[0-9]+[a-z]*")
_LETTERS_DIGITS: Final = re.compile(r"([a-z]+)([0-9]+)|([0-9]+)([a-z]+)")
_JOINERS: Final = frozenset("_-./\\:@'")

# Scripts written without spaces between words, and Hangul: ranges of code points after NFKC.
_DENSE: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1100, 0x11FF),  # Hangul letters
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # Han repetition marks and zero
    (0x3040, 0x30FF),  # kana
    (0x3100, 0x318F),  # Bopomofo, Hangul letters
    (0x31F0, 0x31FF),  # kana extensions
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),  # Han
    (0xA960, 0xA97F),  # Hangul letters
    (0xAC00, 0xD7FF),  # Hangul
    (0xF900, 0xFAFF),  # Han
    (0x20000, 0x3FFFF),  # Han
)
_HAN: Final = ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))

_VOWELS: Final = frozenset("aeiou")


def tokens(text: str) -> list[str]:
    """All index tokens of ``text``, in order, stop words included. Never fails."""
    return list(chain.from_iterable(map(_cache.__getitem__, _plain(text).split())))


def query_terms(text: str) -> list[str]:
    """The distinct terms that a query should look for, in order of first appearance.

    Stop words are dropped unless there is nothing else. A lone Han character is looked for as it is; within a
    longer run only the pairs are.
    """
    found = dict.fromkeys(
        chain.from_iterable(
            _cache[chunk] if chunk.isascii() else _pieces(chunk, query=True) for chunk in _plain(text).split()
        )
    )
    chosen = [token for token in found if token not in STOP_WORDS]
    return chosen or list(found)


def stem(word: str) -> str:
    """The stem of one lower-case word; words that are not English letters only come back unchanged.

    A word that is no stop word never becomes one, so a token tells by itself whether it is a stop word.
    """
    if len(word) < 3 or word in STOP_WORDS or word in _UNSTEMMED or not (word.isascii() and word.isalpha()):
        return word
    result = _strip(_IRREGULAR.get(word, word))
    return word if result in STOP_WORDS else result


def _strip(word: str) -> str:
    """Plural, past and continuous endings, then a final ``y`` and a silent ``e``."""
    if len(word) < 3:
        return word
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        if word.endswith("sses"):
            word = word[:-2]
        elif word.endswith("ies"):
            word = word[:-2] if len(word) > 4 else word[:-1]
        else:
            word = word[:-1]
    elif word.endswith("ied"):
        word = word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        for ending in ("ing", "ed"):
            if word.endswith(ending) and _has_vowel(word[: -len(ending)]):
                word = _restore(word[: -len(ending)])
                break
    if len(word) > 2 and word.endswith("y") and word[-2] not in _VOWELS:
        word = word[:-1] + "i"
    if word.endswith("e") and len(word) > 3:
        base = word[:-1]
        measure = _measure(base)
        if measure > 1 or (measure == 1 and not _short(base)):
            word = base
    return word


def _restore(base: str) -> str:
    """What is left of a verb once its ending is off, spelt as its plain form."""
    if base.endswith(("at", "bl", "iz")):
        return base + "e"
    if len(base) > 2 and base[-1] == base[-2] and base[-1] not in "aeioulsz":
        return base[:-1]
    if _measure(base) == 1 and _short(base):
        return base + "e"
    return base


def _consonants(word: str) -> list[bool]:
    """For each letter, whether it sounds as a consonant; ``y`` does at the start and after a vowel."""
    flags: list[bool] = []
    for letter in word:
        flags.append(letter not in _VOWELS and not (letter == "y" and bool(flags) and flags[-1]))
    return flags


def _measure(word: str) -> int:
    """How many times a consonant follows a vowel."""
    flags = _consonants(word)
    return sum(1 for before, after in pairwise(flags) if after and not before)


def _has_vowel(word: str) -> bool:
    return not all(_consonants(word))


def _short(word: str) -> bool:
    """Whether the word ends consonant, vowel, consonant, the last not ``w``, ``x`` or ``y``."""
    return len(word) > 2 and _consonants(word)[-3:] == [True, False, True] and word[-1] not in "wxy"


def _plain(text: str) -> str:
    """``text`` in NFKC with straight apostrophes; ASCII needs neither."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text.replace("\u2019", "'"))


class _Cache(dict[str, tuple[str, ...]]):
    """Tokens of the pieces between white space; emptied when full, since common ones come back at once."""

    def __missing__(self, chunk: str) -> tuple[str, ...]:
        found = _pieces(chunk, query=False)
        if len(chunk) <= _CACHE_LONGEST:
            if len(self) >= _CACHE_LIMIT:
                self.clear()
            self[chunk] = found
        return found


_cache: Final = _Cache()


def _pieces(chunk: str, *, query: bool) -> tuple[str, ...]:
    """The tokens of a piece of normal text that holds no white space."""
    out: list[str] = []
    if chunk.isascii():
        for compound in _ASCII_RUN.findall(chunk):
            _compound(compound, 0, out)
        return tuple(out)
    run: list[str] = []
    kind = ""
    for character in chunk:
        this = _kind(character)
        if this == "m":  # a mark stays with what it stands on
            if kind == "d":
                run[-1] += character
            elif kind == "w":
                run.append(character)
            continue
        if this == "j" and kind == "w":
            run.append(character)
            continue
        if this == kind and this != "e":
            run.append(character)
            continue
        _flush(run, kind, out, query=query)
        run, kind = [character], this
    _flush(run, kind, out, query=query)
    return tuple(out)


def _flush(run: list[str], kind: str, out: list[str], *, query: bool) -> None:
    """Adds the tokens of one run of characters of the same kind."""
    if kind == "w":
        _compound("".join(run), 0, out)
    elif kind == "d":
        run = [cluster[: MAX_TOKEN // 2] for cluster in run]
        single = len(run) == 1
        for here, after in zip(run, [*run[1:], ""], strict=True):
            if single or (not query and _is_han(here[0])):
                out.append(here)
            if after:
                out.append(here + after)
    elif kind == "e":
        out.append(run[0])


@lru_cache(maxsize=8192)
def _kind(character: str) -> str:
    """``w`` word, ``d`` dense script, ``m`` mark, ``j`` joiner, ``e`` picture, or nothing of use."""
    if character in _JOINERS:
        return "j"
    category = unicodedata.category(character)
    if category[0] == "M":
        return "m"
    if category[0] in "LN":
        return "d" if _within(ord(character), _DENSE) else "w"
    if category == "So" and ord(character) >= 0x2190:
        return "e"
    return ""


@lru_cache(maxsize=8192)
def _is_han(character: str) -> bool:
    return _within(ord(character), _HAN)


def _within(point: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= point <= high for low, high in ranges)


def _compound(run: str, level: int, out: list[str]) -> str:
    """Adds the tokens of letters, digits and joints in ``run``: the whole first, then its parts. Returns the whole."""
    while level < len(_LEVELS):
        parts = [part for part in _LEVELS[level].split(run) if part]
        if level == 2 and len(parts) > 1 and "'" in run:
            parts = _apostrophe(parts, run)
        run = parts[0] if parts else ""
        if len(parts) > 1:
            return _join(parts, level + 1, out)
        level += 1
    if not run:
        return ""
    if run.isascii():
        parts = _CAMEL.findall(run)
        mixed_case = not run.islower() and not run.isupper()
        if mixed_case and len(parts) > 1 and not any(part[0].isdigit() for part in parts[1:]):
            return _join(parts, level, out)
        word = run.lower()
        mixed = _LETTERS_DIGITS.fullmatch(word)
        if mixed:
            _word(word, out)
            for part in filter(None, mixed.groups()):
                _word(part, out)
            return word
        return _word(word, out)
    return _word(_fold(run.casefold()), out)


def _join(parts: list[str], level: int, out: list[str]) -> str:
    """Adds the whole of several parts, then each part's own tokens."""
    inner: list[str] = []
    wholes = [whole for whole in (_compound(part, level, inner) for part in parts) if whole]
    joined = wholes[0] if wholes else ""
    for whole in wholes[1:]:
        joined += (_NUMBER_JOINT if joined[-1].isdigit() and whole[0].isdigit() else "") + whole
    if len(wholes) > 1 and len(joined) <= MAX_TOKEN:
        out.append(stem(joined))
    out.extend(inner)
    return joined


def _apostrophe(parts: list[str], run: str) -> list[str]:
    """Possessives and contractions: ``Ann's`` is ``Ann``, ``don't`` is ``dont``; other names keep their parts."""
    last = parts[-1].lower()
    if run[-len(last) - 1] == "'":
        if last in _POSSESSIVE:
            return parts[:-1]
        if last == "t" and len(parts) == 2:
            return [parts[0] + parts[1]]
    return parts


def _word(word: str, out: list[str]) -> str:
    """Adds the stem of one plain word; returns the word itself, for a whole to be made of."""
    word = word[:MAX_TOKEN]
    if word:
        out.append(stem(word))
    return word


def _fold(word: str) -> str:
    """Drops the accents of Latin, Greek and Cyrillic letters, and anything ASCII that is no letter or digit."""
    apart = unicodedata.normalize("NFD", word)
    kept = "".join(c for c in apart if not "\u0300" <= c <= "\u036f" and (c > "\x7f" or c.isalnum()))
    return unicodedata.normalize("NFC", kept)
