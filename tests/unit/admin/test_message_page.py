"""What can be done on the page of one message: by whom, when, and what is written down of it."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch import outbox
from dispatch.api import Call, send_chain, send_task
from dispatch.exceptions import QueueUnavailable
from dispatch.models import OutboxMessage, Queue, Route, TaskDefinition, Trigger
from dispatch.outbox import revocation, transfer
from dispatch.outbox.resends import note_resend
from dispatch.outbox.revocation import Revocation
from project.notes.models import Note
from tests.support.registry import dead_message

pytestmark = pytest.mark.usefixtures("registry")
PUSH = "worker.tasks.ops.push_to_partner"
SECRET = {"url": "https://x.example", "token": "s3cr3t"}
TO_LLM = {
    "broker": "default",
    "queue": "llm",
    "queues": ["llm"],
    "exchange": "",
    "routing_key": "llm",
    "priority": None,
    "exchange_type": "direct",
}


def address(page: str, message: OutboxMessage) -> str:
    return reverse(f"admin:dispatch_outboxmessage_{page}", args=[message.pk])


def text_of(client: Client, message: OutboxMessage) -> str:
    return client.get(address("change", message)).content.decode()


def told(client: Client, verb: str, message: OutboxMessage, **data: str) -> str:
    return client.post(address(verb, message), data, follow=True).content.decode()


def published(**columns: Any) -> OutboxMessage:
    message = send_task(PUSH, kwargs=SECRET)
    columns = {"status": "published", "published_at": timezone.now(), **columns}
    OutboxMessage.objects.filter(pk=message.pk).update(**columns)
    message.refresh_from_db()
    return message


def history(message: OutboxMessage) -> list[str]:
    return list(LogEntry.objects.filter(object_id=str(message.pk)).values_list("change_message", flat=True))


def allow(codename: str) -> None:
    permission = Permission.objects.get(codename=codename)
    User.objects.get(username="viewer").user_permissions.add(permission)


# ------------------------------------------------------------------ permissions


@pytest.mark.parametrize(
    ("page", "codename"),
    [
        ("revoke", "revoke_outboxmessage"),
        ("move", "requeue_outboxmessage"),
        ("arguments", "view_arguments_outboxmessage"),
    ],
)
def test_each_button_has_a_permission_and_is_seen_by_whom_it_obeys(
    page: str, codename: str, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "_tell", lambda *arguments: None)
    monkeypatch.setattr(transfer, "is_movable", lambda message: True)
    message = published(published_to=TO_LLM)
    User.objects.get().user_permissions.remove(
        Permission.objects.get(codename="view_arguments_outboxmessage")
    )
    assert address(page, message) not in text_of(viewer, message)
    assert viewer.post(address(page, message)).status_code == 403
    allow(codename)
    assert address(page, message) in text_of(viewer, message)
    assert viewer.get(address(page, message)).status_code == 405
    assert viewer.post(address(page, message)).status_code in (200, 302)


def test_who_may_not_view_messages_learns_nothing_of_one(db: None) -> None:
    User.objects.create_user("other", is_staff=True)
    User.objects.get().user_permissions.add(
        Permission.objects.get(codename="view_arguments_outboxmessage"),
        Permission.objects.get(codename="requeue_outboxmessage"),
    )
    client = Client()
    client.force_login(User.objects.get())
    message = published()
    assert client.get(address("progress", message)).status_code == 403
    assert client.post(address("arguments", message)).status_code == 403
    assert client.post(address("requeue", message)).status_code == 403
    assert (
        client.get(reverse("admin:dispatch_outboxmessage_progress", args=[uuid.uuid4()])).status_code == 404
    )


# ------------------------------------------------------------------ where it is, refreshed in place


def test_the_words_are_refreshed_in_place_until_nothing_changes_any_more(boss: Client) -> None:
    message = send_task(PUSH, kwargs=SECRET)
    page = text_of(boss, message)
    assert f'data-refresh="{address("progress", message)}"' in page
    part = boss.get(address("progress", message)).content.decode()
    assert "No relay has been seen" in part
    assert 'data-state="pending "' in part
    assert "<html" not in part
    OutboxMessage.objects.update(status="cancelled")
    part = boss.get(address("progress", message)).content.decode()
    assert 'data-state="cancelled "' in part
    assert "data-refresh" not in part


# ------------------------------------------------------------------ revoke


def test_revoking_tells_which_workers_know_of_it_and_what_does_not_work(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[str] = []

    def tell(alias: str, ids: list[uuid.UUID], signal: str, result: Revocation) -> None:
        assert ids == [message.pk]
        signals.append(signal)
        result.add(answer)

    monkeypatch.setattr(revocation, "_tell", tell)
    message = published()
    answer = Revocation(revoked=1, workers={"b", "a"}, problems={"Worker c refuses."})
    page = told(boss, "revoke", message)
    assert "1 message is revoked: a, b will not run it." in page
    assert "Worker c refuses." in page
    assert history(message) == ["Revoked."]
    assert "Revoked by boss" in page
    answer = Revocation(in_hand=1)
    assert "revoke it again in a second" in told(boss, "revoke", message, terminate="on")
    answer = Revocation(done=1)
    assert "1 message had a result already." in told(boss, "revoke", message)
    assert signals == ["", "SIGTERM", ""]
    assert history(message) == ["Revoked."]


def test_what_has_ended_is_not_offered_to_be_revoked(boss: Client) -> None:
    message = published(handled_at=timezone.now())
    assert address("revoke", message) not in text_of(boss, message)


# ------------------------------------------------------------------ move


def test_a_message_in_the_wrong_queue_is_moved_where_the_broker_can(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = published(published_to=TO_LLM, queue="llm")
    assert "Move to queue default on broker default" in text_of(boss, message)
    monkeypatch.setattr(transfer, "transfer", lambda found: transfer.better_place(found))
    assert "It was taken out of its queue" in told(boss, "move", message)
    assert history(message) == ["Moved from queue llm to queue default."]

    def refuse(message: OutboxMessage) -> None:
        raise QueueUnavailable("A worker has it.")

    monkeypatch.setattr(transfer, "transfer", refuse)
    assert "A worker has it." in told(boss, "move", message)
    assert len(history(message)) == 1


def test_where_the_broker_cannot_that_is_said_instead(boss: Client, broker_settings: Any) -> None:
    broker_settings("amqp://127.0.0.1:1//")
    message = published(published_to=TO_LLM)
    page = text_of(boss, message)
    assert "The registry leads it elsewhere now: queue default on broker default." in page
    assert "Its broker cannot give back one message out of a queue" in page
    assert address("move", message) not in page
    Route.objects.create(pattern=PUSH, queue=Queue.objects.get(name="llm"))
    assert "elsewhere" not in text_of(boss, message)


# ------------------------------------------------------------------ send again


def test_a_message_and_its_copies_link_to_each_other(boss: Client) -> None:
    original, copy = published(), send_task(PUSH, kwargs=SECRET)
    note_resend(original, copy)
    assert address("change", copy) in text_of(boss, original)
    assert address("change", original) in text_of(boss, copy)


def test_what_was_sent_can_be_sent_again_by_whom_may_send(viewer: Client) -> None:
    task = TaskDefinition.objects.get(name=PUSH)
    message, pending = published(), send_task(PUSH, kwargs=SECRET)
    form = f"/admin/dispatch/taskdefinition/{task.pk}/send/?again={message.pk}"
    assert form not in text_of(viewer, message)
    allow("send_taskdefinition")
    assert form in text_of(viewer, message)
    assert "Send again as new" not in text_of(viewer, pending)


# ------------------------------------------------------------------ arguments


def test_who_looks_at_sensitive_arguments_is_written_down(boss: Client) -> None:
    message = published()
    assert "s3cr3t" not in text_of(boss, message)
    page = boss.post(address("arguments", message)).content.decode()
    assert "s3cr3t" in page
    assert history(message) == ["Sensitive arguments viewed."]
    OutboxMessage.objects.update(task_name="gone.task")
    assert "s3cr3t" in boss.post(address("arguments", message)).content.decode()


def test_nothing_masked_nothing_to_show(boss: Client) -> None:
    message = send_task("by.hand", kwargs={"a": 1})
    assert "Show sensitive arguments" not in text_of(boss, message)


# ------------------------------------------------------------------ what happened


def test_how_it_ended_and_how_long_it_waited_and_ran_is_told_as_far_as_the_worker_tells(boss: Client) -> None:
    message = published(published_at=timezone.now() - dt.timedelta(seconds=90))
    row = TaskResult.objects.create(task_id=str(message.pk), status="SUCCESS", worker="celery@one")
    TaskResult.objects.update(date_done=message.published_at + dt.timedelta(seconds=75))
    page = text_of(boss, message)
    assert "dispatch-badge-succeeded" in page
    assert "From published to finished</dt>" in page
    assert "1 min 15 s" in page
    TaskResult.objects.filter(pk=row.pk).update(
        date_started=message.published_at + dt.timedelta(seconds=62.5)
    )
    page = text_of(boss, message)
    assert "<dd>1 min 2 s</dd>" in page
    assert "<dd>12.5 s</dd>" in page
    assert page.index("Started by the worker") < page.index("Finished by the worker")


@pytest.mark.one_database
def test_the_end_of_time_is_told_in_a_zone_whose_clocks_do_not_have_it(boss: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    never = dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.UTC)
    message = send_task(PUSH, kwargs=SECRET, eta=never, expires=never)
    page = text_of(boss, message)
    assert "(9999-12-31 23:59)" in page
    assert page.count("9999-12-31 23:59:00 UTC") == 2
    assert boss.get(address("progress", message)).status_code == 200


@pytest.mark.one_database
def test_an_attempt_stands_before_what_came_of_it_in_the_same_second(boss: Client) -> None:
    second = timezone.now().replace(microsecond=0)
    message = published(status="dead", published_at=None, available_at=second + dt.timedelta(microseconds=1))
    message.failed_attempts.create(
        id=uuid.uuid4(), number=1, at=second + dt.timedelta(microseconds=2), error="no"
    )
    page = text_of(boss, message)
    assert page.index("Attempt 1 failed") < page.index("<dt>Dead</dt>")


def test_a_table_of_results_that_cannot_be_read_costs_the_page_nothing_else(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = published()
    monkeypatch.setattr(TaskResult._meta, "db_table", "no_such_table")
    assert "The broker took it" in text_of(boss, message)


def test_a_trigger_that_could_not_make_it_says_what_was_attempted(boss: Client) -> None:
    note = Note.objects.create(title="A note")
    trigger = Trigger.objects.create(
        name="On save", model="notes.note", events=["created"], task=TaskDefinition.objects.get(name=PUSH)
    )
    origin = outbox.Origin("trigger", "On save", "notes.note", str(note.pk))
    page = text_of(boss, dead_message(PUSH, "No field.", origin))
    assert f"Trigger On save fired for notes.note {note.pk}" in page
    assert f"{reverse('admin:dispatch_trigger_preview', args=[trigger.pk])}?pk={note.pk}" in page


def test_each_message_of_a_chain_leads_to_the_others(admin_client: Client) -> None:
    first, second, third = send_chain(
        [Call(PUSH, kwargs=SECRET), *[Call(PUSH, immutable=True, kwargs=SECRET)] * 2]
    )
    assert "Chain" not in text_of(admin_client, send_task(PUSH, kwargs=SECRET))
    for message in (first, second, third):
        text = text_of(admin_client, message)
        others = [each for each in (first, second, third) if each != message]
        assert [address("change", each) in text for each in others] == [True, True]
        assert "s3cr3t" not in text
        assert "subtask_type" not in text
    third.delete()
    assert address("change", third) not in text_of(admin_client, first)
    OutboxMessage.objects.filter(pk=first.pk).update(options={"chain": [5]})
    assert address("change", second) not in text_of(admin_client, first)


def test_a_chain_tells_how_far_it_is(admin_client: Client) -> None:
    first, second, third = send_chain(
        [Call(PUSH, kwargs=SECRET), *[Call(PUSH, immutable=True, kwargs=SECRET)] * 2]
    )
    OutboxMessage.objects.exclude(pk=third.pk).update(status="published", published_at=timezone.now())
    TaskResult.objects.create(task_id=str(first.pk), status="SUCCESS")
    steps = text_of(admin_client, second).partition('class="dispatch-steps"')[2].partition("</ol>")[0]
    assert re.findall(r"dispatch-badge-([\w-]+)", steps) == ["succeeded", "published", "chained"]


def test_a_step_that_is_given_a_result_says_so(admin_client: Client) -> None:
    rest = {name: value for name, value in SECRET.items() if name != "url"}
    chain = send_chain(
        [Call(PUSH, kwargs=SECRET), Call(PUSH, kwargs=rest), Call(PUSH, kwargs=SECRET, immutable=True)]
    )
    note = "Its first argument, null here, is the result of the step before it."
    assert [note in text_of(admin_client, message) for message in chain] == [False, True, False]
