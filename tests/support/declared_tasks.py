"""Tasks of django.tasks, whose bodies must not be run here."""

from __future__ import annotations

from typing import Any, NoReturn

from django.tasks import TaskContext, task


@task
def summarize_note(note_id: str, text: str, sentences: int = 2) -> NoReturn:
    raise AssertionError("this is the worker's")


@task
async def later(note_id: str, text: str) -> NoReturn:
    raise AssertionError("this is the worker's")


@task(takes_context=True)
def bound(context: TaskContext[Any, Any], note_id: str, text: str) -> NoReturn:
    raise AssertionError("this is the worker's")


@task
def unknown() -> NoReturn:
    raise AssertionError("this is the worker's")
