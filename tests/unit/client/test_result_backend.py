from __future__ import annotations

import datetime as dt
import json

import pytest
from celery import Celery

from dispatch.client import celery_apps
from dispatch.client.result_backend import async_result, finished, last_word
from dispatch.exceptions import BrokerUnavailable
from tests.support.result_backends import READS_SQL, OneByOne

SECRET = "s3cr3t"


@pytest.fixture
def read_from(settings):
    """Return a function that points the reader at a result backend, and returns that."""

    def point(url):
        entry = {"URL": "memory://", "RESULT_BACKEND": url, "CONF": READS_SQL}
        settings.DISPATCH = {"BROKERS": {"default": entry}}
        return celery_apps.reader("default").backend

    return point


@pytest.fixture
def backend(read_from, tmp_path):
    """The worker's result backend, in a folder."""
    return read_from(f"file://{tmp_path}")


@pytest.fixture(params=["file", "database", "one by one"])
def any_backend(request, read_from, tmp_path):
    """The worker's result backend, of each kind that is asked in its own way."""
    urls = {"file": f"file://{tmp_path}", "database": f"db+sqlite:///{tmp_path}/results.sqlite3"}
    OneByOne.stored.clear()
    return read_from(urls.get(request.param, "tests.support.result_backends.OneByOne"))


def test_only_tasks_that_have_ended_are_returned(any_backend):
    for task_id, status in [
        ("a", "SUCCESS"),
        ("b", "STARTED"),
        ("c", "RETRY"),
        ("d", "REVOKED"),
        ("e", "FAILURE"),
    ]:
        result = ValueError("no") if status in ("RETRY", "FAILURE", "REVOKED") else 1
        any_backend.store_result(task_id, result, status)
    assert [outcome.task_id for outcome in finished("default", list("abcdef"))] == ["a", "d", "e"]


def test_there_is_no_last_word_of_a_task_that_nobody_began(any_backend):
    assert last_word("default", "gone") == ("", "")


def test_the_last_word_of_a_task_is_its_state_and_the_worker_as_far_as_it_is_stored(backend):
    backend.store_result("a", {"pid": 7, "hostname": "celery@one"}, "STARTED")
    assert last_word("default", "a") == ("STARTED", "celery@one")
    backend.store_result("b", "so far", "MADE UP")
    assert last_word("default", "b") == ("MADE UP", "")
    backend.set(backend.get_key_for_task("c"), b"[5]")
    assert last_word("default", "c") == ("", "")


def test_a_backend_that_answers_with_a_mapping_is_read_too(read_from):
    backend = read_from("cache+memory://")
    backend.store_result("in-memory", 1, "SUCCESS")
    assert [outcome.task_id for outcome in finished("default", ["gone", "in-memory"])] == ["in-memory"]


def test_no_ids_are_no_outcomes(backend):
    assert finished("default", []) == []


@pytest.mark.parametrize("result", [None, 1, 1.5, "é", [1, {"a": None}], {"note_id": "5"}], ids=repr)
def test_a_result_is_the_json_that_the_worker_stored(result, backend):
    backend.store_result("a", result, "SUCCESS")
    [outcome] = finished("default", ["a"])
    assert json.loads(outcome.result) == result
    assert (outcome.status, outcome.traceback) == ("SUCCESS", None)
    assert outcome.done_at.tzinfo is not None
    assert abs(dt.datetime.now(dt.UTC) - outcome.done_at) < dt.timedelta(hours=1)


def test_a_failure_is_data_and_never_an_exception_of_the_workers(any_backend):
    kind = type("WorkersOwnError", (Exception,), {"__module__": "worker.errors"})
    any_backend.store_result("a", kind("no such note", 5), "FAILURE", traceback="Traceback …")
    [outcome] = finished("default", ["a"])
    found = json.loads(outcome.result)
    assert (found["exc_type"], found["exc_module"]) == ("WorkersOwnError", "worker.errors")
    assert found["exc_message"] == ["no such note", 5]
    assert outcome.traceback == "Traceback …"


@pytest.mark.parametrize("conf", [{}, {"timezone": "Asia/Tokyo"}, {"timezone": "America/New_York"}], ids=str)
def test_the_end_of_a_task_in_sql_is_local_to_the_workers_timezone(conf, tmp_path, settings):
    url = f"db+sqlite:///{tmp_path}/results.sqlite3"
    entry = {"URL": "memory://", "RESULT_BACKEND": url, "CONF": READS_SQL | conf}
    settings.DISPATCH = {"BROKERS": {"default": entry}}
    worker = Celery("worker", backend=url, set_as_current=False)
    worker.conf.update(conf)
    before = dt.datetime.now(dt.UTC)
    worker.backend.store_result("a", 1, "SUCCESS")
    [outcome] = finished("default", ["a"])
    assert before <= outcome.done_at <= dt.datetime.now(dt.UTC)


def test_a_result_can_be_read_as_celerys_own_object(backend):
    backend.store_result("a", {"summary": "short"}, "SUCCESS")
    result = async_result("a", "default")
    assert result.status == "SUCCESS"
    assert result.get() == {"summary": "short"}


def test_a_backend_that_is_not_there_is_told_without_its_password(read_from):
    read_from(f"redis://user:{SECRET}@127.0.0.1:1/0")
    with pytest.raises(
        BrokerUnavailable, match="result backend of broker 'default' cannot be read"
    ) as caught:
        finished("default", ["a"])
    assert SECRET not in str(caught.value)


def test_a_redis_over_tls_that_is_not_told_what_to_verify_is_told_of_with_the_remedy(read_from):
    with pytest.raises(ValueError, match="ssl_cert_reqs"):
        read_from(f"rediss://user:{SECRET}@127.0.0.1:1/0")
    with pytest.raises(BrokerUnavailable, match="ssl_cert_reqs=required") as caught:
        finished("default", ["a"])
    assert SECRET not in str(caught.value)


def test_a_backend_whose_url_cannot_be_read_is_told_without_its_password(settings):
    url = f"redis://user:{SECRET}/x@127.0.0.1:1/0"
    settings.DISPATCH = {"BROKERS": {"default": {"URL": "memory://", "RESULT_BACKEND": url}}}
    with pytest.raises(BrokerUnavailable) as caught:
        finished("default", ["a"])
    assert SECRET not in str(caught.value)
