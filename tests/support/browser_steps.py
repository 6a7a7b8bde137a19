"""What a person does in the admin's pages, and the policy under which the browser shows them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

POLICY = "default-src 'self'"


def strict_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that lets the browser load nothing inline and nothing from elsewhere."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return respond


def choose(page: Any, field: str, text: str) -> None:
    """Choose a row in a field that searches for it."""
    page.click(f".field-{field} .select2-selection")
    page.fill(".select2-search__field", text)
    page.locator(".select2-results__option", has_text=re.compile(f"^{re.escape(text)}$")).click()


def save(page: Any) -> None:
    page.click("input[name=_save]")
    page.locator(".messagelist .success, .errornote").wait_for()
    assert page.locator(".errornote").count() == 0, page.locator("#content").inner_text()


def has_value(page: Any, selector: str, value: str) -> None:
    """Wait for a field's value, without evaluating a text as a script, which the policy forbids."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_value(value)


def add_trigger(page: Any, task: str) -> None:
    """Let new notes send a task that takes `note_id`, `text` and, if it is given, `sentences`."""
    page.goto("/admin/dispatch/trigger/add/")
    page.fill("#id_name", "Summarise new notes")
    page.select_option("#id_model", "notes.note")
    page.check("#id_events_0")
    choose(page, "task", task)
    # The form's script starts a line for each required parameter.
    has_value(page, "#id_arguments-1-parameter", "text")
    assert page.input_value("#id_arguments-0-parameter") == "note_id"
    assert page.input_value("#id_arguments-0-source") == "pk"
    assert "required" in page.locator("#arguments-0 .field-parameter").inner_text()
    assert page.input_value("#id_arguments-2-parameter") == "sentences"
    assert page.input_value("#id_arguments-2-source") == ""
    page.select_option("#id_arguments-1-value-choice", "body")
    save(page)


def page_of(row: Any) -> str:
    """Return the address of a row's page."""
    return reverse(f"admin:dispatch_{row._meta.model_name}_change", args=[row.pk])
