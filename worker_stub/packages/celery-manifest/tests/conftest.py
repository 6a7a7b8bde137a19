from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_manifest import build


@pytest.fixture
def app():
    return Celery("sample", broker="memory://", set_as_current=False)


@pytest.fixture
def described(app):
    """Return the manifest entry of the task `t` that a test defines on its app."""

    def describe() -> dict[str, Any]:
        # Not alone: an app has the shared tasks of every other app in the process.
        (entry,) = [task for task in build(app, "1.0")["tasks"] if task["name"] == "t"]
        return entry

    return describe
