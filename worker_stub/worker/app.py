"""The Celery app: tasks by name, queues from the routing file, settings from the environment."""

from __future__ import annotations

import os

from celery import Celery

from worker import config

TASK_MODULES = (
    "worker.tasks.llm",
    "worker.tasks.stt",
    "worker.tasks.link",
    "worker.tasks.ops",
)

app = Celery("worker", include=TASK_MODULES)
app.conf.update(config.settings(os.environ))
