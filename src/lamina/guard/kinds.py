"""Kinds of secret that are known by their form, from the vendors' own descriptions of it.

Each kind has literal keywords, one of which must be in a text before its pattern is tried, and a pattern whose last
group (or the whole match) is what must not be a placeholder. Every repetition is bounded, or gives nothing back, so
that no text makes a pattern slow. The kinds that are only masked (:mod:`lamina.guard.masked_kinds`) are wider.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from lamina.guard.values import USUAL, entropy, is_assigned, is_wordy

__all__ = ["DRAWN_NAMES", "KINDS", "PASSWORD_NAMES", "SecretKind", "given", "prefixed"]


@dataclass(frozen=True, slots=True)
class SecretKind:
    """One kind of secret."""

    name: str
    """What people call it; this is all that is ever said about a find."""
    keywords: tuple[str, ...]
    """Literals, one of which every match holds; one without a capital counts in any case."""
    source: str
    """The regular expression; compiled when a text first calls for it."""
    check: Callable[[re.Match[str]], bool] | None = None
    """What a pattern cannot say; None where the form is enough."""
    behind: bool = False
    """Whether the pattern is matched right behind a keyword, instead of searched in the whole text."""
    formed: bool = False
    """Whether its form alone makes it a secret; all of the match is it, with its prefix."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """The compiled pattern."""
        return _compiled(self.source)


@cache
def _compiled(source: str) -> re.Pattern[str]:
    return re.compile(source, re.MULTILINE)


_SCHEME_END = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,20})://$")
_DATABASES = frozenset({
    "postgres", "postgresql", "mysql", "mariadb", "mongodb", "mongodb+srv", "redis", "rediss", "amqp", "amqps", "mssql",
    "clickhouse", "cockroachdb", "oracle",
})  # fmt: skip
_DOCUMENT_HOST = re.compile(r"(?:[\w.-]{0,200}\.)?(?:example(?:\.\w{2,5})?|test|invalid)(?![\w.-])", re.IGNORECASE)


_URL = r"(?P<user>[^\s/:@\"'`<>]{0,100}):(?P<value>[^\s/@\"'`<>]{3,200})@"


def _real_url(match: re.Match[str]) -> bool:
    value, rest = match["value"], match.string[match.end() : match.end() + 300]
    mixed = any(map(str.isalpha, value)) and not value.isalpha()
    looks = len(value) >= 6 and (mixed or len(value) >= 16 or len(set(value.swapcase()) & set(value)) > 0)
    documented = value.lower() in USUAL or value == match["user"] or _DOCUMENT_HOST.match(rest) is not None
    return looks and not documented and not value.startswith("$")


def _database_url(match: re.Match[str]) -> bool:
    scheme = _SCHEME_END.search(match.string, max(0, match.start() - 24), match.start())
    return scheme is not None and scheme[1].partition("+")[0].lower() in _DATABASES and _real_url(match)


# The payload of the token that jwt.io and most manuals show: {"sub":"1234567890"…
_KNOWN_JWT = ".eyJzdWIiOiIxMjM0NTY3ODkw"


def _real_jwt(match: re.Match[str]) -> bool:
    return match["rest"] is not None and _KNOWN_JWT not in match[0]


PASSWORD_NAMES = ("passw", "passphrase", "passcode", "pwd")
"""Names of values that people choose."""
_KEY_OWNERS = ("api", "access", "auth", "private", "account", "signing", "master", "encryption")
DRAWN_NAMES = (
    "secret",
    "credential",
    "token",
    *(f"{owner}{joint}key" for owner in _KEY_OWNERS for joint in ("", " ", "_", "-")),
)
"""Names of values that machines draw."""
_ASSIGNED = (
    r"(?P<suffix>[\w-]{0,20})[\"'`\])*]{0,3}[ \t]{0,3}(?:=>|:=|=|:)[ \t*]{0,3}"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\s\"'`]{8,200}+)(?P=quote)"
    r"|(?P<bare>[A-Za-z0-9+/_.~!@#%^&*-][A-Za-z0-9+/=_.~!@#%^&*-]{7,199}+)(?=[ \t]{0,20}(?:$|[#,;}])))"
)


def given(match: re.Match[str]) -> str:
    """Return the name of the group that holds a secret; empty where it is the whole match."""
    groups = match.re.groupindex
    if "quoted" in groups:
        return "bare" if match["quoted"] is None else "quoted"
    return "value" if "value" in groups and match["value"] is not None else ""


def _is_password(match: re.Match[str]) -> bool:
    return is_assigned(match["suffix"], match[given(match)], quoted=match["quoted"] is not None, password=True)


def _is_token(match: re.Match[str]) -> bool:
    return is_assigned(match["suffix"], match[given(match)], quoted=match["quoted"] is not None, password=False)


def _is_bearer(match: re.Match[str]) -> bool:
    value = match["value"]
    return sum(map(str.isdigit, value)) >= 2 and not is_wordy(value) and entropy(value) >= 3.0


def _is_basic(match: re.Match[str]) -> bool:
    """Return whether the encoded text is a name and a password that no manual uses."""
    try:
        name, colon, password = b64decode(match["value"], validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return False
    return bool(colon) and len(password) >= 6 and password.lower() not in USUAL and password != name


def _is_aws_secret(match: re.Match[str]) -> bool:
    value = match["value"]
    mixed = value.upper() != value and value.lower() != value
    return mixed and entropy(value) >= 4.0 and not is_wordy(value)


def prefixed(
    name: str, pattern: str, *keywords: str, check: Callable[[re.Match[str]], bool] | None = None
) -> SecretKind:
    """Return a kind whose form is a prefix and what follows; neither may continue a longer word."""
    return SecretKind(name, keywords, rf"(?<![A-Za-z0-9_])(?:{pattern})(?![A-Za-z0-9])", check, formed=True)


KINDS: tuple[SecretKind, ...] = (
    SecretKind(
        "private key",
        ("PRIVATE KEY",),
        r"-{4,5} ?BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}(?:\s|\\[nr]){0,20}"
        r"(?:[A-Z][A-Za-z-]{1,30}: [^\n\\]{0,200}(?:\s|\\[nr]){1,20}){0,5}(?P<value>[A-Za-z0-9+/=]{32,76})"
        # All that may belong to it, up to its end where there is one.
        r"(?:(?:[\s\"',]|\\[nr]){0,40}+[A-Za-z0-9+/=]{20,}+)*+"
        r"(?:(?:(?:[\s\"',]|\\[nr]){0,40}+[A-Za-z0-9+/=]{0,19}+){0,3}-{4,5} ?END [A-Z0-9 ]{1,60}-{4,5})?",
        formed=True,
    ),
    prefixed("age secret key", r"AGE-SECRET-KEY-1(?P<value>[02-9AC-HJ-NP-Z]{58})", "AGE-SECRET-KEY-1"),
    prefixed("AWS access key id", r"(?:AKIA|ASIA)(?P<value>[A-Z2-7]{16})", "AKIA", "ASIA"),
    SecretKind(
        "AWS secret access key",
        ("secret",),
        r"[_ -]?(?i:access[_ -]?)?(?i:key)\\?[\"'`]?\s{0,3}[:=]\s{0,3}\\?[\"'`]?"
        r"(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        _is_aws_secret,
        behind=True,
    ),
    prefixed("GitHub token", r"gh[pousr]_(?P<value>[A-Za-z0-9]{36,255})", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    prefixed("GitHub token", r"github_pat_(?P<value>[A-Za-z0-9]{22}_[A-Za-z0-9]{59})", "github_pat_"),
    prefixed(
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
    prefixed("Slack token", r"xox[abeoprs]-(?P<value>(?:\d-)?[A-Za-z0-9][A-Za-z0-9-]{20,250})", "xox"),
    prefixed("Slack token", r"xapp-\d-(?P<value>[A-Z0-9]{5,20}-\d{5,20}-[a-f0-9]{32,128})", "xapp-"),
    SecretKind(
        "Slack webhook",
        ("hooks.slack.com/",),
        r"(?:services|workflows)/(?P<value>T[A-Z0-9]{6,20}/[AB][A-Z0-9]{6,20}/[A-Za-z0-9]{16,60})",
        behind=True,
    ),
    prefixed("Stripe key", r"[sr]k_live_(?P<value>[A-Za-z0-9]{16,250})", "k_live_"),
    prefixed("Anthropic key", r"sk-ant-[a-z]{2,10}\d{2}-(?P<value>[A-Za-z0-9_-]{40,200})", "sk-ant-"),
    prefixed("OpenRouter key", r"sk-or-v1-(?P<value>[0-9a-f]{64})", "sk-or-v1-"),
    prefixed(
        "OpenAI key",
        r"sk-(?:(?:proj|svcacct|admin|None)-(?P<value>[A-Za-z0-9_-]{40,250})|[A-Za-z0-9]{48}"
        r"|[A-Za-z0-9_-]{20,120}T3BlbkFJ[A-Za-z0-9_-]{20,120})",
        "sk-",
    ),
    prefixed("Google API key", r"AIza(?P<value>[A-Za-z0-9_-]{35})", "AIza"),
    prefixed("Google OAuth token", r"ya29\.(?P<value>[A-Za-z0-9_-]{40,500})", "ya29."),
    prefixed("Google OAuth secret", r"GOCSPX-(?P<value>[A-Za-z0-9_-]{28})", "GOCSPX-"),
    prefixed("npm token", r"npm_(?P<value>[A-Za-z0-9]{36})", "npm_"),
    prefixed("PyPI token", r"pypi-AgE[IN](?P<value>[A-Za-z0-9_-]{50,400})", "pypi-AgE"),
    prefixed("Docker token", r"dckr_(?:pat|oat)_(?P<value>[A-Za-z0-9_-]{27,40})", "dckr_"),
    prefixed("Hugging Face token", r"(?:hf|api_org)_(?P<value>[A-Za-z0-9]{34,40})", "hf_", "api_org_"),
    prefixed("Groq key", r"gsk_(?P<value>[A-Za-z0-9]{52})", "gsk_"),
    prefixed("Replicate token", r"r8_(?P<value>[A-Za-z0-9]{37})", "r8_"),
    prefixed("SendGrid key", r"SG\.(?P<value>[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})", "SG."),
    prefixed("Twilio key", r"SK(?P<value>[0-9a-f]{32})", *(f"SK{digit}" for digit in "0123456789abcdef")),
    prefixed("Telegram bot token", r"\d{8,10}:(?P<value>AA[A-Za-z0-9_-]{33})", ":AA"),
    prefixed(
        "Azure key",
        r"(?:AccountKey|SharedAccessKey)=(?P<value>[A-Za-z0-9+/]{43,86}={1,2})",
        "AccountKey=",
        "SharedAccessKey=",
    ),
    prefixed("DigitalOcean token", r"do[opr]_v1_(?P<value>[0-9a-f]{64})", "_v1_"),
    prefixed("Databricks token", r"dapi(?P<value>[0-9a-f]{32})(?:-\d)?", "dapi"),
    prefixed("Shopify token", r"shp(?:at|ca|pa|ss)_(?P<value>[0-9a-fA-F]{32})", "shpat_", "shpca_", "shppa_", "shpss_"),
    prefixed("Grafana token", r"glsa_(?P<value>[A-Za-z0-9]{32}_[0-9a-fA-F]{8})", "glsa_"),
    prefixed("HashiCorp Vault token", r"hv[sbr]\.(?P<value>[A-Za-z0-9_-]{24,250})", "hvs.", "hvb.", "hvr."),
    prefixed("Linear key", r"lin_api_(?P<value>[A-Za-z0-9]{40})", "lin_api_"),
    prefixed("Postman key", r"PMAK-(?P<value>[0-9a-f]{24}-[0-9a-f]{34})", "PMAK-"),
    prefixed(
        "JSON web token",
        # What is none is passed over whole: another try within it would end at the same place.
        r"(?P<value>eyJ[A-Za-z0-9_-]{10,}+(?P<rest>\.eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{16,}+)?)",
        "eyJ",
        check=_real_jwt,
    ),
    SecretKind("database URL with a password", ("://",), _URL, _database_url, behind=True),
    SecretKind("URL with a password", ("://",), _URL, _real_url, behind=True),
    SecretKind(
        "bearer token",
        ("bearer",),
        r"[ \t]{1,4}(?P<value>[A-Za-z0-9._~+/-]{20,2000})",
        _is_bearer,
        behind=True,
    ),
    SecretKind(
        "basic authorization",
        ("authorization",),
        r"[\"'`]?[ \t]{0,3}[:=][ \t]{0,3}[\"'`]?(?i:basic)[ \t]{1,3}(?P<value>[A-Za-z0-9+/]{8,400}={0,2})",
        _is_basic,
        behind=True,
    ),
    SecretKind("password", PASSWORD_NAMES, _ASSIGNED, _is_password, behind=True),
    SecretKind("key or token", DRAWN_NAMES, _ASSIGNED, _is_token, behind=True),
)
"""The kinds of this project, the more exact before the more general."""
