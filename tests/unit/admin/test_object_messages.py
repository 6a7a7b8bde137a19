from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.urls import reverse

from dispatch import outbox
from dispatch.api import Call
from dispatch.models import OutboxMessage
from project.notes.models import Note

SUMMARIZE = "worker.tasks.llm.summarize_note"
pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def note():
    return Note.objects.create(title="A note")


def message(note, model="notes.note"):
    origin = outbox.Origin("trigger", "On save", model, str(note.pk))
    [row] = outbox.enqueue([Call(SUMMARIZE, kwargs={"note_id": str(note.pk), "text": "x"})], origin=origin)
    return reverse("admin:dispatch_outboxmessage_change", args=[row.pk])


def page(client, note):
    return client.get(reverse("admin:notes_note_change", args=[note.pk])).content.decode()


def test_an_object_s_page_shows_its_messages_and_leads_to_all_of_them(boss, note):
    link = message(note)
    other = message(Note.objects.create(title="Another"))
    shown = page(boss, note)
    assert link in shown
    assert other not in shown
    assert f"object_model=notes.note&amp;object_pk={note.pk}" in shown
    assert "dispatch/admin.css" in shown


def test_an_object_without_messages_says_so(boss, note):
    assert "None was sent for it." in page(boss, note)
    assert "Messages" not in boss.get(reverse("admin:notes_note_add")).content.decode()


def test_staff_who_may_not_view_messages_see_none(note):
    link = message(note)
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="change_note"))
    client = Client()
    client.force_login(user)
    shown = page(client, note)
    assert 'name="title"' in shown
    assert link not in shown
    assert "None was sent" not in shown


@pytest.mark.usefixtures("temporary_models")
def test_messages_of_a_proxy_are_those_of_its_object(boss, note):
    from dispatch.admin import object_messages

    class ProxyNote(Note):
        class Meta:
            proxy = True
            app_label = "notes"

    message(note, "notes.proxynote")
    assert object_messages.messages_of(note).count() == 1
    assert object_messages.messages_of(ProxyNote(pk=note.pk)).count() == 1


def test_the_template_tag_works_on_any_page(note):
    link = message(note)
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("boss")
    template = Template("{% load dispatch %}{% dispatch_messages note limit=1 %}")
    assert link in template.render(Context({"request": request, "note": note}))
    assert "On save" in template.render(Context({"request": request, "note": note}))
    for nothing in (Context({"note": note}), Context({"request": request, "note": None})):
        assert link not in template.render(nothing)


def test_the_list_costs_two_queries_however_long_the_log_is(note, django_assert_num_queries):
    for _ in range(3):
        message(note)
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("boss")
    template = Template("{% load dispatch %}{% dispatch_messages note %}")
    with django_assert_num_queries(2):  # messages, and their results
        template.render(Context({"request": request, "note": note}))
    assert OutboxMessage.objects.count() == 3
