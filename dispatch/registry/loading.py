"""Reads the configuration out of the database, in a constant number of queries."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from dispatch import models
from dispatch.core import routing, rules
from dispatch.core.schema import Parameters
from dispatch.exceptions import ConfigurationError
from dispatch.registry.snapshot import Snapshot, Task

logger = logging.getLogger("dispatch.registry")


def load(using: str) -> Snapshot:
    """Build a snapshot from the rows as this connection sees them.

    The version is read first: what changes meanwhile makes the snapshot newer than its version, and is noticed at
    the next look.
    """
    version = models.RegistryVersion.current(using)
    return Snapshot(version, _table(using), _tasks(using), _triggers(using))


def _table(using: str) -> routing.RoutingTable:
    queues = list(models.Queue.objects.using(using).prefetch_related("bindings__exchange"))
    default = next((queue.name for queue in queues if queue.is_default), None)
    return routing.RoutingTable(
        (_queue(row) for row in queues),
        (_exchange(row) for row in models.Exchange.objects.using(using)),
        _routes(using),
        default,
    )


def _queue(row: models.Queue) -> routing.Queue:
    bindings = tuple(routing.Binding(b.exchange.name, b.routing_key) for b in row.bindings.all())
    return routing.Queue(
        name=row.name,
        broker=row.broker,
        durable=row.durable,
        arguments=row.declared_arguments(),
        default_priority=row.default_priority,
        paused=row.paused,
        bindings=bindings,
    )


def _exchange(row: models.Exchange) -> routing.Exchange:
    return routing.Exchange(row.name, row.broker, row.type, row.durable, row.arguments)


def _routes(using: str) -> Iterator[routing.Route]:
    for row in models.Route.objects.using(using).filter(enabled=True).select_related("queue", "exchange"):
        route = routing.Route(row.pattern, row.kind, row.target())
        try:
            route.matcher()
        except ConfigurationError as error:  # written past the form: one bad row must not stop every send
            logger.error("Route %r is left out: %s", row.pattern, error)
            continue
        yield route


def _tasks(using: str) -> Iterator[Task]:
    for row in models.TaskDefinition.objects.using(using).select_related("queue", "exchange"):
        yield Task(
            name=row.name,
            parameters=Parameters(row.parameters),
            target=row.target(),
            options=row.options(),
            sensitive=frozenset(row.sensitive_parameters),
            enabled=row.enabled,
        )


def _triggers(using: str) -> Iterator[rules.Trigger]:
    rows = models.Trigger.objects.using(using).filter(enabled=True)
    for row in rows.select_related("task", "queue").prefetch_related("conditions", "arguments"):
        yield row.spec()
