"""Secrets in a text that is about to be shared: found by kind and line, never shown.

A text is first asked for literals that some kind of secret must hold, in one search; most have none and cost nothing
more. Then the kinds of :mod:`lamina.guard.kinds` are tried, as :mod:`lamina.guard.spans` does for masking, and the
vendors' rules of the detect-secrets package beside them, imported the first time that one of their literals appears.
Its rules are used as patterns only: its verification, which asks the vendor over the network, is never called, and its
rules that guess from entropy, from a variable's name or from an IP address are left out, since prose, hashes and ids
set them off.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from lamina.guard.keywords import KeywordSearch
from lamina.guard.spans import Span, exact_spans
from lamina.guard.values import is_placeholder

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


def find_secrets(text: str) -> tuple[Secret, ...]:
    """Return the secrets that a text holds, by line; each kind once a line.

    Placeholders (``<TOKEN>``, ``${VAR}``, ``****``, AWS's ``AKIA…EXAMPLE``) are none. Works without the detect-secrets
    package, with the kinds of this project alone. Nothing is sent anywhere.

    Args:
        text: Any text; a text without any keyword costs about a microsecond per hundred characters.
    """
    spans = [*exact_spans(text), *_vendors(text)]
    if not spans:
        return ()
    found: list[tuple[int, str]] = []
    covered = bytearray(len(text))  # what is of one kind is not said to be of a more general one as well
    for start, stop, kind in spans:
        if covered.find(1, start, stop) < 0:
            covered[start:stop] = b"\1" * (stop - start)
            found.append((start, kind))
    breaks = [match.start() for match in re.finditer("\n", text)]
    places = {(bisect_right(breaks, start) + 1, kind) for start, kind in found}
    return tuple(Secret(kind, line) for line, kind in sorted(places))


def _vendors(text: str) -> Iterator[Span]:
    """Yield what the rules of detect-secrets find, boundaries and placeholders judged as for our own."""
    called = sorted(_vendor_search().called(text))
    lowered = text.lower() if called else ""
    for module, name, kind, keywords in (_VENDOR_RULES[number] for number in called):
        called_for = _present(keywords, text, lowered)
        rule = _vendor_rule(module, name)
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
def _vendor_search() -> KeywordSearch:
    return KeywordSearch([rule[3] for rule in _VENDOR_RULES])
