"""A guest in Django's house: no query where Django makes none, and nothing that a test could count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.signals import request_started
from django.db import connection, transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed
from django.test.utils import CaptureQueriesContext

from dispatch import registry
from dispatch.api import trigger
from dispatch.models import OutboxMessage, RegistryVersion
from dispatch.triggers import django_hooks
from tests.support.registry import TASK, make_registry, make_trigger

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_ttl")]


@pytest.fixture
def testing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry know that these are tests."""
    monkeypatch.setattr(import_module("dispatch.registry.cache"), "is_testing", lambda: True)


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nobody listen to changes of relations, as in a process that has not noticed any trigger."""
    monkeypatch.setattr(m2m_changed, "receivers", [])
    registry.cache.clear()
    m2m_changed.sender_receivers_cache.clear()
    yield
    m2m_changed.sender_receivers_cache.clear()


# -- where Django does not query ------------------------------------------------------------------


def test_an_access_and_a_request_query_nothing() -> None:
    user, group = User.objects.create(username="ada"), Group.objects.create(name="a")
    with CaptureQueriesContext(connection) as queries:
        user.groups, group.user_set, user.groups.all()
        request_started.send(sender=None)
        Group.objects.none().delete()
    assert [query["sql"] for query in queries if "SELECT" in query["sql"]] == []


def test_a_relation_may_be_accessed_in_asynchronous_code() -> None:
    user = User.objects.create(username="ada")

    async def accessed() -> Any:
        return user.groups.all()

    assert not list(asyncio.run(accessed()))


@pytest.mark.parametrize(
    ("event", "operation"), [("m2m_added", "add"), ("m2m_removed", "remove"), ("m2m_cleared", "clear")]
)
def test_each_change_of_a_relation_notices_a_trigger_that_another_process_made(
    unconnected: None, event: str, operation: str
) -> None:
    task = make_registry()
    task.parameters = {}
    task.save()
    user, group = User.objects.create(username="ada"), Group.objects.create(name="a")
    if operation != "add":
        user.groups.add(group)
    make_trigger(task, event, model="auth.user").arguments.all().delete()
    getattr(user.groups, operation)(*([group] if operation != "clear" else []))
    assert OutboxMessage.objects.count() == 1


# -- what a test may see --------------------------------------------------------------------------


def test_a_test_counts_its_own_queries_alone(testing: None) -> None:
    make_registry()
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            Group(name="a").save(force_insert=True)
        assert [query["sql"].split()[0] for query in queries] == ["INSERT"]
        Group.objects.all().delete()


def test_what_a_test_rolled_back_is_not_in_the_registry_of_the_next(testing: None) -> None:
    task = make_registry()
    with transaction.atomic():
        for _ in range(2):
            with transaction.atomic():
                make_trigger(task, "created", model="auth.group")
                assert len(registry.current().triggers) == 1
                transaction.set_rollback(True)
            with transaction.atomic():
                assert not registry.current().triggers


def test_a_test_that_may_not_ask_the_database_has_the_registry_it_knew(
    testing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_registry()
    known = registry.current()

    def forbidden(using: str) -> None:
        raise AssertionError("Database queries to 'default' are not allowed in this test.")

    monkeypatch.setattr(RegistryVersion, "current", forbidden)
    assert registry.current() is known


# -- what is not there, or not as it was ----------------------------------------------------------


def test_a_save_before_the_first_migrate_stands_and_one_line_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dispatch.triggers.code_triggers import declared

    @trigger(Group, on="created", task=TASK)
    def tell(group: Group) -> dict[str, Any]:
        return {"note_id": str(group.pk)}

    try:
        monkeypatch.setattr(registry.cache, "has_tables", lambda using: False)
        Group.objects.create(name="a")
        Group.objects.create(name="b")
    finally:
        declared.clear()
    assert Group.objects.count() == 2
    assert caplog.text.count("the tables of dispatch are not there") == 1


def test_a_method_that_takes_other_parameters_is_left_alone_and_a_check_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Later:
        def _save_table(self, other: int) -> int:
            return other

    monkeypatch.setattr(django_hooks, "unwrapped", [])
    django_hooks._wrap(Later, "_save_table", django_hooks.one_commit, ("self", "raw"))
    assert Later()._save_table(3) == 3
    call_command("check")
    assert "dispatch.W015" in capsys.readouterr().err
    assert getattr(Model._save_table, "is_dispatch", False), "Django's own is the one that is known"
