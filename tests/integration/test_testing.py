"""``Dispatched`` in real transactions, and the frozen registry."""

from __future__ import annotations

import uuid
from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dispatch import registry
from dispatch.api import Call, InvalidArguments, UnknownTask, allow_triggers, send_many, send_task
from dispatch.core import manifest
from dispatch.exceptions import ConfigurationError, InvalidManifest
from dispatch.models import OutboxMessage, Queue, RegistryVersion, TaskDefinition
from dispatch.testing import Dispatched
from dispatch.testing.frozen_registry import frozen
from project.notes.models import Note, Tag
from tests.support.registry import ARGUMENTS, PARAMETERS, TASK, make_queue, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dispatched(no_ttl):
    with Dispatched() as found:
        yield found


def queries(function, *args, **kwargs):
    with CaptureQueriesContext(connection) as found:
        function(*args, **kwargs)
    return [query["sql"] for query in found]


@contextmanager
def no_look(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(RegistryVersion, "current", lambda _: pytest.fail("the registry was looked at"))
        yield


def save_note(**columns):
    return Note.objects.create(**{"title": "A", "body": "Hello."} | columns)


# ---------------------------------------------------------------- the frozen registry


def test_a_frozen_registry_costs_no_query_that_is_counted(no_ttl):
    make_registry()
    with frozen():
        assert queries(registry.current) == []
        with transaction.atomic():
            assert queries(registry.current) == []
    assert queries(registry.current) != []


def test_its_look_is_hidden_from_execute_wrappers_too(no_ttl):
    make_registry()
    with frozen(), connection.execute_wrapper(lambda *_: pytest.fail("a query was made")):
        assert TASK in registry.current().tasks


def test_it_looks_once_only(no_ttl, monkeypatch):
    make_registry()
    with frozen(), transaction.atomic():
        committed = registry.current()
        with no_look(monkeypatch):
            assert registry.current() is committed
        TaskDefinition.objects.create(name="another")
        own = registry.current()
        with no_look(monkeypatch):
            assert registry.current() is own


def test_it_begins_with_a_look_whatever_the_ttl(settings):
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 3600}
    make_registry()
    registry.current()
    TaskDefinition._base_manager.update(name="renamed")  # without a signal, as another process would
    RegistryVersion._base_manager.update(token=uuid.uuid4())
    assert TASK in registry.current().tasks
    with frozen():
        assert "renamed" in registry.current().tasks


def test_a_change_of_the_test_itself_is_seen(no_ttl):
    make_registry()
    with frozen(), transaction.atomic():
        registry.current()
        TaskDefinition.objects.create(name="another")
        assert "another" in registry.current().tasks
        TaskDefinition.objects.filter(name="another").update(name="renamed")
        assert "renamed" in registry.current().tasks


def test_what_one_test_rolled_back_the_next_one_does_not_see(no_ttl):
    make_registry()
    with transaction.atomic():  # as around the tests of a class
        with frozen(), transaction.atomic():
            TaskDefinition.objects.create(name="another")
            assert "another" in registry.current().tasks
            transaction.set_rollback(True)
        with frozen(), transaction.atomic():
            assert set(registry.current().tasks) == {TASK}


def test_a_block_that_ends_leaves_nothing_behind(no_ttl):
    with Dispatched() as outer:
        outer.task("outer")
        with Dispatched() as inner:
            inner.task("inner")
            assert {"outer", "inner"} <= set(registry.current().tasks)
        assert set(registry.current().tasks) == {"outer"}
    assert registry.current().tasks == {}


# ---------------------------------------------------------------- which tasks there are


def test_an_unhooked_save_takes_one_query_and_a_hooked_one_one_more(dispatched):
    make_registry()
    make_trigger(TaskDefinition.objects.get(), "created")
    with transaction.atomic():
        assert len(queries(Tag.objects.create, name="a")) == 1
        assert len(queries(save_note)) == 2
    dispatched.assert_sent(TASK, containing={"text": "Hello."}, trigger="notes.note created")


def test_without_a_registry_every_task_is_unknown(dispatched):
    with pytest.raises(UnknownTask):
        send_task(TASK, kwargs=ARGUMENTS)
    dispatched.assert_nothing_sent()


def test_a_task_of_the_test_is_checked_by_its_parameters_and_no_row_is_written(dispatched):
    dispatched.task(TASK, PARAMETERS, queue="llm")
    send_task(TASK, kwargs=ARGUMENTS)
    with pytest.raises(InvalidArguments):
        send_task(TASK, kwargs={"note_id": "1"})
    assert dispatched.assert_sent(TASK).queue == "llm"
    assert not TaskDefinition.objects.exists()
    assert not Queue.objects.exists()


def test_parameters_that_are_no_schema_are_refused(dispatched):
    with pytest.raises(ConfigurationError):
        dispatched.task(TASK, {"type": "array"})


def test_the_tests_own_tasks_stand_beside_those_of_its_database(dispatched):
    make_queue("main", is_default=True)
    TaskDefinition.objects.create(name="a")
    dispatched.task("b")
    send_many([Call("a"), Call("b")])
    TaskDefinition.objects.create(name="c")
    send_task("c")
    assert [sent.queue for sent in dispatched.messages] == ["main", "main", "main"]


def test_the_tasks_of_a_manifest_are_read_from_its_file(dispatched, tmp_path):
    tasks = [{"name": TASK, "parameters": PARAMETERS}]
    document = {"manifest": 1, "worker": "worker", "queues": [], "tasks": tasks}
    path = tmp_path / "worker.json"
    path.write_text(manifest.sealed(document))
    dispatched.manifest(path)
    send_task(TASK, kwargs=ARGUMENTS)
    path.write_text(manifest.sealed(document).replace(TASK, "another"))
    with pytest.raises(InvalidManifest, match="checksum"):
        dispatched.manifest(path)


def test_any_task_goes_by_the_routes_and_registered_ones_are_still_checked(dispatched):
    make_registry()
    dispatched.any_task()
    send_task("worker.tasks.llm.other", ["x"])
    send_task("elsewhere")
    send_task("elsewhere", queue="llm")
    with pytest.raises(InvalidArguments):
        send_task(TASK)
    assert [sent.queue for sent in dispatched.messages] == ["llm", "default", "llm"]


# ---------------------------------------------------------------- what was sent


def test_messages_are_what_the_outbox_holds_in_the_order_sent(dispatched):
    dispatched.any_task()
    given = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    send_task("a", task_id=given)
    send_many([Call("b", [1], {"x": None}, countdown=30, headers={"h": 1}), Call("c", priority=3)])
    with transaction.atomic():
        send_task("d")
        dispatched.assert_sent("d")
        transaction.set_rollback(True)
    first, second, third = dispatched.messages
    assert (first.task, str(first.id), first.origin) == ("a", given, "code")
    assert (second.args, second.kwargs, second.delay, second.headers) == ([1], {"x": None}, 30, {"h": 1})
    assert third.options["priority"] == 3
    with pytest.raises(AssertionError, match="Rolled back, or deleted: d"):
        dispatched.assert_sent("d")


def test_what_was_sent_before_does_not_count(no_ttl):
    with Dispatched() as first:
        first.any_task()
        send_task("a")
        with Dispatched() as second:
            second.assert_nothing_sent()
            send_task("b")
            assert [sent.task for sent in second.messages] == ["b"]
        first.assert_count(2)
        first.clear()
        first.assert_nothing_sent()
    assert OutboxMessage.objects.count() == 2


def test_what_is_sent_after_the_block_does_not_count(no_ttl):
    make_registry()
    with Dispatched() as dispatched:
        pass
    send_task(TASK, kwargs=ARGUMENTS)
    dispatched.assert_nothing_sent()


def test_listening_costs_no_query(no_ttl):
    make_registry()
    make_trigger(TaskDefinition.objects.get(), "created")
    with frozen():
        alone = len(queries(save_note))
    with Dispatched() as dispatched:
        assert len(queries(save_note)) == alone
        dispatched.assert_count(1)


def test_assertions_that_hold(dispatched):
    dispatched.any_task()
    send_many([Call("a", [1]), Call("a", [2]), Call("b")])
    assert dispatched.assert_sent("a", [2]).args == [2]
    assert dispatched.assert_sent("a", count=2).args == [1]
    dispatched.assert_sent("a", count=None, origin="code")
    dispatched.assert_not_sent("a", [3])
    dispatched.assert_not_sent("c")
    dispatched.assert_count(3)
    assert len(dispatched.sent()) == 3
    assert len(dispatched.sent("a")) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda dispatched: dispatched.assert_sent("a"),
        lambda dispatched: dispatched.assert_sent("a", count=3),
        lambda dispatched: dispatched.assert_sent("c", count=None),
        lambda dispatched: dispatched.assert_sent("b", trigger="T"),
        lambda dispatched: dispatched.assert_not_sent("a", [1]),
        lambda dispatched: dispatched.assert_count(2),
        lambda dispatched: dispatched.assert_nothing_sent(),
    ],
)
def test_assertions_that_fail_list_what_was_sent(dispatched, wrong):
    dispatched.any_task()
    send_many([Call("a", [1]), Call("a", [2]), Call("b")])
    with pytest.raises(AssertionError, match=r"Sent:\n  1\. a\(1\) to queue 'default'\n  2\. a\(2\)"):
        wrong(dispatched)


def test_a_misspelt_property_is_a_type_error(dispatched):
    with pytest.raises(TypeError, match="orgin"):
        dispatched.sent("a", orgin="code")


def test_what_a_trigger_could_not_enqueue_is_no_message_and_hides_behind_no_assertion(dispatched):
    make_registry()
    task = TaskDefinition.objects.get()
    make_trigger(task, "created")
    TaskDefinition.objects.update(enabled=False)
    save_note()
    assert dispatched.messages == []
    assert "switched off" in dispatched.failures[0].error
    for wrong in (dispatched.assert_nothing_sent, lambda: dispatched.assert_not_sent(TASK)):
        with pytest.raises(AssertionError, match=r"Could not be enqueued:\n  - Trigger 'notes.note created'"):
            wrong()
    dispatched.assert_not_sent("another")


def test_sensitive_values_are_not_printed(dispatched):
    dispatched.task("a", sensitive=["token"])
    send_task("a", kwargs={"token": "hunter2"})
    with pytest.raises(AssertionError) as caught:
        dispatched.assert_sent("a", kwargs={"token": "other1"})
    assert "hunter2" not in str(caught.value)
    assert "other1" not in str(caught.value)
    assert "hunter2" not in repr(dispatched.messages)


# ---------------------------------------------------------------- what becomes of it


def test_a_function_runs_each_message_once(dispatched):
    dispatched.any_task()
    send_many([Call("add", [1, 2]), Call("other"), Call("add", [3], {"b": 4})])
    assert dispatched.run("add", lambda a, b: a + b) == [3, 7]
    assert dispatched.run("add", lambda a, b: a + b) == []
    send_task("add", [5, 6])
    assert dispatched.run("add", lambda a, b: a + b) == [11]


def test_triggers_can_be_suppressed(dispatched):
    make_registry()
    make_trigger(TaskDefinition.objects.get(), "created")
    with dispatched.suppress():
        save_note()
        dispatched.assert_nothing_sent()
        with allow_triggers():
            save_note()
    with dispatched.suppress("notes.note created"):
        save_note()
    dispatched.assert_count(1)


def test_many_messages_are_found_whatever_their_number(dispatched):
    dispatched.any_task()
    send_many(Call("a") for _ in range(1201))
    dispatched.assert_count(1201)
