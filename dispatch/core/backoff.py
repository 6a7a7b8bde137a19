"""When to try again: exponential backoff with full jitter.

Full jitter (a uniform draw from zero to the bound) spreads retries best; see "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random


def bound(attempt: int, base: float, cap: float) -> float:
    """Return the longest wait in seconds before the try after ``attempt`` (1 for the first)."""
    doublings = min(max(attempt, 1) - 1, 62)  # past that, 2.0 ** n only costs time
    return float(min(cap, base * 2.0**doublings))


def delay(attempt: int, base: float, cap: float) -> float:
    """Return how many seconds to wait after ``attempt`` failed: uniform between 0 and :func:`bound`."""
    return random.uniform(0.0, bound(attempt, base, cap))  # noqa: S311 - jitter, not a secret
