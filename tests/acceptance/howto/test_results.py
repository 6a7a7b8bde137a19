"""docs/howto/results.md: its receiver keeps what the worker says of a success and of a failure."""

from __future__ import annotations

import pytest

from tests.support.how_to import blocks
from tests.support.stacks import eventually
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

RECEIVER, STATE = (block.text for block in blocks("results"))
SEND = """
from django.db import transaction
texts = {"Kept": "Cats sleep.", "Failed": None}
notes = [Note.objects.create(title=title) for title in texts]
TaskDefinition.objects.filter(name="worker.tasks.llm.summarize_note").update(parameters={})
for note, text in zip(notes, texts.values()):
    send_task("worker.tasks.llm.summarize_note", kwargs={"note_id": str(note.pk), "text": text})
"""


def test_its_receiver_keeps_a_summary_and_the_class_of_a_failure(project: Project) -> None:
    project.append("notes/models.py", '    failure = models.CharField(max_length=200, blank=True)\n')
    project.write("notes/receivers.py", RECEIVER)
    project.manage("makemigrations", "notes")
    project.manage("migrate")
    with project.running("worker", "relay", "results"):
        pk = project.run(STATE, SEND, "answer(message.pk)")
        kept = "answer([*Note.objects.exclude(summary='', failure='').values_list('title', 'summary', 'failure')])"
