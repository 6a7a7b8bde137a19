from __future__ import annotations

import json
import os
import pickle
import sqlite3

import pytest
from celery import Celery
from celery.backends import cache
from celery.exceptions import ImproperlyConfigured

from dispatch.client import celery_apps
from dispatch.client.pickled_results import refused
from dispatch.client.result_backend import async_result, finished
from tests.support.result_backends import SQL_HOLDS_JSON

ALLOWED = {"result_accept_content": ["json", "pickle"]}


class Evil:
    """What makes a folder when it is unpickled."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


@pytest.fixture
def made(tmp_path):
    return tmp_path / "made"


@pytest.fixture
def read_from(settings, tmp_path):
    """Return a function that points the reader at a result backend and returns that of the worker."""

    def point(url, conf=None):
        entry = {"URL": "memory://", "RESULT_BACKEND": url.format(tmp_path), "CONF": conf or {}}
        settings.DISPATCH = {"BROKERS": {"default": entry}}
        celery_apps.forget()
        return Celery("worker", backend=entry["RESULT_BACKEND"], set_as_current=False)

    return point


SQL = "db+sqlite:///{}/results.sqlite3"


def store_row(worker, tmp_path, payload):
    worker.backend.store_result("a", 1, "SUCCESS")
    with sqlite3.connect(tmp_path / "results.sqlite3") as connection:
        connection.execute("UPDATE celery_taskmeta SET result = ?", [payload])
    connection.close()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "conf", [{}, {"result_serializer": "json"}, {"result_serializer": "pickle"}], ids=str
)
def test_a_pickle_in_sql_runs_nothing(protocol, conf, read_from, tmp_path, made):
    store_row(read_from(SQL, conf), tmp_path, pickle.dumps(Evil(made), protocol))
    [outcome] = finished("default", ["a"])
    assert outcome.status == "FAILURE"
    assert json.loads(outcome.result)["exc_type"] == "UnreadableResult"
    assert not made.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - the decoder's own, or ours
        async_result("a", "default").get()
    assert not made.exists()


def test_what_is_pickled_is_refused_with_the_remedy(read_from, tmp_path):
    store_row(read_from(SQL), tmp_path, pickle.dumps({"summary": "short"}))
    [outcome] = finished("default", ["a", "unknown"])
    assert "it is pickled" in outcome.problem
    assert '"result_accept_content": ["json", "pickle"]' in outcome.problem


def test_what_is_pickled_is_read_where_a_setting_names_it(read_from, tmp_path):
    store_row(read_from(SQL, ALLOWED), tmp_path, pickle.dumps({"summary": "short"}))
    [outcome] = finished("default", ["a"])
    assert json.loads(outcome.result) == {"summary": "short"}


def test_what_has_not_ended_is_not_refused(read_from):
    read_from(SQL).backend.store_result("a", None, "STARTED")
    assert finished("default", ["a", "unknown"]) == []


@pytest.mark.skipif(not SQL_HOLDS_JSON, reason="Celery before 5.7 pickles whatever it stores in SQL")
def test_what_is_stored_as_json_in_sql_is_read(read_from):
    read_from(SQL).backend.store_result("a", {"summary": "short"}, "SUCCESS")
    [outcome] = finished("default", ["a"])
    assert json.loads(outcome.result) == {"summary": "short"}


@pytest.mark.parametrize(
    "conf",
    [{}, {"result_serializer": "pickle"}, {"result_serializer": "pickle", "accept_content": None}],
    ids=str,
)
def test_a_pickle_of_another_backend_runs_nothing(conf, read_from, tmp_path, made):
    backend = read_from("file://{}", conf).backend
    backend.set(backend.get_key_for_task("a"), pickle.dumps(Evil(made)))
    [outcome] = finished("default", ["a"])
    assert outcome.problem
    assert not made.exists()


def test_memcached_is_not_asked_by_a_library_that_unpickles(monkeypatch):
    """As Celery 5.5 and 5.6 do."""
    monkeypatch.delattr(cache, "get_memcache_client", raising=False)
    app = Celery("worker", set_as_current=False)
    backend = cache.CacheBackend(app, backend="memory://")
    assert refused(backend) is backend
    backend.backend = "memcached"
    with pytest.raises(ImproperlyConfigured, match=r"unpickle whatever is stored.*allow pickle by name"):
        refused(backend)
