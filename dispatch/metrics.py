"""Metrics for Prometheus: what this process counts, and what is seen in the database whichever process looks.

Needs the extra ``prometheus``. Nothing counts until :func:`serve` or :func:`metrics_view` is called.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_not_required
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dispatch import health, registry
from dispatch.exceptions import ConfigurationError
from dispatch.health import Health, QueueLine
from dispatch.heartbeats import Outcome, Tally
from dispatch.models import OutboxMessage
from dispatch.signals import messages_counted, messages_inserted

#: Stands for what the registry does not know, so that there are no more series than it has names.
OTHER = "other"
LABELS = ("queue", "task")
SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0)


def _counter(name: str, documentation: str) -> Counter:
    return Counter(f"dispatch_{name}", documentation, LABELS, registry=None)


def _histogram(name: str, documentation: str) -> Histogram:
    return Histogram(f"dispatch_{name}", documentation, LABELS, buckets=SECONDS, registry=None)


ENQUEUED = _counter("messages_enqueued", "Messages whose transaction this process committed.")
COUNTERS: dict[str, Counter] = {
    Outcome.PUBLISHED: _counter("messages_published", "Messages that a broker took."),
    Outcome.FAILED: _counter(
        "attempts_failed", "Attempts to publish that failed, of messages that wait for another."
    ),
    Outcome.DEAD: _counter("messages_dead", "Messages that are not tried again unless they are requeued."),
    Outcome.SUPERSEDED: _counter("messages_superseded", "Messages that became one with a later one."),
    Outcome.CANCELLED: _counter("messages_expired", "Messages that expired before they were published."),
    Outcome.TASK_SUCCEEDED: _counter("tasks_succeeded", "Results of tasks that succeeded."),
    Outcome.TASK_FAILED: _counter("tasks_failed", "Results of tasks that failed."),
}
_TO_RESULT = _histogram("enqueue_to_result_seconds", "From enqueue until the collector had the result.")
TIMES: dict[str, Histogram] = {
    Outcome.PUBLISHED: _histogram(
        "enqueue_to_publish_seconds", "From enqueue, a countdown included, to the broker."
    ),
    Outcome.TASK_SUCCEEDED: _TO_RESULT,
    Outcome.TASK_FAILED: _TO_RESULT,
}
_COUNTED = (ENQUEUED, *COUNTERS.values(), TIMES[Outcome.PUBLISHED], _TO_RESULT)


# -- what this process counts -------------------------------------------------------------------------


def connect() -> None:
    """Begin to count; again changes nothing."""
    messages_inserted.connect(_inserted, dispatch_uid="dispatch.metrics")
    messages_counted.connect(_count, dispatch_uid="dispatch.metrics")


def _inserted(*, messages: Sequence[OutboxMessage], using: str, **_: Any) -> None:
    connection = connections[using]
    # read now: the objects are the application's, which may change them
    rows = [(each.status, each.queue, each.task_name) for each in messages]
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(partial(_committed, rows), using=using, robust=True)


def _committed(rows: Iterable[tuple[str, str, str]]) -> None:
    for status, queue, task in rows:
        if status == OutboxMessage.Status.DEAD:  # a trigger's, which may name anything
            COUNTERS[Outcome.DEAD].labels(queue, OTHER).inc()
        else:
            ENQUEUED.labels(queue, task).inc()


def _count(*, tallies: Sequence[Tally], **_: Any) -> None:
    alike: defaultdict[tuple[str, str, str], list[UUID]] = defaultdict(list)
    for tally in tallies:
        alike[tally.outcome, tally.queue, tally.message.task_name].append(tally.message.pk)
    if not alike:
        return
    now, snapshot = time.time(), registry.current()
    for (outcome, queue, task), task_ids in alike.items():
        labels = (
            queue if queue in snapshot.table.queues or not queue else OTHER,
            task if task in snapshot.tasks else OTHER,
        )
        COUNTERS[outcome].labels(*labels).inc(len(task_ids))
        if outcome in TIMES:
            observe = TIMES[outcome].labels(*labels).observe
            for task_id in task_ids:
                if task_id.version == 7:  # not where the sender chose another
                    observe(max(0.0, now - (task_id.int >> 80) / 1_000))


# -- what is seen in the database ---------------------------------------------------------------------


class Everything(Collector):
    """What this process counted, and the state of one outbox; the counts alone where the database does not answer."""

    def __init__(self, using: str) -> None:
        self.using = using

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. The state is looked at, as ``dispatch status`` does, at each scrape."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # a web server's processes share their counts by files
            every: Iterable[Metric] = MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
            yield from (metric for metric in every if metric.name.startswith("dispatch_"))
        else:
            for counted in _COUNTED:
                yield from counted.collect()
        try:
            seen = health.look(self.using)
        except (DatabaseError, InterfaceError):
            seen = None
        yield _gauge("database_up", "Whether the database answered.", {(): seen is not None})
        yield from _state(seen) if seen else ()


def _state(seen: Health) -> Iterator[Metric]:
    for name, (documentation, of_queue) in _QUEUE_GAUGES.items():
        yield _gauge(name, documentation, {(line.queue,): of_queue(line) for line in seen.queues}, ("queue",))
    yield _gauge("dead_messages", f"Dead messages, {_UP_TO}.", {(): seen.dead})
    yield _gauge(
        "awaited_results", f"Published messages whose result is awaited, {_UP_TO}.", {(): seen.awaited}
    )
    yield _gauge(
        "oldest_awaited_seconds", "Since when the oldest is awaited.", {(): seen.oldest_awaited or 0.0}
    )
    ages: dict[tuple[str, ...], float] = {
        (line.kind, line.host, str(line.pid)): line.seen for line in seen.processes if line.state != "stopped"
    }
    yield _gauge("heartbeat_age_seconds", "Since when a process was not seen.", ages, ("kind", "host", "pid"))


_UP_TO = f"counted to {health.MOST_COUNTED:,} at most"
_RECENTLY = f"in the last {health.MINUTES} minutes, by the heartbeats of all processes"
_QUEUE_GAUGES: dict[str, tuple[str, Callable[[QueueLine], float]]] = {
    "pending_messages": (f"Messages that wait in the outbox, {_UP_TO}.", lambda line: line.pending),
    "claimed_messages": ("Messages that a relay has just now.", lambda line: line.claimed),
    "oldest_due_seconds": ("For how long the oldest message is due.", lambda line: line.oldest_due or 0.0),
    "queue_paused": ("Whether the queue is paused.", lambda line: line.paused),
    "recently_published_messages": (f"Messages published {_RECENTLY}.", lambda line: line.published),
    "recently_failed_attempts": (f"Attempts that failed {_RECENTLY}.", lambda line: line.failed),
}


def _gauge(
    name: str, documentation: str, values: Mapping[tuple[str, ...], float], labels: Sequence[str] = ()
) -> Metric:
    gauge = GaugeMetricFamily(f"dispatch_{name}", documentation, labels=labels)
    for key, value in values.items():
        gauge.add_metric(key, value)
    return gauge


# -- where it is served -------------------------------------------------------------------------------


@contextmanager
def serve(host: str, port: int, using: str) -> Iterator[None]:
    """Count, and serve the metrics over HTTP inside the block. Raises OSError for an address that cannot be had."""
    connect()
    served = CollectorRegistry()
    ProcessCollector(registry=served)
    served.register(_OfServer(using))
    server, thread = start_http_server(port, host, served)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _OfServer(Everything):
    """For a server that answers each request in a thread of its own, which has a connection of its own."""

    def collect(self) -> Iterator[Metric]:
        try:
            yield from super().collect()
        finally:
            connections.close_all()


def metrics_view(token: str, using: str = DEFAULT_DB_ALIAS) -> Callable[[HttpRequest], HttpResponse]:
    """Count, and return a view of the metrics for requests with the header ``Authorization: Bearer TOKEN``.

    Raises ConfigurationError without a token: names of tasks and queues are not for everybody.
    """
    if not token:
        raise ConfigurationError("metrics_view needs a token, which Prometheus sends: a long random text.")
    connect()
    served = CollectorRegistry()
    served.register(Everything(using))

    @login_not_required
    @require_safe
    def view(request: HttpRequest) -> HttpResponse:
        if constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
            return HttpResponse(generate_latest(served), content_type=CONTENT_TYPE_LATEST)
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})

    return view
