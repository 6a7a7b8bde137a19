from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection, models
from django.utils import timezone

from dispatch.models import OutboxMessage, Queue, RegistryVersion
from dispatch.models.database import PartialIndex, database_now, estimated_rows
from dispatch.models.outbox_message import of_object

pytestmark = pytest.mark.django_db
PENDING = "dispatch_outbox_pending"


def indexed_columns(name):
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, OutboxMessage._meta.db_table)
    return found[name]["columns"]


def statement(index):
    editor = connection.schema_editor(collect_sql=True)  # not entered: nothing is to be executed
    return str(index.create_sql(OutboxMessage, editor))


# -- TrueOrNull ---------------------------------------------------------------


def test_false_is_stored_as_null_and_read_as_false():
    queue = Queue.objects.create(name="a", is_default=False)
    assert Queue.objects.filter(is_default__isnull=True).exists()
    queue.refresh_from_db()
    assert queue.is_default is False
    assert list(Queue.objects.values_list("is_default", flat=True)) == [False]


def test_rows_can_be_filtered_by_either_value():
    Queue.objects.create(name="a")
    Queue.objects.create(name="b", is_default=True)
    assert Queue.objects.get(is_default=False).name == "a"
    assert Queue.objects.get(is_default=True).name == "b"


def test_an_update_to_false_frees_the_place():
    Queue.objects.create(name="a", is_default=True)
    Queue.objects.update(is_default=False)
    Queue.objects.create(name="b", is_default=True)
    assert Queue.objects.filter(is_default=True).count() == 1


def test_the_form_shows_a_box_to_tick():
    field = Queue._meta.get_field("is_default").formfield()
    assert (field.widget.input_type, field.required) == ("checkbox", False)


# -- PartialIndex ----------------------------------------------------------------


def test_the_index_is_partial_where_the_database_can_and_led_by_the_status_where_not():
    if connection.features.supports_partial_indexes:
        assert indexed_columns(PENDING) == ["available_at", "id"]
    else:
        assert indexed_columns(PENDING) == ["status", "available_at", "id"]


def test_the_statement_names_the_rows_where_the_database_can():
    index = next(index for index in OutboxMessage._meta.indexes if index.name == PENDING)
    partial = "WHERE" in statement(index) and "pending" in statement(index)
    assert partial == connection.features.supports_partial_indexes


def test_a_database_without_partial_indexes_gets_every_column_of_the_condition_first(monkeypatch):
    monkeypatch.setattr(connection.features, "supports_partial_indexes", False)
    index = PartialIndex(
        where={"status": "published", "handled_at__isnull": True}, fields=["published_at"], name="i"
    )
    sql = statement(index)
    assert sql.index("status") < sql.index("handled_at") < sql.index("published_at")
    assert "WHERE" not in sql


def test_an_index_survives_being_written_into_a_migration():
    index = PartialIndex(where={"status": "pending"}, fields=["id"], name="i")
    path, args, kwargs = index.deconstruct()
    assert path == "dispatch.models.database.PartialIndex"
    assert PartialIndex(*args, **kwargs) == index == index.clone()
    assert index != PartialIndex(where={"status": "dead"}, fields=["id"], name="i")


# -- the database's clock --------------------------------------------------------------


def test_the_databases_clock_is_utc_whatever_the_timezone_of_the_session(settings):
    """The database is on this machine in every test, so its clock is this one's."""
    RegistryVersion.objects.create(pk=1)
    with timezone.override(dt.timezone(dt.timedelta(hours=9))):
        told = RegistryVersion.objects.annotate(now=database_now()).values_list("now", flat=True).get()
    assert abs(told - timezone.now()) < dt.timedelta(minutes=5)


def test_a_stored_moment_can_be_compared_with_the_databases_clock():
    hour = dt.timedelta(hours=1)
    for offset in (-hour, hour):
        OutboxMessage.objects.create(task_name="a", available_at=timezone.now() + offset)
    assert OutboxMessage.objects.filter(available_at__lte=database_now()).count() == 1


def test_the_clock_moves_on_within_a_transaction():
    """A lease counts from the statement that takes it; PostgreSQL's now() would stand still."""
    assert isinstance(database_now(), models.Func)
    RegistryVersion.objects.create(pk=1)
    rows = RegistryVersion.objects.annotate(now=database_now()).values_list("now", flat=True)
    first, last = rows.get(), rows.get()
    for _ in range(10_000):
        if last != first:
            break
        last = rows.get()
    assert last > first


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="others have no volatile clock")
def test_an_index_ends_at_the_databases_clock():
    """What waits for tomorrow is not read by each claim, as it would be for the sake of CLOCK_TIMESTAMP()."""
    rows = OutboxMessage.objects.filter(status="pending", available_at__lte=database_now())
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert (
        "Index Cond: (available_at <= statement_timestamp())" in rows.order_by("available_at", "id").explain()
    )


@pytest.mark.parametrize("pk", ["42", None])
def test_the_messages_of_an_object_are_found_by_their_index_which_holds_no_others(pk):
    OutboxMessage.objects.create(task_name="a", object_model="notes.note", object_pk="42")
    rows = OutboxMessage.objects.filter(of_object(["notes.note", "notes.tag"], pk))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "dispatch_outbox_object" in rows.explain()
    assert rows.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_rows_of_a_table_are_known_without_counting_them():
    assert estimated_rows(Queue, "default") == 0
    Queue.objects.bulk_create(Queue(name=str(number)) for number in range(300))
    with connection.cursor() as cursor:
        table = Queue._meta.db_table
        cursor.execute(f"ANALYZE TABLE {table}" if connection.vendor == "mysql" else f"ANALYZE {table}")
    assert estimated_rows(Queue, "default") >= 200


# -- ReadableJSON -------------------------------------------------------------


@pytest.mark.parametrize(("levels", "kind"), [(64, list), (65, str), (900, str)])
def test_json_of_more_levels_than_anybody_can_send_comes_as_its_text(levels, kind):
    if connection.vendor == "mysql":
        pytest.skip("MariaDB takes JSON of 32 levels at most")
    queue = Queue.objects.create(name="a")
    text = "[" * levels + '"[[[["' + "]" * levels
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dispatch_queue SET arguments = %s", [text])
    queue.refresh_from_db()
    assert isinstance(queue.arguments, kind)
