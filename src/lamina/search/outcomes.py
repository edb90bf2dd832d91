"""What outcomes say: the Wilson interval of a success rate, and effectiveness, which fades with disuse.

* The interval is Wilson's score interval at 95 % (Wilson 1927, "Probable inference, the law of succession, and
  statistical inference", JASA 22): with p = successes / uses, n = uses and z = 1.96,
  ``(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)``.
* Effectiveness is the interval's lower bound times ``2^(-age of the last use / 30 days)``. Its logarithm is
  ``rank - now / 30 days`` with ``rank = log2(lower bound) + last use / 30 days``, so what is stored and sorted by is
  the rank, whose order does not change while time goes by.
"""

from __future__ import annotations

import math

__all__ = ["HALF_LIFE_MICROS", "Z", "centre", "effectiveness", "faded", "rank", "wilson"]

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
HALF_LIFE_MICROS = 30 * 86_400 * 1_000_000
"""Microseconds without use that halve effectiveness: 30 days."""
_NEVER = -1e6
"""Stands for the logarithm of zero: below every pattern that ever worked, and still ordered by last use."""


def wilson(successes: int, uses: int) -> tuple[float, float]:
    """Return the 95 % interval of a success rate; (0, 1) where nothing is known.

    Args:
        successes: 0 to ``uses``.
        uses: How many outcomes were seen.
    """
    if uses <= 0:
        return 0.0, 1.0
    share = successes / uses
    square = Z * Z / uses
    middle = share + square / 2
    spread = Z * math.sqrt(share * (1 - share) / uses + square / (4 * uses))
    low = 0.0 if successes <= 0 else (middle - spread) / (1 + square)
    high = 1.0 if successes >= uses else (middle + spread) / (1 + square)
    return min(max(low, 0.0), share), max(min(high, 1.0), share)


def centre(successes: float, uses: float) -> float:
    """Return the middle of the interval, the rate drawn towards one half: ``(successes + z²/2) / (uses + z²)``."""
    return (successes + Z * Z / 2) / (uses + Z * Z)


def rank(successes: int, uses: int, last_used: int) -> float:
    """Return what patterns are sorted by for effectiveness.

    Args:
        successes: 0 to ``uses``.
        uses: How many outcomes were seen.
        last_used: Microseconds since 1970.
    """
    low = wilson(successes, uses)[0]
    return (math.log2(low) if low > 0 else _NEVER) + last_used / HALF_LIFE_MICROS


def effectiveness(successes: int, uses: int, last_used: int, now: int) -> float:
    """Return the lower bound of the success rate, halved for every 30 days since the last use; 0..1.

    A last use that lies ahead of ``now`` (clocks differ) counts as now.
    """
    return faded(wilson(successes, uses)[0], now - last_used)


def faded(low: float, age: int) -> float:
    """Return what is left of the lower bound of a success rate after so many microseconds without a use."""
    fading: float = 2.0 ** (-max(0, age) / HALF_LIFE_MICROS)
    return low * fading
