"""The manifest document of a Celery app."""

from __future__ import annotations

import inspect
import json
from typing import Any

from celery import Celery, Task

from worker.checksum import checksum
from worker.manifest.parameters import parameters_schema, secret_names

FORMAT = 1
OPTIONS = (
    "compression",
    "expires",
    "ignore_result",
    "priority",
    "serializer",
    "soft_time_limit",
    "time_limit",
)


class ManifestError(ValueError):
    """A task says something of itself that cannot be true."""


def build(app: Celery, version: str) -> dict[str, Any]:
    """Describe the tasks and queues of an app, Celery's own tasks left out. Needs no broker."""
    app.loader.import_default_modules()
    app.finalize()
    document = {
        "manifest": FORMAT,
        "worker": app.main,
        "version": version,
        "queues": sorted(app.amqp.queues.consume_from),
        "tasks": [describe(app.tasks[name]) for name in sorted(app.tasks) if not name.startswith("celery.")],
    }
    return document | {"checksum": checksum(document)}


def encode(document: dict[str, Any]) -> bytes:
    """Return the bytes of the manifest file: equal documents give equal bytes."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def describe(task: Task) -> dict[str, Any]:
    """Return a task's name, description, parameters, own options and sensitive parameters."""
    parameters = parameters_schema(task.run)
    return {
        "name": task.name,
        "description": description(task),
        "parameters": parameters,
        "options": own_options(task),
        "sensitive": sensitive(task, parameters),
    }


def description(task: Task) -> str:
    """Return the first paragraph of the docstring as one line."""
    text = task.run.__doc__ or vars(type(task)).get("__doc__") or ""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def own_options(task: Task) -> dict[str, Any]:
    """Return the sending options that a task sets itself, in which it differs from the app's settings."""
    inherited = dict(Task.from_config)
    values = {name: getattr(task, name, None) for name in OPTIONS}
    defaults = {name: task.app.conf[inherited[name]] if name in inherited else None for name in OPTIONS}
    return {name: value for name, value in values.items() if value != defaults[name] and _plain(value)}


def sensitive(task: Task, parameters: dict[str, Any]) -> list[str]:
    """Return the parameters to mask: those of the task option `sensitive`, and every `SecretStr`.

    Raises ManifestError for a name that the task does not take: a typing error here would leak a secret.
    """
    named = set(getattr(task, "sensitive", ()))
    unknown = named - parameters["properties"].keys()
    if unknown and parameters["additionalProperties"] is False:
        raise ManifestError(
            f"The task {task.name} calls {sorted(unknown)} sensitive but has no such parameter: "
            f"correct the option `sensitive`, its parameters are {sorted(parameters['properties'])}."
        )
    return sorted(named | secret_names(parameters))


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)
