"""Reads the configuration out of the database, in a constant number of queries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from django.db.models import ExpressionWrapper, F, TextField
from django.utils.module_loading import import_string
from django.utils.translation import override

from dispatch import models
from dispatch.conf import conf
from dispatch.core import routing, trigger_rules
from dispatch.core.redaction import redact
from dispatch.core.schema.parameters import Parameters
from dispatch.core.seconds import EXPECTED, TIMES, is_seconds
from dispatch.exceptions import ConfigurationError
from dispatch.registry.snapshot import Snapshot, Task

#: What is read of each definition; its schema comes as text, and of its manifest, which lists thousands, the worker.
READ = (
    "name", "queue__name", "exchange__name", "routing_key", "priority", *models.TaskDefinition.OPTIONS,
    "sensitive_parameters", "enabled", "paused", "deprecated", "retired_at", "retired_version",
)  # fmt: skip
Row = TypeVar("Row")
Read = TypeVar("Read")
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
        _readable(queues, _queue),
        _readable(models.Exchange.objects.using(using), _exchange),
        _routes(using),
        default,
    )


def _readable(rows: Iterable[Row], read: Callable[[Row], Read]) -> Iterator[Read]:
    for row in rows:
        try:
            yield read(row)
        except Exception as error:  # noqa: BLE001 - written past the form: one bad row must not stop every send
            reason = redact(f"{type(error).__name__}: {error}")
            logger.error("%r is left out, for it cannot be read: %s", row, reason)


def _queue(row: models.Queue) -> routing.Queue:
    bindings = tuple(
        routing.Binding(b.exchange.name, b.routing_key, dict(b.arguments)) for b in row.bindings.all()
    )
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
    return routing.Exchange(row.name, row.broker, row.type, row.durable, dict(row.arguments), row.broadcast)


def _routes(using: str) -> Iterator[routing.Route]:
    for row in _route_rows(using):
        try:
            yield _route(row)
        except ConfigurationError as error:  # written past the form: one bad row must not stop every send
            logger.error("Route %r is left out: %s", row.pattern, error)


def unusable_routes(using: str) -> Iterator[tuple[str, str]]:
    """Yield the patterns of the routes that are left out, each with the reason."""
    for row in _route_rows(using):
        try:
            _route(row)
        except ConfigurationError as error:
            yield row.pattern, str(error)


def _route_rows(using: str) -> Any:
    return models.Route.objects.using(using).filter(enabled=True).select_related("queue", "exchange")


def _route(row: models.Route) -> routing.Route:
    if row.kind == models.Route.Kind.CALLABLE:
        return routing.Route(row.pattern, row.kind, router=_router(row.pattern))
    route = routing.Route(row.pattern, row.kind, row.target())
    route.matcher()
    return route


def _router(path: str) -> Callable[..., Any]:
    """Return a router callable of ``DISPATCH["ROUTERS"]``; a class is made an instance, as Celery does."""
    if path not in conf.ROUTERS:
        raise ConfigurationError(
            f'{path} is not listed in DISPATCH["ROUTERS"]: list it, or disable the route.'
        )
    try:
        found = import_string(path)
        found = found() if isinstance(found, type) else found
        router: object = _before_celery_4(found) if hasattr(found, "route_for_task") else found
    except Exception as error:
        raise ConfigurationError(
            redact(f"Router {path} cannot be imported: {type(error).__name__}: {error}.")
        ) from error
    if not callable(router):
        raise ConfigurationError(f"Router {path} is a {type(router).__name__}, but must be callable.")
    return router


def _before_celery_4(router: Any) -> Callable[..., Any]:
    """Return a router of the old shape, which Celery asks by three arguments, as one of today's."""

    def ask(name: str, args: Any, kwargs: Any, options: Any, **_: Any) -> Any:
        return router.route_for_task(name, args, kwargs)

    return ask


def _tasks(using: str) -> Iterator[Task]:
    rows = models.TaskDefinition.objects.using(using).select_related("queue", "exchange")
    text = ExpressionWrapper(F("parameters"), output_field=TextField())
    for row in rows.only(*READ).annotate(schema=text, worker=F("manifest__worker")):
        try:
            yield _task(row, row.schema, row.worker)
        except Exception as error:  # noqa: BLE001 - as above: written past the form, in any way
            odd = redact(
                f"{error}." if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}."
            )
            logger.error("Task %r cannot be sent. Its definition cannot be used: %s", row.name, odd)
            yield Task(row.name, Parameters({}), row.target(), {}, frozenset(), odd=odd)


def _task(row: models.TaskDefinition, schema: str, worker: str | None) -> Task:
    return Task(
        name=row.name,
        parameters=Parameters(schema),
        target=row.target(),
        options=_options(row),
        sensitive=_names(row.sensitive_parameters),
        enabled=row.enabled,
        paused=row.paused,
        deprecated=row.deprecated,
        retired=_retired(row, worker),
    )


def _options(row: models.TaskDefinition) -> dict[str, Any]:
    options = row.options()
    for name in TIMES:
        if name in options and not is_seconds(options[name]):
            raise ConfigurationError(f"its {name} is {options[name]}, but must be {EXPECTED}")
    return options


def _names(sensitive: Any) -> frozenset[str]:
    if not isinstance(sensitive, list) or not all(isinstance(name, str) for name in sensitive):
        raise ConfigurationError("sensitive_parameters must be a list of names")
    return frozenset(sensitive)


def _retired(row: models.TaskDefinition, worker: str | None) -> str:
    if row.retired_at is None:
        return ""
    by = f"{worker or 'its worker'} {row.retired_version}".rstrip()
    return f"on {row.retired_at:%Y-%m-%d}, when {by} no longer offered it"


def _triggers(using: str) -> Iterator[trigger_rules.Trigger]:
    rows = models.Trigger.objects.using(using).filter(enabled=True)
    for row in rows.select_related("task", "queue").prefetch_related("conditions", "arguments"):
        try:
            with override("en"):  # what is wrong with it is kept, and told to everybody
                spec = row.spec()
            yield spec
        except Exception as error:  # noqa: BLE001 - as above
            problem = redact(f"It cannot be read: {type(error).__name__}: {error}.")
            yield trigger_rules.Trigger(
                row.name, row.model, frozenset(trigger_rules.EVENTS), row.task.name, problem=problem
            )
