from __future__ import annotations

import datetime as dt
import gc
import threading
import weakref

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from dispatch.models import OutboxMessage
from dispatch.models.outbox_message import new_task_id
from dispatch.outbox import insertion
from dispatch.outbox.insertion import DOCUMENT_FROM, fresh_row, insert_rows

pytestmark = pytest.mark.django_db
NOW = dt.timedelta()
HOUR = dt.timedelta(hours=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FEW_AND_MANY = pytest.mark.parametrize(
    "count", [1, 3, DOCUMENT_FROM, 95]
)  # by values, by document, several statements
COLUMNS = [field.attname for field in OutboxMessage._meta.concrete_fields]


def fresh(**columns):
    now = timezone.now()
    own = {"id": new_task_id(), "task_name": "tasks.a", "options": {}, "headers": {}}
    return fresh_row(**(own | {"created_at": now, "available_at": now} | columns))


def insert(*rows, lag=NOW):
    insert_rows(rows, [lag] * len(rows), "default")


def stored(row):
    return OutboxMessage.objects.filter(pk=row.pk).values(*COLUMNS).get()


def test_a_fresh_row_is_what_django_makes_of_the_same_columns():
    columns = {"id": new_task_id(), "task_name": "a", "options": {"a": 1}, "headers": {}, "queue": "llm"}
    columns |= {"created_at": timezone.now(), "available_at": timezone.now()}
    made, expected = fresh_row(**columns), OutboxMessage(**columns)
    assert {name: getattr(made, name) for name in COLUMNS} == {
        name: getattr(expected, name) for name in COLUMNS
    }
    assert made._state.adding


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
VALUES = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS, max_size=3)
ROWS = st.fixed_dictionaries(
    {"task_name": TEXTS, "args": TEXTS, "kwargs": TEXTS, "options": VALUES, "headers": VALUES},
    optional={
        "queue": TEXTS,
        "object_pk": TEXTS,
        "last_error": TEXTS,
        "coalesce_key": st.text("0123456789abcdef", max_size=32),
        "ignore_result": st.booleans(),
        "pinned": st.booleans(),
        "status": st.sampled_from(["pending", "dead", "cancelled"]),
        "attempts": st.integers(0, 2**31 - 1),
        "expires_at": st.integers(10**15, 2 * 10**15).map(lambda at: EPOCH + dt.timedelta(microseconds=at)),
        "lease_token": st.uuids(version=4),  # MariaDB refuses some that have no version
    },
)


@given(columns=st.lists(ROWS, min_size=1, max_size=DOCUMENT_FROM + 2))
def test_what_is_stored_is_what_the_orm_stores(columns):
    ours, theirs = [fresh(**each) for each in columns], [fresh(**each) for each in columns]
    with transaction.atomic():
        insert(*ours, lag=None)
        OutboxMessage.objects.bulk_create(theirs)
        for our, their in zip(ours, theirs, strict=True):
            apart = {"id": our.id, "created_at": our.created_at, "available_at": our.available_at}
            assert stored(our) == stored(their) | apart
        transaction.set_rollback(True)


@FEW_AND_MANY
def test_each_row_is_due_by_the_databases_clock_or_at_its_own_moment(count):
    moment = timezone.now() - dt.timedelta(days=3)
    waits = [NOW, HOUR, None, dt.timedelta(microseconds=1_500_000)]
    rows = [fresh(available_at=moment) for _ in range(count)]
    lags = [waits[at % 4] for at in range(count)]
    insert_rows(rows, lags, "default")
    now = timezone.now()
    for row, lag in zip(rows, lags, strict=True):
        due = stored(row)["available_at"]
        assert due == moment if lag is None else abs(due - now - lag) < dt.timedelta(seconds=30)


@FEW_AND_MANY
def test_what_all_rows_have_in_common_is_stored_with_each(count):
    shared = {
        "task_name": "tasks.ä %s '",
        "args": '["%s"]',
        "options": {"priority": 3},
        "headers": {"ü": None},
        "queue": "llm",
        "created_at": timezone.now(),
        "expires_at": timezone.now(),
        "ignore_result": True,
        "attempts": 2,
        "lease_token": new_task_id(),
    }
    rows = [fresh(**shared) for _ in range(count)]
    insert(*rows)
    assert len({row.id for row in rows}) == count
    for row in rows:
        found = stored(row)
        assert {name: found[name] for name in shared} == shared


@FEW_AND_MANY
def test_the_rows_know_that_they_are_stored(count):
    rows = [fresh() for _ in range(count)]
    insert(*rows)
    assert {(row._state.adding, row._state.db) for row in rows} == {(False, "default")}


def test_one_row_is_one_query_that_execute_wrappers_see(django_assert_num_queries):
    seen = []
    with (
        django_assert_num_queries(1),
        connection.execute_wrapper(lambda run, sql, *rest: seen.append(sql) or run(sql, *rest)),
    ):
        insert(fresh())
    assert len(seen) == 1
    assert "INSERT INTO" in seen[0]


def test_a_thousand_rows_are_as_few_queries_as_the_database_takes(django_assert_max_num_queries):
    most = 12 if connection.vendor == "sqlite" else 1  # 999 parameters a statement
    with django_assert_max_num_queries(most):
        insert(*[fresh(args='["a text"]') for _ in range(1_000)])


def test_a_statement_stays_under_the_servers_limit(django_assert_num_queries, monkeypatch):
    monkeypatch.setattr(insertion, "MOST_TEXT", 100)
    with django_assert_num_queries(3):
        insert(*[fresh(args="x" * 60) for _ in range(3)])


@FEW_AND_MANY
def test_an_error_is_djangos_own_and_whoever_swallows_it_cannot_commit(count):
    taken = fresh()
    insert(taken)
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            insert(*[fresh() for _ in range(count - 1)], fresh(id=taken.id))
        with pytest.raises(transaction.TransactionManagementError):
            OutboxMessage.objects.exists()


@pytest.mark.django_db(transaction=True)
@FEW_AND_MANY
def test_outside_of_a_transaction_all_rows_are_stored_or_none(count):
    taken = fresh()
    insert(taken)
    with pytest.raises(IntegrityError):
        insert(*[fresh() for _ in range(count - 1)], fresh(id=taken.id))
    assert OutboxMessage.objects.count() == 1


@FEW_AND_MANY
def test_the_databases_checks_hold(count, refused_by_database):
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(*[fresh() for _ in range(count - 1)], fresh(status="sent"))


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite does not limit texts")
@FEW_AND_MANY
def test_a_text_that_is_too_long_is_refused_and_not_cut(count):
    from django.db import DataError

    with pytest.raises(DataError), transaction.atomic():
        insert(*[fresh() for _ in range(count - 1)], fresh(queue="q" * 201))


def test_a_connection_is_gone_when_its_thread_has_ended():
    connections_seen = []

    def work():
        insertion._statement(connections["default"], insertion._given(fresh()))
        connections_seen.append(weakref.ref(connections["default"]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert [found() for found in connections_seen] == [None]
