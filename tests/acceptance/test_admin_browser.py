"""The admin in a real browser, under a strict Content-Security-Policy."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from pytest_django.live_server_helper import LiveServer

from dispatch import outbox, queues
from dispatch.api import Call
from dispatch.models import Exchange, Manifest, Queue, Route, TaskDefinition, Trigger
from project.notes.models import Note
from tests.support import servers
from tests.support.brokers import delete_queue
from tests.support.registry import dead_message

POLICY = "default-src 'self'"
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
LISTS = ("exchange", "queue", "route", "taskdefinition", "manifest", "trigger", "outboxmessage")
FORMS = ("exchange", "queue", "route", "taskdefinition", "trigger")


def has_value(page: Any, selector: str, value: str) -> None:
    """Wait for a field's value, without evaluating a text as a script, which the policy forbids."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_value(value)


def strict_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that lets the browser load nothing inline and nothing from elsewhere."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return respond


@pytest.fixture
def server(settings: Any, transactional_db: None) -> Iterator[LiveServer]:
    settings.MIDDLEWARE = [f"{__name__}.strict_policy", *settings.MIDDLEWARE]
    settings.DISPATCH = {**settings.DISPATCH, "BROKER_TIMEOUT": 0.3}
    live = LiveServer("127.0.0.1")
    yield live
    live.stop()


@pytest.fixture
def open_page(server: LiveServer) -> Iterator[Callable[[], Any]]:
    """Return a function that logs in and returns the page.

    The ORM is not used any more once it was called: Playwright runs an event loop in this thread.
    """
    if not servers.CHROMIUM:
        servers.missing("Chromium was not found")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        servers.missing("Playwright is not installed")
    User.objects.create_superuser("boss", password="opens every door")
    running: list[Any] = []

    def start() -> Any:
        playwright = sync_playwright().start()
        running.append(playwright)
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=servers.CHROMIUM, args=flags)
        running.append(browser)
        page = browser.new_page(base_url=server.url)
        _log_in(page)
        return page

    yield start
    for browser in running[1:]:
        browser.close()
    for playwright in running[:1]:
        playwright.stop()


def test_what_is_configured_in_the_forms_makes_a_saved_note_a_message(open_page):
    page = open_page()
    _add(page, "queue", name="default", is_default=True)
    _add(page, "queue", name="llm")
    _add(page, "route", pattern="worker.tasks.llm.*", queue="llm")
    _add(page, "taskdefinition", name=TASK, parameters=json.dumps(PARAMETERS))
    _add_trigger(page)

    page.goto("/admin/notes/note/add/")
    page.fill("#id_title", "Meeting")
    page.fill("#id_body", "We met. We talked.")
    _save(page)

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


def test_a_mapping_that_does_not_fit_is_explained_beside_the_arguments(open_page):
    _configure()
    page = open_page()
    page.goto("/admin/dispatch/trigger/add/")
    page.fill("#id_name", "Wrong")
    page.select_option("#id_model", "notes.note")
    page.check("#id_events_0")
    _choose(page, "task", TASK)
    has_value(page, "#id_arguments-1-parameter", "text")
    page.fill("#id_arguments-1-parameter", "txet")
    page.select_option("#id_arguments-1-value-choice", "body")
    page.click("input[name=_save]")
    page.locator(".errornote").wait_for()
    errors = page.locator("#arguments-group .errorlist").inner_text()
    assert "does not give 'text'" in errors
    assert "did you mean 'text'?" in errors


def test_a_trigger_on_a_transition_and_a_watched_field_fires_when_they_change(open_page):
    _configure()
    Trigger.objects.all().delete()
    note = Note.objects.create(title="Meeting", body="We met.", kind="audio")
    page = open_page()
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
    _choose(page, "task", TASK)
    has_value(page, "#id_arguments-1-parameter", "text")
    page.select_option("#id_arguments-1-source", "old")
    page.select_option("#id_arguments-1-value-choice", "body")
    _save(page)

    page.goto(f"/admin/notes/note/{note.pk}/change/")
    page.fill("#id_title", "Another title")
    _save(page)
    page.goto(f"/admin/notes/note/{note.pk}/change/")
    page.get_by_text("None was sent for it.").wait_for()

    page.select_option("#id_kind", "text")
    page.fill("#id_body", "We met. We talked.")
    _save(page)
    page.goto(f"/admin/notes/note/{note.pk}/change/")
    page.get_by_role("link", name=TASK).click()
    page.get_by_role("heading", name="Where it is").wait_for()
    body = page.locator("#content").inner_text()
    assert '"We met."' in body, "the old value was to be sent"
    assert "Became a text" in body


def test_a_preview_says_what_would_be_sent_and_sends_nothing(open_page):
    note = Note.objects.create(title="Meeting", body="We met.")
    _configure()
    trigger = Trigger.objects.get()
    trigger.arguments.create(parameter="text", value="body")
    trigger.events = ["updated"]
    trigger.save()
    trigger.conditions.create(field="body", operator="changed", value="")
    page = open_page()
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


def test_the_form_of_a_trigger_offers_what_fits_and_keeps_what_does_not(open_page):
    _configure()
    trigger = Trigger.objects.get()
    trigger.conditions.create(field="gone", operator="less", value="3")
    page = open_page()
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


def test_every_page_keeps_to_a_strict_content_security_policy_and_fits_a_phone(open_page):
    addresses = [*_configure(), *(f"/admin/dispatch/{name}/" for name in LISTS)]
    addresses += [f"/admin/dispatch/{name}/add/" for name in FORMS]
    page = open_page()
    page.set_viewport_size({"width": 400, "height": 800})
    violations: list[str] = []
    page.on(
        "console", lambda message: violations.append(message.text) if _is_violation(message.text) else None
    )
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for address in addresses:
        response = page.goto(address)
        assert response.status == 200, address
        assert response.headers["content-security-policy"] == POLICY
        if page.locator(".dispatch-live").count():  # filled after the page has loaded
            page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, address
    assert violations == []
    assert errors == []
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    page.wait_for_timeout(100)
    assert violations, "the browser would have told of a violation"


def test_a_queue_without_a_consumer_is_a_warning_wherever_its_tasks_are_seen(
    open_page, broker_settings, rabbitmq_url, unique
):
    broker_settings(rabbitmq_url)
    queues.sights.clear()
    rows = _configure_for(unique)
    assert [outcome.error for outcome in queues.declare([unique])] == [""]
    page = open_page()
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


def test_a_page_opens_at_once_while_the_broker_does_not_answer(open_page, broker_settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        broker_settings(f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//", BROKER_TIMEOUT=2)
        queues.sights.clear()
        [address, *_] = _configure_for("llm")["full"]
        page = open_page()
        page.goto(address)
        page.locator(".dispatch-live", has_text="asking the broker").wait_for()
        assert page.locator("#dispatch-explained").is_visible()
        page.locator("#dispatch-explained .dispatch-badge-unknown", has_text="could not be asked").wait_for()


def test_the_whole_reasoning_stands_on_the_pages_of_task_route_and_queue(open_page):
    task, route, queue = _configure_for("llm")["explained"]
    page = open_page()
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


def test_a_priority_that_would_be_ignored_is_told_when_it_is_saved(open_page, broker_settings):
    broker_settings("amqp://guest:guest@127.0.0.1:1//", BROKER_TIMEOUT=0.2)
    _task, route, _queue = _configure_for("llm")["explained"]
    page = open_page()
    page.goto(route)
    page.fill("#id_priority", "7")
    _save(page)
    assert "Priority 7 would be ignored in queue 'llm'" in page.locator(".messagelist .warning").inner_text()


# ------------------------------------------------------------------ steps


def _log_in(page: Any) -> None:
    page.goto("/admin/login/?next=/admin/")
    page.fill("#id_username", "boss")
    page.fill("#id_password", "opens every door")
    page.click("input[type=submit]")
    page.locator("#site-name").wait_for()
    page.get_by_text("Site administration").first.wait_for()


def _add(page: Any, model: str, **columns: Any) -> None:
    page.goto(f"/admin/dispatch/{model}/add/")
    for name, value in columns.items():
        if value is True:
            page.check(f"#id_{name}")
        elif page.locator(f"#id_{name}.admin-autocomplete").count():
            _choose(page, name, value)
        else:
            page.fill(f"#id_{name}", value)
    _save(page)


def _add_trigger(page: Any) -> None:
    page.goto("/admin/dispatch/trigger/add/")
    page.fill("#id_name", "Summarise new notes")
    page.select_option("#id_model", "notes.note")
    page.check("#id_events_0")
    _choose(page, "task", TASK)
    # The form's script starts a line for each required parameter.
    has_value(page, "#id_arguments-1-parameter", "text")
    assert page.input_value("#id_arguments-0-parameter") == "note_id"
    assert page.input_value("#id_arguments-0-source") == "pk"
    assert "required" in page.locator("#arguments-0 .field-parameter").inner_text()
    assert page.input_value("#id_arguments-2-parameter") == "sentences"
    assert page.input_value("#id_arguments-2-source") == ""
    page.select_option("#id_arguments-1-value-choice", "body")
    _save(page)


def _choose(page: Any, field: str, text: str) -> None:
    page.click(f".field-{field} .select2-selection")
    page.fill(".select2-search__field", text)
    page.locator(".select2-results__option", has_text=re.compile(f"^{re.escape(text)}$")).click()


def _save(page: Any) -> None:
    page.click("input[name=_save]")
    page.locator(".messagelist .success, .errornote").wait_for()
    assert page.locator(".errornote").count() == 0, page.locator("#content").inner_text()


def _offered(page: Any, selector: str) -> list[str]:
    return [option.get_attribute("value") for option in page.locator(f"{selector} option").all()]


def _is_violation(text: str) -> bool:
    return "Content Security Policy" in text or "Content-Security-Policy" in text


def _configure() -> list[str]:
    """Write a row of each kind, and return the addresses of their pages."""
    exchange = Exchange.objects.create(name="media", type="topic")
    queue = Queue.objects.create(name="llm", is_default=True)
    queue.bindings.create(exchange=exchange, routing_key="media.#")
    route = Route.objects.create(pattern="worker.tasks.llm.*", queue=queue)
    manifest = Manifest.objects.create(worker="worker", version="1", checksum="sha256:00")
    task = TaskDefinition.objects.create(
        name=TASK, parameters=PARAMETERS, manifest=manifest, source="manifest"
    )
    trigger = Trigger.objects.create(name="New notes", model="notes.note", events=["created"], task=task)
    trigger.conditions.create(field="kind", operator="equals", value="text")
    trigger.arguments.create(parameter="note_id", value="pk")
    [message] = outbox.enqueue([Call(TASK, kwargs={"note_id": "1", "text": "Words. " * 200})])
    dead = dead_message(
        TASK, "A long reason. " * 40, outbox.Origin("trigger", "New notes", "notes.note", "1")
    )
    note = Note.objects.create(title="Old", kind="audio")
    rows = (exchange, queue, route, manifest, task, trigger, message, dead)
    preview = reverse("admin:dispatch_trigger_preview", args=[trigger.pk])
    return [
        *(_address(row) for row in rows),
        f"{preview}?pk={note.pk}",
        f"/admin/notes/note/{note.pk}/change/",
    ]


def _configure_for(queue: str) -> dict[str, list[str]]:
    """Write a task that a route sends to a queue, and a message; return the pages that show the queue's state."""
    row = Queue.objects.create(name=queue)
    route = Route.objects.create(pattern="worker.tasks.llm.*", queue=row)
    task = TaskDefinition.objects.create(name=TASK, parameters=PARAMETERS)
    [message] = outbox.enqueue([Call(TASK, kwargs={"note_id": "1", "text": "Words."})])
    lists = [f"/admin/dispatch/{name}/" for name in ("queue", "taskdefinition", "route", "outboxmessage")]
    return {
        "full": [_address(task), _address(row), _address(message)],
        "brief": lists,
        "explained": [_address(task), _address(route), _address(row)],
    }


def _address(row: Any) -> str:
    return reverse(f"admin:dispatch_{row._meta.model_name}_change", args=[row.pk])
