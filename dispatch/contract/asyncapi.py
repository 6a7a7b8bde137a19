"""The contract as an AsyncAPI 3.0 document: brokers are servers, queues and exchanges channels, tasks messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dispatch import registry
from dispatch.conf import Broker, conf
from dispatch.core.routing import Destination, RoutingTable
from dispatch.models import Manifest, TaskDefinition
from dispatch.registry.snapshot import Task

#: The schemes of kombu that AsyncAPI knows by another name.
PROTOCOLS = {"pyamqp": "amqp", "sentinel": "redis"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
BINDING = "0.3.0"  # the version of the AMQP bindings


def asyncapi_document() -> dict[str, Any]:
    """Return the document: what this service sends, and where to. A task without destination is left out."""
    snapshot = registry.current()
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    described = dict(TaskDefinition.objects.exclude(description="").values_list("name", "description"))
    for name, destination in snapshot.destinations().items():
        messages[_key(name)] = _message(snapshot.tasks[name], described.get(name, ""))
        for key, channel in _channels(destination, snapshot.table):
            channels.setdefault(key, channel)["messages"][_key(name)] = _ref(
                "components", "messages", _key(name)
            )
            operations[f"{key}:{_key(name)}"] = {
                "action": "send",
                "channel": _ref("channels", key),
                "messages": [_ref("channels", key, "messages", _key(name))],
            }
    workers = Manifest.objects.order_by("worker", "imported_at").values_list("worker", "version")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Celery tasks sent by name",
            "version": ", ".join(f"{worker} {version}" for worker, version in dict(workers).items())
            or "none",
            "description": "Messages of Celery's protocol 2, as the workers' manifests and the registry describe them.",
        },
        "defaultContentType": "application/json",
        "servers": {_key(alias): _server(broker) for alias, broker in conf.brokers.items()},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _key(name: str) -> str:
    """Return a name as a key of the document: what the standard does not allow is written as its code point.

    So is an underscore that could be taken for the start of one: no two names have the same key.
    """
    odd = r"[^A-Za-z0-9._-]|_(?=[0-9a-f]+[^A-Za-z0-9.-])"
    return re.sub(odd, lambda found: f"_{ord(found[0]):x}_", name)


def _ref(*keys: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *keys))}


def _server(broker: Broker) -> dict[str, str]:
    """Return where a broker is: its host, of several the first without a password, and no user, password or path."""
    host = re.split("[/?#;,]", broker.url.partition("://")[2].rpartition("@")[2])[0]
    return {"host": host or "localhost", "protocol": PROTOCOLS.get(broker.scheme, broker.scheme)}


def _channels(destination: Destination, table: RoutingTable) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each channel that a message reaches; a broker without exchanges is given the queues themselves."""
    alias = destination.broker
    has_exchanges = conf.brokers[alias].has_exchanges
    names = [destination.queue] if destination.queue else []
    if not (names or has_exchanges or destination.is_broadcast):
        names = list(destination.queues)
    for name in names:
        queue = {"name": name, "durable": table.queues[name].durable, "exclusive": False, "autoDelete": False}
        yield _key(name), _channel(alias, name, {"is": "queue", "queue": queue} if has_exchanges else {})
    if not names:
        exchange = {
            "name": destination.exchange,
            "type": destination.exchange_type,
            "durable": table.exchanges[destination.exchange].durable,
            "autoDelete": False,
        }
        key = ":".join(
            map(_key, ("exchange", destination.exchange, destination.routing_key or ""))
        )  # no queue's key
        address = destination.routing_key or destination.exchange
        yield (
            key,
            _channel(alias, address, {"is": "routingKey", "exchange": exchange} if has_exchanges else {}),
        )


def _channel(alias: str, address: str, amqp: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "address": address,
        "servers": [_ref("servers", _key(alias))],
        "messages": {},
        **({"bindings": {"amqp": {**amqp, "bindingVersion": BINDING}}} if amqp else {}),
    }


def _message(task: Task, description: str) -> dict[str, Any]:
    """Return a task as a message whose payload is the body of protocol 2: args, kwargs and what is embedded.

    A call by name is described exactly; of one by position, how many there may be.
    """
    schema = {} if task.problem else task.parameters.schema
    args: dict[str, Any] = {"type": "array"}
    if schema and "x-variadic" not in schema:
        args["maxItems"] = len(task.parameters.positional)
    return {
        "name": task.name,
        "summary": description,
        "headers": {
            "type": "object",
            "properties": {"task": {"const": task.name}, "id": {"type": "string", "format": "uuid"}},
            "required": ["task", "id"],
        },
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {
                "$schema": DIALECT,
                "type": "array",
                "prefixItems": [args, {"type": "object"}, {"type": "object"}],
                "minItems": 3,
                "maxItems": 3,
                "if": {"prefixItems": [{"maxItems": 0}]},
                "then": {"prefixItems": [True, {**schema, "$id": f"urn:celery:task:{_key(task.name)}"}]},
            },
        },
        **(
            {}
            if task.deprecated is None
            else {"tags": [{"name": "deprecated", "description": task.deprecated}]}
        ),
    }
