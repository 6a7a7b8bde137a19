"""What has changed is told by the database, whatever the object has in memory, and costs one narrow query."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat, Upper
from django.db.models.signals import pre_save
from django.test.utils import CaptureQueriesContext
from django_celery_results.models import ChordCounter

from dispatch.models import OutboxMessage, TaskDefinition, Trigger, TriggerArgument
from project.notes.models import Note
from tests.support.databases import elsewhere
from tests.support.registry import make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    return make_registry()


@pytest.fixture
def body_changed(task: TaskDefinition) -> Trigger:
    return make_trigger(task, "created", "updated", when=("body", "changed", ""))


@pytest.fixture
def note() -> Note:
    return Note.objects.create(title="A", body="one")


def sent(key: str = "text") -> list[Any]:
    return [json.loads(row.kwargs)[key] for row in OutboxMessage.objects.order_by("id")]


def narrow_queries(act: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        act()
    return [
        query["sql"]
        for query in queries
        if query["sql"].startswith("SELECT") and "notes_note" in query["sql"]
    ]


# -- what has changed -----------------------------------------------------------------------------


def test_a_created_object_has_changed_and_a_saved_one_only_if_its_row_did(body_changed: Trigger) -> None:
    note = Note.objects.create(title="A", body="one")
    note.save()
    note.title = "B"
    note.save()
    note.body = "two"
    note.save()
    note.save()
    assert sent() == ["one", "two"]


@pytest.mark.parametrize(
    ("operator", "value", "bodies", "fired"),
    [
        ("changed_to", "done", ["done", "done", "open", "done"], ["done", "done"]),
        ("changed_from", "done", ["done", "open", "open", "done"], ["open"]),
        ("changed_from_to", "open\ndone", ["open", "done", "late", "done"], ["done"]),
    ],
)
def test_a_transition_fires_when_it_happens_and_not_while_it_lasts(
    task: TaskDefinition, note: Note, operator: str, value: str, bodies: list[str], fired: list[str]
) -> None:
    make_trigger(task, "updated", when=("body", operator, value))
    for body in bodies:
        note.body = body
        note.save()
    assert sent() == fired


def test_any_watched_field_counts(task: TaskDefinition, note: Note) -> None:
    make_trigger(task, "updated", watched=["title", "body"])
    for column in ("summary", "title", "body"):
        setattr(note, column, "new")
        note.save()
    assert len(sent()) == 2


def test_the_old_value_can_be_sent(task: TaskDefinition, note: Note) -> None:
    row = make_trigger(task, "created", "updated", "deleted")
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(source="old", value="body")
    TaskDefinition.objects.update(parameters={})
    Note.objects.create(title="B", body="new")
    note.body = "two"
    note.save()
    note.delete()
    assert sent() == [None, "one", "two"]


def test_another_process_changed_the_row_meanwhile(body_changed: Trigger) -> None:
    note = Note.objects.create(title="A", body="one")
    elsewhere(lambda: Note.objects.update(body="two"))
    note.save()  # it puts back what it has in memory, which is a change of the row
    assert sent() == ["one", "one"]


# -- what a save writes ---------------------------------------------------------------------------


def test_update_fields_that_leave_the_field_out_do_not_change_it(body_changed: Trigger) -> None:
    note = Note.objects.create(title="A", body="one")
    note.body, note.title = "two", "B"
    assert narrow_queries(lambda: note.save(update_fields=["title"])) == []
    assert sent() == ["one"]
    note.save(update_fields=["body"])
    assert sent() == ["one", "two"]


def test_a_deferred_field_is_not_saved_and_has_not_changed(body_changed: Trigger) -> None:
    Note.objects.create(title="A", body="one")
    note = Note.objects.defer("body").get()
    note.title = "B"
    note.save()
    assert sent() == ["one"]
    note = Note.objects.only("title").get()
    note.body = "two"
    note.save()
    assert sent() == ["one", "two"]


def test_what_was_not_written_is_sent_as_the_database_has_it(task: TaskDefinition, note: Note) -> None:
    row = make_trigger(task, "updated", watched=["title", "body"])
    note.title, note.body = "B", "never saved"
    note.save(update_fields=["title"])
    assert row.watched == ["title", "body"]
    assert sent() == ["one"]


def test_what_was_not_written_nor_watched_is_so_too_by_the_same_query(
    task: TaskDefinition, note: Note
) -> None:
    make_trigger(task, "updated", watched=["title"])
    note.title, note.body = "B", "never saved"
    assert len(narrow_queries(lambda: note.save(update_fields=["title"]))) == 1
    assert sent() == ["one"]


@pytest.fixture
def saved_twice() -> Iterator[None]:
    """A receiver of ``pre_save`` that saves the object itself, once."""

    def save_first(*, instance: Note, **_: Any) -> None:
        if not hasattr(instance, "is_saved_first"):
            instance.is_saved_first = True  # type: ignore[attr-defined]
            instance.save()

    pre_save.connect(save_first, sender=Note)
    yield
    pre_save.disconnect(save_first, sender=Note)


def test_a_save_in_pre_save_has_made_the_change_already(
    body_changed: Trigger, note: Note, saved_twice: None
) -> None:
    note.body = "two"
    note.save()
    assert sent() == ["one", "two"]


def test_a_new_object_that_pre_save_inserts_is_created_once(body_changed: Trigger, saved_twice: None) -> None:
    Note(title="A", body="one").save()
    assert sent() == ["one"]


def test_an_expression_is_read_back_once(task: TaskDefinition, note: Note) -> None:
    make_trigger(task, "updated", when=("body", "changed", ""))
    note.body = Concat(F("body"), Value(" and more"))
    queries = narrow_queries(note.save)
    assert sent() == ["one and more"]
    assert len(queries) <= 2
    note.refresh_from_db()
    note.body = Concat(F("body"), Value(""))
    note.save()
    assert len(sent()) == 1


def test_an_expression_can_be_sent_and_compared_without_a_transition(task: TaskDefinition) -> None:
    make_trigger(task, "created", when=("title", "equals", "A"))
    Note.objects.create(title=Upper(Value("a")), body=Upper(Value("one")))
    assert sent() == ["ONE"]


def test_a_number_that_the_database_rounds_has_not_changed(task: TaskDefinition) -> None:
    make_trigger(task, "updated", model="django_celery_results.chordcounter", when=("count", "changed", ""))
    Trigger.objects.get().arguments.filter(parameter="text").update(value="group_id")
    counter = ChordCounter.objects.create(group_id="g", sub_tasks="[]", count=1)
    counter.count = "1"
    counter.save()
    assert sent() == []
    counter.count = "2"
    counter.save()
    assert sent() == ["g"]


# -- one narrow query, and only where it is needed ------------------------------------------------


def test_a_save_is_compared_with_one_query_of_the_columns_in_question(
    body_changed: Trigger, note: Note
) -> None:
    [query] = narrow_queries(note.save)
    assert "title" not in query
    assert "body" in query


def test_a_model_whose_triggers_compare_nothing_is_not_asked(task: TaskDefinition, note: Note) -> None:
    make_trigger(task, "updated")
    assert narrow_queries(note.save) == []


def test_a_new_object_is_not_looked_for(body_changed: Trigger) -> None:
    assert narrow_queries(lambda: Note.objects.create(title="A")) == []
    assert narrow_queries(lambda: Note.objects.bulk_create([Note(title="B")])) == []


def test_what_was_inserted_under_a_chosen_key_is_created(task: TaskDefinition) -> None:
    make_trigger(task, "created", model="auth.group", when=("name", "changed", ""))
    Trigger.objects.get().arguments.filter(parameter="text").update(value="name")
    Group(pk=7, name="a").save()
    Group(pk=7, name="b").save()
    assert sent() == ["a"]


def test_a_forced_update_of_an_object_that_was_never_loaded_is_compared(body_changed: Trigger) -> None:
    note = Note.objects.create(title="A", body="one")
    Note(pk=note.pk, title="A", body="two", created_at=note.created_at).save(force_update=True)
    Note(pk=note.pk, title="A", body="two", created_at=note.created_at).save(force_update=True)
    assert sent() == ["one", "two"]


# -- objects that are saved in other ways ---------------------------------------------------------


def test_saves_inside_a_receiver_are_compared_by_themselves(body_changed: Trigger) -> None:
    first = Note.objects.create(title="first", body="one")
    second = Note.objects.create(title="second", body="two")

    def save_the_other(sender: type[Note], instance: Note, **_: Any) -> None:
        if instance.pk == first.pk:
            second.body = "changed by the first"
            second.save()

    pre_save.connect(save_the_other, sender=Note)
    try:
        first.save()
    finally:
        pre_save.disconnect(save_the_other, sender=Note)
    assert sent() == ["one", "two", "changed by the first"]


def test_an_object_that_saves_itself_again_in_a_receiver_is_told_each_time(body_changed: Trigger) -> None:
    from django.db.models.signals import post_save

    def again(sender: type[Note], instance: Note, **_: Any) -> None:
        if instance.body == "one":
            instance.body = "two"
            instance.save()

    post_save.connect(again, sender=Note)
    try:
        Note.objects.create(title="A", body="one")
    finally:
        post_save.disconnect(again, sender=Note)
    assert sent() == ["one", "two"]


def test_a_row_that_is_locked_first_is_compared_with_what_the_lock_saw(
    body_changed: Trigger, note: Note
) -> None:
    with transaction.atomic():
        locked = Note.objects.select_for_update().get(pk=note.pk)
        locked.body = "two"
        locked.save()
    assert sent()[-1] == "two"


def test_a_refreshed_object_is_compared_with_its_row(body_changed: Trigger) -> None:
    note = Note.objects.create(title="A", body="one")
    elsewhere(lambda: Note.objects.update(body="two"))
    note.refresh_from_db()
    note.save()
    assert sent() == ["one"]


def test_update_or_create_and_get_or_create_are_compared(body_changed: Trigger) -> None:
    Note.objects.update_or_create(title="A", defaults={"body": "one"})
    Note.objects.update_or_create(title="A", defaults={"body": "one"})
    Note.objects.update_or_create(title="A", defaults={"body": "two"})
    Note.objects.get_or_create(title="A", defaults={"body": "three"})
    assert sent() == ["one", "two"]


def test_an_object_that_was_loaded_without_its_fields_is_sent_when_it_is_deleted(
    task: TaskDefinition,
) -> None:
    make_trigger(task, "deleted", when=("title", "equals", "A"))
    Note.objects.create(title="A", body="one")
    Note.objects.only("pk").get().delete()
    assert sent() == ["one"]
    Note.objects.create(title="A", body="two")
    Note.objects.defer("body", "title").delete()
    assert sent() == ["one", "two"]


def test_a_password_is_never_compared_nor_sent(task: TaskDefinition) -> None:
    row = make_trigger(task, "updated", model="auth.user", watched=["password"])
    row.arguments.filter(parameter="text").update(value="username")
    user = User.objects.create_user("a", password="secret")
    user.set_password("another")
    user.save()
    [message] = OutboxMessage.objects.all()
    assert (message.status, "secret" in message.last_error) == (OutboxMessage.Status.DEAD, False)
    assert "sensitive field" in message.last_error
