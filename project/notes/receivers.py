"""What the notes do with the results of tasks that were sent for them."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.utils import timezone

from dispatch.api import task_finished
from project.notes.models import Note


@receiver(task_finished, dispatch_uid="notes.keep_result")
def keep_result(sender: Any, *, message: Any, result: Any, using: str, **kwargs: Any) -> None:
    note = _note_of(message, using)
    if note is None:
        return
    if result.status == "SUCCESS":
        _keep_summary(note, result)
    else:
        _keep_failure(note, result)


def _note_of(message: Any, using: str) -> Note | None:
    pk = json.loads(message.kwargs).get("note_id")
    try:
        return Note.objects.using(using).filter(pk=pk).first()
    except ValidationError:  # sent by hand, with an id that no note can have
        return None


def _keep_summary(note: Note, result: Any) -> None:
    found = json.loads(result.result)
    if isinstance(found, dict) and "summary" in found:
        note.summary = found["summary"]
        note.failure = ""
        note.summarized_at = timezone.now()
        note.save(update_fields=["summary", "failure", "summarized_at"])


def _keep_failure(note: Note, result: Any) -> None:
    note.failure = _error(result)[: Note._meta.get_field("failure").max_length]
    note.save(update_fields=["failure"])


def _error(result: Any) -> str:
    """`ValueError: no such file`, from what Celery's JSON keeps of an exception."""
    error = json.loads(result.result or "{}")
    message = error.get("exc_message", "")
    text = ", ".join(map(str, message)) if isinstance(message, list) else str(message)
    return f"{error.get('exc_type', result.status)}: {text}"
