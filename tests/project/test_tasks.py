"""The typed senders that the notes use: generated from the worker beside them, and kept true."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.urls import reverse

from dispatch.models import OutboxMessage
from project.notes.models import Note
from project.notes.registry import configure
from project.stack.stack import ROOT, WORKER_BIN
from tests.support import servers

RENEW = "celery -A worker manifest | python manage.py dispatch stubs -o project/notes/tasks.py --manifest -"


@pytest.fixture(scope="module")
def manifest():
    """What the worker's code offers."""
    if not (WORKER_BIN / "celery").exists():
        servers.missing("the worker's virtualenv is not built (make venv)")
    command = [WORKER_BIN / "celery", "-A", "worker", "manifest"]
    done = subprocess.run(
        command, cwd=ROOT / "worker_stub", capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_the_typed_senders_of_the_notes_are_what_the_worker_offers(manifest, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(manifest))
    output = io.StringIO()
    try:
        path = str(ROOT / "project" / "notes" / "tasks.py")
        call_command("dispatch", "stubs", "--check", "-o", path, "--manifest", "-", stdout=output)
    except CommandError:
        pytest.fail(f"{output.getvalue()}Renew it: {RENEW}")


@pytest.fixture
def registry(db, manifest, broker_settings, monkeypatch):
    broker_settings("memory://")
    monkeypatch.setattr(sys, "stdin", io.StringIO(manifest))
    call_command("dispatch", "manifest", "sync", "-", stdout=io.StringIO())
    configure()


@pytest.fixture
def notes(registry):
    """A note of each kind, whose own messages are forgotten."""
    Note.objects.create(kind="text", title="text", body="Cats sleep.")
    Note.objects.create(kind="audio", title="audio", audio="/tone.wav")
    Note.objects.create(kind="link", title="link", body="https://example.org")
    OutboxMessage.objects.all().delete()


def ask_again(client):
    data = {"action": "summarize_again", "_selected_action": list(Note.objects.values_list("pk", flat=True))}
    return client.post(reverse("admin:notes_note_changelist"), data, follow=True)


def test_staff_can_ask_for_the_summaries_again(notes, admin_client):
    response = ask_again(admin_client)
    assert "Messages on their way to the workers: 3." in response.content.decode()
    names = sorted(OutboxMessage.objects.values_list("task_name", flat=True))
    assert [name.rpartition(".")[2] for name in names] == [
        "preview_links",
        "summarize_note",
        "transcribe_audio",
    ]


def test_what_cannot_be_sent_is_told_and_nothing_is_sent(notes, admin_client):
    Note.objects.filter(kind="audio").update(audio="")
    assert "at /kwargs/path" in ask_again(admin_client).content.decode()
    assert not OutboxMessage.objects.exists()


def test_who_may_not_change_notes_cannot_ask(notes, client):
    client.force_login(User.objects.create(username="visitor", is_staff=True))
    assert ask_again(client).status_code == 403
    assert not OutboxMessage.objects.exists()
