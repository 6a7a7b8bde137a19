"""docs/howto/chains-and-groups.md: its calls, run by a worker, and its count in place of a chord."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.how_to import blocks
from tests.support.stacks import eventually
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

CHAIN, TYPED, GROUP, MODEL, PARTS, RECEIVER = (block.text for block in blocks("chains-and-groups"))
REPORT = "worker.tasks.ops.report"


@pytest.fixture(autouse=True)
def processes(project: Project) -> Iterator[None]:
    project.append("notes/models.py", MODEL)
    project.write("notes/receivers.py", RECEIVER)
    project.manage("makemigrations", "notes")
    project.manage("migrate")
    project.manage("dispatch", "stubs", "-o", "notes/tasks.py")
    with project.running("worker", "relay", "results"):
        yield


def test_its_calls_are_run_by_a_worker(project: Project) -> None:
    sent = project.run(
        CHAIN, "chain = first, second, third", TYPED, GROUP, "answer([each.pk for each in chain])"
    )
    first, second, third = eventually(lambda: project.run(f"answer(returned({sent}))"))
    assert (first["summary"], third["summary"]) == ("Cats sleep.", "Dogs bark.")
    assert second["note_id"] == first


def test_what_follows_a_group_is_sent_once_all_of_it_has_ended(project: Project) -> None:
    batch = project.run(
        f"""
    TaskDefinition.objects.create(name={REPORT!r})
    notes = [Note.objects.create(title="N", body="Cats sleep.") for _ in range(3)]
    """,
        PARTS,
        "answer(batch.pk)",
    )
    reports = f"answer([json.loads(m.kwargs) for m in OutboxMessage.objects.filter(task_name={REPORT!r})])"
    assert eventually(lambda: project.run(reports)) == [{"batch": str(batch)}]
    everything = "answer(not OutboxMessage.objects.filter(handled_at=None).exists())"
    assert eventually(lambda: project.run(everything))
    assert project.run(reports) == [{"batch": str(batch)}]
