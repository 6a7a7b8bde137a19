"""A registry with two queues, a route and three tasks; users who may do everything, only look, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.test import Client

from dispatch.api import send_task
from dispatch.models import (
    Binding,
    Exchange,
    Manifest,
    Queue,
    Route,
    TaskDefinition,
    Trigger,
    TriggerArgument,
    TriggerCondition,
)
from tests.support.processes import make_process

SUMMARIZE = "worker.tasks.llm.summarize_note"
PUSH = "worker.tasks.ops.push_to_partner"
#: The permissions to view the rows of each model; ``view_arguments_outboxmessage`` is none of them.
VIEWS = tuple(f"view_{model._meta.model_name}" for model in apps.get_app_config("dispatch").get_models())


def schema(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        "x-positional": list(properties),
    }


def staff(*codenames: str, name: str = "staff") -> Client:
    """A client of a user of the admin who has these permissions and no others."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def registry(db: None) -> None:
    llm = Queue.objects.create(name="llm")
    Queue.objects.create(name="default", is_default=True)
    Route.objects.create(pattern="worker.tasks.llm.*", queue=llm)
    text = {"type": "string"}
    TaskDefinition.objects.create(
        name=SUMMARIZE,
        source=TaskDefinition.Source.MANIFEST,
        parameters=schema(
            ["note_id", "text"], note_id=text, text=text, sentences={"type": "integer", "default": 2}
        ),
    )
    TaskDefinition.objects.create(
        name=PUSH, parameters=schema(["url", "token"], url=text, token=text), sensitive_parameters=["token"]
    )
    TaskDefinition.objects.create(name="by.hand")


@pytest.fixture
def one_of_each(registry: None) -> None:
    """A row on each page."""
    exchange = Exchange.objects.create(name="media", type="topic", arguments={"x-note": "<b>"})
    Binding.objects.create(queue=Queue.objects.get(name="llm"), exchange=exchange, routing_key="media.#")
    Route.objects.create(pattern="by.*", exchange=exchange, routing_key="media.a", position=3)
    manifest = Manifest.objects.create(
        worker="worker", version="1", checksum="sha256:00", queues=[{"name": "llm"}]
    )
    task = TaskDefinition.objects.get(name="worker.tasks.llm.summarize_note")
    TaskDefinition.objects.filter(pk=task.pk).update(manifest=manifest)
    trigger = Trigger.objects.create(name="On save", model="notes.note", events=["created"], task=task)
    TriggerCondition.objects.create(trigger=trigger, field="kind", operator="equals", value="text")
    TriggerArgument.objects.create(trigger=trigger, parameter="note_id", value="pk")
    send_task("by.hand", [1], {"a": "<script>"})
    make_process()


@pytest.fixture
def boss(db: None) -> Client:
    return client_of(User.objects.create_superuser("boss"))


@pytest.fixture
def viewer(db: None) -> Client:
    """Staff who may view everything of dispatch and change nothing."""
    return client_of(make_user("viewer", *VIEWS))


def make_user(name: str, *codenames: str) -> User:
    """Staff with these permissions of dispatch."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="dispatch", codename__in=codenames)
    )
    return user


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
