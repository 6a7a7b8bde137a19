"""Declaring, purging and telling workers: what the page says before, and what has become of it."""

from __future__ import annotations

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from kombu.transport import memory

from dispatch import queues
from dispatch.api import send_task
from dispatch.models import OutboxMessage, Queue
from dispatch.queues import Plan, Step
from dispatch.relay import Relay

SUMMARIZE = "worker.tasks.llm.summarize_note"
pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture(autouse=True)
def broker(registry, broker_settings):
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()
    broker_settings("memory://", BROKER_TIMEOUT=0.05)
    queues.sights.clear()


def address(verb, *names):
    found = Queue.objects.filter(name__in=names).values_list("pk", flat=True)
    return reverse(f"admin:dispatch_queue_{verb}") + "?" + "&".join(f"pk={pk}" for pk in found)


def text(response):
    return html.unescape(response.content.decode())


def history():
    return list(LogEntry.objects.values_list("object_repr", "change_message").order_by("pk"))


def publish(number):
    for _ in range(number):
        send_task(SUMMARIZE, ["1", "text"])
    Relay().drain()


def test_the_actions_of_the_list_lead_to_a_page_that_asks(boss):
    pk = str(Queue.objects.get(name="llm").pk)
    for verb in ("declare", "purge", "apply"):
        response = boss.post(
            reverse("admin:dispatch_queue_changelist"), {"action": verb, "_selected_action": [pk]}
        )
        assert response.url == address(verb, "llm")


@pytest.mark.django_db(transaction=True)
def test_purging_says_how_many_messages_are_lost_and_then_how_many_were(boss):
    publish(2)
    send_task(SUMMARIZE, ["1", "waits"])
    assert "Throw away 2 messages" in text(boss.get(address("purge", "llm")))
    assert len(memory.Channel.queues["llm"].queue) == 2, "looking throws nothing away"
    told = text(boss.post(address("purge", "llm"), follow=True))
    assert "Queue llm: 2 messages were thrown away." in told
    assert not memory.Channel.queues["llm"].queue
    assert OutboxMessage.objects.filter(status="pending").count() == 1
    assert history() == [("llm", "Purged: 2 messages were thrown away.")]


def test_declaring_tells_of_each_queue_what_has_become_of_it(boss, monkeypatch):
    outcomes = [queues.Outcome("default", "declared"), queues.Outcome("llm", error="It differs.")]
    monkeypatch.setattr(queues, "declare", lambda names: outcomes)
    told = text(boss.post(address("declare", "llm", "default"), follow=True))
    assert "Declared: default." in told
    assert "Queue llm: It differs." in told
    assert history() == [("default", "Declared on its broker.")]


def test_a_broker_that_is_down_is_told_and_nothing_fails(boss, broker_settings):
    broker_settings("redis://127.0.0.1:1/0", BROKER_TIMEOUT=0.2)
    assert "the broker could not be asked" in text(boss.get(address("purge", "llm")))
    assert "cannot be reached" in text(boss.post(address("purge", "llm"), follow=True))
    assert history() == []


def test_workers_are_told_what_was_shown_and_no_more(boss, monkeypatch):
    shown = [Step("w@1", "consume", "llm", "default"), Step("w@1", "leave", "gone", "default", messages=3)]
    new = Step("w@2", "consume", "llm", "default")
    told_of = []
    monkeypatch.setattr(queues, "plan", lambda names: Plan([*shown, new], ["Try `-Q`."], ["A problem."]))
    monkeypatch.setattr(queues, "carry_out", lambda steps: told_of.extend(steps) or steps)
    monkeypatch.setattr(queues, "renew_pools", lambda steps: ["Its `pool` stays."])
    page = text(boss.get(address("apply")))
    assert "Make 3 changes" in page
    assert "Try <code>-Q</code>." in page
    assert "A problem." in page
    keys = ["w@1 consume llm", "w@1 leave gone", "w@3 consume llm"]
    told = text(boss.post(address("apply"), {"step": keys}, follow=True))
    assert told_of == shown
    assert "Worker w@1 consumes llm." in told
    assert "Worker w@1 has left gone." in told
    assert "Its <code>pool</code> stays." in told
    assert history() == [("llm", "Worker w@1 consumes llm."), ("gone", "Worker w@1 has left gone.")]


def test_where_there_is_nothing_to_tell_workers_there_is_no_button(boss, monkeypatch):
    monkeypatch.setattr(queues, "plan", lambda names: Plan())
    page = text(boss.get(address("apply", "llm")))
    assert "The running workers consume what the registry has." in page
    assert 'type="submit" class="button default"' not in page


@pytest.mark.parametrize("query", ["", "?pk=0", "?pk=x&pk=-1"])
def test_without_queues_one_is_sent_back_to_the_list(boss, query):
    response = boss.get(reverse("admin:dispatch_queue_purge") + query, follow=True)
    assert "Choose the queues in the list first." in text(response)


def test_a_queue_that_the_registry_cannot_use_is_told(boss):
    Queue.objects.filter(name="llm").update(arguments=["no", "object"])
    assert "No queue 'llm' in the registry" in text(boss.get(address("purge", "llm"), follow=True))


@pytest.mark.parametrize(
    ("permission", "verbs"),
    [("declare_queue", {"declare", "apply"}), ("purge_queue", {"purge"}), ("pause_queue", set())],
)
def test_each_action_takes_its_permission_and_is_offered_to_nobody_else(viewer, permission, verbs):
    user = User.objects.get(username="viewer")
    user.user_permissions.add(Permission.objects.get(codename=permission))
    page = text(viewer.get(reverse("admin:dispatch_queue_change", args=[Queue.objects.get(name="llm").pk])))
    offered = text(viewer.get(reverse("admin:dispatch_queue_changelist")))
    for verb in ("declare", "purge", "apply"):
        assert (address(verb, "llm") in page) == (verb in verbs)
        assert (f'<option value="{verb}">' in offered) == (verb in verbs)
        refused = 200 if verb in verbs else 403
        assert viewer.get(address(verb, "llm")).status_code == refused
        if verb not in verbs:
            assert viewer.post(address(verb, "llm")).status_code == 403


def test_whoever_may_not_pause_cannot_do_so_by_the_form_either(viewer):
    user, queue = User.objects.get(username="viewer"), Queue.objects.get(name="llm")
    user.user_permissions.add(Permission.objects.get(codename="change_queue"))
    page = reverse("admin:dispatch_queue_change", args=[queue.pk])
    form = {"name": "llm", "broker": "default", "queue_type": "classic", "durable": "on", "arguments": "{}"}
    form |= {"paused": "on", "bindings-TOTAL_FORMS": 0, "bindings-INITIAL_FORMS": 0}
    assert viewer.post(page, form).status_code == 302
    assert not Queue.objects.get(name="llm").paused
    user.user_permissions.add(Permission.objects.get(codename="pause_queue"))
    assert viewer.post(page, form).status_code == 302
    assert Queue.objects.get(name="llm").paused
