"""Asks the result backends, in sweeps, for what has finished, and has it handled."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError
from django.db.models import QuerySet
from django_celery_results.models import TaskResult

from dispatch import outbox
from dispatch.client.background_calls import SideBySide
from dispatch.client.result_backend import READY_STATES, Outcome, finished
from dispatch.client.result_notices import Notices
from dispatch.conf import conf
from dispatch.core.redaction import redact
from dispatch.exceptions import BrokerUnavailable
from dispatch.heartbeats import Heart
from dispatch.models import OutboxMessage, Process
from dispatch.models.database import UNREADABLE, close_broken_connections
from dispatch.results.handling import Found, Handler, told
from dispatch.results.postponed import Postponed
from dispatch.results.schedule import CHUNK, Schedule, pieces

logger = logging.getLogger("dispatch.results")

#: Seconds for which a sweep waits for a further answer, before those that are there are asked again.
PATIENCE = 0.1
#: Seconds in which notices gather after a sweep, and after which a pause looks whether to stop.
GATHERING, TICK = 0.02, 0.2


class Collector:
    """Collects the results of one database's outbox. Several may run: each result is handled by one."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using
        self.stop = threading.Event()
        self.heart = Heart(using, Process.Kind.COLLECTOR)
        self.backends = Postponed()
        self.results = Postponed()
        self._handler = Handler(self.heart, self.results, self.stop)
        self._notices = Notices(self.stop)
        self._again: defaultdict[str, set[UUID]] = defaultdict(set)
        self._schedules: dict[str, Schedule] = {}
        self._asked: SideBySide[list[Outcome] | BrokerUnavailable] = SideBySide()
        self._chunks: dict[str, Iterator[list[str]]] = {}

    def run(self) -> None:
        """Work until :attr:`stop` is set. A database or result backend that is away is waited for."""
        self._notices.listen()
        while not self.stop.is_set():
            try:
                self.sweep(PATIENCE)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The database did not answer, trying again: %s", redact(str(error)).strip())
                close_broken_connections()
            self._pause(conf.RESULTS_POLL_INTERVAL)
        self._notices.close()
        self.heart.stop()

    def drain(self) -> int:
        """Ask once for the results that are due, and stop; return how many were handled."""
        try:
            return self.sweep()
        finally:
            self.heart.stop()

    def sweep(self, patience: float | None = None) -> int:
        """Ask for the results that are due; return how many were handled.

        All result backends are asked at the same time. What one has not answered after ``patience`` seconds without
        another's answer is left to the next sweep.
        """
        self.heart.beat()
        self._notices.heard.clear()
        self._forget_handled()
        due_again = {UUID(task_id) for task_id in self.results.take_due()}
        handled = 0
        for alias, broker in conf.brokers.items():
            if not broker.result_backend or broker.out_of_reach:
                continue
            self._again[alias] |= due_again
            if not self.backends.is_due(alias) or alias in self._asked.names:
                continue
            again = [*self._again.pop(alias)]
            if broker.result_backend.startswith("django-db"):
                handled += self._look(alias, again)
            else:
                self._chunks[alias] = self._due(alias, again)
                self._ask_on(alias)
        while not self.stop.is_set() and (answers := self._asked.take_first(patience)):
            handled += sum(self._answered(alias, answer) for alias, answer in answers.items())
        return handled

    def _forget_handled(self) -> None:
        """Forget what failed here and is due again, or was asked for again, where another collector handled it."""
        failed = [task_id for task_id in self.results.failures if self.results.is_due(task_id)]
        for task_ids in pieces(failed, CHUNK):
            awaited = OutboxMessage.objects.using(self.using).awaiting_result().filter(pk__in=task_ids)
            for task_id in {*task_ids} - {*map(str, awaited.values_list("pk", flat=True))}:
                self.results.forget(task_id)

    def _pause(self, seconds: float) -> None:
        """Wait so long, or until a notice comes."""
        began = time.monotonic()
        while not self.stop.is_set() and (left := began + seconds - time.monotonic()) > 0:
            if self._notices.heard.wait(min(left, TICK)):
                self.stop.wait(began + GATHERING - time.monotonic())
                return

    def _due(self, alias: str, again: list[UUID]) -> Iterator[list[str]]:
        schedule = self._schedules.setdefault(alias, Schedule(self.using, alias))
        return schedule.chunks(again + self._notices.take(alias))

    def _look(self, alias: str, again: list[UUID]) -> int:
        """Handle what a worker has written into the table of TaskResult itself."""
        handled = 0
        for task_ids in self._due(alias, again):
            handled += self._handle(alias, self._stored_by_worker(task_ids))
            if self.stop.is_set():
                break
        return handled

    def _handle(self, alias: str, found: Iterable[Found]) -> int:
        handled = self._handler.handle(found)
        self._schedules[alias].handled += handled
        return handled

    def _stored_by_worker(self, task_ids: Sequence[str]) -> Iterator[TaskResult]:
        rows = TaskResult.objects.using(self.using).filter(task_id__in=task_ids, status__in=READY_STATES)
        try:
            yield from list(rows)
        except UNREADABLE:
            yield from self._one_by_one(rows)

    def _one_by_one(self, rows: QuerySet[TaskResult]) -> Iterator[TaskResult]:
        """Yield the rows that Python can hold; of any other its message says so, and it is not asked for again."""
        for task_id in list(rows.values_list("task_id", flat=True)):
            try:
                yield from list(rows.filter(task_id=task_id))
            except UNREADABLE as error:
                problem = f"The result cannot be read: {told(error)}"
                fields = outbox.stored_log_fields(self.using, [task_id])[task_id]
                logger.error("%s: %s", task_id, problem, extra=fields)
                self._handler.mark([task_id], problem)

    def _ask_on(self, alias: str) -> None:
        """Ask for the results of the next task ids that are due, if there are some."""
        if task_ids := next(self._chunks[alias], None):
            self._asked.begin(alias, partial(_outcomes, alias, task_ids))

    def _answered(self, alias: str, answer: list[Outcome] | BrokerUnavailable) -> int:
        """Handle what a result backend answered; return how many results were handled."""
        if isinstance(answer, BrokerUnavailable):
            self.backends.postpone(alias)
            logger.warning("%s", answer)
            return 0
        self.backends.forget(alias)
        handled = self._handle(alias, answer)
        self._ask_on(alias)
        return handled


def _outcomes(alias: str, task_ids: Sequence[str]) -> list[Outcome] | BrokerUnavailable:
    try:
        return finished(alias, task_ids)
    except BrokerUnavailable as error:
        return error
