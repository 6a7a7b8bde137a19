"""The project's settings, with the tasks of django.tasks sent to the worker."""

from __future__ import annotations

from project.settings import *  # noqa: F403

TASKS = {
    "default": {
        "BACKEND": "dispatch.contrib.django_tasks.DispatchBackend",
        "OPTIONS": {
            "NAMES": {"tests.support.declared_tasks.summarize_note": "worker.tasks.llm.summarize_note"}
        },
    }
}
