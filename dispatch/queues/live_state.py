"""What the brokers last showed of the queues, for the pages: a look is shared for some seconds by a whole process.

A page never waits for a broker. Its script asks for the look afterwards, in a request of its own; one such request at a
time asks a broker, and the others are told what is known, with its age.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dispatch import registry
from dispatch.conf import conf
from dispatch.core.routing import Queue
from dispatch.exceptions import ConfigurationError
from dispatch.queues.overview import Seen, look

FRESH = 10.0
"""Seconds for which a look is not repeated."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a queue, and how many seconds ago; ``last``: what before its broker could not be asked."""

    seen: Seen
    age: float
    last: Sight | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether it is young enough not to be repeated."""
        return self.age < FRESH


class Sights:
    """The looks of this process, by queue and by the address of its broker."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything; also called in a forked child, where another thread's lock would stay taken."""
        self._known: dict[tuple[str, str], tuple[float, Seen]] = {}
        self._last: dict[tuple[str, str], tuple[float, Seen]] = {}
        self._asking: dict[str, threading.Lock] = {}

    def of(self, names: Iterable[str]) -> dict[str, Sight]:
        """Return what is known of the named queues, after asking the brokers where that is old.

        Names that the registry does not have are left out, and so are queues whose broker another thread is asking
        for the first time at this moment.
        """
        table, names = registry.current().table, list(dict.fromkeys(names))
        queues = [table.queues[name] for name in names if name in table.queues]
        by_broker: dict[str, list[Queue]] = {}
        for queue in queues:
            if not self._is_fresh(queue):
                by_broker.setdefault(queue.broker, []).append(queue)
        for alias, stale in by_broker.items():
            self._ask(alias, stale)
        return self.known(names)

    def known(self, names: Iterable[str]) -> dict[str, Sight]:
        """Return what is known of the named queues, however old, without asking anybody."""
        table = registry.current().table
        found = {name: self._sight(table.queues[name]) for name in names if name in table.queues}
        return {name: sight for name, sight in found.items() if sight is not None}

    def _ask(self, alias: str, queues: list[Queue]) -> None:
        lock = self._asking.setdefault(_address(alias), threading.Lock())
        if not lock.acquire(blocking=False):
            return
        try:
            for queue, seen in look([queue.name for queue in queues]):
                self._known[_key(queue)] = (time.monotonic(), seen)
                if seen.state != "down":
                    self._last[_key(queue)] = self._known[_key(queue)]
        except ConfigurationError:
            pass  # a queue left the registry in between
        finally:
            lock.release()

    def _is_fresh(self, queue: Queue) -> bool:
        sight = self._sight(queue)
        return sight is not None and sight.is_fresh

    def _sight(self, queue: Queue) -> Sight | None:
        known, last = (_sight(found.get(_key(queue))) for found in (self._known, self._last))
        return replace(known, last=last) if known and known.seen.state == "down" else known


def _sight(known: tuple[float, Seen] | None) -> Sight | None:
    return None if known is None else Sight(known[1], time.monotonic() - known[0])


def _key(queue: Queue) -> tuple[str, str]:
    return _address(queue.broker), queue.name


def _address(alias: str) -> str:
    """Return what tells one broker from another, and from itself after the settings changed."""
    broker = conf.brokers.get(alias)
    return f"{alias} {broker.url}" if broker else alias


sights = Sights()
os.register_at_fork(after_in_child=sights.clear)
