"""What is configured in the admin's forms, and what its pages say of it."""

from __future__ import annotations

import json
import socket
from typing import Any

import kombu
import pytest

from dispatch import outbox, queues
from dispatch.api import Call
from dispatch.models import Queue, Route, TaskDefinition, Trigger
from project.notes.models import Note
from tests.support.brokers import delete_queue
from tests.support.browser_steps import add_trigger, choose, has_value, page_of, save

pytestmark = [pytest.mark.slow, pytest.mark.one_database]

TASK = "worker.tasks.llm.summarize_note"
PARAMETERS = {
    "type": "object",
    "properties": {
        "note_id": {"type": "string"},
        "text": {"type": "string"},
        "sentences": {"type": "integer"},
    },
    "required": ["note_id", "text"],
    "additionalProperties": False,
}


def test_what_is_configured_in_the_forms_makes_a_saved_note_a_message(page):
    _add(page, "queue", name="default", is_default=True)
    _add(page, "queue", name="llm")
    _add(page, "route", pattern="worker.tasks.llm.*", queue="llm")
    _add(page, "taskdefinition", name=TASK, parameters=json.dumps(PARAMETERS))
    add_trigger(page, TASK)

    page.goto("/admin/notes/note/add/")
    page.fill("#id_title", "Meeting")
    page.fill("#id_body", "We met. We talked.")
    save(page)

    page.goto("/admin/dispatch/outboxmessage/")
    row = page.locator("#result_list tbody tr")
    assert row.count() == 1
    assert row.locator(".field-at_queue").inner_text().startswith("llm")
    assert row.locator(".dispatch-badge-pending").is_visible()

    row.get_by_role("link", name=TASK).click()
    page.get_by_role("heading", name="Where it is").wait_for()
    body = page.locator("#content").inner_text()
    assert "queue llm on broker default" in body
    assert '"We met. We talked."' in body
    assert "Summarise new notes" in body

    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("1 message is cancelled").wait_for()
    page.get_by_role("button", name="Requeue").click()
    page.get_by_text("1 message is pending again").wait_for()


def test_a_mapping_that_does_not_fit_is_explained_beside_the_arguments(page):
    _configure()
    page.goto("/admin/dispatch/trigger/add/")
    page.fill("#id_name", "Wrong")
    page.select_option("#id_model", "notes.note")
    page.check("#id_events_0")
    choose(page, "task", TASK)
    has_value(page, "#id_arguments-1-parameter", "text")
    page.fill("#id_arguments-1-parameter", "txet")
    page.select_option("#id_arguments-1-value-choice", "body")
    page.click("input[name=_save]")
    page.locator(".errornote").wait_for()
    errors = page.locator("#arguments-group .errorlist").inner_text()
    assert "does not give 'text'" in errors
    assert "did you mean 'text'?" in errors


def test_a_trigger_on_a_transition_and_a_watched_field_fires_when_they_change(page):
    _configure()
    Trigger.objects.all().delete()
    note = Note.objects.create(title="Meeting", body="We met.", kind="audio")
    page.goto("/admin/dispatch/trigger/add/")
    page.fill("#id_name", "Became a text")
    page.select_option("#id_model", "notes.note")
    page.check("#id_events_1")
    page.get_by_label("body", exact=True).check()
    page.get_by_label("kind", exact=True).check()
    page.select_option("#id_conditions-0-field-choice", "kind")
    assert "less" not in _offered(page, "#id_conditions-0-operator")
    page.select_option("#id_conditions-0-operator", "changed_to")
    page.select_option("#id_conditions-0-value-choice", "text")
    choose(page, "task", TASK)
    has_value(page, "#id_arguments-1-parameter", "text")
    page.select_option("#id_arguments-1-source", "old")
    page.select_option("#id_arguments-1-value-choice", "body")
    save(page)

    page.goto(f"/admin/notes/note/{note.pk}/change/")
    page.fill("#id_title", "Another title")
    save(page)
    page.goto(f"/admin/notes/note/{note.pk}/change/")
    page.get_by_text("None was sent for it.").wait_for()

    page.select_option("#id_kind", "text")
    page.fill("#id_body", "We met. We talked.")
    save(page)
    page.goto(f"/admin/notes/note/{note.pk}/change/")
    page.get_by_role("link", name=TASK).click()
    page.get_by_role("heading", name="Where it is").wait_for()
    body = page.locator("#content").inner_text()
    assert '"We met."' in body, "the old value was to be sent"
    assert "Became a text" in body


def test_a_preview_says_what_would_be_sent_and_sends_nothing(page):
    note = Note.objects.create(title="Meeting", body="We met.")
    _configure()
    trigger = Trigger.objects.get()
    trigger.arguments.create(parameter="text", value="body")
    trigger.events = ["updated"]
    trigger.save()
    trigger.conditions.create(field="body", operator="changed", value="")
    page.goto(f"/admin/dispatch/trigger/{trigger.pk}/change/")
    page.get_by_role("link", name="Preview").click()
    page.fill("#id_pk", str(note.pk))
    page.get_by_role("button", name="Preview").click()
    answer = page.locator("#dispatch-answer")
    answer.wait_for()
    assert "does not fire" in answer.inner_text()
    assert "A save would have to change it from 'We met.'" in answer.inner_text()
    page.fill("#id_changes", "body = We talked.")
    page.get_by_role("button", name="Preview").click()
    page.get_by_text("All holds").wait_for()
    shown = page.locator("#content").inner_text()
    assert "queue llm on broker default" in shown
    assert '"We talked."' in shown
    page.goto(f"/admin/notes/note/{note.pk}/change/")
    page.get_by_text("None was sent for it.").wait_for()
    assert page.input_value("#id_body") == "We met."


def test_the_form_of_a_trigger_offers_what_fits_and_keeps_what_does_not(page):
    _configure()
    trigger = Trigger.objects.get()
    trigger.conditions.create(field="gone", operator="less", value="3")
    page.goto(f"/admin/dispatch/trigger/{trigger.pk}/change/")
    has_value(page, "#id_conditions-0-value-choice", "text")
    assert _offered(page, "#id_conditions-0-value-choice") == ["", "text", "audio", "link"]
    has_value(page, "#id_conditions-1-field-choice", "gone")
    assert page.input_value("#id_conditions-1-operator") == "less"
    page.select_option("#id_conditions-1-field-choice", "summarized_at")
    assert "is_null" in _offered(page, "#id_conditions-1-operator")
    assert "contains" not in _offered(page, "#id_conditions-1-operator")
    page.select_option("#id_conditions-1-operator", "is_null")
    assert _offered(page, "#id_conditions-1-value-choice")[1:3] == ["yes", "no"]
    page.select_option("#id_model", "auth.permission")
    page.get_by_label("codename", exact=True).wait_for()
    assert page.locator("#id_events input[value=m2m_added]").is_disabled()
    assert page.get_by_label("body", exact=True).count() == 0


def test_a_queue_without_a_consumer_is_a_warning_wherever_its_tasks_are_seen(
    page, broker_settings, rabbitmq_url, unique
):
    broker_settings(rabbitmq_url)
    queues.sights.clear()
    rows = _configure_for(unique)
    assert [outcome.error for outcome in queues.declare([unique])] == [""]
    try:
        for address in rows["full"]:
            page.goto(address)
            page.locator(".dispatch-live .dispatch-badge-warning", has_text="no consumer").first.wait_for()
            assert "No worker consumes it" in page.locator(".dispatch-live-note").first.inner_text(), address
        for address in rows["brief"]:
            page.goto(address)
            badge = page.locator("#result_list .dispatch-live .dispatch-badge-warning").first
            badge.wait_for()
            assert "No worker consumes it" in badge.get_attribute("title"), address
        with kombu.Connection(rabbitmq_url) as connection:
            consumer = kombu.Consumer(connection.channel(), [kombu.Queue(unique, no_declare=True)])
            consumer.register_callback(lambda body, message: None)
            with consumer:
                queues.sights.clear()
                page.goto(rows["full"][0])
                page.locator(".dispatch-live .dispatch-badge-active", has_text="consumed").wait_for()
                assert (
                    "1 consumer, empty, asked at"
                    in page.locator("#dispatch-explained .dispatch-live").inner_text()
                )
                page.goto(rows["brief"][1])
                page.wait_for_load_state("networkidle")
                assert page.locator(".dispatch-live .dispatch-badge").count() == 0
    finally:
        delete_queue(rabbitmq_url, unique)


def test_a_page_opens_at_once_while_the_broker_does_not_answer(page, broker_settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        broker_settings(f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//", BROKER_TIMEOUT=2)
        queues.sights.clear()
        [address, *_] = _configure_for("llm")["full"]
        page.goto(address)
        page.locator(".dispatch-live", has_text="asking the broker").wait_for()
        assert page.locator("#dispatch-explained").is_visible()
        page.locator("#dispatch-explained .dispatch-badge-unknown", has_text="could not be asked").wait_for()


def test_the_whole_reasoning_stands_on_the_pages_of_task_route_and_queue(page):
    task, route, queue = _configure_for("llm")["explained"]
    page.goto(task)
    steps = page.locator("#dispatch-explained details")
    assert not steps.locator("table").is_visible()
    steps.locator("summary").click()
    assert "decides queue" in steps.inner_text()
    page.locator("#dispatch-explained").get_by_role(
        "link", name="route 'worker.tasks.llm.*' (glob)"
    ).first.click()
    page.get_by_role("heading", name="What this route does now").wait_for()
    assert page.url.endswith(route)
    page.locator("#dispatch-explained").get_by_role("link", name=TASK).click()
    page.get_by_role("heading", name="Where it goes, and why").wait_for()
    page.goto(queue)
    text = page.locator("#dispatch-explained").inner_text()
    assert TASK in text
    assert "celery -A worker worker -Q llm -n llm@%h" in text


def test_a_priority_that_would_be_ignored_is_told_when_it_is_saved(page, broker_settings):
    broker_settings("amqp://guest:guest@127.0.0.1:1//", BROKER_TIMEOUT=0.2)
    _task, route, _queue = _configure_for("llm")["explained"]
    page.goto(route)
    page.fill("#id_priority", "7")
    save(page)
    assert "Priority 7 would be ignored in queue 'llm'" in page.locator(".messagelist .warning").inner_text()


# ------------------------------------------------------------------ steps


def _add(page: Any, model: str, **columns: Any) -> None:
    page.goto(f"/admin/dispatch/{model}/add/")
    for name, value in columns.items():
        if value is True:
            page.check(f"#id_{name}")
        elif page.locator(f"#id_{name}.admin-autocomplete").count():
            choose(page, name, value)
        else:
            page.fill(f"#id_{name}", value)
    save(page)


def _offered(page: Any, selector: str) -> list[str]:
    return [option.get_attribute("value") for option in page.locator(f"{selector} option").all()]


def _configure() -> None:
    queue = Queue.objects.create(name="llm", is_default=True)
    Route.objects.create(pattern="worker.tasks.llm.*", queue=queue)
    task = TaskDefinition.objects.create(name=TASK, parameters=PARAMETERS)
    trigger = Trigger.objects.create(name="New notes", model="notes.note", events=["created"], task=task)
    trigger.conditions.create(field="kind", operator="equals", value="text")
    trigger.arguments.create(parameter="note_id", value="pk")


def _configure_for(queue: str) -> dict[str, list[str]]:
    """Write a task that a route sends to a queue, and a message; return the pages that show the queue's state."""
    row = Queue.objects.create(name=queue)
    route = Route.objects.create(pattern="worker.tasks.llm.*", queue=row)
    task = TaskDefinition.objects.create(name=TASK, parameters=PARAMETERS)
    [message] = outbox.enqueue([Call(TASK, kwargs={"note_id": "1", "text": "Words."})])
    lists = [f"/admin/dispatch/{name}/" for name in ("queue", "taskdefinition", "route", "outboxmessage")]
    return {
        "full": [page_of(task), page_of(row), page_of(message)],
        "brief": lists,
        "explained": [page_of(task), page_of(route), page_of(row)],
    }
