"""A registry with two queues, a route and three tasks; users who may do everything, only look, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from dispatch.models import Queue, Route, TaskDefinition

SUMMARIZE = "worker.tasks.llm.summarize_note"
PUSH = "worker.tasks.ops.push_to_partner"


def schema(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        "x-positional": list(properties),
    }


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
def boss(db: None) -> Client:
    return _client(User.objects.create_superuser("boss"))


@pytest.fixture
def viewer(db: None) -> Client:
    """Staff who may view everything of dispatch and change nothing."""
    user = User.objects.create_user("viewer", is_staff=True)
    views = Permission.objects.filter(content_type__app_label="dispatch", codename__startswith="view_")
    user.user_permissions.set(views)
    return _client(user)


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
