"""What staff can do with notes in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from dispatch.api import Call, SendError, send_many
from project.notes import tasks
from project.notes.models import Note


@admin.action(description="Ask for the summary again", permissions=["change"])
def summarize_again(model_admin: Any, request: HttpRequest, notes: QuerySet[Note]) -> None:
    try:
        sent = send_many([summary_of(note) for note in notes])
    except SendError as error:
        model_admin.message_user(request, str(error), messages.ERROR)
    else:
        model_admin.message_user(request, f"Messages on their way to the workers: {len(sent)}.")


def summary_of(note: Note) -> Call:
    """The call that makes the summary of a note of this kind; a wrong argument in it fails mypy."""
    note_id = str(note.pk)
    if note.kind == Note.Kind.AUDIO:
        return tasks.transcribe_audio.call(note_id=note_id, path=note.audio)
    if note.kind == Note.Kind.LINK:
        return tasks.preview_links.call(note_id=note_id, text=note.body)
    return tasks.summarize_note.call(note_id=note_id, text=note.body)
