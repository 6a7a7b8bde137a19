"""docs/howto/results.md: its receiver keeps what became of a success and of a failure; one result is asked for."""

from __future__ import annotations

import pytest

from tests.support.how_to import blocks
from tests.support.stacks import eventually
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

RECEIVER, ASK = (block.text for block in blocks("results"))
ONCE_IT_IS_THERE = "result(message).get(timeout=30); answer(result(message).state)"
TASK = "worker.tasks.llm.summarize_note"
# The failing one is let through to the worker by a schema that demands nothing.
SEND = f"""
from dispatch.api import send_task
TaskDefinition.objects.filter(name={TASK!r}).update(parameters={{}})
for title, text in [("Short", "Cats sleep."), ("Broken", None)]:
    send_task({TASK!r}, kwargs={{"note_id": str(Note.objects.create(title=title).pk), "text": text}})
"""
KEPT = """
kept = Note.objects.exclude(summary="", failure="").values_list("title", "summary", "failure")
answer(len(kept) == 2 and sorted(kept))
"""


def test_its_receiver_keeps_a_summary_and_a_failure_and_a_result_tells_its_state(project: Project) -> None:
    project.append("notes/models.py", "    failure = models.CharField(max_length=200, blank=True)\n")
    project.write("notes/receivers.py", RECEIVER)
    project.manage("makemigrations", "notes")
    project.manage("migrate")
    with project.running("worker", "relay", "results"):
        project.run(SEND, "answer(None)")
        assert eventually(lambda: project.run(KEPT)) == [
            ["Broken", "", "TypeError"],
            ["Short", "Cats sleep.", ""],
        ]
        assert project.run(ASK.replace("result(message).state", ONCE_IT_IS_THERE)) == "SUCCESS"
