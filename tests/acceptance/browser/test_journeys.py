"""Whole journeys of an operator: from nothing to a message, and from a dead message to its repair."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from dispatch.models import OutboxMessage
from dispatch.relay import Relay
from dispatch.results import Collector
from project.stack import Stack
from tests.support.browser_steps import add_trigger, save
from tests.support.registry import ARGUMENTS, PARAMETERS, TASK, make_registry, waiting
from tests.support.stacks import eventually

pytestmark = [pytest.mark.slow, pytest.mark.one_database]


def test_from_nothing_to_a_message_that_says_what_it_waits_for(page):
    page.goto("/admin/dispatch/")
    page.get_by_role("heading", name="First steps").wait_for()
    step(page, "There is a default queue").get_by_role("link").click()
    page.get_by_label("Name:", exact=True).fill("default")
    page.get_by_label("Default queue").check()
    save(page)

    page.goto("/admin/dispatch/")
    assert "done" in step(page, "There is a default queue").inner_text()
    step(page, "Tasks are imported").get_by_role("link").click()
    page.get_by_role("link", name="Add task definition").click()
    page.get_by_label("Name:", exact=True).fill(TASK)
    page.get_by_label("Parameters:", exact=True).fill(json.dumps(PARAMETERS))
    save(page)

    page.get_by_role("link", name="Send…").click()
    page.get_by_label("note_id").fill("7")
    page.get_by_label("text").fill("We met.\nWe talked.")
    page.get_by_role("button", name="Show what would be sent").click()
    page.get_by_text("Nothing is sent yet.").wait_for()
    assert "queue default on broker default" in page.locator("#content").inner_text()
    assert OutboxMessage.objects.count() == 0

    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("heading", name="Where it is").wait_for()
    assert "relay" in page.locator(".dispatch-lead").inner_text()
    [message] = OutboxMessage.objects.all()
    assert json.loads(message.kwargs) == {"note_id": "7", "text": "We met.\nWe talked."}
    assert message.status == "pending"


def test_from_an_empty_registry_to_what_a_worker_made_of_a_saved_note(
    page, redis_url, results_url, broker_settings, tmp_path
):
    broker_settings(redis_url, results_url, BROKER_TIMEOUT=0.3)
    stack = Stack(
        tmp_path, database_url="", broker_url=redis_url, result_backend_url=results_url, start=["worker"]
    )
    manifest: Path = tmp_path / "manifest.json"
    stack.write_manifest(manifest)

    page.goto("/admin/dispatch/manifest/")
    page.get_by_role("link", name="Import a manifest").click()
    page.get_by_label("Manifest").set_input_files(manifest)
    page.get_by_role("button", name="Show what it changes").click()
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("Imported the manifest of worker").wait_for()

    page.goto("/admin/dispatch/queue/add/")
    page.get_by_label("Name:", exact=True).fill("default")
    page.get_by_label("Default queue").check()
    save(page)

    add_trigger(page, TASK)

    page.goto("/admin/notes/note/add/")
    page.get_by_label("Title").fill("Harbour")
    page.get_by_label("Body").fill("The harbour lost its trade. Nobody knows why.")
    save(page)

    call_command("dispatch", "routes", "export", str(stack.routing_file), verbosity=0)
    with stack:
        assert Relay().drain() == 1
        collector = Collector()
        eventually(collector.sweep)

    page.goto("/admin/dispatch/")
    assert page.get_by_role("heading", name="First steps").count() == 0
    page.goto("/admin/dispatch/outboxmessage/?status__exact=succeeded")
    page.locator("#result_list").get_by_role("link", name=TASK).click()
    page.locator(".dispatch-lead", has_text="succeeded").wait_for()
    assert "The harbour lost its trade." in page.locator("#content").inner_text()


def test_from_a_dead_message_to_its_repair(page):
    make_registry()
    dead = waiting("llm", status="dead", kwargs=json.dumps(ARGUMENTS), last_error="The broker refused it.")
    page.goto("/admin/dispatch/")
    page.locator(".dispatch-facts div", has_text="Dead messages").get_by_role("link", name="1").click()
    page.locator("#result_list").get_by_role("link", name=TASK).click()
    page.locator(".dispatch-error", has_text="The broker refused it.").wait_for()
    page.get_by_role("button", name="Requeue").click()
    page.get_by_text("1 message is pending again").wait_for()
    assert page.locator(".dispatch-lead .dispatch-badge-pending").is_visible()
    dead.refresh_from_db()
    assert dead.status == "pending"


def test_many_messages_are_cancelled_only_after_a_question(page):
    make_registry()
    for _ in range(3):
        waiting("llm", kwargs=json.dumps(ARGUMENTS))
    page.goto("/admin/dispatch/outboxmessage/")
    page.locator("#action-toggle").check()
    page.select_option("select[name=action]", "cancel")
    page.get_by_role("button", name="Go", exact=True).click()
    page.get_by_role("heading", name="Cancel 3 messages?").wait_for()
    assert OutboxMessage.objects.filter(status="pending").count() == 3
    page.get_by_role("button", name="Yes, cancel them").click()
    page.get_by_text("3 messages are cancelled").wait_for()
    assert OutboxMessage.objects.filter(status="cancelled").count() == 3


def test_a_task_is_sent_by_the_keyboard_alone(page):
    task = make_registry()
    page.goto(f"/admin/dispatch/taskdefinition/{task.pk}/change/")
    tab_to(page, page.get_by_role("link", name="Send…"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("note_id"))
    page.keyboard.type("7")
    tab_to(page, page.get_by_label("text"))
    page.keyboard.type("We met.")
    tab_to(page, page.locator("summary", has_text="Options of this call"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Priority"))
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing is sent yet.").wait_for()
    tab_to(page, page.get_by_role("button", name="Send", exact=True))
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Where it is").wait_for()
    [message] = OutboxMessage.objects.all()
    assert json.loads(message.kwargs) == {"note_id": "7", "text": "We met."}
    assert message.options["priority"] == 7


# ------------------------------------------------------------------ steps


def step(page: Any, title: str) -> Any:
    return page.locator(".dispatch-steps li", has_text=title)


def tab_to(page: Any, element: Any) -> None:
    """Press the tabulator until this element has the focus, and see that it is shown."""
    element.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if element.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"The keyboard does not lead to {element}.")
