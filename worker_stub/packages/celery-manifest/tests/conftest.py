from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_manifest import ManifestError, build


@pytest.fixture
def app():
    return Celery("sample", broker="memory://", set_as_current=False)


@pytest.fixture
def described(app):
    """Return the manifest entry of the task `t` that a test defines on its app."""

    def describe() -> dict[str, Any]:
        # Not alone: an app has the shared tasks of every other app in the process.
        document = build(app, "1.0")
        for task in document.get("left_out", ()):
            if task["name"] == "t":
                raise ManifestError(task["reason"])
        (entry,) = [task for task in document["tasks"] if task["name"] == "t"]
        return entry

    return describe
