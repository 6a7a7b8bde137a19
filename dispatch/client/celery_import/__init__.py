"""Reads the routing of a Celery app that somebody else wrote into plain data: the document of a configuration import.

What Celery would publish is what the rows say: its own classes read the settings (``celery.app.amqp.Queues``), and each
route, and each task's own option, is settled as ``celery.app.amqp`` settles a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.app.utils import find_app
from celery.utils.imports import import_from_cwd, symbol_by_name

from dispatch.client.celery_import import modules
from dispatch.client.celery_import.queues import Topology
from dispatch.client.celery_import.routes import Routes
from dispatch.client.celery_import.tasks import Tasks
from dispatch.client.celery_import.unsupported import Leftovers, told
from dispatch.conf import Broker
from dispatch.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class Foreign:
    """A configuration document of the app's exchanges, queues and routes, and of the tasks that route themselves.

    ``left_out`` is what it cannot hold, ``notes`` what does not do the same here as there; a sentence each.
    """

    document: dict[str, Any]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def read(path: str, broker: Broker) -> Foreign:
    """Return the routing of the Celery app at a path such as ``proj.celery:app``, its queues on this broker.

    Raises ConfigurationError for an app that cannot be imported, or that Celery itself cannot read.
    """
    app = _load(path)
    leftovers = Leftovers()
    try:
        modules.load(app, leftovers)
        topology = Topology(app, broker, leftovers)
        routes = Routes(app, path, topology).rows()
        tasks = Tasks(app, topology).rows()
        used = {row["exchange"] for row in [*routes, *tasks] if row.get("exchange")}
        queues, exchanges = topology.rows(used)
        leftovers.look_at(app, topology.queues)
    except Exception as error:
        raise ConfigurationError(
            f"Celery itself cannot read the settings of {path}: {told(error)}"
        ) from error
    rows = {"exchanges": exchanges, "queues": queues, "routes": routes, "tasks": tasks}
    return Foreign({"configuration": 1, **rows}, tuple(leftovers.sentences), tuple(leftovers.notes))


def _load(path: str) -> Celery:
    try:
        app = symbol_by_name(path, imp=import_from_cwd) if ":" in path else find_app(path)
    except Exception as error:
        raise ConfigurationError(
            f"{path} cannot be imported: {told(error)}. Write it as for `celery -A`: path.to.module:app."
        ) from error
    if not isinstance(app, Celery):
        raise ConfigurationError(f"{path} is a {type(app).__name__}, but must be a Celery app.")
    return app
