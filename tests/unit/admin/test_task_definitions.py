from __future__ import annotations

import datetime as dt

import pytest
from django.urls import reverse

from dispatch.api import send_task
from dispatch.models import Manifest, TaskDefinition

SUMMARIZE, PUSH = "worker.tasks.llm.summarize_note", "worker.tasks.ops.push_to_partner"
pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def retired():
    """The task of the worker 0.2.0, which was not in its manifest any more."""
    send_task(SUMMARIZE, kwargs={"note_id": "1", "text": "a"})
    imported = Manifest.objects.create(worker="worker", version="0.2.0", checksum="sha256:00", offers=[])
    TaskDefinition.objects.filter(name=SUMMARIZE).update(
        manifest=imported,
        retired_at=dt.datetime(2026, 11, 20, 9, 30, tzinfo=dt.UTC),
        retired_version="0.2.0",
    )
    return TaskDefinition.objects.get(name=SUMMARIZE)


def page(client, row):
    return client.get(reverse("admin:dispatch_taskdefinition_change", args=[row.pk])).content.decode()


def listed(client, **query):
    response = client.get(reverse("admin:dispatch_taskdefinition_changelist"), query)
    return {row.name for row in response.context["cl"].result_list}, response.content.decode()


def test_a_retired_task_is_marked_with_date_and_version(boss, retired):
    assert "dispatch-badge-cancelled" in listed(boss)[1]
    assert "since 2026-11-20 09:30 UTC, by version 0.2.0: sending it is refused" in page(boss, retired)


def test_a_deprecated_task_is_marked_with_the_workers_reason(boss):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(deprecated="use <another>")
    assert ">deprecated</span>" in listed(boss)[1]
    assert "use &lt;another&gt;" in page(boss, TaskDefinition.objects.get(name=SUMMARIZE))


def test_what_the_worker_says_of_a_task_is_shown_and_not_edited(boss):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(
        returns={"type": "array", "items": {"type": "string"}}, worker_options={"rate_limit": "10/m"}
    )
    content = page(boss, TaskDefinition.objects.get(name=SUMMARIZE))
    assert "array of string" in content
    assert "rate_limit = &#x27;10/m&#x27;" in content
    assert 'name="returns"' not in content


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("retired", {SUMMARIZE}),
        ("deprecated", {PUSH}),
        ("current", {"by.hand"}),
        ("", {SUMMARIZE, PUSH, "by.hand"}),
    ],
)
def test_tasks_are_filtered_by_what_the_worker_offers(boss, retired, chosen, names):
    TaskDefinition.objects.filter(name=PUSH).update(deprecated="")
    assert listed(boss, **{"offer": chosen} if chosen else {})[0] == names


def test_the_page_of_a_message_says_that_its_task_was_retired(boss, retired):
    [message] = boss.get(reverse("admin:dispatch_outboxmessage_changelist")).context["cl"].result_list
    content = boss.get(reverse("admin:dispatch_outboxmessage_change", args=[message.pk])).content.decode()
    assert "Its task was retired on 2026-11-20, when worker 0.2.0 no longer offered it" in content
