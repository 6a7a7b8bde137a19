"""Handles results: TaskResult, what receivers of task_finished write, and the mark on the message, all or nothing.

Many share a transaction, whose commit costs more than all else. What goes wrong with one is told of that one, and
stops no other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch import outbox
from dispatch.client.result_backend import SUCCESS, Outcome, unreadable
from dispatch.core.redaction import ascii_only, redact, storable
from dispatch.core.trigger_suppression import suppress_triggers
from dispatch.heartbeats import Heart, Tally
from dispatch.heartbeats import Outcome as Counted
from dispatch.models import OutboxMessage
from dispatch.models.database import UNREADABLE, Epoch, close_broken_connections, database_now, is_broken
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.models.write_transactions import brief_write, write_transaction
from dispatch.results.postponed import Postponed
from dispatch.results.schedule import CHUNK, pieces
from dispatch.results.task_results import NotStored, current, put_back, store
from dispatch.signals import task_finished

logger = logging.getLogger("dispatch.results")

#: How often a result is stored again, where the database may be to blame, until the result is.
STORE_ATTEMPTS = 3
#: Seconds after which a transaction calls no further receivers: others may wait for what they have locked.
LONGEST = 0.1
#: Results of the first transaction, before it is known how long receivers take.
AT_FIRST = 32

Found: TypeAlias = Outcome | TaskResult


class Handler:
    """Handles results of one database's outbox; what is postponed is left alone."""

    def __init__(self, heart: Heart, postponed: Postponed, stop: threading.Event) -> None:
        self.using = heart.using
        self._heart = heart
        self._postponed = postponed
        self._stop = stop
        self._waiting: deque[Found] = deque()
        self._at_once = AT_FIRST
        self._is_wary = False

    def handle(self, found: Iterable[Found]) -> int:
        """Handle results; return how many were: another collector may have been here first."""
        self._waiting = deque(each for each in found if self._postponed.is_due(each.task_id))
        self._is_wary = bool(self._postponed.failures)
        handled = 0
        while self._waiting and not self._stop.is_set():
            self._heart.beat()  # receivers may take their time
            most = self._at_once if task_finished.has_listeners(OutboxMessage) else CHUNK
            size = min(most, len(self._waiting))
            handled += self._some([self._waiting.popleft() for _ in range(size)])
        return handled

    def mark(self, task_ids: Sequence[str | UUID], problem: str = "") -> int:
        """Mark messages as handled, unless they are; return how many were not."""
        rows = self._messages(task_ids)
        return rows.update(handled_at=database_now(), last_error=ascii_only(problem))

    def _some(self, found: Sequence[Found]) -> int:
        if len(found) == 1:
            return self._one(found[0])
        try:
            return self._finish(found)
        except NotStored:  # no receiver was called yet: the odd ones are looked for by halves
            size = (len(found) + 1) // 2
        except _Lost:
            size, self._is_wary = 1 if self._is_wary else len(found), True
        except (DatabaseError, InterfaceError, *UNREADABLE):
            size = 1
        close_broken_connections()  # MariaDB ends the one over which too much came
        return sum(map(self._some, pieces(found, size)))

    def _one(self, found: Found) -> int:
        """Handle one result; what goes wrong with it is told."""
        try:
            return self._finish_somehow(found)
        except (OperationalError, InterfaceError):  # the database is away, or others are in the way
            raise
        except (_Lost, DatabaseError, *UNREADABLE) as failure:  # constraints are checked at the commit, too
            close_broken_connections()
            self._failed(found.task_id, failure.__cause__ or failure)
            return 0

    def _finish_somehow(self, found: Found) -> int:
        """Store a result as it is; else in ASCII, which means the same; else a failure that says why it cannot be."""
        try:
            return self._finish([found])
        except NotStored:
            close_broken_connections()
        try:
            return self._finish([found], plainly=True)
        except NotStored as failure:
            close_broken_connections()
            error = failure.__cause__ or failure
        if _may_pass(error) and self._postponed.failures.get(found.task_id, 0) < STORE_ATTEMPTS:
            wait = self._postponed.postpone(found.task_id)
            logger.warning(
                "The result of %s was not stored, trying again in %.0f s: %s",
                found.task_id,
                wait,
                told(error),
                extra=self._log_fields(found.task_id),
            )
            return 0
        problem = f"The result cannot be stored: {told(error)}"
        logger.error("%s: %s", found.task_id, problem, extra=self._log_fields(found.task_id))
        return self._finish([unreadable(found.task_id, problem)], plainly=True)

    def _finish(self, found: Sequence[Found], *, plainly: bool = False) -> int:
        """Store results, call the receivers and mark the messages, all or nothing; a receiver that fails costs its own.

        What there was no time for waits again.
        """
        began = time.monotonic()
        with write_transaction(self.using):
            messages = self._lock([each.task_id for each in found])
            ours = [each for each in found if each.task_id in messages]
            outcomes = [each for each in ours if isinstance(each, Outcome)]
            done: Sequence[Found] = ours
            failed: dict[str, Exception] = {}
            if not task_finished.has_listeners(OutboxMessage):
                store(outcomes, messages, self.using, plainly=plainly)
            elif ours:
                done, failed = self._store_and_tell(ours, outcomes, messages, plainly)
            self._mark(done, messages)
        self._heart.count(_tally(messages[each.task_id], each) for each in done)
        left = ours[len(done) + len(failed) :]
        self._set_pace(len(ours) - len(left), time.monotonic() - began)
        self._waiting.extendleft(reversed(left))
        waiting = failed.keys() | {each.task_id for each in left}
        for each in found:
            if each.task_id not in waiting:
                self._postponed.forget(each.task_id)
        for task_id, error in failed.items():
            self._failed(task_id, error)
        return len(done)

    def _set_pace(self, number: int, took: float) -> None:
        """Let a transaction, with what receivers gave to ``on_commit``, take about ``LONGEST`` seconds."""
        more = max(self._at_once, 2 * number)
        size = more if took < LONGEST else (number or self._at_once) * LONGEST / took
        self._at_once = max(1, min(CHUNK, int(size)))

    def _lock(self, task_ids: Sequence[str]) -> dict[str, Any]:
        """Return the messages whose result is still awaited; no other collector has them until the transaction ends."""
        waits = not connections[self.using].features.has_select_for_update_skip_locked
        rows = self._messages(task_ids).select_for_update(skip_locked=not waits)
        rows = rows.annotate(published_epoch=Epoch("published_at"))
        needed = ("task_name", "args", "kwargs", "queue")
        if not task_finished.has_listeners(OutboxMessage):  # an instance takes twice as long
            plain = rows.values_list("pk", *needed, "published_epoch", named=True)
            return {str(row.pk): row for row in plain}
        try:
            return {str(row.pk): row for row in rows}
        except UNREADABLE:  # a column holds what Python cannot: who asks for it is told
            return {str(row.pk): row for row in rows.only(*needed)}

    def _messages(self, task_ids: Sequence[str | UUID]) -> OutboxQuerySet:
        return OutboxMessage.objects.using(self.using).awaiting_result().filter(pk__in=task_ids)

    def _mark(self, done: Sequence[Found], messages: Mapping[str, Any]) -> None:
        problems = {each.task_id: each.problem for each in done if isinstance(each, Outcome) and each.problem}
        if fine := [messages[each.task_id].pk for each in done if each.task_id not in problems]:
            self.mark(fine)
        for task_id, problem in problems.items():
            self.mark([task_id], problem)

    def _store_and_tell(
        self,
        ours: Sequence[Found],
        outcomes: Sequence[Outcome],
        messages: Mapping[str, OutboxMessage],
        plainly: bool,
    ) -> tuple[list[Found], dict[str, Exception]]:
        """Return what is handled, and the errors of what is not; there may have been no time for the last ones."""
        stored = [each.task_id for each in outcomes]
        before = current(stored, self.using)
        store(outcomes, messages, self.using, plainly=plainly)
        results = current(stored, self.using) | {e.task_id: e for e in ours if isinstance(e, TaskResult)}
        done: list[Found] = []
        failed: dict[str, Exception] = {}
        until = time.monotonic() + LONGEST
        for each in ours:
            try:
                self._tell(messages[each.task_id], results[each.task_id])
                done.append(each)
            except InterfaceError:  # no connection is left
                raise
            except Exception as error:
                if transaction.get_rollback(self.using):
                    raise _Lost from error
                failed[each.task_id] = error
            if time.monotonic() >= until:
                break
        kept = {each.task_id for each in done}
        if undone := [task_id for task_id in stored if task_id not in kept]:
            put_back(undone, before, self.using)
        return done, failed

    def _tell(self, message: OutboxMessage, result: TaskResult) -> None:
        """Call the receivers; in a savepoint, which takes longer than all else of ours, while one of them fails."""
        connection: Any = connections[self.using]
        hooks = len(connection.run_on_commit)
        message.handled_at, message.last_error = timezone.now(), ""
        quiet = suppress_triggers(reason=f"while the result of task {message.pk} is handled")
        with transaction.atomic(using=self.using, savepoint=self._is_wary), quiet:
            task_finished.send(sender=OutboxMessage, message=message, result=result, using=self.using)
            if is_broken(self.using):
                raise DatabaseError("It left its transaction so that it cannot be committed.")
        for at in range(hooks, len(connection.run_on_commit)):
            savepoints, function, robust = connection.run_on_commit[at]
            alone = partial(self._call_alone, function, str(message.pk))
            connection.run_on_commit[at] = (savepoints, alone, robust)

    def _failed(self, task_id: str, error: BaseException) -> None:
        wait = self._postponed.postpone(task_id)
        logger.error(
            "A receiver of task_finished failed for %s; it is called again in %.0f s.",
            task_id,
            wait,
            exc_info=error,
            extra=self._log_fields(task_id),
        )
        text = f"A receiver of task_finished failed and is called again: {told(error)}"
        row = self._messages([task_id])  # another collector may have handled it meanwhile
        try:
            with brief_write(self.using):
                row.update(last_error=text)
        except DatabaseError:  # of letters, perhaps, that the table does not have
            with brief_write(self.using):
                row.update(last_error=ascii_only(text))

    def _call_alone(self, function: Callable[[], object], task_id: str) -> None:
        """Call what a receiver gave to ``on_commit``: an error must not cost what others gave."""
        try:
            function()
        except Exception:
            logger.exception(
                "What a receiver of task_finished gave to on_commit failed for %s; it is not called again.",
                task_id,
                extra=self._log_fields(task_id),
            )

    def _log_fields(self, task_id: str) -> dict[str, str]:
        return outbox.stored_log_fields(self.using, [task_id])[task_id]


class _Lost(Exception):
    """A receiver of task_finished failed, and left no transaction in which others can be called."""


def told(error: BaseException) -> str:
    """Return an error as the text that is shown of it."""
    return storable(redact(f"{type(error).__name__}: {error}"))


def _tally(message: Any, found: Found) -> Tally:
    outcome = Counted.TASK_SUCCEEDED if found.status == SUCCESS else Counted.TASK_FAILED
    return Tally(message.queue, outcome, "", message.published_epoch, message)


def _may_pass(error: BaseException) -> bool:
    """Tell whether another attempt may succeed: not where the data are to blame."""
    return isinstance(error, (DatabaseError, InterfaceError)) and not isinstance(error, DataError)
