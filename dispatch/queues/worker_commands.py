"""The command lines that start workers for the queues of the registry."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from dispatch import registry
from dispatch.conf import DEFAULT_BROKER
from dispatch.core.routing import Destination
from dispatch.exceptions import ConfigurationError
from dispatch.models import Manifest
from dispatch.queues.selection import by_broker, chosen

DEFAULT_APP = "worker"
LONGEST_NODE_NAME = 40
DIGEST_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one worker: the queues of one broker, and the command, quoted for a POSIX shell."""

    broker: str
    queues: tuple[str, ...]
    command: str


def launches(names: Sequence[str] | None, app: str | None = None) -> list[Launch]:
    """Return a command per broker for the named queues; for all of the registry where None are named.

    ``app`` is what ``celery -A`` takes; without it, the worker of the imported manifests, if there is one only.
    Raises ConfigurationError for an unknown queue, and for a name that ``-Q`` cannot carry.
    """
    module = app or _manifest_app()
    queues = chosen(registry.current().table.queues, names)
    for queue in queues:
        if "," in queue.name:
            raise ConfigurationError(
                f"Queue {queue.name!r} has a comma in its name, at which `celery -Q` splits."
            )
    return [
        _launch(alias, tuple(queue.name for queue in group), module, whole=names is None)
        for alias, group in by_broker(queues)
    ]


def launches_for(destination: Destination) -> list[Launch]:
    """Return the commands of workers that get what is sent there: for a broadcast, of every worker of its broker.

    Raises as :func:`launches` does.
    """
    if destination.is_broadcast:
        return [launch for launch in launches(None) if launch.broker == destination.broker]
    return launches(list(destination.queues)) if destination.queues else []


def _launch(alias: str, queues: tuple[str, ...], app: str, *, whole: bool) -> Launch:
    node = _node_name(alias if whole else "-".join(queues))
    command = ["celery", "-A", app, "worker", "-Q", ",".join(queues), "-n", f"{node}@%h"]
    # the worker picks the queues of one broker out of routing.json by this variable
    prefix = "" if alias == DEFAULT_BROKER else f"BROKER_ALIAS={shlex.quote(alias)} "
    return Launch(alias, queues, prefix + shlex.join(command))


def _node_name(text: str) -> str:
    """Return a text as the part of a node name before the @; Celery reads % as the start of a placeholder.

    What is too long ends in a digest of the whole: two workers of one name would take each other's remote control, and
    on RabbitMQ the second does not start.
    """
    name = re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)
    if len(name) <= LONGEST_NODE_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{name[: LONGEST_NODE_NAME - DIGEST_LENGTH - 1]}-{digest}"


def _manifest_app() -> str:
    apps = set(Manifest.objects.values_list("worker", flat=True).order_by())
    return apps.pop() if len(apps) == 1 else DEFAULT_APP
