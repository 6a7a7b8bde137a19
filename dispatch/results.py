"""Brings results home: from the worker's own result backend into django-celery-results, each handled once.

The sweep over the ids that still await a result is the truth: what finished while the collector was down is
found too. A worker that writes to ``django-db`` itself has stored its TaskResult already; then that table is
watched.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError
from django_celery_results.models import TaskResult

from dispatch import registry
from dispatch.client.result_backend import READY_STATES, Outcome, finished
from dispatch.conf import Broker, conf
from dispatch.core import backoff
from dispatch.core.json_values import to_json
from dispatch.core.redaction import redact, storable
from dispatch.core.trigger_suppression import suppress_triggers
from dispatch.exceptions import BrokerUnavailable
from dispatch.models import OutboxMessage
from dispatch.models.database import close_broken_connections, database_now
from dispatch.models.write_transactions import brief_write, write_transaction
from dispatch.signals import task_finished

logger = logging.getLogger("dispatch.results")

#: How many task ids are asked for at once.
CHUNK = 500
#: A sweep over many waiting ids is expensive: at least this many times its length passes before the next.
REST = 2.0


class Collector:
    """Collects the results of one database's outbox. Several may run: each result is handled by one."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using
        self.stop = threading.Event()
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def run(self) -> None:
        """Work until :attr:`stop` is set. A database or result backend that is away is waited for."""
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                self.sweep()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The database did not answer, trying again: %s", redact(str(error)).strip())
                close_broken_connections()
            self.stop.wait(max(conf.RESULTS_POLL_INTERVAL, REST * (time.monotonic() - began)))

    def sweep(self) -> int:
        """Ask once for every result that is awaited; return how many were handled."""
        handled = 0
        brokers = conf.brokers
        for alias, task_ids in self._awaited():
            broker = brokers.get(alias)
            if self.stop.is_set():
                break
            if broker is None or not broker.result_backend or not self._is_due(alias):
                continue
            handled += sum(self._handle(outcome) for outcome in self._ask(broker, task_ids))
        return handled

    def _awaited(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each broker's alias with a chunk of the task ids whose result is still awaited."""
        horizon = database_now() - dt.timedelta(seconds=conf.RESULTS_HORIZON)
        rows = OutboxMessage.objects.using(self.using).awaiting_result().filter(published_at__gte=horizon)
        by_broker: dict[str, list[str]] = defaultdict(list)
        for alias, pk in rows.order_by("published_at").values_list("broker", "pk"):
            by_broker[alias].append(str(pk))
        for alias, ids in by_broker.items():
            for start in range(0, len(ids), CHUNK):
                yield alias, ids[start : start + CHUNK]

    def _ask(self, broker: Broker, task_ids: Sequence[str]) -> list[Outcome | TaskResult]:
        if broker.result_backend.startswith("django-db"):
            return list(
                TaskResult.objects.using(self.using).filter(task_id__in=task_ids, status__in=READY_STATES)
            )
        try:
            outcomes: list[Outcome | TaskResult] = list(finished(broker.alias, task_ids))
        except BrokerUnavailable as error:
            self._postpone(broker.alias)
            logger.warning("%s", error)
            return []
        self._failures.pop(broker.alias, None)
        return outcomes

    def _handle(self, found: Outcome | TaskResult) -> bool:
        """Store the result, run the receivers and mark the message, all or nothing."""
        if not self._is_due(found.task_id):
            return False
        try:
            quiet = suppress_triggers(reason=f"while the result of task {found.task_id} is handled")
            with write_transaction(self.using), quiet:
                if not self._mark(found.task_id):
                    return False  # another collector was here first
                message = OutboxMessage.objects.using(self.using).get(pk=found.task_id)
                result = found if isinstance(found, TaskResult) else _store(message, found, self.using)
                task_finished.send(sender=OutboxMessage, message=message, result=result, using=self.using)
        except InterfaceError:
            raise
        except Exception as error:  # noqa: BLE001 - a receiver is foreign code, and must not stop the others
            self._failed(found.task_id, error)
            return False
        self._failures.pop(found.task_id, None)
        self._not_before.pop(found.task_id, None)
        return True

    def _mark(self, task_id: str) -> int:
        rows = OutboxMessage.objects.using(self.using).awaiting_result().filter(pk=task_id)
        return rows.update(handled_at=database_now(), last_error="")

    def _failed(self, task_id: str, error: Exception) -> None:
        wait = self._postpone(task_id)
        logger.error(
            "A receiver of task_finished failed for %s; it is called again in %.0f s.",
            task_id,
            wait,
            exc_info=error,
        )
        text = f"A receiver of task_finished failed and is called again: {type(error).__name__}: {error}"
        text = storable(redact(text))
        with brief_write(self.using):
            OutboxMessage.objects.using(self.using).filter(pk=task_id).update(last_error=text)

    def _postpone(self, key: str) -> float:
        self._failures[key] = self._failures.get(key, 0) + 1
        wait = backoff.bound(self._failures[key], conf.BACKOFF_BASE, conf.BACKOFF_MAX)
        self._not_before[key] = time.monotonic() + wait
        return wait

    def _is_due(self, key: str) -> bool:
        return time.monotonic() >= self._not_before.get(key, 0.0)


def _store(message: OutboxMessage, outcome: Outcome, using: str) -> TaskResult:
    """Write the TaskResult as django-celery-results would have, sensitive arguments masked."""
    args, kwargs = _masked(message)
    columns = {
        "task_name": message.task_name,
        "task_args": args,
        "task_kwargs": kwargs,
        "status": outcome.status,
        "worker": outcome.worker,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "result": outcome.result,
        "traceback": outcome.traceback,
    }
    rows = TaskResult.objects.using(using)
    result: TaskResult = rows.update_or_create(task_id=outcome.task_id, defaults=columns)[0]
    if outcome.done_at:  # a save sets date_done to now
        rows.filter(pk=result.pk).update(date_done=outcome.done_at)
        result.date_done = outcome.done_at
    return result


def _masked(message: OutboxMessage) -> tuple[str | None, str | None]:
    task = registry.current().tasks.get(message.task_name)
    if task is None:  # nobody knows any more which parameters are sensitive
        return None, None
    args, kwargs = task.masked(message.args, message.kwargs)
    return to_json(args), to_json(kwargs)
