"""Bulk operations of hooked querysets: one message for each row that really changed, in a few queries."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, NotSupportedError, connection, transaction
from django.db.models import Count, F, Model, QuerySet
from django.test.utils import CaptureQueriesContext

from dispatch import registry
from dispatch.api import HookedQuerySet, suppress_triggers
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from project.notes.models import Note, Tag
from tests.support.registry import make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def task(settings: Any, transactional_db: None) -> TaskDefinition:
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 3600}
    make_registry()
    TaskDefinition.objects.update(parameters={})
    return TaskDefinition.objects.get()


def make(task: TaskDefinition, *events: str, **columns: Any) -> Trigger:
    row = make_trigger(task, *events, model="notes.tag", **columns)
    row.arguments.filter(parameter="text").update(value="name")
    row.arguments.create(parameter="event", source="event")
    row.arguments.create(parameter="weight", source="field", value="weight")
    return row


def sent() -> list[tuple[str, str, int]]:
    rows = [json.loads(row.kwargs) for row in OutboxMessage.objects.order_by("id")]
    return sorted((row["event"], row["text"], row["weight"]) for row in rows)


def keys() -> set[str]:
    return {str(json.loads(row.kwargs)["note_id"]) for row in OutboxMessage.objects.all()}


def tags(names: str = "abc", **columns: Any) -> list[Tag]:
    return [Tag(name=name, **columns) for name in names]


def queries_of(act: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        act()
    return len(
        [each for each in queries if not each["sql"].startswith(("BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"))]
    )


# -- bulk_create ----------------------------------------------------------------------------------


def test_each_inserted_row_is_created(task: TaskDefinition) -> None:
    make(task, "created")
    stored = Tag.objects.bulk_create(tags())
    assert sent() == [("created", name, 0) for name in "abc"]
    assert keys() == {str(tag.pk) for tag in stored}


def test_three_thousand_rows_take_a_few_queries_for_each_thousand(task: TaskDefinition) -> None:
    make(task, "created", "updated", "deleted", watched=["weight"])

    def for_a_thousand(act: Callable[[], object]) -> float:
        return queries_of(act) / 3

    most = 40 if connection.vendor == "sqlite" else 7  # Django lets SQLite have 999 parameters in a query
    rows = [Tag(name=f"tag {number}") for number in range(3_000)]
    assert for_a_thousand(lambda: Tag.objects.bulk_create(rows)) <= most
    assert for_a_thousand(lambda: Tag.objects.update(weight=F("weight") + 1)) <= most
    assert OutboxMessage.objects.count() == 6_000
    assert (
        for_a_thousand(lambda: Tag.objects.all().delete()) <= most + 10
    )  # Django deletes a hundred at a time
    assert OutboxMessage.objects.count() == 9_000


def test_rows_that_were_there_already_are_not_created(task: TaskDefinition) -> None:
    make(task, "created", "updated")
    with suppress_triggers():
        Tag.objects.create(pk=1, name="a")
    Tag.objects.bulk_create(
        [Tag(pk=1, name="a"), Tag(pk=2, name="b"), Tag(pk=3, name="a")], ignore_conflicts=True
    )
    assert sent() == [("created", "b", 0)]


def test_ignored_conflicts_of_rows_without_keys_are_refused_and_nothing_is_stored(
    task: TaskDefinition,
) -> None:
    make(task, "created")
    with pytest.raises(NotSupportedError, match="primary keys of their own"):
        Tag.objects.bulk_create(tags(), ignore_conflicts=True)
    assert not Tag.objects.exists()
    assert sent() == []


def test_updated_conflicts_are_updated_and_the_others_created(task: TaskDefinition) -> None:
    make(task, "created", "updated", watched=["weight"])
    with suppress_triggers():
        Tag.objects.bulk_create([Tag(pk=1, name="a", weight=1), Tag(pk=2, name="b", weight=2)])
    rows = [Tag(pk=1, name="a", weight=1), Tag(pk=2, name="b", weight=5), Tag(pk=3, name="c", weight=3)]
    target = {"unique_fields": ["pk"]} if connection.features.supports_update_conflicts_with_target else {}
    Tag.objects.bulk_create(rows, update_conflicts=True, update_fields=["weight"], **target)
    assert sent() == [("created", "c", 3), ("updated", "b", 5)]


def test_conflicts_of_a_unique_field_are_told_by_it(task: TaskDefinition) -> None:
    if not connection.features.supports_update_conflicts_with_target:
        pytest.skip("This database does not let one say which conflict is meant.")
    make(task, "created", "updated")
    with suppress_triggers():
        Tag.objects.create(name="a", weight=1)
    Tag.objects.bulk_create(
        tags("ab", weight=7), update_conflicts=True, update_fields=["weight"], unique_fields=["name"]
    )
    assert sent() == [("created", "b", 7), ("updated", "a", 7)]
    assert keys() == {str(tag.pk) for tag in Tag.objects.all()}


def test_a_failing_bulk_insert_sends_nothing(task: TaskDefinition) -> None:
    make(task, "created")
    with pytest.raises(IntegrityError):
        Tag.objects.bulk_create(tags("aba"))
    assert sent() == []
    assert not Tag.objects.exists()


# -- bulk_update and update -----------------------------------------------------------------------


@pytest.fixture
def stored(task: TaskDefinition) -> list[Tag]:
    with suppress_triggers():
        return Tag.objects.bulk_create(
            [Tag(name=name, weight=number) for number, name in enumerate("abc", 1)]
        )


def test_bulk_update_tells_what_changed_of_the_rows_that_are_there(
    task: TaskDefinition, stored: list[Tag]
) -> None:
    make(task, "updated", watched=["weight"])
    stored[0].weight = 9
    stored[1].weight = F("weight") + 10  # type: ignore[assignment]
    stored[2].name = "not written"
    gone = Tag(pk=4711, name="gone", weight=5)
    Tag.objects.bulk_update([*stored, gone], ["weight"])
    assert sent() == [("updated", "a", 9), ("updated", "b", 12)]


def test_update_tells_what_changed(task: TaskDefinition, stored: list[Tag]) -> None:
    make(task, "updated", when=("weight", "changed_to", "2"))
    assert Tag.objects.filter(weight__lte=2).update(weight=2) == 2
    assert sent() == [("updated", "a", 2)]


def test_update_by_expressions_and_annotations_tells_the_new_values(
    task: TaskDefinition, stored: list[Tag]
) -> None:
    make(task, "updated")
    Tag.objects.annotate(more=F("weight") * 10).order_by("-name").update(weight=F("more") + 1)
    assert sent() == [("updated", "a", 11), ("updated", "b", 21), ("updated", "c", 31)]


def test_rows_that_the_update_takes_out_of_its_own_filter_are_told_too(
    task: TaskDefinition, stored: list[Tag]
) -> None:
    make(task, "updated")
    assert Tag.objects.filter(weight__gt=1).update(weight=0) == 2
    assert sent() == [("updated", "b", 0), ("updated", "c", 0)]


def test_an_update_is_also_what_another_base_of_the_queryset_makes_of_it(
    task: TaskDefinition, stored: list[Tag]
) -> None:
    class Doubling(QuerySet[Tag]):
        def update(self, *, weight: int) -> int:
            return super().update(weight=2 * weight)

    class Rows(HookedQuerySet[Tag], Doubling):
        pass

    make(task, "updated", watched=["weight"])
    assert Rows(Tag).update(weight=4) == 3
    assert sent() == [("updated", name, 8) for name in "abc"]


def test_an_update_that_is_rolled_back_sends_nothing(task: TaskDefinition, stored: list[Tag]) -> None:
    make(task, "updated")
    with transaction.atomic():
        Tag.objects.update(weight=0)
        transaction.set_rollback(True)
    assert sent() == []


def test_a_bulk_delete_is_told_in_bulk(task: TaskDefinition, stored: list[Tag]) -> None:
    make(task, "deleted")
    Tag.objects.filter(weight__gt=1).delete()
    assert sent() == [("deleted", "b", 2), ("deleted", "c", 3)]


def test_async_bulk_operations_are_told(task: TaskDefinition) -> None:
    make(task, "created", "updated")

    async def work() -> None:
        rows = await Tag.objects.abulk_create(tags("a"))
        rows[0].weight = 1
        await Tag.objects.abulk_update(rows, ["weight"])
        await Tag.objects.aupdate(weight=2)

    async_to_sync(work)()
    assert sent() == [("created", "a", 0), ("updated", "a", 1), ("updated", "a", 2)]


# -- without triggers, and plain querysets --------------------------------------------------------


def test_without_a_trigger_and_when_suppressed_each_is_djangos_own(
    task: TaskDefinition, stored: list[Tag]
) -> None:
    assert not OutboxMessage.objects.exists()  # the registry has been looked at
    Tag.objects.update(weight=4)
    plain = queries_of(lambda: QuerySet(Tag).update(weight=5))
    assert queries_of(lambda: Tag.objects.update(weight=6)) == plain
    make(task, "updated")
    registry.current()
    with suppress_triggers():
        assert queries_of(lambda: Tag.objects.update(weight=7)) <= plain + 3
    assert sent() == []


def test_a_plain_queryset_tells_nothing(task: TaskDefinition) -> None:
    make_trigger(task, "updated")
    Note.objects.create(title="A")
    Note.objects.update(title="B")
    assert not OutboxMessage.objects.exists()


# -- what is asked of the database ----------------------------------------------------------------


def test_keys_that_were_given_as_text_are_the_same_keys(task: TaskDefinition) -> None:
    Tag.objects.create(pk=71, name="a")
    make(task, "created", "updated")
    Tag.objects.bulk_create([Tag(pk="71", name="b"), Tag(pk="72", name="c")], ignore_conflicts=True)
    assert sent() == [("created", "c", 0)]


@pytest.mark.parametrize(
    "rows",
    [
        lambda: Tag.objects.annotate(used=Count("notes")).filter(used=2),
        lambda: Tag.objects.filter(notes__title__startswith="N").distinct(),
    ],
    ids=["grouped", "distinct"],
)
def test_rows_that_cannot_be_locked_as_they_are_asked_for_can_be_updated(
    task: TaskDefinition, rows: Callable[[], QuerySet[Tag]]
) -> None:
    used, _unused = Tag.objects.bulk_create(tags("ab"))
    for title in ("N1", "N2"):
        Note.objects.create(title=title).tags.add(used)
    make(task, "updated")
    assert rows().update(weight=9) == 1
    assert sent() == [("updated", "a", 9)]


class ReadsElsewhere:
    """A router as those of read replicas; its replica is not even there."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return "replica" if model is Tag else None


def test_everything_is_asked_of_the_database_that_is_written_to(task: TaskDefinition, settings: Any) -> None:
    make(task, "created", "updated")
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]
    Tag.objects.bulk_create([Tag(pk=71, name="a")])
    Tag.objects.bulk_create([Tag(pk=72, name="b")], ignore_conflicts=True)
    Tag.objects.update(weight=F("weight") + 1)
    assert sent() == [("created", "a", 0), ("created", "b", 0), ("updated", "a", 1), ("updated", "b", 1)]
