"""What was published is taken back, with a worker of its own virtualenv."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.stacks import eventually, fresh_database, in_django, system

pytestmark = pytest.mark.slow

SEND = """
    held = api.send_task("worker.tasks.llm.summarize_note", ["1", "Cats sleep."], countdown=600, deliver_eta=True)
    waits = api.send_task("worker.tasks.llm.summarize_note", ["1", "Cats sleep."], countdown=600)
    answer([str(held.pk), str(waits.pk)])
"""
STATUSES = """
    rows = OutboxMessage.objects.values_list("id", "status")
    results = TaskResult.objects.values_list("task_id", "status")
    answer([{str(pk): status for pk, status in rows}, dict(results)])
"""


def test_a_worker_never_runs_what_was_revoked(tmp_path: Path, redis_url: str, results_url: str) -> None:
    with (
        fresh_database("sqlite", tmp_path) as database_url,
        system(tmp_path, database_url, redis_url, results_url, "worker") as stack,
    ):
        held, waits = in_django(stack, SEND)
        stack.manage("dispatch", "relay", "--once")
        eventually(lambda: held in stack["worker"].output())  # it has the message, and waits for its time

        answer = json.loads(
            stack.manage("dispatch", "messages", "revoke", held, waits, "--yes", "--format", "json")
        )
        assert (answer["cancelled"], answer["revoked"], answer["problems"]) == (1, 1, [])
        assert len(answer["workers"]) == 1

        def revoked() -> bool:
            stack.manage("dispatch", "results", "--once")
            statuses, results = in_django(stack, STATUSES)
            assert statuses == {held: "published", waits: "cancelled"}
            return bool(results == {held: "REVOKED"})

        eventually(revoked)
