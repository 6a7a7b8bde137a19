from __future__ import annotations

from contextlib import nullcontext

import pytest
from kombu import Exchange, Queue
from kombu.common import Broadcast

pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")

MEDIA = Exchange("media", "topic")


def published(app, task):
    """Return where Celery's own code publishes a message of the task."""
    seen = {}

    class Producer:
        connection = None

        def publish(self, body, **options):
            seen.update(options)

    Producer.connection = Producer()
    Producer.connection._reraise_as_library_errors = nullcontext
    task.apply_async(producer=Producer())
    exchange = getattr(seen["exchange"], "name", seen["exchange"])
    return (
        {"exchange": exchange, "routing_key": seen["routing_key"]}
        if exchange
        else {"queue": seen["routing_key"]}
    )


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"queue": "web"}, {"queue": "web"}),
        ({"queue": "new"}, {"queue": "new"}),
        ({"queue": Queue("object")}, {"queue": "object"}),
        ({"queue": "web", "routing_key": "ignored"}, {"queue": "web"}),
        ({"queue": "media"}, {"exchange": "media", "routing_key": "media.#"}),
        ({"queue": "media", "routing_key": "media.a"}, {"exchange": "media", "routing_key": "media.a"}),
        ({"exchange": "media", "routing_key": "media.a"}, {"exchange": "media", "routing_key": "media.a"}),
        ({"exchange": MEDIA, "routing_key": "media.a"}, {"exchange": "media", "routing_key": "media.a"}),
        ({"queue": "all"}, {"exchange": "all", "routing_key": "celery"}),
        ({"queue": "web", "exchange": "all", "routing_key": "a"}, {"exchange": "all", "routing_key": "a"}),
    ],
)  # fmt: skip
def test_a_task_says_where_celery_publishes_it(app, described, own, expected):
    app.conf.task_queues = [
        Queue("celery"),
        Queue("web"),
        Queue("media", MEDIA, routing_key="media.#"),
        Broadcast("all"),
    ]

    @app.task(shared=False, name="t", **own)
    def task() -> None: ...

    assert described()["options"] == expected
    assert published(app, app.tasks["t"]) == expected


@pytest.mark.parametrize("own", [{}, {"routing_key": "media.a"}, {"queue": ""}])
def test_what_names_no_place_is_left_to_the_routes(app, described, own):
    @app.task(shared=False, name="t", **own)
    def task() -> None: ...

    assert described()["options"] == {}


def test_a_queue_that_celery_refuses_is_not_said(app, described):
    app.conf.update(task_create_missing_queues=False, task_queues=[Queue("celery")])

    @app.task(shared=False, name="t", queue="no")
    def task() -> None: ...

    assert described()["options"] == {}


def test_a_queue_that_only_a_task_names_is_not_consumed_for_that(app, described):
    @app.task(shared=False, name="t", queue="new")
    def task() -> None: ...

    described()
    assert list(app.amqp.queues.consume_from) == ["celery"]
