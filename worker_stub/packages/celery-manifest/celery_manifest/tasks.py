"""One task of the manifest."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

from celery import Task

from celery_manifest.errors import ManifestError
from celery_manifest.secrets import sensitive_names
from celery_manifest.signature import parameters_schema, returns_schema

OPTIONS = (
    "compression",
    "expires",
    "ignore_result",
    "priority",
    "rate_limit",
    "serializer",
    "soft_time_limit",
    "time_limit",
)


def describe(task: Task) -> dict[str, Any]:
    """Return the entry of a task. Raises ManifestError, which names the task and what is wrong."""
    try:
        return _described(task)
    except ManifestError:
        raise
    except Exception as error:  # a task class may hold anything under any name
        raise ManifestError(
            f"The task {task.name} cannot be described ({type(error).__name__}: {error}): "
            "correct its signature, docstring or options."
        ) from error


def _described(task: Task) -> dict[str, Any]:
    parameters = parameters_schema(task.run)
    sensitive = sensitive_names(task.name, getattr(task, "sensitive", ()), parameters)
    for name in sensitive:
        parameters["properties"].get(name, {}).pop("default", None)
    return {
        "name": task.name,
        "description": description(task),
        "parameters": parameters,
        "returns": returns_schema(task.run),
        "options": own_options(task),
        "deprecated": deprecated(task),
        "sensitive": sensitive,
    }


def description(task: Task) -> str:
    """Return the first paragraph of the docstring as one line."""
    text = task.run.__doc__ or vars(type(task)).get("__doc__") or ""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def own_options(task: Task) -> dict[str, Any]:
    """Return the options that a task sets itself, in which it differs from the app's settings."""
    inherited = dict(Task.from_config)
    values = {name: getattr(task, name, None) for name in OPTIONS}
    defaults = {name: task.app.conf[inherited[name]] if name in inherited else None for name in OPTIONS}
    own = {name: _seconds(value) for name, value in values.items() if value != defaults[name]}
    return {name: value for name, value in own.items() if isinstance(value, bool | int | float | str)}


def _seconds(value: Any) -> Any:
    """Return a time span as seconds; a moment (of `expires`) means nothing in a later message."""
    if not isinstance(value, timedelta):
        return value
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def deprecated(task: Task) -> str | None:
    """Return why a task is deprecated, `""` where no reason is given, None where it is not.

    Said by the task option `deprecated` (True or the reason) or by `warnings.deprecated` (PEP 702).
    """
    said = getattr(task, "deprecated", None)
    if said is None:
        said = getattr(task.run, "__deprecated__", vars(type(task)).get("__deprecated__"))
    if said is None or said is False:
        return None
    if said is True or isinstance(said, str):
        return "" if said is True else said
    raise ManifestError(
        f"The option `deprecated` of the task {task.name} must be True or the reason as a text, not {said!r}."
    )
