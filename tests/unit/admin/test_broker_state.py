"""What the pages' script is told of the queues."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from kombu.transport import memory

from dispatch import queues
from dispatch.api import send_task
from dispatch.models import OutboxMessage, Queue, Route, TaskDefinition

SUMMARIZE = "worker.tasks.llm.summarize_note"


@pytest.fixture(autouse=True)
def looked(registry, broker_settings):
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()
    broker_settings("memory://", BROKER_TIMEOUT=0.05)
    queues.sights.clear()


def told(client, *names):
    response = client.get(reverse("admin:dispatch_queue_seen"), {"queue": names})
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return response.json()


def see(monkeypatch, **seen):
    table = {queue.name: queue for queue, _seen in queues.look(["llm", "default"])}
    found = queues.Seen(**{"state": "ok", "note": "", "ready": 0, "consumers": 1, **seen})
    monkeypatch.setattr(
        "dispatch.queues.live_state.look", lambda names: [(table[name], found) for name in names]
    )


def test_a_queue_that_nobody_consumes_is_a_warning(boss, monkeypatch):
    see(monkeypatch, consumers=0, ready=3, note="No worker consumes it: …")
    found = told(boss, "llm")["llm"]
    assert (found["kind"], found["label"], found["counts"]) == (
        "warning",
        "no consumer",
        "3 messages wait",
    )
    assert found["note"].startswith("No worker consumes it")
    assert found["at"].startswith("asked at ")


@pytest.mark.parametrize(
    ("seen", "kind", "label"),
    [
        ({}, "active", "consumed"),
        ({"consumers": None}, "warning", "no worker answers"),
        ({"state": "missing", "consumers": 0}, "warning", "not on the broker"),
        ({"state": "drift"}, "warning", "differs from the broker's"),
        ({"state": "refused", "consumers": None}, "unknown", "the broker does not show it"),
        ({"state": "down", "consumers": None}, "unknown", "the broker could not be asked"),
    ],
)
def test_each_state_has_its_word(boss, monkeypatch, seen, kind, label):
    see(monkeypatch, **seen)
    found = told(boss, "llm")["llm"]
    assert (found["kind"], found["label"]) == (kind, label)


@pytest.mark.parametrize(
    ("seen", "verb"),
    [
        ({"consumers": 0}, "apply"),
        ({"state": "missing", "consumers": 0}, "declare"),
        ({"consumers": None}, ""),
        ({"state": "down", "consumers": None}, ""),
    ],
)
def test_the_remedy_is_a_link_for_those_who_may_follow_it(boss, viewer, monkeypatch, seen, verb):
    see(monkeypatch, **seen)
    pk = Queue.objects.get(name="llm").pk
    url = f"/admin/dispatch/queue/{verb}/?pk={pk}" if verb else None
    assert told(boss, "llm")["llm"].get("url") == url
    assert "url" not in told(viewer, "llm")["llm"]


def test_a_queue_that_differs_says_so_first_and_then_that_nobody_consumes_it(boss, monkeypatch):
    see(monkeypatch, state="drift", consumers=0, ready=2)
    found = told(boss, "llm")["llm"]
    assert (found["label"], found["counts"]) == ("differs from the broker's", "no consumer, 2 messages wait")


def test_a_broker_that_is_down_says_so(boss, broker_settings):
    broker_settings("redis://127.0.0.1:1/0", BROKER_TIMEOUT=0.2)
    found = told(boss, "llm")["llm"]
    assert found["label"] == "the broker could not be asked"
    assert "cannot be reached" in found["note"]


def test_a_broker_that_went_down_leaves_what_was_known_last_with_its_time(boss, monkeypatch):
    monkeypatch.setattr("dispatch.queues.live_state.FRESH", 0)
    for seen in ({"ready": 3}, {"state": "down", "ready": None, "consumers": None}):
        see(monkeypatch, **seen)
        found = told(boss, "llm")["llm"]
    assert found["label"] == "the broker could not be asked"
    assert re.fullmatch(r"last known at \d\d:\d\d:\d\d: 1 consumer, 3 messages wait", found["counts"])


def test_a_name_that_the_registry_does_not_have_is_told_as_such(boss):
    assert told(boss, "gone")["gone"]["label"] == "not in the registry"


def test_who_sees_a_page_with_queues_may_ask_and_nobody_else(viewer):
    assert set(told(viewer, "llm")) == {"llm"}
    user = User.objects.create_user("other", is_staff=True)
    client = Client()
    address = reverse("admin:dispatch_queue_seen")
    assert client.get(address).status_code == 302
    client.force_login(user)
    assert client.get(address).status_code == 403


def test_no_page_asks_a_broker(boss, monkeypatch):
    monkeypatch.setattr("dispatch.client.queue_state.opened", None)
    message = send_task(SUMMARIZE, ["1", "text"])
    rows = [
        message,
        Queue.objects.get(name="llm"),
        Route.objects.get(),
        TaskDefinition.objects.get(name=SUMMARIZE),
    ]
    for row in rows:
        for name, args in (("changelist", []), ("change", [row.pk])):
            page = boss.get(
                reverse(f"admin:dispatch_{row._meta.model_name}_{name}", args=args)
            ).content.decode()
            assert 'data-queue="llm"' in page or (row._meta.model_name, name) == ("route", "change")
            assert "dispatch/live.js" in page


def test_a_message_that_a_worker_has_finished_warns_of_no_queue(boss):
    from django_celery_results.models import TaskResult

    message = send_task(SUMMARIZE, ["1", "text"])
    OutboxMessage.objects.update(status="published", published_at=timezone.now())
    TaskResult.objects.create(task_id=str(message.pk), status="SUCCESS")
    assert (
        'data-queue="llm"'
        not in boss.get(reverse("admin:dispatch_outboxmessage_changelist")).content.decode()
    )
