"""A trigger that fires at each update, on a model that its own results update: one task, and no loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stacks import eventually, fresh_database, in_django, system

pytestmark = pytest.mark.slow

SAVE = """
    from dispatch.models import Trigger, TriggerArgument
    row = Trigger.objects.get(name="Summarise text notes")
    Trigger.objects.filter(pk=row.pk).update(events=["created", "updated"])
    note = Note.objects.create(kind="text", title="T", body="Cats sleep. Dogs bark. Cats win.")
    answer(str(note.pk))
"""
LOOK = """
    rows = [[str(m.pk), m.status, bool(m.handled_at)] for m in OutboxMessage.objects.order_by("id")]
    answer([rows, Note.objects.get().summary])
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_the_save_of_a_result_starts_no_second_task_and_says_so(
    tmp_path: Path, rabbitmq_url: str, results_url: str, kind: str
) -> None:
    with (
        fresh_database(kind, tmp_path) as database_url,
        system(tmp_path, database_url, rabbitmq_url, results_url, "worker", "relay", "results") as stack,
    ):
        note = in_django(stack, SAVE)
        eventually(lambda: all(row[2] for row in in_django(stack, LOOK)[0]))
        in_django(stack, "Note.objects.get().save()")  # an update by anybody else fires
        rows, summary = eventually(lambda: second_is_handled(in_django(stack, LOOK)))
        assert "Cats" in summary
        log = (tmp_path / "results.log").read_text()
        for task_id, *_ in rows:
            assert (
                f"Trigger 'Summarise text notes' is suppressed while the result of task {task_id} is handled: "
                f"notes.note {note} was updated."
            ) in log
        stack.check()
        assert len(in_django(stack, LOOK)[0]) == 2


def second_is_handled(seen: list[object]) -> list[object] | None:
    rows, _ = seen
    return seen if len(rows) == 2 and all(row[2] for row in rows) else None  # type: ignore[arg-type,index]
