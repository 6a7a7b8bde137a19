"""Celery settings from the environment.

`BROKER_URL` and `RESULT_BACKEND_URL` say where, `ROUTING_FILE` which queues. `BROKER_ALIAS` picks the queues
of one broker from a routing file that names several. `BROKER_FOLDER` holds the messages of `filesystem://`.
`BROKER_TRANSPORT_OPTIONS` holds further options of kombu's, as JSON. `ACCEPT_CONTENT` lists what may be
read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from kombu import Connection
from kombu.exceptions import SerializerNotInstalled
from kombu.serialization import dumps

from worker import routing
from worker.routing import Routing

DEFAULT_BROKER = "redis://127.0.0.1:6379/0"
DEFAULT_RESULTS = "redis://127.0.0.1:6379/1"
PACKAGED_ROUTING = Path(__file__).with_name("routing.json")

# What a message may be written in. pickle is not among them: reading it runs whatever code its sender chose.
SERIALIZERS = ("json", "yaml", "msgpack")
OPTIONS_REMEDY = 'write the sender\'s options, for example {"sep": ":", "priority_steps": [0, 5, 9]}.'

SOFT_TIME_LIMIT = 270
TIME_LIMIT = 300
CONNECT_TIMEOUT = 5
SOCKET_TIMEOUT = 15

BASE: dict[str, Any] = {
    "result_accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "result_expires": timedelta(days=1),
    # A message is gone only when its work is done: a killed worker hands it back.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    # One slow task must not hold back others that its worker has merely reserved.
    "worker_prefetch_multiplier": 1,
    # `queues apply` renews the pool, whose processes learn of a new queue only when they are forked.
    "worker_pool_restarts": True,
    "task_soft_time_limit": SOFT_TIME_LIMIT,
    "task_time_limit": TIME_LIMIT,
    "broker_connection_timeout": CONNECT_TIMEOUT,
    "broker_connection_retry_on_startup": True,
    "redis_socket_connect_timeout": CONNECT_TIMEOUT,
    "redis_socket_timeout": SOCKET_TIMEOUT,
    # Only the queues of the routing file exist: a misspelt name is an error, not a queue nobody consumes.
    "task_create_missing_queues": False,
}


class ConfigError(ValueError):
    """The environment lacks a setting, or holds one that cannot work."""


def settings(environ: Mapping[str, str], routes: Routing | None = None) -> dict[str, Any]:
    """Return the Celery settings for this environment; `routes` if they have been read already.

    Raises ConfigError or routing.RoutingError, each naming the cause and the remedy.
    """
    broker = environ.get("BROKER_URL") or DEFAULT_BROKER
    routes = routes or routing_of(environ)
    return BASE | {
        "accept_content": accept_content(environ),
        "broker_url": broker,
        "broker_transport_options": transport_options(broker, environ),
        "result_backend": environ.get("RESULT_BACKEND_URL") or DEFAULT_RESULTS,
        "task_default_queue": routes.default_queue,
        "task_queues": routes.queues,
        "task_routes": (routes.router,),
    }


def routing_of(environ: Mapping[str, str]) -> Routing:
    """Read the routing file, as the broker of this environment needs it. Raises routing.RoutingError."""
    return routing.load(
        routing_file(environ),
        environ.get("BROKER_ALIAS") or "default",
        has_exchanges=has_exchanges(environ.get("BROKER_URL") or DEFAULT_BROKER),
    )


def has_exchanges(broker: str) -> bool:
    """Tell whether the broker routes by itself (AMQP), or kombu imitates it. Connects to nothing."""
    return Connection(broker).get_transport_cls().driver_type == "amqp"


def routing_file(environ: Mapping[str, str]) -> Path:
    """Return the path in `ROUTING_FILE`, else that of the packaged default."""
    return Path(environ.get("ROUTING_FILE") or PACKAGED_ROUTING)


def accept_content(environ: Mapping[str, str]) -> list[str]:
    """Return the serializers in `ACCEPT_CONTENT`, JSON alone without it.

    Raises ConfigError for pickle and others that are unknown or not installed, and where JSON is missing.
    """
    names = [name.strip() for name in (environ.get("ACCEPT_CONTENT") or "json").split(",")]
    for name in names:
        _check_serializer(name)
    if "json" not in names:
        raise ConfigError(
            "ACCEPT_CONTENT lacks json: add it, since remote control and retries are written in it."
        )
    return names


def _check_serializer(name: str) -> None:
    if name == "pickle":
        raise ConfigError("ACCEPT_CONTENT holds pickle, which runs code that a message brings: leave it out.")
    if name not in SERIALIZERS:
        raise ConfigError(f"ACCEPT_CONTENT holds {name!r}: use some of {', '.join(SERIALIZERS)}.")
    try:
        dumps({}, serializer=name)
    except SerializerNotInstalled:
        remedy = f"install dispatch-worker-stub[{name}], or leave it out"
        raise ConfigError(f"ACCEPT_CONTENT holds {name}, which is not installed: {remedy}.") from None


def transport_options(broker: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return kombu's options for the transport of a broker URL, bounded in time, and those asked for.

    Raises ConfigError where `BROKER_TRANSPORT_OPTIONS` is no JSON object.
    """
    return _own_options(broker, environ) | _further_options(environ.get("BROKER_TRANSPORT_OPTIONS"))


def _further_options(text: str | None) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"BROKER_TRANSPORT_OPTIONS is not JSON ({error}): {OPTIONS_REMEDY}") from None
    if not isinstance(options, dict):
        raise ConfigError(f"BROKER_TRANSPORT_OPTIONS is no JSON object: {OPTIONS_REMEDY}")
    return options


def _own_options(broker: str, environ: Mapping[str, str]) -> dict[str, Any]:
    scheme = broker.partition(":")[0].partition("+")[0]
    if scheme == "filesystem":
        return _folder_options(environ.get("BROKER_FOLDER"))
    if scheme in ("redis", "rediss", "sentinel"):
        return _redis_options()
    return {}


def _redis_options() -> dict[str, Any]:
    return {
        # Longer than any task may run, or Redis delivers a late-acknowledged message twice.
        "visibility_timeout": 12 * TIME_LIMIT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_keepalive": True,
    }


def _folder_options(folder: str | None) -> dict[str, Any]:
    if not folder:
        raise ConfigError(
            "BROKER_URL is filesystem:// but BROKER_FOLDER is not set: set it to the sender's message folder."
        )
    path = Path(folder).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(path),
        "data_folder_out": str(path),
        "control_folder": str(path / "control"),
    }
