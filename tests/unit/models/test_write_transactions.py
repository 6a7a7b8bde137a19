"""Against a second connection to the same file, as another process would have it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from dispatch.models import write_transactions
from dispatch.models.write_transactions import (
    brief_write,
    is_deferred,
    lock_before_reading,
    write_transaction,
)
from tests.support.databases import further_alias

pytestmark = pytest.mark.one_database
WRITE = "INSERT INTO auth_group VALUES (NULL, 'x')"


@pytest.fixture
def plain(tmp_path: Path, django_db_blocker: Any) -> Iterator[Any]:
    """A SQLite as ``startproject`` leaves it."""
    sqlite = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "db.sqlite3"),
        "OPTIONS": {"timeout": 0.05},
    }
    with django_db_blocker.unblock(), further_alias("plain", **sqlite) as alias:
        connection = connections[alias]
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE auth_group (id INTEGER PRIMARY KEY, name TEXT)")
        yield connection


@pytest.fixture
def other(plain: Any) -> Iterator[sqlite3.Connection]:
    """A web process's connection, which does not wait for a lock."""
    connection = sqlite3.connect(plain.settings_dict["NAME"], isolation_level=None, timeout=0)
    yield connection
    connection.close()


def begin_and_read(other: sqlite3.Connection) -> None:
    other.execute("BEGIN")
    other.execute("SELECT * FROM auth_group").fetchall()


def groups(connection: Any) -> int:
    return int(connection.cursor().execute("SELECT COUNT(*) FROM auth_group").fetchone()[0])


def test_who_has_read_already_can_write_while_a_transaction_waits_for_its_turn(
    plain: Any, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_and_read(other)

    def finish(seconds: float) -> None:
        other.execute(WRITE)
        other.execute("COMMIT")

    monkeypatch.setattr(write_transactions.time, "sleep", finish)
    with write_transaction("plain"):
        assert groups(plain) == 1


def test_nobody_reads_between_its_first_statement_and_its_commit_and_so_fails_to_write(
    plain: Any, other: sqlite3.Connection
) -> None:
    with write_transaction("plain"):
        assert groups(plain) == 0
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            begin_and_read(other)
        plain.cursor().execute(WRITE)
    other.execute("ROLLBACK")
    begin_and_read(other)
    other.execute(WRITE)
    other.execute("COMMIT")
    assert groups(plain) == 2


def test_one_that_never_gets_its_turn_waits_as_long_as_the_timeout_says_and_raises_djangos_error(
    plain: Any, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_and_read(other)
    monkeypatch.setattr(write_transactions, "PATIENCE", 0)
    with pytest.raises(OperationalError, match="locked"), write_transaction("plain"):
        pass
    other.execute("ROLLBACK")
    with write_transaction("plain"):
        plain.cursor().execute(WRITE)
    assert groups(plain) == 1


def test_the_connection_waits_and_begins_its_transactions_as_before(plain: Any) -> None:
    with write_transaction("plain"):
        assert plain.cursor().execute("PRAGMA busy_timeout").fetchone() == (50,)
    with CaptureQueriesContext(plain) as queries, transaction.atomic(using="plain"):
        pass
    assert [query["sql"] for query in queries] == ["BEGIN", "COMMIT"]


def write_and_fail() -> None:
    with write_transaction("plain"):
        connections["plain"].cursor().execute(WRITE)
        raise KeyError


def test_an_error_undoes_it_and_inside_another_transaction_it_is_a_savepoint(plain: Any) -> None:
    with transaction.atomic(using="plain"):
        plain.cursor().execute(WRITE)
        with pytest.raises(KeyError):
            write_and_fail()
    with pytest.raises(KeyError):
        write_and_fail()
    assert groups(plain) == 1


def test_a_transaction_that_will_write_takes_the_lock_before_it_reads(
    plain: Any, other: sqlite3.Connection
) -> None:
    with transaction.atomic(using="plain"):
        lock_before_reading(Group, "plain")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert groups(plain) == 0
        plain.cursor().execute(WRITE)
    assert groups(plain) == 1


@pytest.mark.parametrize("options", [{"transaction_mode": "IMMEDIATE"}, {"transaction_mode": "exclusive"}])
def test_a_database_that_begins_with_the_lock_is_left_as_it_is(
    plain: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setitem(plain.settings_dict, "OPTIONS", options)
    plain.close()
    assert not is_deferred(plain)
    with CaptureQueriesContext(plain) as queries, write_transaction("plain"):
        lock_before_reading(Group, "plain")
    with CaptureQueriesContext(plain) as none, brief_write("plain"):
        pass
    assert [query["sql"] for query in queries] == [f"BEGIN {options['transaction_mode'].upper()}", "COMMIT"]
    assert len(none) == 0
