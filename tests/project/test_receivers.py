from __future__ import annotations

import json
import uuid

import pytest
from django_celery_results.models import TaskResult

from dispatch.api import task_finished
from dispatch.models import OutboxMessage
from project.notes.models import Note

pytestmark = pytest.mark.django_db


def finish(note_id, status, result):
    message = OutboxMessage(task_name="worker.tasks.any", kwargs=json.dumps({"note_id": str(note_id)}))
    outcome = TaskResult(task_id=str(message.pk), status=status, result=json.dumps(result))
    task_finished.send(sender=OutboxMessage, message=message, result=outcome, using="default")


def test_a_success_fills_the_summary_and_clears_an_earlier_failure():
    note = Note.objects.create(title="n", failure="earlier")
    finish(note.pk, "SUCCESS", {"note_id": str(note.pk), "summary": "short"})
    note.refresh_from_db()
    assert (note.summary, note.failure) == ("short", "")
    assert note.summarized_at


def test_a_failure_is_told_in_one_line_and_leaves_the_summary_alone():
    note = Note.objects.create(title="n", summary="earlier")
    finish(
        note.pk, "FAILURE", {"exc_type": "OSError", "exc_message": ["no", "file"], "exc_module": "builtins"}
    )
    note.refresh_from_db()
    assert (note.summary, note.failure) == ("earlier", "OSError: no, file")


def test_a_failure_longer_than_its_column_is_cut():
    note = Note.objects.create(title="n")
    finish(note.pk, "FAILURE", {"exc_type": "OSError", "exc_message": ["x" * 5_000]})
    note.refresh_from_db()
    assert len(note.failure) == 500


@pytest.mark.parametrize("note_id", [uuid.uuid4(), "not an id"])
def test_a_result_for_no_note_is_passed_over(note_id):
    finish(note_id, "SUCCESS", {"summary": "short"})
    assert not Note.objects.exists()


def test_a_result_without_a_summary_changes_nothing():
    note = Note.objects.create(title="n")
    finish(note.pk, "SUCCESS", 42)
    note.refresh_from_db()
    assert note.summary == ""
    assert note.summarized_at is None
