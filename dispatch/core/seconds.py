"""A number of seconds as an option of a message: one rule for calls, task definitions, triggers and manifests."""

from __future__ import annotations

from typing import Any

#: Seconds, about 31 years: a moment so far ahead still has a date in every database.
MOST = 1_000_000_000
EXPECTED = f"a number of seconds from 0 to {MOST:,}"
#: The options of a message that are such.
TIMES = ("countdown", "expires", "time_limit", "soft_time_limit")


def is_seconds(value: Any) -> bool:
    """Tell whether a countdown, an expiry, a limit or a window may be this long."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST
