"""Kinds of secret that are masked where they stand, and too wide to refuse a text for.

Masking in vain costs a word of a transcript; letting through costs the secret. So these take shorter tokens, values
that people choose, options of commands, and headers.
"""

from __future__ import annotations

import re

from lamina.guard.kinds import DRAWN_NAMES, PASSWORD_NAMES, SecretKind, given, prefixed
from lamina.guard.values import USUAL, is_drawn, is_placeholder, is_wordy, may_be_assigned

__all__ = ["MASKED_KINDS", "is_named_secret"]

_ASSIGNED = (
    r"(?P<suffix>[\w-]{0,40})\\?[\"'`\])*]{0,3}[ \t]{0,3}(?:=>|:=|=|:)[ \t*]{0,3}(?:[>|][+-]?[ \t]{0,5}\n[ \t]{1,20})?"
    r"\\?(?:(?P<quote>[\"'`])(?P<quoted>(?:[^\"'`\\\n]|\\[^\"'`\n]|(?!(?P=quote))[\"'`]){6,300}+)\\?(?P=quote)"
    r"|(?P<bare>[^\s\"'`\\,;&<>(){}\[\]|][^\s\"'`\\,;&<>(){}\[\]|]{5,300}+))"
)
_OPTION = re.compile(r"(?:^|[\s\"'`=])--?[A-Za-z][\w-]*$")
_LOGIN = re.compile(r"\b(?:login|user(?:name)?)\s{1,4}\S{1,100}\s{1,4}\w*$")


def _is_call(match: re.Match[str]) -> bool:
    """Return whether the value is the name of a function that is called."""
    return (
        match["quoted"] is None and match["bare"].isidentifier() and match.string[match.end() : match.end() + 1] == "("
    )


def _may_be_password(match: re.Match[str]) -> bool:
    quoted = match["quoted"] is not None
    return not _is_call(match) and may_be_assigned(match["suffix"], match[given(match)], quoted=quoted, password=True)


def _may_be_drawn(match: re.Match[str]) -> bool:
    quoted = match["quoted"] is not None
    least = 12 if match.string[max(0, match.start() - 5) : match.start()].lower() == "token" else 8
    return not _is_call(match) and may_be_assigned(
        match["suffix"], match[given(match)], quoted=quoted, password=False, least=least
    )


def _is_option(match: re.Match[str]) -> bool:
    """Tell ``--password x`` and ``login me password x`` from prose."""
    value = match["value"]
    before = match.string[max(0, match.start() - 120) : match.start()]
    if is_placeholder(value) or value[0] in "$%-" or value.lower() in USUAL:
        return False
    strange = not is_wordy(value) or any(not char.isalpha() and char not in "-_./=" for char in value)
    return strange and (_OPTION.search(before) is not None or _LOGIN.search(before) is not None)


def _is_given(match: re.Match[str]) -> bool:
    value = match["value"]
    return not is_placeholder(value) and value[0] not in "$%" and value.lower() not in USUAL


def _is_drawn(match: re.Match[str]) -> bool:
    return not is_placeholder(match["value"]) and is_drawn(match["value"])


def _has_digit(match: re.Match[str]) -> bool:
    return any(map(str.isdigit, match[0]))


def _has_rest(match: re.Match[str]) -> bool:
    return match["rest"] is not None


def _is_cookie(match: re.Match[str]) -> bool:
    parts = re.split(r"[\s;=]+", match["value"])
    return any(len(part) >= 10 and is_drawn(part) and not is_placeholder(part) for part in parts)


MASKED_KINDS: tuple[SecretKind, ...] = (
    prefixed("access key", r"(?:AKIA|ASIA)[0-9A-Z]{16}", "AKIA", "ASIA"),
    prefixed("api key", r"AIza[0-9A-Za-z_-]{30,200}+", "AIza"),
    prefixed("api key", r"sk-[A-Za-z0-9_-]{20,300}+", "sk-", check=_has_digit),
    prefixed("secret key", r"AGE-SECRET-KEY-1[A-Z0-9]{30,100}+", "AGE-SECRET-KEY-1"),
    prefixed("token", r"gh[pousr]_[A-Za-z0-9]{30,300}+", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    prefixed("token", r"github_pat_[A-Za-z0-9_]{30,300}+", "github_pat_"),
    prefixed("token", r"gl[a-z]{2,5}-[A-Za-z0-9_-]{16,300}+", "glpat-", "gldt-", "glrt-", "glptt-", check=_has_digit),
    prefixed("token", r"xox[abeoprs]-[A-Za-z0-9-]{10,300}+", "xox", check=_has_digit),
    prefixed("token", r"xapp-[A-Za-z0-9-]{20,300}+", "xapp-", check=_has_digit),
    prefixed("token", r"npm_[A-Za-z0-9]{30,300}+", "npm_"),
    prefixed("token", r"pypi-[A-Za-z0-9_-]{40,500}+", "pypi-", check=_has_digit),
    prefixed("token", r"hf_[A-Za-z0-9]{30,100}+", "hf_"),
    prefixed("token", r"(?:ya29\.|GOCSPX-)[A-Za-z0-9_-]{16,500}+", "ya29.", "GOCSPX-"),
    prefixed("token", r"hv[sbr]\.[A-Za-z0-9_-]{20,300}+", "hvs.", "hvb.", "hvr.", check=_has_digit),
    prefixed("token", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,100}+", "dckr_"),
    prefixed("token", r"[spr]k_(?:live|test)_[A-Za-z0-9]{10,250}+", "k_live_", "k_test_"),
    prefixed(
        # What is none is passed over whole: another try within it would end at the same place.
        "token",
        r"eyJ[A-Za-z0-9_-]{10,}+(?P<rest>\.[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{5,}+)?",
        "eyJ",
        check=_has_rest,
    ),
    SecretKind("token", ("bearer",), r"\s{1,4}(?P<value>[A-Za-z0-9._~+/-]{16,4000}+=*)", _is_drawn, behind=True),
    SecretKind(
        "token",
        ("authorization",),
        r"\\?[\"'`]?[ \t]{0,3}[:=][ \t]{0,3}\\?[\"'`]?(?i:(?:basic|bearer|token|digest|apikey|bot|key)[ \t]{1,3})?"
        r"(?P<value>[A-Za-z0-9._~+/=:-]{8,4000}+)",
        _is_drawn,
        behind=True,
    ),
    SecretKind(
        "cookie",
        ("cookie",),
        r"\\?[\"'`]?[ \t]{0,3}[:=][ \t]{0,3}\\?[\"'`]?"
        # RFC 6265, section 6.1: a browser keeps 50 cookies of 4,096 bytes for a site.
        r"(?P<value>[^\s=;,\"'`\\]{1,60}+=[^\s;\"'`\\]{0,4000}+(?:;{1,8}+ ?[^\s;\"'`\\]{1,4000}+){0,50}+)",
        _is_cookie,
        behind=True,
    ),
    SecretKind(
        "password",
        ("://",),
        r"[^\s/:@\"'`<>]{0,100}:(?!\d{1,5}(?:[/?#]|$))(?P<value>[^\s@\"'`<>]{3,200})@(?=[A-Za-z0-9\[])",
        _is_given,
        behind=True,
    ),
    SecretKind("password", (*PASSWORD_NAMES, "_pass"), _ASSIGNED, _may_be_password, behind=True),
    SecretKind("key or token", DRAWN_NAMES, _ASSIGNED, _may_be_drawn, behind=True),
    SecretKind(
        "password",
        (*PASSWORD_NAMES, *DRAWN_NAMES),
        r"[\w-]{0,20}[ \t]{1,3}\\?[\"']?(?P<value>[^\s\"'`\\|&;<>(){},]{6,300}+)",
        _is_option,
        behind=True,
    ),
    SecretKind(
        "password",
        ("mysql", "mariadb"),
        r"[\w-]{0,10}(?:[ \t][^\n|;&]{0,200}?)?[ \t]-p\\?[\"']?(?P<value>[^\s\"'`\\|;&<>(){}]{4,100}+)",
        _is_given,
        behind=True,
    ),
    SecretKind(
        "password",
        ("sshpass",),
        r"[ \t]{1,3}-p[ \t]{0,3}\\?[\"']?(?P<value>[^\s\"'`\\|;&]{3,100}+)",
        _is_given,
        behind=True,
    ),
    SecretKind(
        "password",
        ("curl", "wget"),
        r"[ \t](?:[^\n|;&]{0,300}?[ \t])?(?:-u|--user)[ \t=]{0,3}\\?[\"']?"
        r"[^\s:\"'\\]{1,60}:(?P<value>[^\s\"'`\\|;&]{3,100}+)",
        _is_given,
        behind=True,
    ),
)  # fmt: skip
"""Beside :data:`lamina.guard.kinds.KINDS`; an overlap is masked once."""


def is_named_secret(name: str, value: str) -> bool:
    """Return whether a value is a secret by the name it is stored under, as in an object of JSON."""
    lowered = name.lower()
    for names, password in (((*PASSWORD_NAMES, "_pass"), True), (DRAWN_NAMES, False)):
        for keyword in names:
            _, found, suffix = lowered.rpartition(keyword)
            least = 12 if keyword == "token" else 8
            whole = found and len(value) >= 6 and "\n" not in value
            if whole and may_be_assigned(suffix, value, quoted=True, password=password, least=least):
                return True
    return lowered in ("cookie", "set-cookie", "authorization") and any(
        len(part) >= 10 and is_drawn(part) for part in re.split(r"[\s;=]+", value)
    )
