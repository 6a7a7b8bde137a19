"""What comes to a queue or an exchange, and by which rule: the sections of these two pages."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from dispatch import registry
from dispatch.admin import widgets
from dispatch.admin.explanations.section import (
    MOST_SHOWN,
    MOST_UNFOLDED,
    Explained,
    Note,
    Pages,
    commands,
    concern_notes,
)
from dispatch.admin.links import Link
from dispatch.admin.tables import Table
from dispatch.core.routing import Target
from dispatch.registry.senders_by_destination import Sender, usage


def of_queue(name: str, pages: Pages) -> Explained:
    """Return what the broker shows of a queue, who sends to it, and how a worker is started for it."""
    snapshot = registry.current()
    section = Explained(_("What comes here, and who takes it"))
    queue = snapshot.table.queues.get(name)
    if queue is None:
        return section
    senders = usage(snapshot).by_queue.get(name, [])
    pages.learn(senders[:MOST_SHOWN])
    section.notes = concern_notes([name])
    section.facts = [(_("on the broker"), shown) for _name, shown in pages.seen([name])]
    if queue.bindings:
        keys = (f"{binding.exchange} ({binding.routing_key})" for binding in queue.bindings)
        section.facts.append((_("bound to"), widgets.listed(list(keys)[:MOST_SHOWN])))
    else:
        section.facts.append((_("bound to"), _("nothing: messages reach it by its name")))
    if name == snapshot.table.default.queue:
        section.facts.append((_("default queue"), _("takes what no rule sends elsewhere")))
    section.tables = [_senders(senders, pages)] if senders else []
    if not senders:
        section.notes.append(Note("cancelled", _("unused"), _("No registered task goes here by itself.")))
    section.commands = commands(snapshot.table.destination(Target(queue=name)))
    return section


def of_exchange(name: str, pages: Pages) -> Explained:
    """Return who sends to an exchange, and the queues that are bound to it."""
    snapshot = registry.current()
    section = Explained(_("What comes here, and where it goes"))
    senders = [s for s in usage(snapshot).senders if s.destination and s.destination.exchange == name]
    bound = [
        (queue.name, binding.routing_key)
        for queue in snapshot.table.queues.values()
        for binding in queue.bindings
        if binding.exchange == name
    ]
    names = list(dict.fromkeys(queue for queue, _key in bound))
    pages.learn(senders[:MOST_SHOWN], names=names[:MOST_SHOWN])
    section.facts = pages.seen(names)
    if not senders:
        section.notes.append(Note("cancelled", _("unused"), _("No registered task goes here by itself.")))
    rows = [[pages.queue(queue), Link(key)] for queue, key in bound[:MOST_SHOWN]]
    title = _("Bound queues: %(count)d") % {"count": len(bound)}
    tables = [
        Table(title, (_("queue"), _("routing key")), rows, max(len(bound) - MOST_SHOWN, 0)),
        _senders(senders, pages),
    ]
    section.tables = [table for table in tables if table.rows]
    return section


def _senders(senders: Sequence[Sender], pages: Pages) -> Table:
    rows = [
        [
            pages.sender(sender),
            pages.rule(sender.place_rule()),
            Link(_priority(sender)),
            Link(_remarks(sender)),
        ]
        for sender in senders[:MOST_SHOWN]
    ]
    title = _("Tasks and triggers that send here: %(count)d") % {"count": len(senders)}
    columns = (_("sent by"), _("rule"), _("priority"), _("remarks"))
    more = max(len(senders) - MOST_SHOWN, 0)
    return Table(title, columns, rows, more, is_folded=len(rows) > MOST_UNFOLDED).without_empty_columns()


def _priority(sender: Sender) -> str:
    return widgets.EMPTY if sender.priority is None else str(sender.priority)


def _remarks(sender: Sender) -> str:
    found = [_("depends on the arguments")] if sender.is_open else []
    if not sender.is_sendable:
        found.append(_("switched off"))
    if sender.destination and sender.destination.exchange:
        key = sender.destination.routing_key
        found.append(
            _("through exchange %(exchange)s, key “%(key)s”")
            % {"exchange": sender.destination.exchange, "key": key}
        )
    return "; ".join(found)
