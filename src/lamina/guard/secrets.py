"""Secrets in a text that is about to be shared: found by kind and line, never shown.

A text is first asked for literals that some kind of secret must hold, in one search; most have none and cost nothing
more. Then the kinds of :mod:`lamina.guard.kinds` are tried, and the vendors' rules of the detect-secrets package
beside them, imported the first time that one of their literals appears. Its rules are used as patterns only: its
verification, which asks the vendor over the network, is never called, and its rules that guess from entropy, from a
variable's name or from an IP address are left out, since prose, hashes and ids set them off.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from lamina.guard.kinds import KINDS, is_placeholder

__all__ = ["Secret", "find_secrets"]


@dataclass(frozen=True, slots=True)
class Secret:
    """One place of a text that holds a secret. What it is, is not kept, so that no message or log can show it."""

    kind: str
    """Such as ``GitHub token``."""
    line: int
    """From 1."""


# Rules of detect-secrets by module, class, what it is called here, and the keywords that call for it.
_VENDOR_RULES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("artifactory", "ArtifactoryDetector", "Artifactory credentials", ("artifactory", "jfrog")),
    ("aws", "AWSKeyDetector", "AWS access key", ("AKIA", "ASIA", "ABIA", "ACCA")),
    ("azure_storage_key", "AzureStorageKeyDetector", "Azure key", ("AccountKey=",)),
    ("cloudant", "CloudantDetector", "Cloudant credentials", ("cloudant",)),
    ("discord", "DiscordBotTokenDetector", "Discord bot token", ("discord",)),
    ("gitlab_token", "GitLabTokenDetector", "GitLab token", ("glpat-", "gldt-", "glrt-", "glptt-", "glsoat-")),
    ("ibm_cloud_iam", "IbmCloudIamDetector", "IBM Cloud key", ("ibm",)),
    ("ibm_cos_hmac", "IbmCosHmacDetector", "IBM Cloud key", ("ibm", "cos_hmac")),
    ("mailchimp", "MailchimpDetector", "Mailchimp key", tuple(f"-us{number}" for number in range(1, 10))),
    ("npm", "NpmDetector", "npm token", ("_authtoken",)),
    ("openai", "OpenAIDetector", "OpenAI key", ("T3BlbkFJ",)),
    ("pypi_token", "PypiTokenDetector", "PyPI token", ("pypi-AgE",)),
    ("sendgrid", "SendGridDetector", "SendGrid key", ("SG.",)),
    ("slack", "SlackDetector", "Slack token", ("xox", "hooks.slack.com/")),
    ("softlayer", "SoftlayerDetector", "SoftLayer credentials", ("softlayer",)),
    ("square_oauth", "SquareOAuthDetector", "Square secret", ("sq0csp-",)),
    ("stripe", "StripeDetector", "Stripe key", ("k_live_",)),
)
_WINDOW_BEFORE, _WINDOW_AFTER, _LONGEST = 250, 1000, 400
"""Characters around a literal that a rule of detect-secrets sees of a long line; its repetitions are not bounded."""

_SHORTEST = 12
"""Characters of the shortest find of detect-secrets that is heard; some of its rules answer with a part."""

# Letters from the rarest in English prose to the most frequent (Lewand, Cryptological Mathematics, 2000).
_RARE_FIRST = "zqxjkvbpygfwmucldrhsnioate"


def find_secrets(text: str) -> tuple[Secret, ...]:
    """Return the secrets that a text holds, by line; each kind once a line.

    Placeholders (``<TOKEN>``, ``${VAR}``, ``****``, AWS's ``AKIA…EXAMPLE``) are none. Works without the detect-secrets
    package, with the kinds of this project alone. Nothing is sent anywhere.

    Args:
        text: Any text; a text without any keyword costs about a microsecond per hundred characters.
    """
    if not _prefilter().search(text):
        return ()
    lowered = text.lower()
    found: list[tuple[int, str]] = []
    covered = bytearray(len(text))  # what is of one kind is not said to be of a more general one as well
    for start, stop, kind in (*_own(text, lowered), *_vendors(text, lowered)):
        if covered.find(1, start, stop) < 0:
            covered[start:stop] = b"\1" * (stop - start)
            found.append((start, kind))
    if not found:
        return ()
    breaks = [match.start() for match in re.finditer("\n", text)]
    places = {(bisect_right(breaks, start) + 1, kind) for start, kind in found}
    return tuple(Secret(kind, line) for line, kind in sorted(places))


def _own(text: str, lowered: str) -> Iterator[tuple[int, int, str]]:
    """Yield what the kinds of this project find: start, stop, kind."""
    for kind in KINDS:
        if not _present(kind.keywords, text, lowered):
            continue
        for match in kind.pattern.finditer(text):
            value = match.lastgroup or 0
            if not is_placeholder(match[value]) and (kind.check is None or kind.check(match)):
                yield match.start(), match.end(value), kind.name


def _vendors(text: str, lowered: str) -> Iterator[tuple[int, int, str]]:
    """Yield what the rules of detect-secrets find, boundaries and placeholders judged as for our own."""
    for module, name, kind, keywords in _VENDOR_RULES:
        called_for = _present(keywords, text, lowered)
        rule = _vendor_rule(module, name) if called_for else None
        if rule is None:
            continue
        for first, window in _windows(text, called_for):
            for value in {str(found) for found in rule.analyze_string(window)}:
                start = window.find(value)
                outside = window[max(0, start - 1) : start] + window[start + len(value) :][:1]
                whole = len(value) >= _SHORTEST and start >= 0 and not any(map(str.isalnum, outside))
                if whole and not is_placeholder(value):
                    yield first + start, first + start + len(value), kind


def _present(keywords: tuple[str, ...], text: str, lowered: str) -> list[str]:
    """Return the keywords that a text holds; one with a capital counts in its own case only."""
    return [keyword for keyword in keywords if keyword in (lowered if keyword.islower() else text)]


@cache
def _vendor_rule(module: str, name: str) -> Any:
    """Return a rule of detect-secrets, or None where the package or the rule is not there."""
    try:
        return getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)()
    except (ImportError, AttributeError):
        return None


def _windows(text: str, keywords: list[str]) -> Iterator[tuple[int, str]]:
    """Yield start and text of each line that holds one of the keywords, of a long one what is near."""
    seen = 0
    for match in re.finditer("|".join(map(re.escape, keywords)), text, re.IGNORECASE):
        stop = text.find("\n", match.end(), match.end() + _WINDOW_AFTER)
        whole = stop >= 0 or match.end() + _WINDOW_AFTER >= len(text)
        stop = stop if stop >= 0 else min(len(text), match.end() + _WINDOW_AFTER)
        if match.end() + (0 if whole else _LONGEST) <= seen:
            continue  # the window before this one holds it, with all that may follow
        seen = stop
        yield (start := max(text.rfind("\n", 0, match.start()) + 1, match.start() - _WINDOW_BEFORE)), text[start:stop]


@cache
def _prefilter() -> re.Pattern[str]:
    """Return one pattern that finds the first keyword of any kind.

    Each keyword is looked for by its rarest character, the rest beside it by looking back and ahead: so the search
    stops at few places, which makes it several times faster than the plain alternation.
    """
    lists = [kind.keywords for kind in KINDS] + [rule[3] for rule in _VENDOR_RULES]
    keywords = {keyword for keywords in lists for keyword in keywords}
    anchors: dict[str, set[str]] = {}
    for keyword in keywords:
        if any(other in keyword for other in keywords - {keyword}):
            continue  # the shorter one finds it
        any_case = keyword.islower()
        place = min(range(len(keyword)), key=lambda at: _frequency(keyword[at]))
        before, anchor, after = (
            "".join(_either(char) if any_case else re.escape(char) for char in part)
            for part in (keyword[:place], keyword[place], keyword[place + 1 :])
        )
        for char in {keyword[place], keyword[place].upper() if any_case else keyword[place]}:
            anchors.setdefault(char, set()).add((f"(?<={before}{anchor})" if before else "") + after)
    # Literal first characters, no classes: the engine skips to them in one step, and tries the frequent ones first.
    ordered = sorted(anchors.items(), key=lambda item: (-_frequency(item[0]), item[0]))
    return re.compile("|".join(f"{re.escape(char)}(?:{'|'.join(sorted(rest))})" for char, rest in ordered))


def _frequency(char: str) -> int:
    """Return the rank of a character by how often prose has it; 0 for capitals, digits and signs."""
    return _RARE_FIRST.find(char) + 1


def _either(char: str) -> str:
    return f"[{char}{char.upper()}]" if char.isalpha() else re.escape(char)
