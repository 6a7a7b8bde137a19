"""What failed, and from when on it is tried again."""

from __future__ import annotations

import time

from dispatch.conf import conf
from dispatch.core import backoff


class Postponed:
    """Counts failures by key, aliases or task ids, and lets each wait with backoff."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.not_before: dict[str, float] = {}

    def postpone(self, key: str) -> float:
        """Count one more failure; return after how many seconds the next attempt is due."""
        self.failures[key] = self.failures.get(key, 0) + 1
        wait = backoff.bound(self.failures[key], conf.BACKOFF_BASE, conf.BACKOFF_MAX)
        self.not_before[key] = time.monotonic() + wait
        return wait

    def is_due(self, key: str) -> bool:
        """Tell whether a key may be tried."""
        return time.monotonic() >= self.not_before.get(key, 0.0)

    def take_due(self) -> list[str]:
        """Return the keys that have waited for long enough, once."""
        due = [key for key in self.not_before if self.is_due(key)]
        for key in due:
            del self.not_before[key]
        return due

    def forget(self, key: str) -> None:
        """Forget the failures of a key."""
        self.failures.pop(key, None)
        self.not_before.pop(key, None)
