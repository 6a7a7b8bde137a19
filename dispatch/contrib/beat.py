"""django-celery-beat by the outbox: what is due becomes a message in the transaction that notes the run.

Start it as ``celery -A PROJECT beat --scheduler dispatch.contrib.beat:OutboxScheduler``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import router, transaction
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from dispatch import outbox, registry
from dispatch.core.call import Call
from dispatch.core.redaction import redact
from dispatch.exceptions import SendError
from dispatch.models import OutboxMessage

logger = logging.getLogger("dispatch.beat")


class OutboxScheduler(DatabaseScheduler):  # type: ignore[misc]  # django-celery-beat has no types
    """A scheduler of which any number may run: each run of a periodic task is sent once.

    The app's own broker is not asked. A task that the registry refuses becomes a dead message that says why.
    """

    producer = None

    def install_default_entries(self, data: Mapping[str, Any]) -> None:
        """Leave out Celery's own task that cleans its result backend: that is the workers', not of this database."""

    def reserve(self, entry: ModelEntry) -> ModelEntry:
        """Return the entry of the next run; that there was one is written with the message, not now and then."""
        self._next = next(entry)
        return self._next

    def apply_async(self, entry: ModelEntry, **options: Any) -> OutboxMessage | None:
        """Enqueue a run, unless another scheduler has; return its message."""
        draft = _draft(entry)
        with transaction.atomic(using=router.db_for_write(self.Model)):
            # The number of runs is the fence: whoever raises it first has this one.
            run = self.Model.objects.filter(
                pk=entry.model.pk, enabled=True, total_run_count=entry.total_run_count
            )
            noted = {name: getattr(self._next, name) for name in ("last_run_at", "total_run_count")}
            if run.update(**noted):
                [message] = outbox.insert([draft], router.db_for_write(OutboxMessage))
                return message
        self._learn()
        return None

    def _learn(self) -> None:
        """Let the next run follow the last one of the other scheduler."""
        row = (
            self.Model.objects.filter(pk=self._next.model.pk).values("last_run_at", "total_run_count").first()
        )
        for name, value in (row or {}).items():
            setattr(self._next, name, value)
            setattr(self._next.model, name, value)


def _draft(entry: ModelEntry) -> outbox.Draft:
    origin = outbox.Origin(name=f"periodic task {entry.name}")
    try:
        call = Call(entry.task, entry.args, entry.kwargs, **entry.options)
        return outbox.draft(call, origin, registry.current(), timezone.now())
    except SendError as error:
        reason = redact(f"Periodic task {entry.name!r} could not be enqueued: {error}")
        logger.error("%s", reason)
        return outbox.dead_draft(entry.task, reason, origin)
