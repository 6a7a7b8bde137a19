from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse

from dispatch import outbox
from dispatch.api import Call
from dispatch.models import (
    Exchange,
    Manifest,
    OutboxMessage,
    Process,
    Queue,
    Route,
    TaskDefinition,
    Trigger,
)
from tests.support.registry import dead_message

LISTED = [Exchange, Queue, Route, TaskDefinition, Manifest, Trigger, OutboxMessage, Process]
ADDABLE = [Exchange, Queue, Route, TaskDefinition, Trigger]


def page(model, name, *args):
    return reverse(f"admin:dispatch_{model._meta.model_name}_{name}", args=args)


@pytest.mark.parametrize("model", LISTED)
def test_a_list_opens_and_says_what_to_do_when_it_is_empty(boss, model):
    response = boss.get(page(model, "changelist"))
    assert response.status_code == 200
    assert str(admin.site.get_model_admin(model).empty_help) in response.content.decode().replace(
        "&#x27;", "'"
    )


@pytest.mark.parametrize("model", LISTED)
def test_a_list_and_each_of_its_pages_open_with_data(boss, one_of_each, model):
    response = boss.get(page(model, "changelist"))
    assert response.status_code == 200
    for row in model.objects.all():
        assert boss.get(page(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", LISTED)
def test_staff_who_may_only_view_see_the_same_pages(viewer, one_of_each, model):
    assert viewer.get(page(model, "changelist")).status_code == 200
    for row in model.objects.all():
        assert viewer.get(page(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", ADDABLE)
def test_an_add_page_opens(boss, model):
    assert boss.get(page(model, "add")).status_code == 200


@pytest.mark.parametrize("model", [Manifest, OutboxMessage])
def test_what_is_a_record_can_be_neither_added_nor_deleted(boss, one_of_each, model):
    row = model.objects.first()
    assert boss.get(page(model, "add")).status_code == 403
    assert boss.post(page(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert b"delete_selected" not in boss.get(page(model, "changelist")).content


@pytest.mark.parametrize("model", ADDABLE)
def test_a_search_finds_nothing_without_an_error(boss, one_of_each, model):
    assert boss.get(page(model, "changelist"), {"q": "nothing of the kind"}).status_code == 200


def test_what_users_wrote_is_escaped(boss, one_of_each):
    message = OutboxMessage.objects.get()
    OutboxMessage.objects.update(last_error="<script>alert(1)</script>")
    for address in (page(OutboxMessage, "changelist"), page(OutboxMessage, "change", message.pk)):
        assert b"<script>alert" not in boss.get(address).content


def test_no_page_holds_an_inline_style_or_script_of_its_own(boss, one_of_each):
    for model in LISTED:
        for address in (page(model, "changelist"), page(model, "change", model.objects.first().pk)):
            text = boss.get(address).content.decode()
            assert " style=" not in text
            assert "<style" not in text
            assert "<script>" not in text


def test_broken_messages_open_too(boss, registry):
    dead_message("unknown.task", "Why", outbox.Origin("trigger", "Gone", "gone.model", "1"))
    [odd] = outbox.enqueue([Call("by.hand")])
    OutboxMessage.objects.filter(pk=odd.pk).update(args="not json", published_to={"of": "another version"})
    for row in OutboxMessage.objects.all():
        assert boss.get(page(OutboxMessage, "change", row.pk)).status_code == 200
