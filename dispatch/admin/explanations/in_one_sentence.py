"""Where a task goes, and why, in one sentence for operators."""

from __future__ import annotations

from django.utils.translation import gettext as _

from dispatch import registry
from dispatch.admin.explanations import rule_names
from dispatch.core.routing import Destination
from dispatch.exceptions import NoDestination, UnknownTask
from dispatch.registry.routing_explanation import decide
from dispatch.registry.senders_by_destination import usage


def resolved(task: str) -> tuple[Destination | None, str]:
    """Return where a task goes, and the reason; None and the error where it goes nowhere."""
    snapshot = registry.current()
    try:
        return snapshot.destination(task), _reason(snapshot, task)
    except (NoDestination, UnknownTask) as error:
        return None, str(error)


def explain(task: str) -> str:
    """Return ``→ queue llm on broker default, by route worker.tasks.llm.*``, or what is missing."""
    destination, reason = resolved(task)
    if destination is None:
        return reason
    return _("→ %(place)s, %(reason)s") % {"place": place(destination), "reason": reason}


def queues_of_trigger(name: str) -> tuple[str, ...]:
    """Return the queues that the messages of an enabled trigger with a queue or priority of its own reach."""
    found = [s.destination for s in usage(registry.current()).senders if s.trigger == name]
    return found[0].queues if found and found[0] else ()


def place(destination: Destination) -> str:
    """Return the queue or exchange, the broker and the priority in words."""
    parts = [_exchange(destination) if destination.exchange else _queue(destination)]
    if destination.priority is not None:
        parts.append(_("priority %(priority)d") % {"priority": destination.priority})
    return ", ".join(parts)


def _queue(destination: Destination) -> str:
    text = _("queue %(queue)s on broker %(broker)s")
    if destination.queue in registry.current().paused:
        text = _("queue %(queue)s on broker %(broker)s (paused: messages wait in the outbox)")
    return text % {"queue": destination.queue, "broker": destination.broker}


def _exchange(destination: Destination) -> str:
    return _("exchange %(exchange)s with key “%(key)s” on broker %(broker)s, to %(queues)s") % {
        "exchange": destination.exchange,
        "key": destination.routing_key,
        "broker": destination.broker,
        "queues": ", ".join(destination.queues),
    }


def _reason(snapshot: registry.Snapshot, task: str) -> str:
    decided_by = decide(snapshot, task).decided_by
    rule = rule_names.rule(decided_by.get("queue") or decided_by.get("exchange") or "")
    if snapshot.reads_arguments(task):
        return _("by %(rule)s, as far as a router callable decides without arguments") % {"rule": rule}
    return _("by %(rule)s") % {"rule": rule}
