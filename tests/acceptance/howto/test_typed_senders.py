"""docs/howto/typed-senders.md: the module it writes, the calls it makes, and what a check shows of a changed worker."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from project.stack.stack import ROOT
from tests.support.clones import clone
from tests.support.how_to import blocks
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

WRITE, CALLS, RESULT, CHECK = blocks("typed-senders")
CALLED = textwrap.indent(CALLS.text.replace("...", 'return {"note_id": "1", "text": "Dogs bark."}'), "    ")
CALL = f"""
import asyncio
async def calls(note, notes):
{CALLED}
    Note.objects.create(title="For the trigger, and not for that of the tutorial, which wants a body")
note = Note(body="Cats sleep.")
asyncio.run(calls(note, [note, note]))
rows = OutboxMessage.objects.order_by("created_at").values_list("task_name", "kwargs", "options", "expires_at")
answer([[name, json.loads(kwargs)["text"], options, bool(expires)] for name, kwargs, options, expires in rows])
"""


@pytest.fixture(autouse=True)
def written(project: Project) -> None:
    project.follow(WRITE)


def test_the_module_is_called_and_the_result_is_read(project: Project) -> None:
    assert (project.directory / "notes/tasks.py").read_bytes() == (
        ROOT / "project/notes/tasks.py"
    ).read_bytes()
    project.environment["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # the block has calls of both kinds
    name, text = "worker.tasks.llm.summarize_note", "Cats sleep."
    plain = [name, text, {}, False]
    urgent = [name, text, {"priority": 9}, True]
    assert project.run(CALL) == [plain, plain, urgent, plain, plain, [name, "Dogs bark.", {}, False]]
    with project.running("worker", "relay"):
        read = RESULT.text.replace("result(message).get", "found = result(message).get")
        found = project.run("from notes import tasks; note = Note(body='Cats sleep.')", read, "answer(found)")
    assert found["summary"] == text


def test_a_check_shows_what_the_worker_has_changed(project: Project, tmp_path: Path) -> None:
    worker = clone(tmp_path / "worker")
    worker.edit("tasks/llm.py", "    text: str", "    body: str")
    worker.run(
        "-A", "worker", "manifest", "-o", str(project.directory / "manifest.json"), base=dict(os.environ)
    )
    project.manage("dispatch", "manifest", "sync", "manifest.json")
    assert project.follow(CHECK) == 0
