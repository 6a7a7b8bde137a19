"""The pages on a second admin site, beside the default one: they lead to each other, and never to the first site's."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import include, path

from dispatch.models import OutboxMessage, Queue
from project.notes.models import Note
from tests.unit.admin.test_permissions import NAMES, address

pytestmark = pytest.mark.one_database

site = admin.AdminSite("second")
for model, own in admin.site._registry.items():
    site.register(model, type(own))
urlpatterns = [path("second/", site.urls), path("", include("project.urls"))]


@pytest.fixture
def addresses(one_of_each, broker_settings, settings):
    """The addresses on the second site, by name; a trigger's message is dead."""
    broker_settings("memory://", BROKER_TIMEOUT=0.05)
    note = Note.objects.create(title="A note")
    about = {
        "object_model": "notes.note",
        "object_pk": note.pk,
        "origin": "trigger",
        "origin_name": "On save",
    }
    OutboxMessage.objects.update(status="dead", last_error="No.", **about)
    found = {name: address(name) for name in NAMES} | {"note": f"/admin/notes/note/{note.pk}/change/"}
    settings.ROOT_URLCONF = __name__
    return {name: f"/second{each.removeprefix('/admin')}" for name, each in found.items()}


def test_no_page_leads_to_the_first_site(boss, addresses):
    for name, each in addresses.items():
        response = boss.get(each, follow=True)
        assert '"/admin/' not in response.content.decode(), name


def test_no_answer_to_a_form_does_either(boss, addresses):
    response = boss.post(
        addresses["dispatch_queue_add"], {"name": "new", "broker": "default", "is_default": "on"}
    )
    first = Queue.objects.get(is_default=True)
    assert f'<a href="/second/dispatch/queue/{first.pk}/change/">' in response.content.decode()
