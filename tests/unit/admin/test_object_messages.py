from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.urls import reverse
from django_celery_results.models import TaskResult

from dispatch import outbox
from dispatch.api import Call
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
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


def test_a_page_knows_its_site_though_others_have_the_same_name(boss, note):
    namesakes = [admin.AdminSite(admin.site.name) for _each in range(20)]
    assert "None was sent for it." in page(boss, note)
    assert "Relays alive" in boss.get(reverse("admin:index")).content.decode()
    del namesakes


def test_an_object_s_page_leads_to_what_each_trigger_of_its_model_would_send_for_it(boss, viewer, note):
    task = TaskDefinition.objects.get(name="by.hand")
    row = Trigger.objects.create(name="Off", model="notes.note", events=["created"], task=task, enabled=False)
    Trigger.objects.create(name="Of tags", model="notes.tag", events=["created"], task=task)
    shown = page(boss, note)
    url = f"/admin/dispatch/trigger/{row.pk}/preview/?pk={note.pk}"
    assert f'<a href="{url}">Off</a>' in shown
    assert "Of tags" not in shown
    assert "Nothing would be sent" in boss.get(url).content.decode()
    User.objects.get(username="viewer").user_permissions.set(
        Permission.objects.filter(codename__in=["view_note", "view_outboxmessage"])
    )
    assert url not in page(viewer, note)


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


def test_the_list_costs_the_same_queries_however_long_the_log_is(note, django_assert_num_queries):
    for _ in range(3):
        message(note)
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("boss")
    template = Template("{% load dispatch %}{% dispatch_messages note %}")
    with django_assert_num_queries(
        5
    ):  # messages, their results between two of a savepoint, triggers of such objects
        template.render(Context({"request": request, "note": note}))
    assert OutboxMessage.objects.count() == 3


def result_page(client, task_id):
    result = TaskResult.objects.create(task_id=task_id, status="SUCCESS")
    address = reverse("admin:django_celery_results_taskresult_change", args=[result.pk])
    return client.get(address).content.decode()


def test_the_page_of_a_result_leads_to_its_message(boss, note):
    link = message(note)
    assert f'<a href="{link}">Outbox message</a>' in result_page(boss, str(OutboxMessage.objects.get().pk))
    for strange in ("of-another-producer", "0190f3a2-0000-7000-8000-000000000000"):
        assert ">Outbox message</a>" not in result_page(boss, strange)


def test_who_may_not_view_messages_is_not_led_to_one(note):
    message(note)
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_taskresult"))
    client = Client()
    client.force_login(user)
    shown = result_page(client, str(OutboxMessage.objects.get().pk))
    assert "SUCCESS" in shown
    assert ">Outbox message</a>" not in shown
