"""Celery settings from the environment.

`BROKER_URL` and `RESULT_BACKEND_URL` say where, `ROUTING_FILE` which queues. `BROKER_ALIAS` picks the queues
of one broker from a routing file that names several. `BROKER_FOLDER` holds the messages of `filesystem://`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from worker import routing

DEFAULT_BROKER = "redis://127.0.0.1:6379/0"
DEFAULT_RESULTS = "redis://127.0.0.1:6379/1"
PACKAGED_ROUTING = Path(__file__).with_name("routing.json")

SOFT_TIME_LIMIT = 270
TIME_LIMIT = 300
CONNECT_TIMEOUT = 5
SOCKET_TIMEOUT = 15

BASE: dict[str, Any] = {
    "accept_content": ["json"],
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


def settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the Celery settings for this environment.

    Raises ConfigError or routing.RoutingError, each naming the cause and the remedy.
    """
    broker = environ.get("BROKER_URL") or DEFAULT_BROKER
    routes = routing.load(routing_file(environ), environ.get("BROKER_ALIAS") or "default")
    return BASE | {
        "broker_url": broker,
        "broker_transport_options": transport_options(broker, environ),
        "result_backend": environ.get("RESULT_BACKEND_URL") or DEFAULT_RESULTS,
        "task_default_queue": routes.default_queue,
        "task_queues": routes.queues,
        "task_routes": (routes.router,),
    }


def routing_file(environ: Mapping[str, str]) -> Path:
    """Return the path in `ROUTING_FILE`, else that of the packaged default."""
    return Path(environ.get("ROUTING_FILE") or PACKAGED_ROUTING)


def transport_options(broker: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return kombu's options for the transport of a broker URL, bounded in time."""
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
