from __future__ import annotations

import pytest
from celery import Celery
from kombu import Exchange, Queue

MEDIA = Queue("media", Exchange("media", "topic"), routing_key="media.#")

pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")


@pytest.fixture
def bring(read):
    """Return a function that reads an app with one task of these options."""

    def of(settings=None, **options):
        app = Celery("foreign", set_as_current=False, fixups=[])
        app.task(name="tasks.own", shared=False, **options)(_body)
        return read(app=app, task_queues=[MEDIA, Queue("celery"), Queue("llm")], **(settings or {}))

    return of


@pytest.fixture
def row(bring):
    """Return a function that gives the one row without its name; None where there is none."""

    def of(settings=None, **options):
        rows = bring(settings, **options).document["tasks"]
        return {key: value for key, value in rows[0].items() if key != "name"} if rows else None

    return of


def _body():
    """A task's body."""


def test_a_task_that_leaves_all_to_the_routes_has_no_row(row):
    assert row() is None
    assert row({"task_default_priority": 5}) is None
    assert row(ignore_result=True) is None


def test_a_tasks_own_queue_is_settled_as_that_of_a_route(row):
    llm = {"queue": "llm", "exchange": None, "routing_key": ""}
    media = {"queue": None, "exchange": "media", "routing_key": "media.#"}
    assert row(queue="llm") == row(queue=Queue("llm"), routing_key="any") == llm
    assert row(queue="media") == row(exchange="media", routing_key="media.#") == media
    assert row(queue="media", priority=0, ignore_result=True) == media | {
        "priority": 0,
        "ignore_result": True,
    }


def test_a_priority_alone_leaves_the_queue_of_the_registry_alone(row):
    assert row(priority=3) == {"priority": 3}
    assert row({"task_default_priority": 5}, priority=3) == {"priority": 3}


def test_on_redis_the_number_is_turned(row):
    assert row({"url": "redis://nowhere"}, priority=3) == {"priority": 6}


def test_to_an_exchange_the_default_priority_is_written_into_the_row(row):
    assert row({"task_default_priority": 5}, exchange="media", routing_key="media.a")["priority"] == 5
    assert "priority" not in row({"task_default_priority": 5}, queue="llm")


def test_a_queue_or_an_exchange_that_only_a_task_names_is_brought(bring):
    found = bring(queue="new").document
    assert "new" in [queue["name"] for queue in found["queues"]]
    found = bring(exchange="alone", routing_key="a").document
    assert "alone" in [exchange["name"] for exchange in found["exchanges"]]


def test_a_routing_key_alone_is_told_and_left_to_the_routes(bring):
    found = bring(routing_key="media.a", priority=3)
    assert found.document["tasks"] == [{"name": "tasks.own", "priority": 3}]
    assert found.left_out == (
        "task 'tasks.own' sets routing_key, but neither queue nor exchange: write the key into the routes.",
    )


def test_a_queue_that_celery_refuses_is_told_and_the_priority_brought(bring):
    found = bring(
        {"task_create_missing_queues": False, "task_default_queue": "celery"}, queue="no", priority=3
    )
    assert found.document["tasks"] == [{"name": "tasks.own", "priority": 3}]
    assert found.left_out == (
        "task 'tasks.own': queue 'no' is not in task_queues, and task_create_missing_queues is off.",
    )


def test_what_else_travels_with_a_tasks_messages_is_told(bring):
    found = bring(serializer="yaml", compression="gzip", expires=60)
    assert found.left_out == (
        "task 'tasks.own' sets serializer, compression, expires: set that on its definition.",
    )
    settings = {"task_serializer": "yaml"}
    assert not any(sentence.startswith("task ") for sentence in bring(settings, serializer="yaml").left_out)
