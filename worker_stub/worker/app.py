"""The Celery app: tasks by name, queues from the routing file, settings from the environment."""

from __future__ import annotations

import os

from celery import Celery
from celery_manifest import install

from worker import __version__, broadcasts, config

TASK_MODULES = (
    "worker.tasks.llm",
    "worker.tasks.stt",
    "worker.tasks.link",
    "worker.tasks.ops",
    "worker.tasks.ledger",
)

routes = config.routing_of(os.environ)
app = Celery("worker", include=TASK_MODULES, task_cls=broadcasts.Task)
app.conf.update(config.settings(os.environ, routes))
broadcasts.listen(app, routes.broadcasts)
install(app, version=__version__)
