from __future__ import annotations

import datetime as dt
import re
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch.admin import message_window
from dispatch.admin.message_filters import TimeFilter
from dispatch.api import Call, send_many, send_task
from dispatch.models import OutboxMessage

LIST = "admin:dispatch_outboxmessage_changelist"
#: An id that a caller gave: it stands after those of today.
GIVEN = uuid.UUID(int=(1 << 128) - 5)
pytestmark = pytest.mark.usefixtures("registry")


def published(state="", **columns):
    message = send_task("by.hand")
    columns = {"status": "published", "published_at": timezone.now()} | columns
    OutboxMessage.objects.filter(pk=message.pk).update(**columns)
    if state:
        TaskResult.objects.create(
            task_id=str(message.pk), status=state, content_type="application/json", content_encoding="utf-8"
        )
    return message


def at(moment, pk=None):
    message = send_task("by.hand")
    pk = pk or uuid.UUID(int=int(moment.timestamp() * 1000) << 80)
    OutboxMessage.objects.filter(pk=message.pk).update(id=pk, created_at=moment)
    return pk


def listed(client, **filters):
    return [row.pk for row in client.get(reverse(LIST), filters).context["cl"].result_list]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(message_window, "SIZE", 3)
    monkeypatch.setattr(message_window, "WIDER", 6)


def walked(client, **filters):
    """Return what each window shows, as one who follows the link to what is older."""
    address, windows = client.get(reverse(LIST), filters), []
    while True:
        changelist = address.context["cl"]
        windows.append([row.pk for row in changelist.result_list])
        if not changelist.older:
            return windows
        assert "Look further back" in address.content.decode()
        address = client.get(reverse(LIST) + changelist.older)


# ------------------------------------------------------------------ by status


def test_a_status_that_a_result_decides_is_filtered_by_too(boss):
    states = {"failed": "FAILURE", "succeeded": "SUCCESS", "running": "STARTED", "revoked": "REVOKED"}
    messages = {status: published(state) for status, state in states.items()}
    messages["published"] = published()
    OutboxMessage.objects.exclude(pk=messages["published"].pk).update(handled_at=timezone.now())
    messages["unawaited"] = published(ignore_result=True)
    messages["pending"] = send_task("by.hand")
    TaskResult.objects.create(task_id="of-another-producer", status="FAILURE")
    TaskResult.objects.create(task_id=str(uuid.uuid4()), status="FAILURE")
    for status, message in messages.items():
        assert listed(boss, status__exact=status) == [message.pk], status


def test_a_result_of_a_message_that_was_requeued_does_not_decide(boss):
    message = published("FAILURE")
    OutboxMessage.objects.filter(pk=message.pk).update(status="pending")
    assert listed(boss, status__exact="failed") == []
    assert listed(boss, status__exact="pending") == [message.pk]


@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_without_the_table_of_results_the_list_says_so_and_shows_the_rest(boss):
    message = published(handled_at=timezone.now())
    with connection.schema_editor() as editor:
        editor.delete_model(TaskResult)
    try:
        text = boss.get(reverse(LIST)).content.decode()
        assert str(message.pk) in text
        assert "The table of results cannot be read in database default" in text
        assert listed(boss, status__exact="failed") == []
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(TaskResult)


# ------------------------------------------------------------------ windows


@pytest.mark.usefixtures("small")
def test_a_list_looks_through_so_many_messages_and_goes_on_from_there(boss):
    ids = [message.pk for message in send_many([Call("by.hand")] * 7)][::-1]
    assert walked(boss) == [ids[:3], ids[3:6], ids[6:]]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("status", ["dead", "pending", "published"])
def test_a_status_with_an_index_is_looked_through_along_it_even_where_all_are_of_one_moment(boss, status):
    ids = sorted((published(status=status).pk for _ in range(7)), reverse=True)
    now = timezone.now()
    OutboxMessage.objects.update(available_at=now, published_at=now)
    if status != "pending":
        send_many([Call("by.hand")] * 7)
    assert walked(boss, status__exact=status) == [ids[:3], ids[3:6], ids[6:]]


@pytest.mark.usefixtures("small")
def test_where_the_window_holds_nothing_a_wider_one_is_looked_through(boss):
    rare = send_task("worker.tasks.ops.push_to_partner", ["https://x.example", "s"])
    send_many([Call("by.hand")] * 4)
    assert listed(boss, task_name=rare.task_name) == [rare.pk]
    send_many([Call("by.hand")] * 4)
    assert walked(boss, task_name=rare.task_name) == [[], [rare.pk]]


def test_results_are_looked_through_from_the_newest_on(boss, monkeypatch):
    monkeypatch.setattr(message_window, "RESULTS", 2)
    ids = [published("FAILURE").pk for _ in range(5)][::-1]
    assert walked(boss, status__exact="failed") == [ids[:2], ids[2:4], ids[4:]]


@pytest.mark.usefixtures("small")
def test_a_search_for_an_id_or_an_object_reaches_the_oldest(boss):
    oldest = send_task("by.hand")
    OutboxMessage.objects.update(object_model="notes.note", object_pk="7")
    send_many([Call("by.hand")] * 10)
    assert listed(boss, q=str(oldest.pk)) == [oldest.pk]
    assert listed(boss, q="7") == [oldest.pk]
    assert listed(boss, object_model="notes.note", object_pk="7") == [oldest.pk]


@pytest.mark.usefixtures("small")
def test_another_filter_begins_at_the_newest_again(boss):
    send_many([Call("by.hand")] * 7)
    older = boss.get(reverse(LIST) + boss.get(reverse(LIST)).context["cl"].older)
    assert "start=" in older.context["cl"].get_query_string({"p": 2})
    assert "start=" not in older.context["cl"].get_query_string({"queue": "llm"})
    assert "start=" not in older.context["cl"].get_query_string(remove=["queue"])


@pytest.mark.parametrize("start", ["x", "x_y", f"_{GIVEN}", f"2026-13-01_{GIVEN}"])
@pytest.mark.parametrize("status", ["dead", "cancelled", "failed"])
def test_an_address_that_begins_nowhere_is_led_back_to_the_list(boss, start, status):
    response = boss.get(reverse(LIST), {"start": start, "status__exact": status})
    assert response.status_code in (200, 302)


# ------------------------------------------------------------------ by time


@pytest.mark.usefixtures("small")
def test_a_span_of_time_is_found_along_the_ids(boss):
    now = timezone.now()
    old = at(now - dt.timedelta(days=3))
    send_many([Call("by.hand")] * 8)
    since, until = (f"{now - dt.timedelta(days=days):%Y-%m-%dT%H:%M}" for days in (4, 2))
    with CaptureQueriesContext(connection) as captured:
        assert listed(boss, since=since, until=until) == [old]
    counts = [query["sql"] for query in captured.captured_queries if "COUNT" in query["sql"]]
    assert all(re.search(r"id\W+<", sql) for sql in counts if "outbox" in sql)
    assert len(listed(boss, since="1h")) == 3


def test_a_message_whose_id_its_caller_gave_is_found_by_its_time(boss):
    now = timezone.now()
    given = at(now - dt.timedelta(days=3), pk=GIVEN)
    at(now)
    until = f"{now - dt.timedelta(days=2):%Y-%m-%dT%H:%M}"
    assert listed(boss, until=until) == [given]
    assert listed(boss, since="7d", until=until) == [given]


def test_what_is_no_time_is_left_out(boss):
    assert boss.get(reverse(LIST), {"since": "soon"}).status_code == 302


def test_a_span_keeps_the_other_filters(boss):
    changelist = boss.get(reverse(LIST), {"queue": "llm", "q": "x", "since": "24h"}).context["cl"]
    [spec] = [spec for spec in changelist.filter_specs if isinstance(spec, TimeFilter)]
    *links, form = spec.choices(changelist)
    assert [link["display"] for link in links if link["selected"]] == ["Past 24 hours"]
    assert dict(form["form"]) == {"queue": "llm", "q": "x"}
