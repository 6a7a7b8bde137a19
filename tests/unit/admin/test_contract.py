"""The page of what `dispatch verify` finds."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from dispatch.admin.contract import SUBJECTS
from dispatch.admin.widgets import with_commands
from dispatch.api import send_task
from dispatch.contract import KINDS
from dispatch.models import Manifest, OutboxMessage, Queue, Route, TaskDefinition, Trigger
from tests.unit.admin.conftest import SUMMARIZE, client_of, make_user

pytestmark = pytest.mark.one_database

PAGE = "admin:dispatch_contract"


@pytest.fixture
def drift(registry):
    manifest = Manifest.objects.create(worker="w", version="1", checksum="sha256:1", offers=["other"])
    TaskDefinition.objects.filter(name="by.hand").update(manifest=manifest)


def test_findings_stand_there_with_remedies_and_links(viewer, drift):
    text = viewer.get(reverse(PAGE)).content.decode()
    task = reverse(
        "admin:dispatch_taskdefinition_change", args=[TaskDefinition.objects.get(name="by.hand").pk]
    )
    assert f'<a href="{task}">by.hand</a>' in text
    assert "is registered, but w 1 does not offer it" in text
    assert "<code>manage.py dispatch manifest sync FILE</code>" in text
    assert "Brokers and running workers were not asked" in text


def test_who_may_view_tasks_alone_sees_it_without_links_elsewhere(drift):
    user = User.objects.create_user("some", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_taskdefinition"))
    client = Client()
    client.force_login(user)
    text = client.get(reverse(PAGE)).content.decode()
    assert "by.hand</a>" in text
    assert reverse("admin:dispatch_manifest_changelist") not in text
    user.user_permissions.clear()
    assert client.get(reverse(PAGE)).status_code == 403


def test_what_one_may_not_view_is_not_named_but_counted(registry):
    queues = [{"name": "idle", "durable": True, "arguments": {}}]
    Manifest.objects.create(worker="w", version="1", checksum="sha256:1", offers=["other"], queues=queues)
    Queue.objects.create(name="idle")
    Route.objects.create(pattern="secret.route", kind="exact", queue=Queue.objects.get(name="llm"))
    task = TaskDefinition.objects.get(name="by.hand")
    send_task(SUMMARIZE, ["1", "text"])
    OutboxMessage.objects.update(status="dead")
    Trigger.objects.create(name="Secret trigger", model="notes.note", events=["created"], task=task)
    for codenames, named in (
        (("view_manifest",), set()),
        (("view_manifest", "view_route"), {"secret.route"}),
        (("view_manifest", "view_trigger"), {"Secret trigger"}),
        (("view_manifest", "view_queue"), {"idle"}),
        (("view_manifest", "view_taskdefinition"), {SUMMARIZE}),
        (("view_manifest", "view_outboxmessage"), {"Dead messages"}),
    ):
        page = client_of(make_user("-".join(codenames), *codenames)).get(reverse(PAGE))
        text = re.search("<ul class=.dispatch-findings.*?</ul>", page.content.decode(), re.DOTALL)[0]
        found = {
            each
            for each in ("secret.route", "Secret trigger", "idle", SUMMARIZE, "Dead messages")
            if each in text
        }
        assert found == named, codenames
        assert "about what you may not view" in text


def test_the_outbox_is_not_counted_and_no_broker_asked(
    viewer, drift, django_assert_max_num_queries, broker_settings
):
    broker_settings("redis://127.0.0.1:1/0")
    send_task("by.hand")
    with django_assert_max_num_queries(60) as queries:
        viewer.get(reverse(PAGE))
    counting = [
        query["sql"] for query in queries if "GROUP BY" in query["sql"] and "task_name" in query["sql"]
    ]
    assert not counting


def test_a_broker_that_is_down_is_a_finding_once_it_is_asked(viewer, drift, broker_settings):
    broker_settings("redis://127.0.0.1:1/0", BROKER_TIMEOUT=0.1)
    text = viewer.post(reverse(PAGE)).content.decode()
    assert "Brokers and running workers were asked just now" in text
    assert "C051" in text


def test_each_id_that_leads_somewhere_is_one_of_a_kind():
    ids = [each for _model, _column, kinds in SUBJECTS for each in kinds]
    assert sorted(ids) == sorted(set(ids))
    assert set(ids) <= {kind.id for kind in KINDS}


def test_commands_are_code_and_all_else_is_escaped():
    assert with_commands("<b> `a <i>` c") == "&lt;b&gt; <code>a &lt;i&gt;</code> c"
