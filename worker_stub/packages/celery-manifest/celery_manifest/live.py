"""The manifest of a running worker, asked for by Celery's remote control.

app.control.inspect()._request("manifest")     # each worker's answer by its host name
celery -A worker inspect manifest
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery
from celery.worker.control import inspect_command

from celery_manifest.document import build
from celery_manifest.errors import ManifestError

_versions: WeakKeyDictionary[Celery, str] = WeakKeyDictionary()


def install(app: Celery, *, version: str) -> None:
    """State the version of the worker whose app this is, for `celery manifest` and remote control."""
    if not isinstance(version, str) or not version:
        raise ManifestError(f"The worker's version must be a text that is not empty, not {version!r}.")
    _versions[app] = version


def version_of(app: Celery) -> str:
    """Return the version with which the manifest was installed. Raises ManifestError if it was not."""
    try:
        return _versions[app]
    except KeyError:
        raise ManifestError(
            f"The app {app.main!r} states no version: call celery_manifest.install(app, version=…) where it "
            "is made, and name that app with `celery -A`."
        ) from None


@inspect_command(name="manifest")
def answer(state: Any) -> dict[str, Any]:
    """What the worker offers: tasks, parameters, queues that it consumes."""
    consumer = state.consumer.task_consumer  # None while the connection is down
    try:
        return build(state.app, version_of(state.app), consumer.queues if consumer else ())
    except ManifestError as error:
        return {"error": str(error)}
