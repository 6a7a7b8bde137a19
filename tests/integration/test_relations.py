"""Triggers on many-to-many fields: each change once, from either side, with exactly the keys that changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dispatch.api import suppress_triggers, trigger
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from tests.support.databases import elsewhere
from tests.support.registry import TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = ("m2m_added", "m2m_removed", "m2m_cleared")


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    make_registry()
    TaskDefinition.objects.update(parameters={})
    return TaskDefinition.objects.get()


@pytest.fixture
def groups(task: TaskDefinition) -> list[Group]:
    return [Group.objects.create(name=name) for name in "abc"]


@pytest.fixture
def user(task: TaskDefinition) -> User:
    return User.objects.create(username="ada")


def make(task: TaskDefinition, *events: str, **columns: Any) -> Trigger:
    row = make_trigger(task, *(events or EVENTS), model="auth.user", **columns)
    row.arguments.filter(parameter="text").update(source="related", value="")
    row.arguments.create(parameter="event", source="event")
    return row


def sent() -> list[tuple[Any, ...]]:
    rows = [json.loads(row.kwargs) for row in OutboxMessage.objects.order_by("id")]
    return [(row["event"], int(row["note_id"]), row["text"]) for row in rows]


def test_each_change_is_told_with_the_keys_that_changed(
    task: TaskDefinition, user: User, groups: list[Group]
) -> None:
    make(task)
    a, b, c = groups
    user.groups.add(a, b)
    user.groups.add(b, c)
    user.groups.remove(a)
    user.groups.remove(a)
    user.groups.set([c])
    user.groups.clear()
    user.groups.clear()
    assert sent() == [
        ("m2m_added", user.pk, [a.pk, b.pk]),
        ("m2m_added", user.pk, [c.pk]),
        ("m2m_removed", user.pk, [a.pk]),
        ("m2m_removed", user.pk, [b.pk]),
        ("m2m_cleared", user.pk, [c.pk]),
    ]


def test_keys_are_told_in_their_own_order(task: TaskDefinition, user: User) -> None:
    make(task, "m2m_added")
    groups = [Group.objects.create(pk=pk, name=str(pk)) for pk in (1009, 1010, 998)]
    user.groups.add(*groups)
    assert sent() == [("m2m_added", user.pk, [998, 1009, 1010])]


def test_changes_from_the_other_side_are_told_for_each_object(
    task: TaskDefinition, user: User, groups: list[Group]
) -> None:
    make(task)
    other, [group, *_] = User.objects.create(username="bob"), groups
    group.user_set.add(user, other)
    group.user_set.remove(other)
    group.user_set.clear()
    assert sent() == [
        ("m2m_added", user.pk, [group.pk]),
        ("m2m_added", other.pk, [group.pk]),
        ("m2m_removed", other.pk, [group.pk]),
        ("m2m_cleared", user.pk, [group.pk]),
    ]


def test_only_the_watched_relation_and_the_chosen_event_fire(
    task: TaskDefinition, user: User, groups: list[Group]
) -> None:
    make(task, "m2m_added", watched=["groups"])
    user.user_permissions.set(Permission.objects.all()[:2])
    user.groups.set(groups[:1])
    user.groups.clear()
    assert [event for event, *_ in sent()] == ["m2m_added"]


def test_a_relation_of_a_model_without_trigger_is_changed_by_the_same_queries(
    task: TaskDefinition, user: User, groups: list[Group]
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            user.groups.add(groups[0])
            user.groups.clear()
        return len([query for query in seen if "auth_" in query["sql"]])

    before = queries()
    make_trigger(task, "m2m_added", model="auth.group", name="of the other model")
    assert queries() == before


def test_a_process_that_only_relates_notices_a_new_trigger(
    task: TaskDefinition, user: User, groups: list[Group]
) -> None:
    user.groups.add(groups[0])
    elsewhere(lambda: make(task))
    user.groups.add(groups[1])
    assert sent() == [("m2m_added", user.pk, [groups[1].pk])]


def test_a_change_that_is_rolled_back_sends_nothing(
    task: TaskDefinition, user: User, groups: list[Group]
) -> None:
    make(task)
    with transaction.atomic():
        user.groups.add(groups[0])
        transaction.set_rollback(True)
    assert sent() == []
    with suppress_triggers():
        user.groups.add(groups[0])
    assert sent() == []


def test_async_changes_are_told(task: TaskDefinition, user: User, groups: list[Group]) -> None:
    make(task)
    async_to_sync(user.groups.aadd)(groups[0])
    async_to_sync(user.groups.aclear)()
    assert [event for event, *_ in sent()] == ["m2m_added", "m2m_cleared"]


def test_a_trigger_in_code_is_told_what_changed(declared: object, user: User, groups: list[Group]) -> None:
    @trigger(User, on=EVENTS, task=TASK, watch=["groups"])
    def changed(user: User, seen: Any) -> dict[str, Any]:
        return {"note_id": str(user.pk), "text": list(seen.related), "event": f"{seen.relation} {seen.event}"}

    user.groups.set(groups[:2])
    user.user_permissions.set(Permission.objects.all()[:1])
    assert sent() == [("groups m2m_added", user.pk, [group.pk for group in groups[:2]])]


def test_conditions_hold_for_the_object_whose_relation_changed(
    task: TaskDefinition, user: User, groups: list[Group]
) -> None:
    make(task, when=("username", "equals", "ada"))
    other = User.objects.create(username="bob")
    groups[0].user_set.add(user, other)
    assert [pk for _, pk, _ in sent()] == [user.pk]
