"""A base for the tasks of a Celery app that exists: ``delay()`` and ``apply_async()`` go through the outbox.

A Celery app is imported before Django's apps are loaded: nothing that holds models is imported at the top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from celery.contrib.django.task import DjangoTask

from dispatch.core.call import Call
from dispatch.core.priority_order import number_on_redis
from dispatch.exceptions import InvalidOption

#: Options that say how Celery hands a message over, which is the relay's business here.
OF_PUBLISHING = frozenset(
    [
        "producer",
        "publisher",
        "connection",
        "retry",
        "retry_policy",
        "add_to_parent",
        "immediate",
        "mandatory",
    ]
)
KNOWN = frozenset(field.name for field in fields(Call))


class OutboxTask(DjangoTask):  # type: ignore[misc]  # its stubs lack what Celery gives a task
    """A task whose calls are checked against the registry and inserted in the caller's transaction.

    Options of the call and of the class mean what they mean to Celery, and the message is the one that Celery would
    have sent. What is sent while a task runs, and what ``task_always_eager`` runs here, is left to Celery.
    """

    abstract = True

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Insert the message of a call, and return Celery's AsyncResult of it.

        Raises what :func:`dispatch.api.send_task` raises; InvalidOption also for a part of a chain, group or chord.
        """
        if self._is_celerys:
            return super().apply_async(args, kwargs, **options)
        from dispatch import outbox

        [message] = outbox.enqueue([self._call(args, kwargs, options)])
        result = self.AsyncResult(str(message.pk))
        result.ignored = message.ignore_result
        return result

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Insert the message now: nobody sees it before the commit, and no crash after it loses it."""
        send = super().apply_async_on_commit if self._is_celerys else self.apply_async
        send(*args, **kwargs)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Do what :meth:`apply_async_on_commit` does."""
        self.apply_async_on_commit(args, kwargs)

    @property
    def _is_celerys(self) -> bool:
        return bool(self.app.conf.task_always_eager or self.app.current_worker_task)

    def _call(
        self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
    ) -> Call:
        """Return what Celery would send, as a call."""
        if self.typing:
            self.__header__(*(args or ()), **(kwargs or {}))  # raises the TypeError that Celery raises
        options["shadow"] = options.get("shadow") or self.shadow_name(args, kwargs, options)
        if dump := getattr(self, "_dump_pydantic_arguments", None):
            args, kwargs = dump(args, kwargs)
        merged = {**self._get_exec_options(), "ignore_result": self.ignore_result, **options}
        given = {
            name: value for name, value in merged.items() if value is not None and name not in OF_PUBLISHING
        }
        if stamped := given.pop("stamped_headers", None):
            given["stamps"] = {name: given.pop(name) for name in stamped}
        for name in {"queue", "exchange"} & given.keys():
            given[name] = getattr(given[name], "name", given[name])  # kombu's objects have one
        if "priority" in given and self._is_urgent_low:
            given["priority"] = number_on_redis(given["priority"])
        if unknown := given.keys() - KNOWN:
            raise InvalidOption(
                f"{self.name} was called with {min(unknown)!r}, which the outbox does not carry. A part of a chain, "
                f"group or chord cannot go through it: leave its tasks on Celery's own base, or send them one by one."
            )
        return Call(self.name, args, kwargs, **given)

    @property
    def _is_urgent_low(self) -> bool:
        """Whether the app's broker is Redis, whose most urgent priority is 0 to Celery, and 9 here."""
        return bool(self.app.connection_for_write().transport.driver_type == "redis")
