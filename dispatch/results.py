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
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from django.db import DEFAULT_DB_ALIAS, DatabaseError, DataError, IntegrityError, InterfaceError
from django_celery_results.models import TaskResult

from dispatch import outbox, registry
from dispatch.client.background_calls import SideBySide
from dispatch.client.result_backend import READY_STATES, Outcome, finished, unreadable
from dispatch.conf import conf
from dispatch.core import backoff
from dispatch.core.json_values import to_json
from dispatch.core.redaction import ascii_only, redact, storable
from dispatch.core.trigger_suppression import suppress_triggers
from dispatch.exceptions import BrokerUnavailable, UnreadableMessage
from dispatch.models import OutboxMessage
from dispatch.models.database import close_broken_connections, database_now
from dispatch.models.write_transactions import brief_write, write_transaction
from dispatch.signals import task_finished

logger = logging.getLogger("dispatch.results")

#: How many task ids are asked for at once.
CHUNK = 500
#: A sweep over many waiting ids is expensive: at least this many times its length passes before the next.
REST = 2.0
#: How often a result is stored again, where the database may be to blame, until the result is.
STORE_ATTEMPTS = 3
#: Seconds for which a sweep waits for a further answer, before those that are there are asked again.
PATIENCE = 0.1


class Collector:
    """Collects the results of one database's outbox. Several may run: each result is handled by one."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using
        self.stop = threading.Event()
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._asked: SideBySide[list[Outcome] | BrokerUnavailable] = SideBySide()
        self._chunks: dict[str, Iterator[list[str]]] = {}

    def run(self) -> None:
        """Work until :attr:`stop` is set. A database or result backend that is away is waited for."""
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                self.sweep(PATIENCE)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The database did not answer, trying again: %s", redact(str(error)).strip())
                close_broken_connections()
            self.stop.wait(max(conf.RESULTS_POLL_INTERVAL, REST * (time.monotonic() - began)))

    def sweep(self, patience: float | None = None) -> int:
        """Ask once for every result that is awaited; return how many were handled.

        All result backends are asked at the same time. What one has not answered after ``patience`` seconds without
        another's answer is left to the next sweep.
        """
        handled = 0
        for alias, task_ids in self._awaited().items():
            if conf.brokers[alias].result_backend.startswith("django-db"):
                handled += self._handle_all(self._stored_by_worker(task_ids))
            elif alias not in self._asked.names:
                self._chunks[alias] = (
                    task_ids[start : start + CHUNK] for start in range(0, len(task_ids), CHUNK)
                )
                self._ask_on(alias)
        while not self.stop.is_set() and (answers := self._asked.take_first(patience)):
            handled += sum(self._answered(alias, answer) for alias, answer in answers.items())
        return handled

    def _awaited(self) -> dict[str, list[str]]:
        """Return the task ids whose result is still awaited, by the alias of each broker that can be asked."""
        horizon = database_now() - dt.timedelta(seconds=conf.RESULTS_HORIZON)
        rows = OutboxMessage.objects.using(self.using).awaiting_result().filter(published_at__gte=horizon)
        by_broker: dict[str, list[str]] = defaultdict(list)
        for alias, pk in rows.order_by("published_at").values_list("broker", "pk"):
            by_broker[alias].append(str(pk))
        asked = {
            alias for alias, each in conf.brokers.items() if each.result_backend and not each.out_of_reach
        }
        return {alias: ids for alias, ids in by_broker.items() if alias in asked and self._is_due(alias)}

    def _stored_by_worker(self, task_ids: Sequence[str]) -> Iterator[TaskResult]:
        for start in range(0, len(task_ids), CHUNK):
            if self.stop.is_set():
                return
            ids = task_ids[start : start + CHUNK]
            yield from TaskResult.objects.using(self.using).filter(task_id__in=ids, status__in=READY_STATES)

    def _ask_on(self, alias: str) -> None:
        """Ask for the results of the next chunk of task ids, if there is one."""
        if task_ids := next(self._chunks[alias], None):
            self._asked.begin(alias, partial(_outcomes, alias, task_ids))

    def _answered(self, alias: str, answer: list[Outcome] | BrokerUnavailable) -> int:
        """Handle what a result backend answered; return how many results were handled."""
        if isinstance(answer, BrokerUnavailable):
            self._postpone(alias)
            logger.warning("%s", answer)
            return 0
        self._failures.pop(alias, None)
        self._ask_on(alias)
        return self._handle_all(answer)

    def _handle_all(self, results: Iterable[Outcome | TaskResult]) -> int:
        return sum(self._handle(found) for found in results)

    def _handle(self, found: Outcome | TaskResult) -> bool:
        """Handle one result; what goes wrong with it is told, and stops no other."""
        if not self._is_due(found.task_id):
            return False
        try:
            handled = self._finish_somehow(found)
        except (_ReceiverFailed, IntegrityError) as failure:  # constraints are checked at the commit, too
            self._failed(found.task_id, failure.__cause__ or failure)
            return False
        if handled:
            self._failures.pop(found.task_id, None)
            self._not_before.pop(found.task_id, None)
        return handled

    def _finish_somehow(self, found: Outcome | TaskResult) -> bool:
        """Store a result as it is; else in ASCII, which means the same; else a failure that says why it cannot be."""
        try:
            return self._finish(found)
        except _NotStored:
            close_broken_connections()  # MariaDB ends the one over which too much came
        try:
            return self._finish(found, plainly=True)
        except _NotStored as failure:
            close_broken_connections()
            error = failure.__cause__ or failure
        if _may_pass(error) and self._failures.get(found.task_id, 0) < STORE_ATTEMPTS:
            wait = self._postpone(found.task_id)
            logger.warning(
                "The result of %s was not stored, trying again in %.0f s: %s",
                found.task_id,
                wait,
                _told(error),
            )
            return False
        problem = f"The result cannot be stored: {_told(error)}"
        logger.error("%s: %s", found.task_id, problem)
        return self._finish(unreadable(found.task_id, problem), plainly=True)

    def _finish(self, found: Outcome | TaskResult, *, plainly: bool = False) -> bool:
        """Store the result, run the receivers and mark the message, all or nothing."""
        quiet = suppress_triggers(reason=f"while the result of task {found.task_id} is handled")
        with write_transaction(self.using), quiet:
            if not self._mark(found):
                return False  # another collector was here first
            message = OutboxMessage.objects.using(self.using).get(pk=found.task_id)
            result = found if isinstance(found, TaskResult) else _store(message, found, self.using, plainly)
            _tell(message, result, self.using)
        return True

    def _mark(self, found: Outcome | TaskResult) -> int:
        rows = OutboxMessage.objects.using(self.using).awaiting_result().filter(pk=found.task_id)
        problem = "" if isinstance(found, TaskResult) else ascii_only(found.problem)
        return rows.update(handled_at=database_now(), last_error=problem)

    def _failed(self, task_id: str, error: BaseException) -> None:
        wait = self._postpone(task_id)
        logger.error(
            "A receiver of task_finished failed for %s; it is called again in %.0f s.",
            task_id,
            wait,
            exc_info=error,
        )
        text = f"A receiver of task_finished failed and is called again: {_told(error)}"
        row = OutboxMessage.objects.using(self.using).filter(pk=task_id)
        try:
            with brief_write(self.using):
                row.update(last_error=text)
        except DatabaseError:  # of letters, perhaps, that the table does not have
            with brief_write(self.using):
                row.update(last_error=ascii_only(text))

    def _postpone(self, key: str) -> float:
        self._failures[key] = self._failures.get(key, 0) + 1
        wait = backoff.bound(self._failures[key], conf.BACKOFF_BASE, conf.BACKOFF_MAX)
        self._not_before[key] = time.monotonic() + wait
        return wait

    def _is_due(self, key: str) -> bool:
        return time.monotonic() >= self._not_before.get(key, 0.0)


def _outcomes(alias: str, task_ids: Sequence[str]) -> list[Outcome] | BrokerUnavailable:
    try:
        return finished(alias, task_ids)
    except BrokerUnavailable as error:
        return error


class _NotStored(DatabaseError):
    """The database did not take a result."""


class _ReceiverFailed(Exception):
    """A receiver of task_finished raised."""


def _tell(message: OutboxMessage, result: TaskResult, using: str) -> None:
    try:
        task_finished.send(sender=OutboxMessage, message=message, result=result, using=using)
    except InterfaceError:  # no connection is left
        raise
    except Exception as error:
        raise _ReceiverFailed from error


def _may_pass(error: BaseException) -> bool:
    """Tell whether another attempt may succeed: not where the data are to blame."""
    return isinstance(error, (DatabaseError, InterfaceError)) and not isinstance(error, DataError)


def _told(error: BaseException) -> str:
    return storable(redact(f"{type(error).__name__}: {error}"))


def _store(message: OutboxMessage, outcome: Outcome, using: str, plainly: bool) -> TaskResult:
    """Write the TaskResult as django-celery-results would have, sensitive arguments masked. Raises _NotStored."""
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
    try:
        return _write(outcome, {name: _fitting(name, text, plainly) for name, text in columns.items()}, using)
    except Exception as error:
        raise _NotStored from error


def _fitting(column: str, text: str | None, plainly: bool) -> str | None:
    """Return a text as long as its column takes; ``plainly``, in ASCII."""
    if text is None:
        return None
    most: int | None = getattr(TaskResult._meta.get_field(column), "max_length", None)
    return (ascii_only(text) if plainly else text)[:most]


def _write(outcome: Outcome, columns: dict[str, str | None], using: str) -> TaskResult:
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
    try:
        args, kwargs = task.mask(*outbox.arguments_of(message.args, message.kwargs))
        return to_json(args), to_json(kwargs)
    except (UnreadableMessage, RecursionError):  # somebody changed the row
        return None, None
