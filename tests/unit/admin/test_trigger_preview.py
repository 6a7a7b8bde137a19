from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from dispatch.api import trigger
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from project.notes.models import Note
from tests.support.registry import make_trigger
from tests.unit.admin.conftest import staff

SUMMARIZE = "worker.tasks.llm.summarize_note"
pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def note():
    return Note.objects.create(title="A note", body="Words.")


@pytest.fixture
def row(note):
    return make_trigger(
        TaskDefinition.objects.get(name=SUMMARIZE), "updated", name="Changed", when=("body", "changed", "")
    )


def address(row):
    return reverse("admin:dispatch_trigger_preview", args=[row.pk])


def text(response):
    assert response.status_code == 200
    return response.content.decode()


def test_the_page_says_condition_by_condition_what_would_be_sent(boss, row, note):
    page = text(boss.post(address(row), {"pk": str(note.pk), "event": "updated", "changes": ""}))
    assert "does not fire" in page
    assert "A save would have to change it from" in page
    page = text(boss.post(address(row), {"pk": str(note.pk), "event": "updated", "changes": "body = New."}))
    assert "All holds" in page
    assert "queue llm on broker default" in page
    assert "&quot;New.&quot;" in page
    assert not OutboxMessage.objects.exists()
    note.refresh_from_db()
    assert note.body == "Words."


def test_an_address_may_name_the_object(boss, row, note):
    response = boss.get(address(row), {"pk": str(note.pk)})
    assert "does not fire" in text(response)
    assert "object" not in response.context  # which a theme takes for a row of the page's model


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"pk": "nobody"}, "There is no notes.note with the primary key"),
        ({"changes": "body"}, "write field = value"),
        ({"changes": "gone = 1"}, "has no column gone"),
        ({"event": "saved"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_previewed_is_told(boss, row, note, data, complaint):
    assert complaint in text(boss.post(address(row), {"pk": str(note.pk), "event": "updated", **data}))


def test_objects_are_suggested(boss, row, note):
    assert f'<option value="{note.pk}" label="A note">' in text(boss.get(address(row)))


def test_what_the_trigger_has_sent_for_the_object_is_listed(boss, row, note):
    note.body = "Other words."
    note.save()
    other = Note.objects.create(title="Other", body="x")
    message = OutboxMessage.objects.get()
    link = reverse("admin:dispatch_outboxmessage_change", args=[message.pk])
    assert link in text(boss.get(address(row), {"pk": str(note.pk)}))
    assert link not in text(boss.get(address(row), {"pk": str(other.pk)}))


def test_sensitive_arguments_are_masked(boss, row, note):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(sensitive_parameters=["text"])
    page = text(boss.post(address(row), {"pk": str(note.pk), "event": "updated", "changes": "title = B"}))
    assert "***" in page
    assert "&quot;Words.&quot;" not in page


def test_a_trigger_in_code_can_be_previewed(boss, note, declared):
    @trigger(Note, on="updated", task=SUMMARIZE)
    def summarize(note):
        return {"note_id": str(note.pk), "text": note.body}

    found = boss.get(reverse("admin:dispatch_trigger_changelist")).context["cl"].code_triggers
    [link] = re.findall(r'href="([^"]*/preview/[^"]*)"', found.rows[0][0].text)
    page = text(boss.post(unescape(link), {"pk": str(note.pk), "event": "updated", "changes": ""}))
    assert "All holds" in page
    assert not OutboxMessage.objects.exists()
    assert boss.get(reverse("admin:dispatch_trigger_code_preview"), {"name": "gone"}).status_code == 404


def test_a_trigger_that_is_gone_is_not_found(boss, row):
    assert boss.get(reverse("admin:dispatch_trigger_preview", args=[row.pk + 1])).status_code == 404


# -- permissions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        (["view_trigger", "view_note"], 200),
        (["view_trigger"], 403),
        (["view_note"], 403),
        (["change_trigger", "change_note"], 200),
    ],
)
def test_it_takes_the_permission_to_view_the_trigger_and_its_objects(row, note, permissions, status):
    assert staff(*permissions).get(address(row), {"pk": str(note.pk)}).status_code == status


def test_the_button_is_there_for_those_who_may_use_it(boss, viewer, row):
    page = reverse("admin:dispatch_trigger_change", args=[row.pk])
    assert address(row) in text(boss.get(page))
    assert address(row) not in text(viewer.get(page))


def test_the_permission_counts_where_the_admin_has_no_such_model(note):
    row = make_trigger(
        TaskDefinition.objects.get(name="by.hand"), "updated", model="django_celery_results.chordcounter"
    )
    Trigger.objects.get(pk=row.pk).arguments.all().delete()
    assert staff("view_trigger").get(address(row)).status_code == 403
    User.objects.all().delete()
    assert staff("view_trigger", "view_chordcounter").get(address(row)).status_code == 200


def test_objects_that_this_users_admin_hides_are_hidden(row, note, monkeypatch):
    from project.notes.admin import NoteAdmin

    client = staff("view_trigger", "view_note")
    monkeypatch.setattr(NoteAdmin, "get_queryset", lambda self, request: Note.objects.none())
    assert client.get(address(row), {"pk": str(note.pk)}).status_code == 403


def test_messages_are_shown_to_those_who_may_view_them(row, note):
    assert "What this trigger has sent" not in text(
        staff("view_trigger", "view_note").get(address(row), {"pk": str(note.pk)})
    )
