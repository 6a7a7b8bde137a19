"""A task that does nothing, for the worker of worker_stub: ``celery -A worker worker --include worker_tasks``."""

from typing import Any

from backlog import TASK

from worker.app import app


@app.task(name=TASK)
def nothing(**arguments: Any) -> None:
    """Do nothing."""
