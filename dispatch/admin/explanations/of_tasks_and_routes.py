"""Why a task goes where it goes, and what a route has to do with it: the sections of these two pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatch import registry
from dispatch.admin.explanations import in_one_sentence, rule_names
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
from dispatch.conf import conf
from dispatch.core import route_patterns, routing
from dispatch.core.routing import Destination
from dispatch.exceptions import ConfigurationError
from dispatch.models import Route
from dispatch.registry import priority_warnings
from dispatch.registry.routing_explanation import (
    KEYS,
    NO_MATCH,
    NOT_REACHED,
    ROUTE,
    Explanation,
    Step,
    explain,
    rule,
)
from dispatch.registry.senders_by_destination import Sender, usage


def of_task(name: str, pages: Pages) -> Explained:
    """Return every step of the precedence for one task, and what came of it."""
    snapshot = registry.current()
    found = explain(snapshot, name)
    lines = _folded(found.steps)
    pages.learn(rules=[*found.decided_by.values(), *(step.rule for step in lines if step.asks)])
    section = Explained(_("Where it goes, and why"))
    if found.problem:
        label = _("cannot be sent") if found.destination else _("nowhere")
        section.notes.append(Note("warning", label, found.problem))
    if name in snapshot.tasks and snapshot.reads_arguments(name):
        text = _("A router callable has a say: this is where a call without arguments goes.")
        section.notes.append(Note("pending", _("depends on the arguments"), text))
    if found.destination:
        _add_destination(section, found.destination, pages)
    section.tables = [_keys(found, pages), _steps(lines, len(found.steps), pages)]
    return section


def of_route(row: Route, pages: Pages) -> Explained:
    """Return the registered tasks that a route decides, and those that it matches but others decide."""
    section = Explained(_("What this route does now"))
    name = rule(routing.Route(row.pattern, row.kind))
    snapshot = registry.current()
    if not row.enabled:
        section.notes.append(
            Note("cancelled", _("switched off"), _("It decides nothing until it is enabled."))
        )
    elif all(rule(route) != name for route in snapshot.table.routes):
        section.notes.append(
            Note("warning", _("left out"), _("It cannot be used: see manage.py check --database."))
        )
    asked = [usage(snapshot).tasks[task] for task in matched(row)]
    decides, others = _parted(name, asked)
    if not asked:
        section.notes.append(_matches_nothing(row))
    elif not decides and row.enabled:
        text = _("Each task that it matches is decided by other rules.")
        section.notes.append(Note("warning", _("decides nothing"), text))
    shown = [*decides[:MOST_SHOWN], *others[:MOST_SHOWN]]
    pages.learn([sender for sender, _why in shown], rules=[by for _sender, by in others[:MOST_SHOWN]])
    section.tables = [
        table for table in (_decided(name, decides, pages), _left_to_others(others, pages)) if table.rows
    ]
    return section


def _add_destination(section: Explained, found: Destination, pages: Pages) -> None:
    section.facts.append((_("goes to"), in_one_sentence.place(found)))
    section.facts += pages.seen(found.queues)
    section.notes += concern_notes(found.queues)
    section.commands = commands(found)


def _keys(found: Explanation, pages: Pages) -> Table:
    """Tell each key of the destination with the rule that decided it."""
    values = _values(found.destination) if found.destination else {}
    rows = [
        [Link(rule_names.key(key)), Link(values.get(key, "")), pages.rule(found.decided_by[key])]
        for key in KEYS
        if key in found.decided_by
    ]
    if found.destination and found.destination.priority is None:
        rows.append(
            [
                Link(rule_names.key("priority")),
                Link(_("none")),
                Link(_("no rule, and the queue has no default priority")),
            ]
        )
    return Table(_("Which rule decided"), (_("key"), _("value"), _("decided by")), rows)


def _values(found: Destination) -> dict[str, str]:
    from dispatch.client.kombu_topology import number_on

    broker = conf.brokers.get(found.broker)
    number = number_on(broker, found.priority) if broker else found.priority
    return {
        "queue": found.queue,
        "exchange": f"{found.exchange} ({found.exchange_type})",
        "routing_key": found.routing_key,
        "priority": _("%(priority)s (the broker sees %(number)s)")
        % {"priority": found.priority, "number": number},
    }


def _folded(steps: tuple[Step, ...]) -> list[Step]:
    """Return the steps with what neither matched nor was reached counted instead of listed."""
    kept = [step for step in steps if step.outcome not in (NO_MATCH, NOT_REACHED)]
    unreached = [step for step in steps if step.outcome == NOT_REACHED]
    *head, last = kept if len(kept) > 1 else [*kept, None]
    unmatched = sum(step.outcome == NO_MATCH for step in steps)
    folded = [*head, *unreached[:MOST_SHOWN]]
    if len(unreached) > MOST_SHOWN:
        left = len(unreached) - MOST_SHOWN
        more = ngettext("%(count)d more route", "%(count)d more routes", left) % {"count": left}
        folded.append(Step(more, {}, NOT_REACHED))
    if unmatched:
        label = ngettext("%(count)d other route", "%(count)d other routes", unmatched) % {"count": unmatched}
        folded.append(Step(label, {}, _("does not match") if unmatched == 1 else _("do not match")))
    return [*folded, last] if last else folded


def _steps(lines: list[Step], looked_at: int, pages: Pages) -> Table:
    rows = [
        [
            pages.rule(step.rule),
            Link(", ".join(f"{rule_names.key(key)} {value}" for key, value in step.asks.items())),
            Link(rule_names.outcome(step.outcome)),
        ]
        for step in lines
    ]
    title = _("Every step: %(count)d rules were looked at") % {"count": looked_at}
    return Table(title, (_("rule"), _("asks for"), _("outcome")), rows, is_folded=True)


def matched(row: Route) -> list[str]:
    """Return the registered names that a route is asked for; an earlier route may take them first."""
    snapshot = registry.current()
    if row.kind == Route.Kind.CALLABLE:
        name = rule(routing.Route(row.pattern, row.kind))
        return [task for task in snapshot.tasks if any(rule(r) == name for r in snapshot.candidates(task))]
    try:
        matches = route_patterns.compile_pattern(row.kind, row.pattern)
    except ConfigurationError:
        return []
    return [task for task in snapshot.tasks if matches(task)]


def shadows(row: Route, names: Iterable[str]) -> list[str]:
    """Return the patterns of the earlier routes that take all these names; none where the route has one for itself."""
    snapshot = registry.current()
    found: dict[str, None] = {}
    for name in names:
        *_routers, first = snapshot.candidates(name) or [None]  # the first pattern that matches comes last
        if first is None or first.router or (first.pattern, first.kind) == (row.pattern, row.kind):
            return []
        found[first.pattern] = None
    return list(found)


def _parted(
    name: str, matched: list[Sender]
) -> tuple[list[tuple[Sender, list[str]]], list[tuple[Sender, str]]]:
    """Return those a route decides, with the keys, and those it does not, with the rule that does."""
    decides: list[tuple[Sender, list[str]]] = []
    others: list[tuple[Sender, str]] = []
    for sender in matched:
        keys = [key for key in KEYS if sender.found.decided_by.get(key) == name]
        if keys:
            decides.append((sender, keys))
        else:
            others.append((sender, _decider(name, sender)))
    return decides, others


def _decider(name: str, sender: Sender) -> str:
    """Return the rule that keeps a route from deciding: an earlier route, or a level above all of them."""
    steps = sender.found.steps
    if all(step.rule != name for step in steps):
        routes = [step.rule for step in steps if step.rule.startswith(ROUTE % {"name": ""}) and step.asks]
        return routes[-1] if routes else sender.place_rule()
    return sender.place_rule()


def _matches_nothing(row: Route) -> Note:
    if row.kind == Route.Kind.CALLABLE:
        return Note("warning", _("never asked"), _("An earlier route decides for every registered task."))
    text = _("Correct the pattern, unless the task comes later.")
    return Note("warning", _("matches no registered task"), text)


def _decided(name: str, decides: list[tuple[Sender, list[str]]], pages: Pages) -> Table:
    rows = [
        [
            pages.sender(sender),
            Link(", ".join(map(rule_names.key, keys))),
            Link("; ".join(_rest(name, sender))),
        ]
        for sender, keys in decides[:MOST_SHOWN]
    ]
    title = _("Tasks that it decides: %(count)d") % {"count": len(decides)}
    columns = (_("task"), _("it decides"), _("others decide"))
    return Table(title, columns, rows, max(len(decides) - MOST_SHOWN, 0)).without_empty_columns()


def _rest(name: str, sender: Sender) -> Iterator[str]:
    for key, by in sender.found.decided_by.items():
        if by != name:
            yield f"{rule_names.key(key)}: {rule_names.rule(by)}"
    if sender.is_open:
        yield _("depends on the arguments")


def _left_to_others(others: list[tuple[Sender, str]], pages: Pages) -> Table:
    rows = [[pages.sender(sender), pages.rule(by)] for sender, by in others[:MOST_SHOWN]]
    title = _("Tasks that it is asked for, but others decide: %(count)d") % {"count": len(others)}
    more = max(len(others) - MOST_SHOWN, 0)
    return Table(title, (_("task"), _("decided by")), rows, more, is_folded=len(rows) > MOST_UNFOLDED)


def queues_of_route(row: Route) -> list[str]:
    """Return the queues that messages reach whose place or priority a route decides."""
    return list(dict.fromkeys(queue for found in _decided_by(row) for queue in found.queues))


def concern_to_come(row: Route) -> str:
    """Return what is to be said of the priority of a route that decides nothing yet."""
    queue = registry.current().table.queues.get(row.queue.name) if row.queue else None
    if queue is None or row.priority is None or any(_decided_by(row)):
        return ""
    return priority_warnings.of_priority(queue, row.priority)


def _decided_by(row: Route) -> Iterator[Destination]:
    name = rule(routing.Route(row.pattern, row.kind))
    for sender in usage(registry.current()).tasks.values():
        if sender.destination and name in sender.found.decided_by.values():
            yield sender.destination
