"""Kinds of secret that are known by their form, from the vendors' own descriptions of it.

Each kind has literal keywords, one of which must be in a text before its pattern is tried, and a pattern whose last
group (or the whole match) is what must not be a placeholder. Every repetition is bounded, so that no text makes a
pattern slow.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["KINDS", "SecretKind", "is_placeholder"]


@dataclass(frozen=True, slots=True)
class SecretKind:
    """One kind of secret."""

    name: str
    """What people call it; this is all that is ever said about a find."""
    keywords: tuple[str, ...]
    """Literals, one of which every match holds; one without a capital counts in any case."""
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str]], bool] | None = None
    """What a pattern cannot say; None where the form is enough."""


_PLACEHOLDER = re.compile(
    r"example|placeholder|change[_-]?me|replace[_-]?(?:me|with)|insert[_-]?|redacted|masked|hidden|dummy|sample|todo"
    r"|\byour|your[_-]|[_-]here\b|x{4}|\*{3}|\.{3}|\u2026|[<>]|\$\{|\$\(|\{[^{}]*\}|%\(|0{8}|deadbeef|not[_-]?a[_-]?real",
    re.IGNORECASE,
)


def is_placeholder(value: str) -> bool:
    """Return whether a value stands for a secret and is none: ``<TOKEN>``, ``${VAR}``, ``xxxx``, AWS's ``…EXAMPLE``."""
    if _PLACEHOLDER.search(value):
        return True
    if len(set(value)) <= max(2, min(6, len(value) // 4)):
        return True
    steps = sum(abs(ord(one) - ord(next)) <= 1 for one, next in pairwise(value))  # 1234567890, abcdefgh, aaaa
    return steps * 2 > len(value)


_URL = re.compile(r"://(?P<user>[^\s/:@\"'`<>]{0,100}):(?P<value>[^\s/@\"'`<>]{3,200})@")
_SCHEME_END = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,20})$")
_DATABASES = frozenset({
    "postgres", "postgresql", "mysql", "mariadb", "mongodb", "mongodb+srv", "redis", "rediss", "amqp", "amqps", "mssql",
    "clickhouse", "cockroachdb", "oracle",
})  # fmt: skip
# Passwords of getting-started pages.
_USUAL_TEXT = """
    pass passwd password passw0rd pwd secret user username root admin guest test testing token apikey key local dev
    postgres mysql redis mongo rabbit minio minioadmin minio123 hunter2 mypassword mysecretpassword letmein foo bar
    foobar password1 password123 pass123 admin123 secret123 user123 test123 p@ssw0rd p@ssword s3cret s3cr3t
"""
_USUAL = frozenset(_USUAL_TEXT.split())
_DOCUMENT_HOST = re.compile(r"(?:[\w.-]{0,200}\.)?(?:example(?:\.\w{2,5})?|test|invalid)(?![\w.-])", re.IGNORECASE)


def _real_url(match: re.Match[str]) -> bool:
    value, rest = match["value"], match.string[match.end() : match.end() + 300]
    mixed = any(map(str.isalpha, value)) and not value.isalpha()
    looks = len(value) >= 6 and (mixed or len(value) >= 16 or len(set(value.swapcase()) & set(value)) > 0)
    documented = value.lower() in _USUAL or value == match["user"] or _DOCUMENT_HOST.match(rest) is not None
    return looks and not documented and not value.startswith("$")


def _database_url(match: re.Match[str]) -> bool:
    scheme = _SCHEME_END.search(match.string, max(0, match.start() - 20), match.start())
    return scheme is not None and scheme[1].partition("+")[0].lower() in _DATABASES and _real_url(match)


# The payload of the token that jwt.io and most manuals show: {"sub":"1234567890"…
_KNOWN_JWT = ".eyJzdWIiOiIxMjM0NTY3ODkw"


def _real_jwt(match: re.Match[str]) -> bool:
    return _KNOWN_JWT not in match[0]


# The value is looked for first, since its sign is rarer than the letters of a name; the name ends where it starts.
_ASSIGNMENT = re.compile(
    r"(?:=>|:=|=|:)(?=[ \t*]{0,3}"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\s\"'`]{8,200}+)(?P=quote)"
    r"|(?P<bare>[A-Za-z0-9+/_.~!@#%^&*-][A-Za-z0-9+/=_.~!@#%^&*-]{7,199}+)(?=[ \t]{0,20}(?:$|[#,;}]))))",
    re.MULTILINE,
)
_MOST_NAME = 60
_NAME_END = re.compile(
    r"(?P<name>pass(?:words?|wd|phrase|code)|pwd|secret|credential"
    r"|(?:api|access|auth|private|account|signing|master|encryption)[ _-]?key|token)"
    r"(?P<suffix>[\w-]{0,20})[\"'`\])*]{0,3}[ \t]{0,3}$",
    re.IGNORECASE,
)
# What the rest of a name says about it: not the secret, but something about it.
_ABOUT = re.compile(
    r"hash|digest|sha\d|md5|sum|name|file|path|dir|url|uri|endpoint|type|count|len|limit|max|min|size|ttl|expir|field"
    r"|header|prefix|pattern|regex|hint|label|env|var|policy|format|id$|ids$|version|kind|arn|ref|manager|store|scope",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_OUR_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{18}")
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[/.~]?[\w.-]+(?:/[\w.-]+)+|\d[\d.,:_-]*|[a-z]{2,10}://.*")
_WORD = re.compile(r"[A-Z]?[a-z]{4,}|[A-Z]{5,}")
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
_UNSPOKEN = re.compile(r"[^aeiouy]{4}", re.IGNORECASE)


def _is_password(match: re.Match[str]) -> bool:
    return _is_assigned(match, password=True)


def _is_token(match: re.Match[str]) -> bool:
    return _is_assigned(match, password=False)


def _is_assigned(match: re.Match[str], *, password: bool) -> bool:
    """Tell a value that someone chose or drew from code, names, numbers and ids."""
    named = _NAME_END.search(match.string, max(0, match.start() - _MOST_NAME), match.start())
    if named is None or named["name"].lower().startswith(("pass", "pwd")) is not password:
        return False
    value = match["quoted"] or match["bare"]
    if _ABOUT.search(named["suffix"]):
        return False
    if is_placeholder(value) or value.lower() in _USUAL or _CODE.fullmatch(value):
        return False
    digits = sum(map(str.isdigit, value))
    letters = sum(map(str.isalpha, value))
    if password:
        odd = sum(not char.isalnum() and char not in "-_./:=" for char in value)
        strange = digits + odd > 0 and letters > 0
        return strange and (match["quoted"] is not None or not _is_wordy(value))
    if _UUID.fullmatch(value) or _OUR_ID.fullmatch(value):
        return False
    long = len(value) >= (12 if match["quoted"] else 16)
    drawn = digits >= 2 or (len(value) >= 24 and _entropy(value) >= 4.0)
    return long and drawn and letters >= 2 and not _is_wordy(value) and _entropy(value) >= 3.0


def _is_bearer(match: re.Match[str]) -> bool:
    value = match["value"]
    return sum(map(str.isdigit, value)) >= 2 and not _is_wordy(value) and _entropy(value) >= 3.0


def _is_wordy(value: str) -> bool:
    """Return whether most of a value is words, as in ``must-be-12-characters``."""
    solid = sum(map(str.isalnum, value))
    return sum(len(word) for word in _WORD.findall(value) if _is_spoken(word)) >= 0.6 * solid


def _is_spoken(word: str) -> bool:
    """Return whether letters could be a word: a vowel in four, no four consonants in a row. Most drawn ones fail."""
    return len(_VOWEL.findall(word)) * 4 >= len(word) and not _UNSPOKEN.search(word)


def _entropy(value: str) -> float:
    """Return Shannon's entropy of a value's characters, in bits a character."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def _is_aws_secret(match: re.Match[str]) -> bool:
    value = match["value"]
    mixed = value.upper() != value and value.lower() != value
    return mixed and _entropy(value) >= 4.0 and not _is_wordy(value)


def _prefixed(
    name: str, pattern: str, *keywords: str, check: Callable[[re.Match[str]], bool] | None = None
) -> SecretKind:
    """Return a kind whose form is a prefix and what follows; neither may continue a longer word."""
    return SecretKind(name, keywords, re.compile(rf"(?<![A-Za-z0-9_])(?:{pattern})(?![A-Za-z0-9])"), check)


KINDS: tuple[SecretKind, ...] = (
    SecretKind(
        "private key",
        ("PRIVATE KEY",),
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]){0,20}"
            r"(?:[A-Z][A-Za-z-]{1,30}: [^\n\\]{0,200}(?:\s|\\[nr]){1,20}){0,5}(?P<value>[A-Za-z0-9+/=]{32,76})"
        ),
    ),
    _prefixed("age secret key", r"AGE-SECRET-KEY-1(?P<value>[02-9AC-HJ-NP-Z]{58})", "AGE-SECRET-KEY-1"),
    _prefixed("AWS access key id", r"(?:AKIA|ASIA)(?P<value>[A-Z2-7]{16})", "AKIA", "ASIA"),
    SecretKind(
        "AWS secret access key",
        ("secret",),
        re.compile(
            r"secret[_ -]?(?:access[_ -]?)?key[\"'`]?\s{0,3}[:=]\s{0,3}[\"'`]?"
            r"(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
            re.IGNORECASE,
        ),
        _is_aws_secret,
    ),
    _prefixed("GitHub token", r"gh[pousr]_(?P<value>[A-Za-z0-9]{36,255})", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _prefixed("GitHub token", r"github_pat_(?P<value>[A-Za-z0-9]{22}_[A-Za-z0-9]{59})", "github_pat_"),
    _prefixed(
        "GitLab token",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-(?P<value>[A-Za-z0-9_-]{20,255})",
        "glpat-",
        "gldt-",
        "glrt-",
        "glcbt-",
        "glptt-",
        "glft-",
        "glsoat-",
        "glimt-",
        "glagent-",
    ),
    _prefixed("Slack token", r"xox[abeoprs]-(?P<value>(?:\d-)?[A-Za-z0-9][A-Za-z0-9-]{20,250})", "xox"),
    _prefixed("Slack token", r"xapp-\d-(?P<value>[A-Z0-9]{5,20}-\d{5,20}-[a-f0-9]{32,128})", "xapp-"),
    SecretKind(
        "Slack webhook",
        ("hooks.slack.com/",),
        re.compile(
            r"hooks\.slack\.com/(?:services|workflows)/(?P<value>T[A-Z0-9]{6,20}/[AB][A-Z0-9]{6,20}/[A-Za-z0-9]{16,60})"
        ),
    ),
    _prefixed("Stripe key", r"[sr]k_live_(?P<value>[A-Za-z0-9]{16,250})", "k_live_"),
    _prefixed("Anthropic key", r"sk-ant-[a-z]{2,10}\d{2}-(?P<value>[A-Za-z0-9_-]{40,200})", "sk-ant-"),
    _prefixed("OpenRouter key", r"sk-or-v1-(?P<value>[0-9a-f]{64})", "sk-or-v1-"),
    _prefixed(
        "OpenAI key",
        r"sk-(?:(?:proj|svcacct|admin|None)-(?P<value>[A-Za-z0-9_-]{40,250})|[A-Za-z0-9]{48}"
        r"|[A-Za-z0-9_-]{20,120}T3BlbkFJ[A-Za-z0-9_-]{20,120})",
        "sk-",
    ),
    _prefixed("Google API key", r"AIza(?P<value>[A-Za-z0-9_-]{35})", "AIza"),
    _prefixed("Google OAuth secret", r"GOCSPX-(?P<value>[A-Za-z0-9_-]{28})", "GOCSPX-"),
    _prefixed("npm token", r"npm_(?P<value>[A-Za-z0-9]{36})", "npm_"),
    _prefixed("PyPI token", r"pypi-AgE[IN](?P<value>[A-Za-z0-9_-]{50,400})", "pypi-AgE"),
    _prefixed("Docker token", r"dckr_(?:pat|oat)_(?P<value>[A-Za-z0-9_-]{27,40})", "dckr_"),
    _prefixed("Hugging Face token", r"(?:hf|api_org)_(?P<value>[A-Za-z0-9]{34,40})", "hf_", "api_org_"),
    _prefixed("Groq key", r"gsk_(?P<value>[A-Za-z0-9]{52})", "gsk_"),
    _prefixed("Replicate token", r"r8_(?P<value>[A-Za-z0-9]{37})", "r8_"),
    _prefixed("SendGrid key", r"SG\.(?P<value>[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})", "SG."),
    _prefixed("Twilio key", r"SK(?P<value>[0-9a-f]{32})", "SK"),
    _prefixed("Telegram bot token", r"\d{8,10}:(?P<value>AA[A-Za-z0-9_-]{33})", ":AA"),
    _prefixed(
        "Azure key",
        r"(?:AccountKey|SharedAccessKey)=(?P<value>[A-Za-z0-9+/]{43,86}={1,2})",
        "AccountKey=",
        "SharedAccessKey=",
    ),
    _prefixed("DigitalOcean token", r"do[opr]_v1_(?P<value>[0-9a-f]{64})", "_v1_"),
    _prefixed("Databricks token", r"dapi(?P<value>[0-9a-f]{32})(?:-\d)?", "dapi"),
    _prefixed(
        "Shopify token", r"shp(?:at|ca|pa|ss)_(?P<value>[0-9a-fA-F]{32})", "shpat_", "shpca_", "shppa_", "shpss_"
    ),
    _prefixed("Grafana token", r"glsa_(?P<value>[A-Za-z0-9]{32}_[0-9a-fA-F]{8})", "glsa_"),
    _prefixed("HashiCorp Vault token", r"hv[sbr]\.(?P<value>[A-Za-z0-9_-]{24,250})", "hvs.", "hvb.", "hvr."),
    _prefixed("Linear key", r"lin_api_(?P<value>[A-Za-z0-9]{40})", "lin_api_"),
    _prefixed("Postman key", r"PMAK-(?P<value>[0-9a-f]{24}-[0-9a-f]{34})", "PMAK-"),
    _prefixed(
        "JSON web token",
        r"(?P<value>eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{16,1000})",
        "eyJ",
        check=_real_jwt,
    ),
    SecretKind("database URL with a password", ("://",), _URL, _database_url),
    SecretKind("URL with a password", ("://",), _URL, _real_url),
    SecretKind(
        "bearer token",
        ("bearer",),
        re.compile(r"\bbearer[ \t]{1,4}(?P<value>[A-Za-z0-9._~+/-]{20,2000})", re.IGNORECASE),
        _is_bearer,
    ),
    SecretKind("password", ("passw", "passphrase", "passcode", "pwd"), _ASSIGNMENT, _is_password),
    SecretKind("key or token", ("secret", "credential", "key", "token"), _ASSIGNMENT, _is_token),
)
"""The kinds of this project, the more exact before the more general."""
