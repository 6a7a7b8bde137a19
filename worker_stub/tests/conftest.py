from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.checksum import checksum

# Before any test imports the app: the suite needs no server and no setting of the machine it runs on.
for name in ("ROUTING_FILE", "BROKER_ALIAS", "BROKER_FOLDER", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
    os.environ.pop(name, None)
os.environ["BROKER_URL"] = "memory://"
os.environ["RESULT_BACKEND_URL"] = "cache+memory://"


@pytest.fixture(scope="session")
def write_routing(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a routing file with a right checksum and return its path."""

    def write(**changes: Any) -> Path:
        document = {
            "routing": 1,
            "default_queue": "default",
            "exchanges": [],
            "queues": [{"name": "default"}],
            "tasks": {},
        } | changes
        path = tmp_path_factory.mktemp("routing") / "routing.json"
        path.write_text(json.dumps({"checksum": checksum(document)} | document))
        return path

    return write
