"""Hears which results have just been stored: Celery publishes each on Redis, on the channel of its key.

A notice may get lost, as any that Redis publishes; who hears of it asks the sooner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from uuid import UUID

from kombu.utils.encoding import bytes_to_str

from dispatch.client import redis_names
from dispatch.client.celery_apps import stored_results
from dispatch.conf import conf
from dispatch.core import backoff

logger = logging.getLogger("dispatch.results")

#: How many ids of one broker are kept until they are taken; more would be found by a sweep as soon.
MOST = 10_000
#: Seconds after which a subscription is made anew, for a silent network ends one without a word.
RENEWED = 300.0
#: Seconds after which a subscriber looks whether to stop.
TICK = 0.5


class Notices:
    """The task ids whose results were stored, by broker; heard by a thread for each that can tell."""

    def __init__(self, stop: threading.Event) -> None:
        #: Set while something is to be taken.
        self.heard = threading.Event()
        self._stop = stop
        self._ids: dict[str, set[UUID]] = {}
        self._threads: list[threading.Thread] = []

    def listen(self) -> None:
        """Begin to hear, until ``stop`` is set."""
        for alias, broker in conf.brokers.items():
            if broker.keeps_results_in_redis:
                self._ids[alias] = set()
                run = threading.Thread(target=self._run, args=(alias,), name="dispatch notices", daemon=True)
                self._threads.append(run)
                run.start()

    def close(self) -> None:
        """Wait for the threads to end, once ``stop`` is set; no longer than a silent backend may take."""
        while self._threads:
            self._threads.pop().join(conf.BROKER_TIMEOUT)

    def take(self, broker: str) -> list[UUID]:
        """Return what was heard of a broker's results, and forget it."""
        if broker not in self._ids:
            return []
        ids, self._ids[broker] = self._ids[broker], set()
        return list(ids)

    def _run(self, alias: str) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                for task_id in self._subscribed(alias):
                    failures = 0
                    if len(self._ids[alias]) < MOST:
                        self._ids[alias].add(task_id)
                        self.heard.set()
            except Exception as error:  # noqa: BLE001 - whatever it is, the sweeps find the results
                failures += 1
                logger.debug("No notices of the results of broker %r: %s", alias, type(error).__name__)
                self._stop.wait(backoff.bound(failures, conf.BACKOFF_BASE, conf.BACKOFF_MAX))

    def _subscribed(self, alias: str) -> Iterator[UUID]:
        backend = stored_results(alias)
        prefix = bytes_to_str(backend.task_keyprefix)
        until = time.monotonic() + RENEWED
        with closing(backend.client.pubsub(ignore_subscribe_messages=True)) as subscription:
            subscription.psubscribe(redis_names.results(alias))
            while not self._stop.is_set() and time.monotonic() < until:
                if notice := subscription.get_message(timeout=TICK):
                    yield from _task_id(bytes_to_str(notice["channel"]).removeprefix(prefix))


def _task_id(text: str) -> Iterable[UUID]:
    try:
        return (UUID(text),)
    except ValueError:  # somebody else's
        return ()
