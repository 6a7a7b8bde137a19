"""What fails is left alone for a while: one broker, or one queue, and never the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from dispatch.core import backoff

Key = tuple[Literal["broker", "queue"], str]
#: A failing broker or queue is tried again at least this often, in seconds, so that its return is noticed soon.
LONGEST_WAIT = 5.0


@dataclass
class Breakers:
    """Counts failures in a row per broker and per queue; ``clock`` returns seconds. Threads may share one."""

    base: float
    cap: float = LONGEST_WAIT
    clock: Callable[[], float] = time.monotonic
    _failures: dict[Key, int] = field(default_factory=dict)
    _open_until: dict[Key, float] = field(default_factory=dict)

    @property
    def has_failures(self) -> bool:
        """Whether there is anything to forget."""
        return bool(self._failures)

    def trip(self, kind: Literal["broker", "queue"], name: str) -> float:
        """Leave this broker or queue alone; return for how many seconds.

        What fails while it is left alone was on its way already, in the same batch: it counts as one failure.
        """
        key: Key = (kind, name)
        is_news = name not in self.open(kind)
        self._failures[key] = self._failures.get(key, 0) + is_news
        # The bound itself, without jitter: one relay asks one broker, there is no crowd to spread.
        wait = backoff.bound(self._failures[key], min(self.base, self.cap), self.cap)
        if is_news:
            self._open_until[key] = self.clock() + wait
        return wait

    def reset(self, kind: Literal["broker", "queue"], name: str) -> None:
        """It works again: forget its failures."""
        self._failures.pop((kind, name), None)
        self._open_until.pop((kind, name), None)

    def open(self, kind: Literal["broker", "queue"]) -> set[str]:
        """Return the names to be left alone now."""
        now = self.clock()
        waits = list(self._open_until.items())  # at once: another thread may change them
        return {name for (of, name), until in waits if of == kind and until > now}
