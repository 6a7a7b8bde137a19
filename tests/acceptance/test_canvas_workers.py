"""Chains and groups by name, run by a real worker: each step's result comes back to a message of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from project.stack import Stack
from tests.support.stacks import eventually, in_django, system

pytestmark = pytest.mark.slow


@pytest.fixture(params=["redis_url", "rabbitmq_url"])
def stack(request: pytest.FixtureRequest, tmp_path: Path, results_url: str) -> Iterator[Stack]:
    url, broker_url = f"sqlite:///{tmp_path}/web.sqlite3", request.getfixturevalue(request.param)
    with system(tmp_path, url, broker_url, results_url, "worker", "relay", "results") as stack:
        yield stack


def test_each_step_of_a_chain_is_given_the_result_before_it_and_reports_its_own(stack: Stack) -> None:
    sent = in_django(
        stack,
        """
    from dispatch.api import Call, send_chain
    summarize, preview = "worker.tasks.llm.summarize_note", "worker.tasks.link.preview_links"
    messages = send_chain([
        Call(summarize, kwargs={"note_id": "1", "text": "Cats sleep."}),
        Call(preview, kwargs={"text": "none"}),
        Call(summarize, ["3"], {"text": "Dogs bark."}, immutable=True),
    ])
    answer([str(message.pk) for message in messages])
    """,
    )
    results = eventually(lambda: _results(stack, sent))
    first, second, third = results
    assert first["summary"] == "Cats sleep."
    assert second == {"note_id": first, "summary": "no links", "links": []}
    assert third["summary"] == "Dogs bark."


def test_a_worker_takes_the_options_of_each_step(stack: Stack) -> None:
    sent = in_django(
        stack,
        """
    from dispatch.api import Call, send_chain
    summarize, preview = "worker.tasks.llm.summarize_note", "worker.tasks.link.preview_links"
    linked = {"task": summarize, "args": ["linked", "Birds sing."], "immutable": True, "options": {"queue": "llm"}}
    messages = send_chain([
        Call(summarize, ["1", "Cats sleep."], compression="gzip", priority=5, expires=60),
        Call(
            preview, kwargs={"text": "none"}, countdown=1, expires=60, compression="zlib", priority=9, shadow="other",
            time_limit=50, soft_time_limit=40, headers={"tenant": "a"}, stamps={"by": "me"}, link=linked,
            link_error="worker.tasks.ops.fail_on_demand",
        ),
        Call(summarize, ["3", "Dogs bark."], immutable=True, ignore_result=True),
        Call(summarize, kwargs={"note_id": "4", "text": "Fish swim."}, immutable=True, serializer="json"),
    ])
    answer([str(message.pk) for message in (messages[0], messages[1], messages[3])])
    """,
    )
    results = eventually(lambda: _results(stack, sent))
    assert [each["summary"] for each in results] == ["Cats sleep.", "no links", "Fish swim."]


@pytest.mark.parametrize("stack", ["redis_url"], indirect=True)
def test_a_step_that_fails_fails_those_behind_it(stack: Stack) -> None:
    sent = in_django(
        stack,
        """
    from dispatch.api import Call, send_chain
    fail, preview = "worker.tasks.ops.fail_on_demand", "worker.tasks.link.preview_links"
    messages = send_chain([
        Call(fail, kwargs={"note_id": "1"}), Call(preview, kwargs={"text": "none"}), Call(preview, ["."]),
    ])
    answer([str(message.pk) for message in messages])
    """,
    )
    look = f"""
    from django_celery_results.models import TaskResult
    rows = {{row.task_id: row.status for row in TaskResult.objects.filter(task_id__in={sent})}}
    answer(len(rows) == 3 and [rows[task_id] for task_id in {sent}])
    """
    assert eventually(lambda: in_django(stack, look)) == ["FAILURE"] * 3


@pytest.mark.parametrize("stack", ["redis_url"], indirect=True)
def test_the_parts_of_a_group_report_each_its_own(stack: Stack) -> None:
    sent = in_django(
        stack,
        """
    from dispatch.api import Call, send_group
    summarize = "worker.tasks.llm.summarize_note"
    calls = [Call(summarize, kwargs={"note_id": str(n), "text": "Cats sleep."}) for n in range(3)]
    answer([str(message.pk) for message in send_group(calls)])
    """,
    )
    results = eventually(lambda: _results(stack, sent))
    assert [each["note_id"] for each in results] == ["0", "1", "2"]


def _results(stack: Stack, task_ids: list[str]) -> list[dict[str, object]]:
    """Return what the tasks returned, in order, once all have."""
    look = f"""
    import json
    from django_celery_results.models import TaskResult
    rows = {{row.task_id: json.loads(row.result) for row in TaskResult.objects.filter(task_id__in={task_ids})}}
    handled = OutboxMessage.objects.filter(pk__in={task_ids}, handled_at__isnull=False).count()
    answer(handled == {len(task_ids)} and [rows[task_id] for task_id in {task_ids}])
    """
    found: list[dict[str, object]] = in_django(stack, look)
    return found
