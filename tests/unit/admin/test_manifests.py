"""A manifest is uploaded, read as a difference, and applied as it was shown."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from dispatch import contract
from dispatch.core import manifest as documents
from dispatch.models import Manifest, Queue, Route, TaskDefinition, Trigger
from tests.support.registry import write_past_the_form
from tests.unit.admin.conftest import SUMMARIZE, schema, staff

pytestmark = pytest.mark.one_database

SYNC, APPLY = (f"admin:dispatch_manifest_{name}" for name in ("sync", "apply"))
TEXT = {"type": "string"}


def manifest(*names, version="1.0", parameters=None, **keys):
    tasks = [{"name": name, "parameters": parameters or {}} for name in names]
    return documents.sealed(
        {"manifest": 1, "worker": "w", "version": version, "tasks": tasks, "queues": [], **keys}
    )


def upload(client, text):
    content = text if isinstance(text, bytes) else text.encode()
    return client.post(reverse(SYNC), {"manifest": SimpleUploadedFile("manifest.json", content)})


def shown(response):
    return {name: response.context["form"][name].value() for name in ("manifest", "shown")}


@pytest.fixture
def imported(registry):
    """A worker offered a task, with a parameter that a trigger gives, and another task."""
    contract.sync(documents.read(manifest(SUMMARIZE, "w.old", parameters=schema(["note_id"], note_id=TEXT))))
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    Trigger.objects.create(name="On save", model="notes.note", events=["created"], task=task)


def test_what_would_change_and_break_is_shown_and_nothing_is_changed(boss, imported):
    response = upload(boss, manifest(SUMMARIZE, "w.new", version="2.0", parameters=schema(["id"], id=TEXT)))
    text = response.content.decode()
    for expected in ("w 2.0", "w.old", "w.new", "note_id is gone", "breaking", "On save", "no longer fits"):
        assert expected in text
    assert Manifest.objects.count() == 1
    assert not TaskDefinition.objects.filter(name="w.new").exists()


@pytest.mark.parametrize(
    ("codenames", "names"),
    [((), set()), (("view_trigger",), {"On save"}), (("view_trigger", "view_route"), {"On save", "w.old*"})],
)
def test_what_breaks_is_named_to_those_who_may_view_it_and_counted_for_the_others(imported, codenames, names):
    Route.objects.create(pattern="w.old*", queue=Queue.objects.get(name="llm"))
    client = staff("view_manifest", "sync_manifest", *codenames)
    text = upload(client, manifest(SUMMARIZE, parameters=schema(["id"], id=TEXT))).content.decode()
    assert {name for name in ("On save", "w.old*") if f"<strong>{name}</strong>" in text} == names
    hidden = 2 - len(names)
    assert ("what you may not view" in text, f"{hidden} finding" in text) == (hidden > 0, hidden > 0)


def test_what_was_shown_is_applied_and_stands_in_the_history(boss, imported):
    text = manifest(SUMMARIZE, "w.new", version="2.0")
    response = boss.post(
        reverse(APPLY), shown(upload(boss, json.dumps(json.loads(text), indent=4))), follow=True
    )
    row = Manifest.objects.get(version="2.0")
    assert response.redirect_chain[-1][0] == reverse("admin:dispatch_manifest_change", args=[row.pk])
    assert "Imported the manifest of w 2.0: 1 retired, 1 changed, 1 added." in response.content.decode()
    assert "anything is accepted now" in response.content.decode()
    assert TaskDefinition.objects.get(name="w.old").retired_at
    assert LogEntry.objects.get().change_message == "Imported: 1 retired, 1 changed, 1 added."


def test_what_changed_in_the_meantime_is_shown_again_in_place_of_being_applied(boss, imported):
    was = shown(upload(boss, manifest(SUMMARIZE, "w.new", version="2.0")))
    TaskDefinition.objects.create(name="w.new")
    response = boss.post(reverse(APPLY), was)
    assert "The registry has changed in the meantime" in response.content.decode()
    assert not Manifest.objects.filter(version="2.0").exists()
    assert not LogEntry.objects.exists()
    boss.post(reverse(APPLY), shown(response))
    assert Manifest.objects.filter(version="2.0").exists()


def test_a_manifest_that_changes_no_task_can_be_imported(boss, imported):
    response = upload(
        boss, manifest(SUMMARIZE, "w.old", version="2.0", parameters=schema(["note_id"], note_id=TEXT))
    )
    assert "No task." in response.content.decode()
    response = boss.post(reverse(APPLY), shown(response), follow=True)
    assert "w 2.0: no task has changed" in response.content.decode()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\xff\xfe", "no text in UTF-8"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"manifest": 1}', "checksum"),
        (manifest("a").replace('"a"', '"b"'), "checksum"),
        (b"", "empty"),
    ],
)
def test_what_is_no_manifest_is_refused_in_a_sentence(boss, registry, content, complaint):
    response = upload(boss, content)
    assert response.status_code == 200
    assert complaint in str(response.context["form"].errors["manifest"])
    assert not Manifest.objects.exists()


def test_commands_in_a_complaint_are_code(boss, registry):
    newer = manifest("a").replace('"manifest": 1', '"manifest": 2')
    expected = "<code>celery -A worker manifest</code>"
    assert expected in upload(boss, newer).content.decode()
    assert expected in boss.post(reverse(APPLY), {"manifest": newer}, follow=True).content.decode()


def test_a_file_that_could_not_be_applied_is_refused_before_it_is_read(boss, registry, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 20_000
    with mock.patch.object(documents, "read") as read:
        response = upload(boss, b" " * 10_001)
    assert "10,000 are the most" in str(response.context["form"].errors["manifest"])
    assert not read.called


def test_a_form_that_was_tampered_with_changes_nothing(boss, registry):
    response = boss.post(reverse(APPLY), {"manifest": "{"}, follow=True)
    assert "The manifest is not JSON" in response.content.decode()
    response = boss.post(reverse(APPLY), {"manifest": manifest("a"), "shown": "x"})
    assert "has changed in the meantime" in response.content.decode()
    assert not Manifest.objects.exists()


@pytest.mark.parametrize(
    "odd",
    [
        "5",
        '["x"]',
        '{"added": 5, "changed": [5, {"task": 5, "changes": [1, {"sentence": {}}]}]}',
        r'{"added": ["\ud800\u0000"], "changed": [{"task": "\ud800", "changes": [{"sentence": "\ud800"}]}]}',
        "1%s" % ("0" * 5_000),
    ],
)
def test_odd_columns_of_a_row_spoil_no_page(boss, registry, odd):
    row = Manifest.objects.create(worker="w", version="1", checksum="sha256:1")
    for column in ("changes", "queues", "offers"):
        write_past_the_form(Manifest, column, odd, id=row.pk)
    assert boss.get(reverse("admin:dispatch_manifest_changelist")).status_code == 200
    assert boss.get(reverse("admin:dispatch_manifest_change", args=[row.pk])).status_code == 200
    assert boss.get(reverse("admin:dispatch_contract")).status_code == 200
