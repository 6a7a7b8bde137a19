"""Enqueues what the triggers of a saved or deleted object ask for."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections, router, transaction
from django.utils import timezone

from dispatch import outbox, registry
from dispatch.conf import conf
from dispatch.core.call import Call
from dispatch.core.printable import log_fields
from dispatch.core.redaction import redact
from dispatch.core.suggestions import suggest
from dispatch.core.trigger_suppression import current_suppression, suppressed
from dispatch.models import OutboxMessage
from dispatch.models.database import schema_name
from dispatch.triggers.code_triggers import CodeTrigger, declared
from dispatch.triggers.event_values import Event
from dispatch.triggers.trigger_index import AnyTrigger

logger = logging.getLogger("dispatch.triggers")


@dataclass(slots=True)
class _Gathering:
    """Messages that wait for the end of a block, and the database and savepoint of the saves they belong to."""

    using: str
    savepoint: int
    drafts: list[outbox.Draft] = field(default_factory=list)


_KIND = OutboxMessage.Origin.TRIGGER.value
#: The names by which something was suppressed in this process, each looked up once.
_named: set[str] = set()
_gathering: ContextVar[_Gathering | None] = ContextVar("dispatch_gathering", default=None)


def fire(triggers: Iterable[AnyTrigger], seen: Event, snapshot: registry.Snapshot) -> None:
    """Insert a row for each trigger that fires, on the connection of the save.

    What cannot be enqueued becomes a dead message that says why, unless ``TRIGGER_ERRORS`` is "raise". Errors of the
    database are never swallowed: the transaction is broken by then.
    """
    if not (names := current_suppression().names) <= _named:
        _warn_of_unknown(names)
    try:
        if drafts := _drafts(triggers, seen, snapshot):
            gathering = _gathering_of(seen.using)
            if gathering is None:
                outbox.insert(drafts, database(seen.using))
            else:
                gathering.drafts.extend(drafts)
    except Exception:
        # As with Django's own errors inside a save: who swallows one cannot commit the object without its messages.
        with transaction.mark_for_rollback_on_error(using=seen.using):
            raise


@contextmanager
def gathered(using: str) -> Iterator[None]:
    """Insert what saves on ``using`` fire inside the block at its end, in bulk; for blocks inside a transaction.

    What fires on another database, or inside a savepoint that was opened since and may be rolled back alone, does not
    wait.
    """
    if _gathering_of(using) is not None:
        yield
        return
    gathering = _Gathering(using, connections[using].savepoint_state)
    token = _gathering.set(gathering)
    try:
        yield
    finally:
        _gathering.reset(token)
    if gathering.drafts:
        outbox.insert(gathering.drafts, database(using))


def _gathering_of(using: str) -> _Gathering | None:
    """Return what waits for the end of a block that commits, or is rolled back, with a save that is made here now."""
    found = _gathering.get()
    if found is None or found.using != using:
        return None
    # Django counts the savepoints of a connection up, manual ones included, and never down.
    return found if connections[using].savepoint_state == found.savepoint else None


def _drafts(triggers: Iterable[AnyTrigger], seen: Event, snapshot: registry.Snapshot) -> list[outbox.Draft]:
    drafts = []
    for trigger in triggers:
        if seen.event not in trigger.events:
            continue
        if suppressed(trigger.name):
            label = type(seen.instance)._meta.label_lower
            log_suppressed(trigger, "%s %s was %s.", label, seen.instance.pk, seen.event)
        elif found := _draft(trigger, seen, snapshot):
            drafts.append(found)
    return drafts


def _draft(trigger: AnyTrigger, seen: Event, snapshot: registry.Snapshot) -> outbox.Draft | None:
    source = origin(trigger, seen)
    try:
        if not trigger.fires(seen):
            return None
        if isinstance(trigger, CodeTrigger):
            return outbox.draft(trigger.call(seen), source, snapshot, timezone.now())
        arguments = _arguments(trigger.task, trigger.kwargs(seen), snapshot)
        return outbox.draft(trigger.sends, source, snapshot, timezone.now(), arguments)
    except DatabaseError:
        raise
    except Exception as error:
        if conf.TRIGGER_ERRORS == "raise":
            raise
        reason = redact(f"Trigger {trigger.name!r} could not enqueue: {type(error).__name__}: {error}")
        dead = outbox.dead_draft(trigger.task, reason, source)
        fields = log_fields(task_id=dead.row.pk, task_name=trigger.task, trigger=trigger.name)
        logger.error("%s (%s %s)", reason, trigger.model, seen.instance.pk, extra=fields)
        return dead


def make_call(trigger: AnyTrigger, seen: Event, snapshot: registry.Snapshot) -> Call:
    """Return the call that a trigger makes of an event, whether it fires or not.

    Raises whatever a trigger in code raises.
    """
    if isinstance(trigger, CodeTrigger):
        return trigger.call(seen)
    args, kwargs = _arguments(trigger.task, trigger.kwargs(seen), snapshot)
    return replace(trigger.sends, args=args, kwargs=kwargs)


def database(using: str) -> str:
    """Return where the outbox row goes: to the database of the save, if the outbox lives there."""
    own = router.db_for_write(OutboxMessage)
    if using == own or (router.allow_migrate_model(using, OutboxMessage) and registry.has_tables(using)):
        return using
    return own


def origin(trigger: AnyTrigger, seen: Event) -> outbox.Origin:
    """Return who causes the message, for which object."""
    return outbox.Origin(
        _KIND,
        trigger.name,
        type(seen.instance)._meta.label_lower,
        str(seen.new("pk")),
        seen.instance._state.db or "",
        schema_name(seen.using),
        window=trigger.coalesce,
    )


def _arguments(
    task_name: str, named: dict[str, Any], snapshot: registry.Snapshot
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    task = snapshot.tasks.get(task_name)
    return task.parameters.placed(task.fitted(named)) if task else ((), named)


def _warn_of_unknown(names: Collection[str]) -> None:
    triggers: list[AnyTrigger] = [*registry.current().triggers, *declared.values()]
    known = {trigger.name for trigger in triggers}
    for name in sorted({*names} - _named - known):
        close = suggest(name, known)
        logger.warning(
            "suppress_triggers(%r) suppresses nothing: no enabled trigger has this name%s.", name, close
        )
    _named.update(names)


def log_suppressed(trigger: AnyTrigger, what: str, *values: Any) -> None:
    """Log that a trigger does not fire for what happened: at INFO if the suppression gave a reason."""
    reason = current_suppression().reason
    level = logging.INFO if reason else logging.DEBUG
    if logger.isEnabledFor(level):
        fields = log_fields(task_name=trigger.task, trigger=trigger.name)
        where = reason or "here"
        logger.log(level, "Trigger %r is suppressed %s: %s", trigger.name, where, what % values, extra=fields)
