from __future__ import annotations

import json
import re
import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch import outbox
from dispatch.admin import message_window
from dispatch.api import Call, send_task
from dispatch.models import OutboxMessage, Queue, Trigger
from project.notes.models import Note
from tests.support.odd_values import ODD_ROWS, write
from tests.support.registry import dead_message

LIST = "admin:dispatch_outboxmessage_changelist"
PUSH = "worker.tasks.ops.push_to_partner"
SUMMARIZE = "worker.tasks.llm.summarize_note"
pytestmark = pytest.mark.usefixtures("registry")


def detail(message):
    return reverse("admin:dispatch_outboxmessage_change", args=[message.pk])


def button(verb, message):
    return reverse(f"admin:dispatch_outboxmessage_{verb}", args=[message.pk])


def text_of(client, address, data=None):
    return client.get(address, data).content.decode()


def with_status(status, **columns):
    message = send_task("by.hand")
    if status == "claimed":
        columns |= {"lease_token": uuid.uuid4(), "lease_expires_at": timezone.now()}
    if status == "published":
        columns |= {"published_at": timezone.now()}
    OutboxMessage.objects.filter(pk=message.pk).update(status=status, **columns)
    message.refresh_from_db()
    return message


def act(client, verb, messages, **extra):
    """Take an action and say yes to what is asked then."""
    chosen = {"action": verb, "_selected_action": [str(message.pk) for message in messages]}
    asked = client.post(reverse(LIST), {**chosen, **extra}, follow=True)
    if "ids" not in asked.context:
        return asked.content.decode()
    done = client.post(asked.context["action_url"], {"ids": asked.context["ids"]}, follow=True)
    return done.content.decode()


def result_of(message, status="SUCCESS", result=None, **columns):
    return TaskResult.objects.create(
        task_id=str(message.pk),
        status=status,
        result=json.dumps(result),
        content_type="application/json",
        content_encoding="utf-8",
        **columns,
    )


# ------------------------------------------------------------------ the list


def test_the_list_takes_at_most_ten_queries_and_none_counts_or_sorts_all_rows(boss, settings, monkeypatch):
    monkeypatch.setattr(message_window, "SIZE", 100)
    settings.DISPATCH = settings.DISPATCH | {"REGISTRY_TTL": 60}
    note = Note.objects.create(title="A note")
    origin = outbox.Origin("trigger", "On save", "notes.note", str(note.pk))
    for message in outbox.enqueue([Call("by.hand")] * 200, origin=origin):
        result_of(message)
    boss.get(reverse(LIST))
    with CaptureQueriesContext(
        connection,
    ) as captured:
        boss.get(reverse(LIST))
    queries = [query["sql"].replace("`", '"') for query in captured.captured_queries]  # as MariaDB quotes
    assert len(queries) <= 10
    of_messages = [sql for sql in queries if 'FROM "dispatch_outboxmessage"' in sql]
    assert len(of_messages) == 4
    assert all("LIMIT" in sql or '"dispatch_outboxmessage"."id" > ' in sql for sql in of_messages)
    assert not any("DISTINCT" in sql or 'created_at" DESC' in sql for sql in of_messages)


def test_the_address_bar_cannot_make_the_list_sort_by_a_column_without_index(boss):
    send_task("by.hand")
    with CaptureQueriesContext(connection) as captured:
        assert boss.get(reverse(LIST), {"o": "6.1"}).status_code == 200
    assert not any(
        'ORDER BY "dispatch_outboxmessage"."attempts"' in q["sql"] for q in captured.captured_queries
    )


@pytest.mark.parametrize(
    "lookup", ["kwargs__contains", "args__startswith", "last_error__contains", "headers__x"]
)
def test_the_address_bar_cannot_probe_what_is_masked(boss, lookup):
    assert boss.get(reverse(LIST), {lookup: "s"}).status_code == 400


def test_the_list_shows_one_status_made_of_the_outboxs_and_the_results(boss):
    result_of(with_status("published"), "FAILURE")
    text = text_of(boss, reverse(LIST))
    assert "dispatch-badge-failed" in text
    assert "dispatch-badge-published" not in text


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"status__exact": "dead"}, 1),
        ({"queue": "llm"}, 1),
        ({"task_name": SUMMARIZE}, 1),
        ({"origin__exact": "trigger"}, 0),
        ({"object_model": "notes.note", "object_pk": "7"}, 0),
        ({"object_model": "notes.note"}, 0),
        ({"since": "1h"}, 2),
        ({}, 2),
    ],
)
def test_filters(boss, filters, found):
    with_status("dead")
    send_task(SUMMARIZE, ["1", "text"])
    assert boss.get(reverse(LIST), filters).context["cl"].result_count == found


def test_search_by_task_id_name_and_object(boss):
    origin = outbox.Origin("trigger", "On save", "notes.note", "42")
    [of_note] = outbox.enqueue([Call(SUMMARIZE, ["1", "text"])], origin=origin)
    send_task("by.hand")

    def found(term):
        return [row.pk for row in boss.get(reverse(LIST), {"q": term}).context["cl"].result_list]

    assert found(str(of_note.pk)) == [of_note.pk]
    assert found("SUMMARIZE") == [of_note.pk]
    assert found("42") == [of_note.pk]
    assert found("notes.note 42") == [of_note.pk]
    assert found("notes.Note:42") == [of_note.pk]
    assert found("auth.user 42") == []
    assert found("no.such.task") == []


def test_a_search_for_a_uuid_finds_the_object_with_that_key_too(boss):
    note = Note.objects.create(title="A note")
    [message] = outbox.enqueue(
        [Call("by.hand")], origin=outbox.Origin("trigger", "T", "notes.note", str(note.pk))
    )
    [row] = boss.get(reverse(LIST), {"q": str(note.pk)}).context["cl"].result_list
    assert row.pk == message.pk


# ------------------------------------------------------------------ one message


def test_sensitive_arguments_are_masked_by_position_and_by_name(boss):
    by_name = send_task(PUSH, kwargs={"url": "https://x.example", "token": "s3cr3t"})
    by_position = send_task(PUSH, ["https://x.example", "s3cr3t"])
    for message in (by_name, by_position):
        text = text_of(boss, detail(message))
        assert "https://x.example" in text
        assert "***" in text
        assert "s3cr3t" not in text
    assert "s3cr3t" not in text_of(boss, reverse(LIST))


def signature(task, args=(), kwargs=None, **options):
    return {"task": task, "args": list(args), "kwargs": kwargs or {}, "options": options}


@pytest.mark.parametrize("option", ["link", "link_error"])
@pytest.mark.parametrize(
    "link",
    [
        signature(PUSH, kwargs={"url": "https://x.example", "token": "s3cr3t"}),
        signature(PUSH, ["https://x.example", "s3cr3t"]),
        signature("by.hand", link=[signature(PUSH, ["https://x.example", "s3cr3t"])]),
        signature("by.hand", link=[signature(PUSH, ["s3cr3t"])]),  # the parent's result will stand before it
        signature("by.hand", link=[signature("gone.task", ["s3cr3t"], {"token": "s3cr3t"})]),
        signature("by.hand", chord=signature(PUSH, kwargs={"token": "s3cr3t"})),
        signature("by.hand", kwargs={"tasks": [signature(PUSH, kwargs={"token": "s3cr3t"})]}),
    ],
    ids=[
        "by name",
        "by position",
        "link of a link",
        "behind a result",
        "unknown task",
        "chord",
        "in an argument",
    ],
)
def test_sensitive_arguments_of_linked_tasks_are_masked_as_deep_as_they_stand(option, link, boss):
    message = send_task(SUMMARIZE, kwargs={"note_id": "1", "text": "T"}, **{option: link})
    text = text_of(boss, detail(message))
    assert "***" in text
    assert link["task"] in text
    assert "s3cr3t" not in text


@pytest.mark.one_database
@pytest.mark.parametrize(
    "options",
    [{"stamps": {"key": "s3cr3t"}}, {"link": [signature("by.hand", headers={"key": "s3cr3t"})]}],
    ids=["stamps", "headers of a link"],
)
def test_values_of_stamps_and_of_a_links_headers_are_not_shown(options, boss):
    text = text_of(boss, detail(send_task("by.hand", **options)))
    assert "s3cr3t" not in text
    assert "&quot;key&quot;: &quot;***&quot;" in text


def test_all_arguments_are_hidden_where_the_task_is_unknown(boss):
    message = send_task("by.hand", kwargs={"token": "s3cr3t"})
    OutboxMessage.objects.update(task_name="gone.task")
    text = text_of(boss, detail(message))
    assert "s3cr3t" not in text
    assert "Arguments are hidden" in text


def test_header_values_are_not_shown(boss):
    message = send_task("by.hand", headers={"authorization": "s3cr3t"})
    text = text_of(boss, detail(message))
    assert "authorization" in text
    assert "s3cr3t" not in text


def test_a_message_shows_its_object_and_trigger_as_links(boss):
    note = Note.objects.create(title="A note")
    task = send_task("by.hand").task_name
    trigger = Trigger.objects.create(
        name="On save", model="notes.note", events=["created"], task_id=_task_pk(task)
    )
    origin = outbox.Origin("trigger", "On save", "notes.note", str(note.pk))
    [message] = outbox.enqueue([Call("by.hand")], origin=origin)
    text = text_of(boss, detail(message))
    assert reverse("admin:notes_note_change", args=[note.pk]) in text
    assert reverse("admin:dispatch_trigger_change", args=[trigger.pk]) in text


def test_an_object_of_another_schema_is_named_with_it_and_not_linked(boss):
    note = Note.objects.create(title="A note")
    origin = outbox.Origin("trigger", "T", "notes.note", str(note.pk), object_schema="ada")
    [message] = outbox.enqueue([Call("by.hand")], origin=origin)
    text = text_of(boss, detail(message))
    assert f"notes.note {note.pk} in schema ada" in text
    assert reverse("admin:notes_note_change", args=[note.pk]) not in text
    [address] = re.findall(r'href="([^"]*object_schema=ada[^"]*)"', text)
    assert boss.get(address.replace("&amp;", "&")).context["cl"].result_count == 1
    assert boss.get(address.replace("ada", "bob").replace("&amp;", "&")).context["cl"].result_count == 0


def test_who_may_not_view_the_object_gets_no_link_to_it(viewer):
    note = Note.objects.create(title="A note")
    [message] = outbox.enqueue(
        [Call("by.hand")], origin=outbox.Origin("trigger", "T", "notes.note", str(note.pk))
    )
    address = reverse("admin:notes_note_change", args=[note.pk])
    for page in (detail(message), reverse(LIST)):
        text = text_of(viewer, page)
        assert "notes" in text
        assert address not in text


def test_a_message_shows_its_result(boss):
    message = with_status("published")
    found = result_of(message, result={"summary": "Short."}, worker="celery@one")
    text = text_of(boss, detail(message))
    assert "Short." in text
    assert "celery@one" in text
    assert reverse("admin:django_celery_results_taskresult_change", args=[found.pk]) in text


def test_who_may_not_view_results_sees_how_a_task_ended_alone(viewer):
    message = with_status("published")
    failure = {"exc_type": "ValueError", "exc_message": ["s3cr3t"], "exc_module": "builtins"}
    result_of(message, "FAILURE", failure, traceback="Traceback: s3cr3t")
    text = text_of(viewer, detail(message))
    assert "failure" in text
    assert "permission to view task results" in text
    assert "s3cr3t" not in text
    assert "ValueError" not in text


def test_who_may_view_results_sees_them(viewer):
    message = with_status("published")
    result_of(message, result={"summary": "Short."})
    permission = Permission.objects.get(codename="view_taskresult")
    User.objects.get(username="viewer").user_permissions.add(permission)
    assert "Short." in text_of(viewer, detail(message))


def test_a_failed_task_shows_its_exception_and_folds_its_traceback(boss):
    message = with_status("published")
    failure = {"exc_type": "ValueError", "exc_message": ["no such file"], "exc_module": "builtins"}
    result_of(message, "FAILURE", failure, traceback="Traceback (most recent call last)")
    text = text_of(boss, detail(message))
    assert "ValueError: no such file" in text
    assert "<details>" in text


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *ODD_ROWS.values(),
        ("published_to", "[5]"),
        ("published_to", '"llm"'),
        ("published_to", '{"queues": 5}'),
    ],
)
def test_the_page_of_an_odd_row_shows_what_can_be_shown(boss, column, value):
    message = send_task(SUMMARIZE, kwargs={"note_id": "1", "text": "T"})
    write(message, column, value)
    assert boss.get(detail(message)).status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        "[" * 960 + "]" * 960,
        "[" * 100_000,
        r'"\ud800"',
        "9" * 5000,
        r'{"exc_type": ["\ud800"], "exc_message": {}}',
        "{",
    ],
    ids=["deep", "deeper", "half a pair", "long number", "odd exception", "no JSON"],
)
def test_a_result_of_any_shape_is_shown(boss, text):
    message = with_status("published")
    found = result_of(message)
    TaskResult.objects.filter(pk=found.pk).update(result=text)
    assert boss.get(detail(message)).status_code == 200


@pytest.mark.parametrize(
    ("status", "columns", "says"),
    [
        ("pending", {}, "No relay has been seen"),
        ("pending", {"queue": "llm"}, "is paused"),
        ("published", {"ignore_result": True}, "No result is kept"),
        ("dead", {"last_error": "Cause."}, "then requeue it"),
    ],
)
def test_a_message_says_where_it_is_and_what_to_do(boss, status, columns, says):
    if columns.get("queue") == "llm":
        Queue.objects.filter(name="llm").update(paused=True)
    assert says in text_of(boss, detail(with_status(status, **columns)))


# ------------------------------------------------------------------ requeue and cancel


def test_the_requeue_action_counts_what_it_did_and_says_why_it_did_not_do_the_rest(boss):
    messages = [with_status(status) for status in ("dead", "cancelled", "published", "pending")]
    text = act(boss, "requeue", messages)
    assert "2 messages are pending again" in text
    assert "Not requeued: 1 pending, 1 published" in text
    assert set(OutboxMessage.objects.values_list("status", flat=True)) == {"pending", "published"}


def test_the_cancel_action_leaves_what_a_relay_or_a_broker_has(boss):
    messages = [with_status(status) for status in ("pending", "claimed", "published")]
    text = act(boss, "cancel", messages)
    assert "1 message is cancelled" in text
    assert "Not cancelled: 1 claimed, 1 published" in text


def test_a_message_that_a_trigger_could_not_make_is_not_requeued(boss):
    dead = dead_message("by.hand", "No field.", outbox.Origin("trigger", "T", "notes.note", "1"))
    assert "has nothing to send" in act(boss, "requeue", [dead])
    dead.refresh_from_db()
    assert dead.status == "dead"
    assert button("requeue", dead) not in text_of(boss, detail(dead))


def test_all_messages_of_a_filter_can_be_requeued_at_once(boss):
    messages = [with_status("dead") for _ in range(60)]
    with_status("cancelled")
    chosen = {"action": "requeue", "_selected_action": [str(messages[0].pk)], "select_across": "1"}
    asked = boss.post(reverse(LIST) + "?status__exact=dead", chosen)
    with_status("dead")  # dies while the operator reads the question
    boss.post(asked.context["action_url"], {"ids": asked.context["ids"]})
    assert OutboxMessage.objects.filter(status="pending").count() == 60
    assert OutboxMessage.objects.filter(status="cancelled").count() == 1


def test_the_buttons_do_the_same_for_one_message_and_write_its_history(boss):
    message = with_status("dead")
    assert button("requeue", message) in text_of(boss, detail(message))
    assert boss.post(button("requeue", message), follow=True).status_code == 200
    message.refresh_from_db()
    assert message.status == "pending"
    boss.post(button("cancel", message))
    message.refresh_from_db()
    assert message.status == "cancelled"
    history = LogEntry.objects.filter(object_id=str(message.pk)).values_list("change_message", flat=True)
    assert set(history) == {"Requeued.", "Cancelled."}


def test_a_button_needs_a_post_a_token_and_a_message(boss):
    message = with_status("dead")
    assert boss.get(button("requeue", message)).status_code == 405
    assert boss.post(reverse("admin:dispatch_outboxmessage_requeue", args=[uuid.uuid4()])).status_code == 404
    boss.handler.enforce_csrf_checks = True
    assert boss.post(button("requeue", message)).status_code == 403


def test_staff_who_may_only_view_neither_see_nor_can_post_them(viewer):
    message = with_status("dead")
    for page in (detail(message), reverse(LIST)):
        text = text_of(viewer, page)
        assert "requeue" not in text.lower().replace("unless you requeue", "").replace("then requeue it", "")
    for verb in ("requeue", "cancel"):
        act(viewer, verb, [message])
        assert viewer.post(button(verb, message)).status_code == 403
    message.refresh_from_db()
    assert message.status == "dead"


def _task_pk(name):
    from dispatch.models import TaskDefinition

    return TaskDefinition.objects.get(name=name).pk


def test_the_page_tells_each_failed_attempt_with_its_error(boss):
    message = with_status("dead", available_at=timezone.now())
    for number, error in ((1, "312 NO_ROUTE"), (None, "Connection <refused>")):
        message.failed_attempts.create(id=uuid.uuid4(), number=number, at=timezone.now(), error=error)
    text = text_of(boss, detail(message))
    assert "Attempt 1 failed" in text
    assert "312 NO_ROUTE" in text
    assert "Failed, not counted" in text
    assert "Connection &lt;refused&gt;" in text
    assert text.index("<dt>Enqueued</dt>") < text.index("Attempt 1 failed")
