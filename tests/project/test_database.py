from __future__ import annotations

from project.settings.database import database


def entry(engine, name):
    return {"ENGINE": f"django.db.backends.{engine}", "NAME": name}


def test_sqlite_takes_the_write_lock_when_a_transaction_begins_and_waits_for_it():
    options = database(entry("sqlite3", "/var/lib/db.sqlite3"))["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert options["timeout"] > 0
    assert "WAL" in options["init_command"]


def test_sqlite_tests_run_in_a_file_beside_the_database():
    assert database(entry("sqlite3", "/srv/db.sqlite3"), "_a")["TEST"] == {"NAME": "/srv/test_db_a.sqlite3"}


def test_servers_get_a_test_database_of_their_own_name_and_suffix():
    assert database(entry("postgresql", "dispatch"), "_a")["TEST"] == {"NAME": "test_dispatch_a"}
