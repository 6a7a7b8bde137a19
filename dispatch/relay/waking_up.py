"""How long a relay that has nothing to do waits before it looks again."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import connections

from dispatch.conf import conf
from dispatch.outbox import CHANNEL

#: Seconds until the first look after work: more often comes of what came just now.
SHORTEST = 0.005
#: Seconds after which one that listens looks whether to stop.
LONGEST = 0.5


class Pauses:
    """The pauses of one relay: short after work, then twice as long each time, up to ``RELAY_POLL_INTERVAL``.

    On PostgreSQL ``DISPATCH["LISTEN"]`` ends a pause as soon as a message is committed. What a notice may miss, such as
    a message that is due later, the next look finds.
    """

    def __init__(self, using: str, stop: threading.Event) -> None:
        self.using = using
        self.stop = stop
        self._seconds = SHORTEST
        self._listening: Any = None

    def end(self) -> None:
        """Note that there was work."""
        self._seconds = SHORTEST

    def wait(self) -> None:
        """Wait, at most until the relay is told to stop."""
        seconds = min(self._seconds, conf.RELAY_POLL_INTERVAL)
        self._seconds = seconds * 2
        connection = connections[self.using]
        if conf.LISTEN and _can_listen(connection):
            self._await_notice(connection, seconds)
        else:
            self.stop.wait(seconds)

    def _await_notice(self, connection: Any, seconds: float) -> None:
        """Wait on the relay's own connection, which listens from the first time on."""
        if self._listening is None or self._listening is not connection.connection:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            self._listening = connection.connection
        until = time.monotonic() + seconds
        with connection.wrap_database_errors:
            while not self.stop.is_set() and (left := until - time.monotonic()) > 0:
                for _ in self._listening.notifies(timeout=min(left, LONGEST), stop_after=1):
                    return self.end()
        return None


def _can_listen(connection: Any) -> bool:
    """Tell whether notices come, and the driver knows to wait for one: psycopg does since 3.2."""
    if connection.vendor != "postgresql":
        return False
    major, minor = connection.Database.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (3, 2)
