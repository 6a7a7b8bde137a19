"""A backend of django.tasks: what is decorated with ``@task`` is a declaration, whose work a worker does.

``TASKS = {"default": {"BACKEND": "dispatch.contrib.django_tasks.DispatchBackend"}}``
"""

from __future__ import annotations

import datetime as dt
import json
from contextlib import suppress
from dataclasses import fields
from typing import Any
from uuid import UUID

from django.db import router
from django.dispatch import receiver
from django.tasks import DEFAULT_TASK_QUEUE_NAME, TaskResult, TaskResultStatus, task_backends
from django.tasks import signals as django_signals
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import DEFAULT_TASK_PRIORITY, TASK_MAX_PRIORITY, TASK_MIN_PRIORITY, Task, TaskError
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.utils.json import normalize_json
from django.utils.module_loading import import_string
from django_celery_results.models import TaskResult as StoredResult

from dispatch.api import InvalidArguments, SendError, send_task, task_finished
from dispatch.models import OutboxMessage

#: The header that says which task, with which of Django's own options, a message was made of.
HEADER = "django_task"
#: What django.tasks calls Celery's states; any other means that a worker has yet to run the task.
STATES = {
    "STARTED": TaskResultStatus.RUNNING,
    "SUCCESS": TaskResultStatus.SUCCESSFUL,
    "FAILURE": TaskResultStatus.FAILED,
    "REVOKED": TaskResultStatus.FAILED,
}
NEVER_PUBLISHED = (OutboxMessage.Status.DEAD, OutboxMessage.Status.CANCELLED)


class DispatchBackend(BaseTaskBackend):
    """Sends tasks by name through the outbox, in the caller's transaction.

    The name is the path of the function, or what ``OPTIONS["NAMES"]`` has for this path.
    """

    supports_defer = True
    supports_async_task = True  # only its signature is used
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Task[Any, Any], args: list[Any], kwargs: dict[str, Any]) -> TaskResult[Any, Any]:
        """Insert the message of a task, and return the result that it will have.

        Raises InvalidTask for a task that the registry refuses, InvalidArguments for arguments that do not fit its
        schema, and TypeError for those that are no JSON.
        """
        self.validate_task(task)
        arguments: Any = normalize_json([args, kwargs])
        try:
            message = send_task(
                self.options.get("NAMES", {}).get(task.module_path, task.module_path),
                *arguments,
                queue=None if task.queue_name == DEFAULT_TASK_QUEUE_NAME else task.queue_name,
                priority=_priority(task),
                eta=task.run_after,
                headers={HEADER: _description(task)},
            )
        except InvalidArguments:
            raise
        except SendError as error:
            raise InvalidTask(str(error)) from error
        result = self._result(task, message, None)
        django_signals.task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[Any, Any]:
        """Return what outbox and collector know of a task; no broker is asked.

        Raises TaskResultDoesNotExist.
        """
        using = router.db_for_write(OutboxMessage)
        try:
            message = OutboxMessage.objects.using(using).get(pk=UUID(result_id))
        except (OutboxMessage.DoesNotExist, ValueError):
            raise TaskResultDoesNotExist(result_id) from None
        stored = StoredResult.objects.using(using).filter(task_id=message.pk).first()
        if message.handled_at and not stored:  # somebody has deleted it
            raise TaskResultDoesNotExist(result_id)
        return self._result(self._task(message), message, stored)

    def _task(self, message: OutboxMessage) -> Task[Any, Any]:
        """Return the task as it was enqueued."""
        options = dict(message.headers.get(HEADER) or {})
        if options.get("backend") != self.alias:
            raise TaskResultDoesNotExist(str(message.pk))
        if run_after := options["run_after"]:
            options["run_after"] = dt.datetime.fromisoformat(run_after)
        try:
            found = import_string(options.pop("func"))
            return self.task_class(func=getattr(found, "func", found), **options)
        except (ImportError, InvalidTask) as error:  # the code has changed meanwhile
            raise TaskResultDoesNotExist(str(message.pk)) from error

    def _result(self, task: Task[Any, Any], message: OutboxMessage, stored: Any) -> TaskResult[Any, Any]:
        status = _status(message, stored)
        started = getattr(stored, "date_started", None)  # django-celery-results has it since 2.6
        result: TaskResult[Any, Any] = TaskResult(
            task=task,
            id=str(message.pk),
            status=status,
            enqueued_at=message.created_at,
            started_at=started,
            last_attempted_at=started,
            finished_at=None,
            args=json.loads(message.args),
            kwargs=json.loads(message.kwargs),
            backend=self.alias,
            errors=[_error(message, stored)] if status == TaskResultStatus.FAILED else [],
            worker_ids=[stored.worker or ""] if stored else [],
        )
        if stored and result.is_finished:
            object.__setattr__(result, "finished_at", stored.date_done)
        if status == TaskResultStatus.SUCCESSFUL:
            object.__setattr__(result, "_return_value", _returned(stored))
        return result


def _description(task: Task[Any, Any]) -> dict[str, Any]:
    own = {field.name: getattr(task, field.name) for field in fields(task)}
    return own | {"func": task.module_path}


def _priority(task: Task[Any, Any]) -> int | None:
    """Return Django's -100 to 100 as 0 to 9; its default leaves the choice to the registry."""
    if task.priority == DEFAULT_TASK_PRIORITY:
        return None
    return int(task.priority - TASK_MIN_PRIORITY) * 10 // (TASK_MAX_PRIORITY - TASK_MIN_PRIORITY + 1)


def _status(message: OutboxMessage, stored: StoredResult | None) -> TaskResultStatus:
    if stored:
        return STATES.get(stored.status, TaskResultStatus.READY)
    ended = message.status in NEVER_PUBLISHED
    return TaskResultStatus.FAILED if ended else TaskResultStatus.READY


def _returned(stored: Any) -> Any:
    return json.loads(stored.result)


def _error(message: OutboxMessage, stored: Any) -> TaskError:
    if stored is None:
        reason = message.last_error or f"The message is {message.get_status_display()}."
        return TaskError(exception_class_path="dispatch.exceptions.DispatchError", traceback=reason)
    raised = _returned(stored)
    path = f"{raised.get('exc_module') or 'builtins'}.{raised['exc_type']}"
    return TaskError(exception_class_path=path, traceback=stored.traceback or str(raised["exc_message"]))


@receiver(task_finished, sender=OutboxMessage, dispatch_uid="dispatch.contrib.django_tasks")
def _tell(message: OutboxMessage, result: StoredResult, **kwargs: Any) -> None:
    """Send the signal of django.tasks, within the transaction that stores the result."""
    alias = (message.headers.get(HEADER) or {}).get("backend")
    backend = task_backends[alias] if alias in task_backends.settings else None
    if isinstance(backend, DispatchBackend):
        with suppress(TaskResultDoesNotExist):
            task = backend._task(message)
            found = backend._result(task, message, result)
            django_signals.task_finished.send(type(backend), task_result=found)
