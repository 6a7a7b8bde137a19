"""Enqueues what the triggers of a saved or deleted object ask for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.db import Error as DatabaseError
from django.db import router
from django.db.models import Model
from django.db.models.fields.files import FieldFile

from dispatch import outbox, registry
from dispatch.conf import conf
from dispatch.core.call import Call
from dispatch.models import OutboxMessage
from dispatch.models.triggers import aware
from dispatch.triggers.code import CodeTrigger
from dispatch.triggers.matching import AnyTrigger

logger = logging.getLogger("dispatch.triggers")


def fire(triggers: Iterable[AnyTrigger], event: str, instance: Model, using: str) -> None:
    """Insert a row for each trigger that fires, on the connection of the save.

    What cannot be enqueued becomes a dead message that says why, unless ``TRIGGER_ERRORS`` is "raise". Errors of the
    database are never swallowed: the transaction is broken by then.
    """
    for trigger in triggers:
        try:
            _fire(trigger, event, instance, using)
        except DatabaseError:
            raise
        except Exception as error:
            if conf.TRIGGER_ERRORS == "raise":
                raise
            reason = f"Trigger {trigger.name!r} could not enqueue: {type(error).__name__}: {error}"
            logger.error("%s (%s %s)", reason, trigger.model, instance.pk)
            outbox.enqueue_dead(
                trigger.task, reason, using=database(using), origin=_origin(trigger, instance)
            )


def database(using: str) -> str:
    """Return where the outbox row goes: to the database of the save, if the outbox lives there."""
    if router.allow_migrate_model(using, OutboxMessage) and registry.has_tables(using):
        return using
    return router.db_for_write(OutboxMessage)


def _fire(trigger: AnyTrigger, event: str, instance: Model, using: str) -> None:
    call = _call(trigger, event, instance)
    if call is not None:
        outbox.enqueue([call], using=database(using), origin=_origin(trigger, instance))


def _call(trigger: AnyTrigger, event: str, instance: Model) -> Call | None:
    if isinstance(trigger, CodeTrigger):
        fires = event in trigger.events and (trigger.when is None or trigger.when(instance))
        return trigger.call(instance) if fires else None

    def read(name: str) -> object:
        return _value(instance, name)

    if not trigger.fires(event, read):
        return None
    target = trigger.target
    args, kwargs = _arguments(trigger.task, trigger.kwargs(event, read))
    return Call(
        trigger.task,
        args=args,
        kwargs=kwargs,
        queue=target.queue,
        priority=target.priority,
        countdown=trigger.countdown,
    )


def _arguments(task_name: str, named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    task = registry.current().tasks.get(task_name)
    return task.parameters.placed(task.fitted(named)) if task else ((), named)


def _value(instance: Model, name: str) -> Any:
    """Return a field's value in the field's own type, whatever was assigned; of a file its name."""
    value = getattr(instance, name)
    if isinstance(value, FieldFile):
        return value.name
    if hasattr(value, "resolve_expression"):  # F("count") + 1: the database alone knows
        return value
    return aware(instance._meta.get_field(name).to_python(value))  # type: ignore[union-attr]  # only columns are mapped


def _origin(trigger: AnyTrigger, instance: Model) -> outbox.Origin:
    return outbox.Origin(
        OutboxMessage.Origin.TRIGGER, trigger.name, type(instance)._meta.label_lower, str(instance.pk)
    )
