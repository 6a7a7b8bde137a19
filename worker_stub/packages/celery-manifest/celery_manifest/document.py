"""The manifest document of a Celery app."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu import Queue
from kombu.transport.base import to_rabbitmq_queue_arguments

from celery_manifest.checksum import checksum
from celery_manifest.errors import ManifestError, UnsayableTask, passwords, told
from celery_manifest.plain import plain
from celery_manifest.tasks import describe

FORMAT = 1


def build(app: Celery, version: str, queues: Iterable[Queue] | None = None) -> dict[str, Any]:
    """Describe the tasks and queues of an app, Celery's own tasks left out. Needs no broker.

    A task goes by each name that it is registered by. One that cannot be described is named in `left_out`,
    with the reason, and costs no other. `queues` are those that a running worker consumes, by default what
    the app would. Raises ManifestError.
    """
    if not app.main:
        raise ManifestError(
            'The app has no name, by which its senders know it: give it one, Celery("worker").'
        )
    _load_tasks(app)
    consumed = app.amqp.queues.consume_from.values() if queues is None else queues
    tasks, left_out = _described(app)
    document = {
        "manifest": FORMAT,
        "worker": app.main,
        "version": version,
        "queues": sorted((describe_queue(queue) for queue in consumed), key=lambda each: each["name"]),
        "tasks": tasks,
    } | ({"left_out": left_out} if left_out else {})
    return document | {"checksum": checksum(document)}


def encode(document: dict[str, Any]) -> bytes:
    """Return the bytes of the manifest file: equal documents give equal bytes."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def describe_queue(queue: Queue) -> dict[str, Any]:
    """Return a queue as the broker is told of it: those arguments that kombu makes of options included."""
    names = ("expires", "message_ttl", "max_length", "max_length_bytes", "max_priority")
    options = {name: getattr(queue, name) for name in names}
    try:
        arguments = plain(to_rabbitmq_queue_arguments(queue.queue_arguments or {}, **options))
    except ValueError as error:
        raise ManifestError(
            f"The arguments of the queue {queue.name!r} are no JSON ({error}): {queue.queue_arguments!r}."
        ) from None
    return {
        "name": queue.name,
        "durable": bool(queue.durable),
        "arguments": dict(sorted(arguments.items())),
    }


def _described(app: Celery) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    tasks, left_out = [], []
    for name, task in sorted(app.tasks.items(), key=lambda item: str(item[0])):
        if _is_builtin(task):
            continue
        try:
            tasks.append(describe(name, task))
        except UnsayableTask as error:
            name = str(name)
            left_out.append({"name": name if str(name).isprintable() else ascii(name), "reason": str(error)})
    return tasks, left_out


def _load_tasks(app: Celery) -> None:
    try:
        app.loader.import_default_modules()
        app.finalize()
    except (Exception, SystemExit) as error:  # any module of the worker runs here
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise ManifestError(
            f"The tasks of the app {app.main!r} cannot be loaded: {told(error, _secrets(app))} "
            f"({frame.filename}, line {frame.lineno}). Correct that, the worker would not start either."
        ) from error


def _secrets(app: Celery) -> list[str]:
    """Return the passwords that the app is configured with, as far as it is."""
    try:
        names = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
        urls = [app.conf.get(name) for name in names]
    except Exception:  # the settings themselves may be what cannot be loaded
        return []
    return list(passwords(each for url in urls for each in (url if isinstance(url, list | tuple) else [url])))


def _is_builtin(task: Any) -> bool:
    return type(task).__module__ == "celery.app.builtins"
