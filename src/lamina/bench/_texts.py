"""Texts that look like an agent's notes: varied, deterministic, 100 to 150 characters, written for this project."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

__all__ = ["notes", "questions"]

_WHO: Final = [
    "Ana",
    "Bruno",
    "Chidi",
    "Dalia",
    "Emre",
    "Farah",
    "Goran",
    "Hana",
    "Ivo",
    "Jun",
    "Kofi",
    "Lena",
    "Marek",
    "Nadia",
    "Oskar",
    "Priya",
    "Quentin",
    "Rosa",
    "Samir",
    "Tove",
    "Uma",
    "Viktor",
    "Wanda",
    "Ximena",
    "Yusuf",
    "Zofia",
]
_DID: Final = [
    "moved",
    "rewrote",
    "postponed",
    "tested",
    "documented",
    "approved",
    "rejected",
    "measured",
    "simplified",
    "renamed",
    "repaired",
    "reviewed",
    "deployed",
    "rolled back",
    "budgeted",
    "archived",
    "translated",
    "automated",
    "sketched",
    "benchmarked",
]
_WHAT: Final = [
    "billing service",
    "login page",
    "search index",
    "nightly backup",
    "invoice template",
    "image cache",
    "mobile client",
    "release checklist",
    "payment gateway",
    "customer survey",
    "warehouse report",
    "greenhouse sensor",
    "rate limiter",
    "onboarding guide",
    "translation memory",
    "calendar import",
    "audit trail",
    "map renderer",
    "newsletter queue",
    "fraud model",
    "shipping label",
    "password reset",
    "video encoder",
    "holiday roster",
    "energy dashboard",
    "parser generator",
]
_WHY: Final = [
    "because retries piled up",
    "after two customers complained",
    "since the licence ends",
    "so that tests run offline",
    "although the estimate was higher",
    "to save memory on small machines",
    "because timestamps lost their zone",
    "after the outage of last month",
    "so new people find their way",
    "since the vendor changed its terms",
    "to meet the accessibility rules",
    "because the queue grew without bound",
    "after a long look at the traces",
    "so the month closes on time",
]
_WHERE: Final = [
    "Lisbon",
    "Osaka",
    "Nairobi",
    "Bergen",
    "Quito",
    "Tbilisi",
    "Halifax",
    "Pune",
    "Graz",
    "Adelaide",
    "Cusco",
    "Tallinn",
    "Dakar",
    "Leeds",
    "Izmir",
    "Perth",
]
_TAIL: Final = [
    "ticket {n}",
    "build {n}",
    "page {n} of the plan",
    "{n} requests a second",
    "{n} rows touched",
    "budget line {n}",
    "version 3.{n}",
    "port {n}",
    "{n} minutes saved",
    "error code E{n}",
]


def _tail(draw: random.Random) -> str:
    return draw.choice(_TAIL).format(n=draw.randrange(10, 100_000))


def notes(count: int, seed: int = 1) -> Iterator[str]:
    """Yields ``count`` texts; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        who, other = draw.choice(_WHO), draw.choice(_WHO)
        text = (
            f"{who} {draw.choice(_DID)} the {draw.choice(_WHAT)} in {draw.choice(_WHERE)} {draw.choice(_WHY)}; "
            f"{other} keeps an eye on the {draw.choice(_WHAT)}, {_tail(draw)}."
        )
        yield text if len(text) >= 100 else f"{text} Nobody objected to any of it."


def questions(count: int, seed: int = 2) -> Iterator[str]:
    """Yields ``count`` distinct questions about such notes."""
    draw = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        text = draw.choice(
            (
                f"why was the {draw.choice(_WHAT)} {draw.choice(_DID)} in {draw.choice(_WHERE)}?",
                f"what did {draw.choice(_WHO)} do with the {draw.choice(_WHAT)} {draw.choice(_WHY)}?",
                f"who keeps an eye on the {draw.choice(_WHAT)} and ticket {draw.randrange(10, 100_000)}?",
                f"{draw.choice(_WHAT)} {draw.choice(_WHERE)} {_tail(draw)}",
            )
        )
        if text not in seen:
            seen.add(text)
            yield text
