"""Countdowns, expiries, limits and windows: whoever gives them, the same seconds are taken and the same are refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError

from dispatch.api import Call, InvalidOption, TaskDisabled, send_task, trigger
from dispatch.configuration import apply, document
from dispatch.core import manifest
from dispatch.core.seconds import EXPECTED, MOST, TIMES
from dispatch.exceptions import ConfigurationError, InvalidConfiguration, InvalidManifest
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from project.notes.models import Note
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db

BAD = {
    "negative": -5,
    "nan": math.nan,
    "infinite": math.inf,
    "huge": 1e300,
    "of 400 digits": 10**400,
    "over": MOST + 1,
}
GOOD = [0, 0.001, 86_400, MOST]
bad = pytest.mark.parametrize("value", BAD.values(), ids=BAD)
good = pytest.mark.parametrize("value", GOOD)
SAID = f"Write a number of seconds from 0 to {MOST:,}."


@pytest.fixture(autouse=True)
def task(broker_settings: Any) -> TaskDefinition:
    broker_settings("memory://")
    return make_registry()


def manifest_text(**options: Any) -> str:
    return manifest.sealed(
        {"manifest": 1, "worker": "worker", "queues": [], "tasks": [{"name": TASK, "options": options}]}
    )


def imported(section: str, row: dict[str, Any]) -> document.Document:
    return document.parse({"configuration": 1, section: [row]})


@bad
@pytest.mark.parametrize("name", TIMES)
def test_bad_seconds_are_refused_by_calls_definitions_imports_and_manifests(
    task: TaskDefinition, name: str, value: float
) -> None:
    with pytest.raises(InvalidOption, match=f"{name} must be {EXPECTED}, not "):
        Call(TASK, **{name: value})
    setattr(task, name, value)
    with pytest.raises(ValidationError) as refused:
        task.full_clean()
    assert refused.value.message_dict == {name: [SAID]}
    with pytest.raises(InvalidConfiguration, match=f"{name} .*: Write a number of seconds"):
        apply.preview(imported("tasks", {"name": "a.task", name: value}), "default")
    if isinstance(value, int) or math.isfinite(value):  # others are refused as JSON
        with pytest.raises(InvalidManifest, match=f"option '{name}' must be {EXPECTED}"):
            manifest.read(manifest_text(**{name: value}))


@bad
@pytest.mark.parametrize("name", ["countdown", "coalesce"])
def test_bad_seconds_are_refused_by_triggers(task: TaskDefinition, name: str, value: float) -> None:
    row = make_trigger(task, "created")
    setattr(row, name, value)
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert refused.value.message_dict == {name: [SAID]}
    with pytest.raises((ConfigurationError, InvalidOption), match=EXPECTED):
        trigger(Group, on="created", task=TASK, **{name: value})


@good
def test_good_seconds_are_taken_by_all_of_them(task: TaskDefinition, value: float) -> None:
    for name in TIMES:
        setattr(task, name, value)
        assert manifest.read(manifest_text(**{name: value})).tasks[0].options == {name: value}
    task.full_clean()
    task.save()
    row = make_trigger(task, "created", countdown=value, coalesce=value)
    row.full_clean()
    Note.objects.create(body="x")
    send_task(TASK, kwargs=ARGUMENTS)
    send_task(TASK, kwargs=ARGUMENTS, **dict.fromkeys(TIMES, value))
    assert OutboxMessage.objects.filter(status=OutboxMessage.Status.PENDING).count() == 3


@pytest.mark.parametrize("value", [-5, 1e300])
def test_bad_seconds_that_are_stored_already_are_told_of_their_row(
    task: TaskDefinition, value: float, settings: Any
) -> None:
    make_trigger(task, "created")
    Trigger.objects.update(countdown=value)
    Note.objects.create(body="x")
    dead = OutboxMessage.objects.get()
    assert dead.status == OutboxMessage.Status.DEAD
    assert f"must each be {EXPECTED}" in dead.last_error
    TaskDefinition.objects.update(countdown=value)
    with pytest.raises(TaskDisabled, match=f"its countdown is .*must be {EXPECTED}"):
        send_task(TASK, kwargs=ARGUMENTS)


def test_the_form_says_the_same(task: TaskDefinition, admin_client: Any) -> None:
    from django.urls import reverse

    address = reverse("admin:dispatch_taskdefinition_change", args=[task.pk])
    response = admin_client.post(
        address, {"name": TASK, "countdown": "-5", "expires": "1e300", "parameters": json.dumps({})}
    )
    errors = response.context["adminform"].form.errors
    assert errors["countdown"] == errors["expires"] == [SAID]
