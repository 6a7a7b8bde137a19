from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse

from dispatch.api import send_task
from dispatch.models import Exchange, OutboxMessage, TaskDefinition
from dispatch.outbox.resends import resends
from tests.unit.admin.conftest import staff

SUMMARIZE, PUSH = "worker.tasks.llm.summarize_note", "worker.tasks.ops.push_to_partner"
FILLED = {
    "text:/kwargs/note_id": "42",
    "text:/kwargs/text": "Hello.\r\nWorld.",
    "number:/kwargs/sentences": "3",
}
SECRET = {"text:/kwargs/url": "https://a", "text:/kwargs/token": "s3cret"}
pytestmark = pytest.mark.usefixtures("registry")


def address(task: str = SUMMARIZE, view: str = "send", **query: Any) -> str:
    row = TaskDefinition.objects.get(name=task)
    return reverse(f"admin:dispatch_taskdefinition_{view}", args=[row.pk], query=query)


def press(client: Client, step: str, data: dict[str, str], task: str = SUMMARIZE, **query: Any) -> Any:
    response = client.post(address(task, **query), {**data, "step": step})
    assert response.status_code in (200, 302)
    return response


def shown(client: Client, data: dict[str, str], task: str = SUMMARIZE, **query: Any) -> Any:
    """Return what the page says would be sent."""
    context = press(client, "check", data, task, **query).context
    assert context["shown"], (context["form"].arguments.errors, context["form"].options.errors)
    return context["shown"]


def send(client: Client, data: dict[str, str], task: str = SUMMARIZE, **query: Any) -> OutboxMessage:
    """Send as a user does: look at what would be sent, then press the button there."""
    before = shown(client, data, task, **query)
    press(client, "send", {**dict(before["posted"]), "task_id": str(before["task_id"])}, task, **query)
    return OutboxMessage.objects.get(pk=before["task_id"])


def errors(response: Any) -> dict[str, list[str]]:
    form = response.context["form"]
    return {**form.arguments.errors, **form.options.errors}


# -- the way of a message -------------------------------------------------------------------


def test_it_is_shown_what_would_be_sent_and_nothing_is_sent(boss):
    found = shown(boss, {**FILLED, "countdown": "30", "priority": "5"})
    assert json.loads(found["body"])[:2] == [[], {"note_id": "42", "text": "Hello.\nWorld.", "sentences": 3}]
    assert (found["place"], found["due"]) == (
        "queue llm on broker default, priority 5",
        "30 s after it is sent",
    )
    assert found["decided_by"] == {"queue": "route 'worker.tasks.llm.*' (glob)", "priority": "the call"}
    assert not OutboxMessage.objects.exists()


def test_a_message_is_sent_in_the_users_name(boss):
    message = send(boss, FILLED)
    assert json.loads(message.kwargs) == {"note_id": "42", "text": "Hello.\nWorld.", "sentences": 3}
    assert (message.origin, message.origin_name, message.queue) == ("user", "boss", "llm")
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.action_flag, entry.change_message) == (
        str(message.pk),
        ADDITION,
        "Sent by hand.",
    )


def test_a_second_click_sends_nothing_and_leads_to_the_message(boss):
    before = shown(boss, FILLED)
    data = {**FILLED, "task_id": str(before["task_id"])}
    pages = [press(boss, "send", data).url for _click in range(2)]
    assert pages == [reverse("admin:dispatch_outboxmessage_change", args=[before["task_id"]])] * 2
    assert OutboxMessage.objects.count() == LogEntry.objects.count() == 1


def test_two_clicks_at_the_same_moment_send_one_message(boss, monkeypatch):
    monkeypatch.setattr("dispatch.outbox.enqueueing.check_ids", lambda calls, using: None)
    data = {**FILLED, "task_id": str(uuid.uuid4())}
    assert press(boss, "send", data).url == press(boss, "send", data).url
    assert OutboxMessage.objects.count() == LogEntry.objects.count() == 1


@pytest.mark.parametrize("task_id", ["", "no id"])
def test_what_was_not_shown_is_not_sent(boss, task_id):
    assert press(boss, "send", {**FILLED, "task_id": task_id}).context["shown"]
    assert not OutboxMessage.objects.exists()


def test_options_are_those_of_the_api(boss):
    further = {"shadow": "other", "headers": {"x-a": 1}, "link": "by.hand"}
    options = {"queue": "default", "expires": "60", "time_limit": "9.5", "ignore_result": "true"}
    message = send(boss, {**FILLED, **options, "further": json.dumps(further)})
    assert (message.queue, message.pinned, message.headers, message.ignore_result) == (
        "default", True, {"x-a": 1}, True,
    )  # fmt: skip
    assert message.expires_at - message.created_at == dt.timedelta(seconds=60)
    assert {"shadow": "other", "time_limit": 9.5, "queue": "default"}.items() <= message.options.items()
    assert message.options["link"][0]["task"] == "by.hand"


def test_a_task_without_a_schema_takes_json(boss):
    message = send(boss, {"args": '[1, "a"]', "kwargs": '{"b": null}'}, "by.hand")
    assert (message.args, message.kwargs) == ('[1,"a"]', '{"b":null}')


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("given", "field", "told"),
    [
        ({"text:/kwargs/text": ""}, "text:/kwargs/text", "required"),
        ({"number:/kwargs/sentences": "two"}, "number:/kwargs/sentences", "Enter a number"),
        ({"number:/kwargs/sentences": "[" * 9_999}, "number:/kwargs/sentences", "Enter a number"),
        ({"number:/kwargs/sentences": "2.5"}, "number:/kwargs/sentences", "'integer' (at /kwargs/sentences)"),
        ({"text:/kwargs/note_id": "a\0"}, "text:/kwargs/note_id", "no JSON reader accepts"),
        ({"exchange": "lonely"}, "exchange", "No queue is bound"),
        ({"exchange": "lonely", "queue": "llm"}, "__all__", "both say where"),
        ({"queue": "gone"}, "queue", "Select a valid choice"),
        ({"priority": "256"}, "priority", "less than or equal to 255"),
        ({"further": '{"shaddow": "x"}'}, "further", "did you mean 'shadow'?"),
        ({"further": '{"headers": {"a": NaN}}'}, "further", "at /headers/a"),
        ({"further": '{"link": "worker.gone"}'}, "__all__", "No task 'worker.gone'"),
        ({"further": "[1]"}, "further", "JSON object"),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(boss, given, field, told):
    Exchange.objects.create(name="lonely")
    response = press(boss, "check", {**FILLED, **given})
    assert list(errors(response)) == [field]
    assert told in str(errors(response))
    assert "Nothing was sent." in response.content.decode()


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("given", "field", "told"),
    [
        ({"kwargs": "{"}, "kwargs", "not JSON at line 1"),
        ({"kwargs": "[]"}, "kwargs", "JSON object"),
        ({"args": '{"a": 1}', "kwargs": ""}, "args", "JSON array"),
        ({"kwargs": '{"note_id": "1"}'}, "kwargs", "argument 'text' is missing"),
        ({"args": "[1]", "kwargs": '{"text": "a"}'}, "args", "(at /args/0)"),
    ],
)
def test_what_is_wrong_with_json_is_told_beside_it(boss, given, field, told):
    response = press(boss, "check", given)
    assert list(errors(response)) == [field]
    assert told in str(errors(response))


@pytest.mark.one_database
def test_what_became_wrong_since_it_was_shown_is_told(boss):
    before = shown(boss, FILLED)
    TaskDefinition.objects.filter(name=SUMMARIZE).update(enabled=False)
    TaskDefinition.objects.get(name=SUMMARIZE).save()
    response = press(boss, "send", {**FILLED, "task_id": str(before["task_id"])})
    assert "switched off" in response.content.decode()
    assert not OutboxMessage.objects.exists()


@pytest.mark.one_database
def test_an_argument_by_position_only_has_its_error_beside_its_field(boss):
    row = TaskDefinition.objects.get(name=SUMMARIZE)
    row.parameters["x-positional-only"] = ["note_id"]
    row.parameters["properties"]["note_id"]["maxLength"] = 1
    row.save()
    assert list(errors(press(boss, "check", FILLED))) == ["text:/kwargs/note_id"]
    message = send(boss, {**FILLED, "text:/kwargs/note_id": "4"})
    assert message.args == '["4"]'


# -- the form -------------------------------------------------------------------------------


@pytest.mark.one_database
def test_the_form_is_filled_in_again_after_a_look(boss):
    response = press(boss, "back", {**FILLED, "queue": "llm"})
    assert response.context["form"].arguments["text:/kwargs/note_id"].value() == "42"
    assert response.context["form"].options["queue"].value() == "llm"
    assert not errors(response)


@pytest.mark.one_database
def test_buttons_change_the_form_and_ask_for_nothing(boss):
    row = TaskDefinition.objects.get(name="by.hand")
    item = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    row.parameters = {"properties": {"rows": {"type": "array", "items": item}}}
    row.save()
    response = press(
        boss, "resize 2 /kwargs/rows", {"size:/kwargs/rows": "1", "text:/kwargs/rows/0/a": "x"}, "by.hand"
    )
    assert "text:/kwargs/rows/1/a" in response.context["form"].arguments.fields
    response = press(
        boss, "drop /kwargs/rows/0", {"size:/kwargs/rows": "2", "text:/kwargs/rows/1/a": "y"}, "by.hand"
    )
    assert response.context["form"].arguments["text:/kwargs/rows/0/a"].value() == "y"
    assert not errors(response)


@pytest.mark.one_database
def test_fields_become_json_and_json_becomes_fields(boss):
    response = press(boss, "switch", {"text:/kwargs/note_id": "42", "queue": "llm"})
    form = response.context["form"]
    assert json.loads(form.arguments["kwargs"].value()) == {"note_id": "42"}
    assert form.options["queue"].value() == "llm"
    response = press(boss, "switch", {"args": '["42"]', "kwargs": '{"text": "a", "strange": 1}'})
    arguments = response.context["form"].arguments
    assert [arguments[f"text:/kwargs/{name}"].value() for name in ("note_id", "text")] == ["42", "a"]
    assert json.loads(arguments["others:/kwargs"].value()) == {"strange": 1}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"number:/kwargs/sentences": "x"}, "number:/kwargs/sentences"),
        ({"args": "[1, 2, 3, 4]", "kwargs": ""}, "args"),
    ],
)
def test_what_cannot_be_written_the_other_way_stays(boss, data, field):
    assert field in errors(press(boss, "switch", data))


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("columns", "told", "is_offered"),
    [
        ({"paused": True}, "waits in the outbox until the task is resumed", True),
        ({"deprecated": "use another"}, "use another", True),
        ({"enabled": False}, "is switched off", False),
        ({"retired_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "was retired", False),
        ({"parameters": {"type": "strnig"}}, "cannot be used", False),
    ],
)
def test_the_page_says_what_is_special_about_the_task(boss, columns, told, is_offered):
    row = TaskDefinition.objects.get(name=SUMMARIZE)
    for name, value in columns.items():
        setattr(row, name, value)
    row.save()
    page = boss.get(address()).content.decode()
    assert told in page
    assert ('value="check"' in page) == is_offered


@pytest.mark.one_database
def test_a_task_that_takes_nothing_says_so(boss):
    TaskDefinition.objects.create(name="idle", parameters={"additionalProperties": False})
    assert "The task takes no arguments." in boss.get(address("idle")).content.decode()
    assert send(boss, {}, "idle").kwargs == "{}"


# -- sending again --------------------------------------------------------------------------


def test_a_message_is_sent_again_as_a_new_one_and_both_know(boss):
    original = send_task(SUMMARIZE, ["42"], {"text": "a"}, queue="default", headers={"x": 1}, expires=60)
    form = boss.get(address(again=original.pk)).context["form"]
    assert [form.arguments[f"text:/kwargs/{name}"].value() for name in ("note_id", "text")] == ["42", "a"]
    assert form.options["queue"].value() == "default"
    assert json.loads(form.options["further"].value()) == {"headers": {"x": 1}}
    copy = send(boss, FILLED, again=original.pk)
    assert resends(copy).original == original.pk
    assert resends(original).copies == [copy.pk]


@pytest.mark.one_database
def test_what_is_sent_again_may_have_more_parts(boss):
    row = TaskDefinition.objects.get(name="by.hand")
    item = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    row.parameters = {"properties": {"rows": {"type": "array", "items": item}}}
    row.save()
    original = send_task("by.hand", kwargs={"rows": [{"a": "x"}]})
    posted = {"size:/kwargs/rows": "1", "text:/kwargs/rows/0/a": "x"}
    response = press(boss, "resize 2 /kwargs/rows", posted, "by.hand", again=original.pk)
    assert "text:/kwargs/rows/1/a" in response.context["form"].arguments.fields


REPEATING = ("view_taskdefinition", "send_taskdefinition", "view_outboxmessage")


def test_what_is_sensitive_is_sent_as_it_was_without_being_shown(boss):
    secrets = {"headers": {"key": "s3cret"}, "stamps": {"stamp": "s3cret"}}
    original = send_task(PUSH, kwargs={"url": "https://a", "token": "s3cret"}, **secrets)
    client = staff(*REPEATING)
    page = client.get(address(PUSH, again=original.pk))
    assert "s3cret" not in page.content.decode()
    assert "sent as they were: token, headers, stamps" in page.content.decode()
    data = {"text:/kwargs/url": "https://b", "text:/kwargs/token": ""}
    assert "s3cret" not in press(client, "check", data, PUSH, again=original.pk).content.decode()
    copy = send(client, data, PUSH, again=original.pk)
    assert json.loads(copy.kwargs) == {"url": "https://b", "token": "s3cret"}
    assert (copy.headers, copy.options["stamps"]) == ({"key": "s3cret"}, {"stamp": "s3cret"})
    anew = send(client, {**data, "text:/kwargs/token": "other"}, PUSH, again=original.pk)
    assert json.loads(anew.kwargs)["token"] == "other"
    as_json = send(client, {"args": '["https://c"]', "kwargs": ""}, PUSH, again=original.pk)
    assert (as_json.args, as_json.kwargs) == ('["https://c"]', '{"token":"s3cret"}')


@pytest.mark.one_database
def test_what_is_sensitive_is_shown_to_those_who_may_view_it():
    original = send_task(PUSH, kwargs={"url": "https://a", "token": "s3cret"})
    client = staff(*REPEATING, "view_arguments_outboxmessage")
    form = client.get(address(PUSH, again=original.pk)).context["form"]
    assert form.arguments["text:/kwargs/token"].value() == "s3cret"
    assert "s3cret" in shown(client, SECRET, PUSH)["body"]
    assert "s3cret" not in shown(staff(*REPEATING, name="other"), SECRET, PUSH)["body"]


@pytest.mark.one_database
def test_arguments_without_a_name_are_sent_again_as_json(boss):
    row = TaskDefinition.objects.get(name=SUMMARIZE)
    row.parameters["x-variadic"] = {}
    row.sensitive_parameters = ["text"]
    row.save()
    original = send_task(SUMMARIZE, ["42", "s3cret", 3, "more"])
    form = boss.get(address(again=original.pk)).context["form"]
    assert json.loads(form.arguments["args"].value()) == ["42", "s3cret", 3, "more"]
    assert "s3cret" not in staff(*REPEATING).get(address(again=original.pk)).content.decode()


@pytest.mark.one_database
def test_a_message_that_cannot_be_read_leaves_the_form_empty(boss):
    original = send_task(SUMMARIZE, ["42"], {"text": "a"})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dispatch_outboxmessage SET kwargs = '{'")
    page = boss.get(address(again=original.pk))
    assert "cannot be read" in page.content.decode()
    assert page.context["form"].arguments["text:/kwargs/note_id"].value() == ""


@pytest.mark.one_database
@pytest.mark.parametrize("again", ["", "no id", uuid.uuid4()])
def test_a_message_that_is_not_there_is_not_found(boss, again):
    assert boss.get(address(again=again)).status_code == 404
    other = send_task("by.hand")
    assert boss.get(address(again=other.pk)).status_code == 404


# -- permissions ----------------------------------------------------------------------------


@pytest.mark.one_database
def test_only_those_who_may_send_see_the_link_and_the_page(boss, viewer):
    for view in ("change", "changelist"):
        page = address(view=view) if view == "change" else reverse("admin:dispatch_taskdefinition_changelist")
        assert address() in boss.get(page).content.decode()
        assert address() not in viewer.get(page).content.decode()
    for method in (viewer.get, viewer.post):
        assert method(address()).status_code == 403
    assert staff("send_taskdefinition").get(address()).status_code == 403


@pytest.mark.one_database
def test_who_may_not_see_messages_is_led_to_the_task():
    client = staff("view_taskdefinition", "send_taskdefinition")
    response = press(client, "send", {**FILLED, "task_id": str(uuid.uuid4())})
    assert response.url == address(view="change")
    assert client.get(address(again=OutboxMessage.objects.get().pk)).status_code == 403


@pytest.mark.one_database
def test_a_task_that_is_not_there_is_not_found(boss):
    assert boss.get(reverse("admin:dispatch_taskdefinition_send", args=["0"])).status_code == 404
