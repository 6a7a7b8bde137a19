"""One task of the manifest."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

from celery import Task

from celery_manifest.destinations import own_destination
from celery_manifest.errors import ManifestError, UnsayableTask, told
from celery_manifest.plain import plain
from celery_manifest.secrets import hide_default, sensitive_names
from celery_manifest.signature import parameters_schema, returns_schema
from celery_manifest.wrappers import accepted_by_task, without_positional

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


#: As long as readers keep it.
LONGEST_NAME = 255


def describe(name: str, task: Task) -> dict[str, Any]:
    """Return the entry of a task under a name that it is registered by.

    Raises UnsayableTask where it cannot be told, and ManifestError where it says of itself what cannot be
    true: both name the task and what is wrong.
    """
    _check_name(name)
    try:
        return plain(_described(name, task))
    except ManifestError:
        raise
    except Exception as error:  # a task class may hold anything under any name
        raise UnsayableTask(
            f"The task {name} cannot be described ({told(error)}): "
            "correct its signature, docstring or options."
        ) from error


def _check_name(name: Any) -> None:
    fits = isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()
    if not fits or any(each.isspace() for each in name):
        raise UnsayableTask(
            f"The task {name!r:.300} cannot be named: "
            f"a name is a text of at most {LONGEST_NAME} characters, without spaces."
        )


def _described(name: str, task: Task) -> dict[str, Any]:
    accepted = accepted_by_task(task)
    parameters = parameters_schema(task.run, accepted)
    sensitive = sensitive_names(name, getattr(task, "sensitive", ()), parameters)
    if sensitive:  # what is given by position would be masked by its name, which nobody knows
        parameters = parameters_schema(task.run, without_positional(accepted))
    for each in sensitive:
        hide_default(parameters["properties"].get(each, {}))
    return {
        "name": name,
        "description": description(task),
        "parameters": parameters,
        "returns": returns_schema(task.run),
        "options": own_options(task) | own_destination(task),
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
