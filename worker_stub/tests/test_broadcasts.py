from __future__ import annotations

import pytest
from celery import Celery, signals
from kombu import Queue
from kombu.common import Broadcast

from worker import broadcasts, routing
from worker.broadcasts import RETRIES

FANOUT = {
    "exchanges": [
        {"name": "news", "type": "fanout", "durable": False, "arguments": {"alternate-exchange": "lost"}},
        {"name": "events", "type": "fanout", "broadcast": False},
        {"name": "far-away", "broker": "remote", "type": "fanout"},
        {"name": "media", "type": "topic"},
    ],
    "queues": [
        {"name": "default"},
        {"name": "archive", "bindings": [{"exchange": "news"}]},
        {"name": "both", "bindings": [{"exchange": "news"}, {"exchange": "media", "routing_key": "a.#"}]},
        {"name": "remote", "broker": "remote"},
    ],
    "tasks": {"a.b": {"exchange": "news", "routing_key": ""}},
}


@pytest.fixture
def no_listeners():
    """Forget afterwards whom the test's apps have told to listen."""
    before = list(signals.celeryd_after_setup.receivers)
    yield
    signals.celeryd_after_setup.receivers[:] = before


@pytest.fixture
def make_app(no_listeners):
    """Return a function that makes an app which listens to the broadcasts of a routing."""

    def make(found):
        app = Celery("sample", broker="memory://", set_as_current=False, task_cls=broadcasts.Task)
        app.conf.update(
            task_queues=found.queues,
            task_default_queue=found.default_queue,
            task_routes=(found.router,),
            task_create_missing_queues=False,
        )
        broadcasts.listen(app, found.broadcasts)
        return app

    return make


def start(app, *selected):
    """Do what a starting worker does before it consumes, with `-Q` if queues are selected."""
    app.amqp.queues.select(selected)
    instance = type("Worker", (), {"app": app})()
    signals.celeryd_after_setup.send(sender="w@host", instance=instance, conf=app.conf)


def bound(queue):
    return sorted((each.exchange.name, each.routing_key) for each in queue.bindings)


def test_each_fanout_exchange_of_the_own_broker_gets_a_queue_that_goes_with_the_worker(write_routing):
    [own] = routing.load(write_routing(**FANOUT)).broadcasts
    assert (own.exchange.name, own.exchange.type, own.exchange.durable) == ("news", "fanout", False)
    assert own.exchange.arguments == {"alternate-exchange": "lost"}, "RabbitMQ refuses another declaration"
    assert (own.auto_delete, own.expires) == (True, routing.OWN_QUEUE_EXPIRES)
    [far] = routing.load(write_routing(**FANOUT), "remote").broadcasts
    assert far.exchange.name == "far-away"


def test_two_workers_share_no_queue(write_routing):
    path = write_routing(**FANOUT)
    names = {routing.load(path).broadcasts[0].name for _ in range(2)}
    assert len(names) == 2


def test_what_redis_cannot_give_back_is_not_kept_unacknowledged(write_routing):
    path = write_routing(**FANOUT)
    assert [routing.load(path, has_exchanges=each).broadcasts[0].no_ack for each in (True, False)] == [
        False,
        True,
    ]


def test_only_rabbitmq_binds_the_registrys_queues_to_fanout_exchanges(write_routing):
    path = write_routing(**FANOUT)
    _, archive, both = routing.load(path).queues
    assert (bound(archive), bound(both)) == ([("news", "")], [("media", "a.#"), ("news", "")])
    _, archive, both = routing.load(path, has_exchanges=False).queues
    assert (bound(archive), bound(both)) == ([], [("media", "a.#")])
    assert archive.exchange.type == "direct"


@pytest.mark.parametrize("selected", [(), ("archive",)])
def test_a_worker_consumes_its_own_queues_whatever_is_selected(make_app, write_routing, selected):
    app = make_app(routing.load(write_routing(**FANOUT)))
    start(app, *selected)
    own = [queue for queue in app.amqp.queues.consume_from.values() if queue.name.startswith("bcast.")]
    assert [type(queue) for queue in own] == [Broadcast, Queue]
    rest = app.amqp.queues.consume_from.keys() - {queue.name for queue in own}
    assert rest == set(selected or ("default", "archive", "both"))


def test_celerys_defaults_do_not_reach_a_workers_own_queues(make_app, write_routing):
    app = make_app(routing.load(write_routing(**FANOUT)))
    start(app)
    retries = app.amqp.queues[RETRIES]
    [own] = [queue for queue in app.amqp.queues.values() if isinstance(queue, Broadcast)]
    assert own.routing_key == "", "on Redis the key is a part of the channel's name"
    assert (retries.exchange.name, retries.routing_key) == ("", retries.name)


def test_without_a_worker_there_are_no_own_queues(make_app, write_routing):
    app = make_app(routing.load(write_routing(**FANOUT)))
    assert set(app.amqp.queues) == {"default", "archive", "both"}


def test_a_worker_without_fanout_exchanges_and_one_of_another_app_are_left_alone(make_app, write_routing):
    plain = make_app(routing.load(write_routing()))
    start(plain)
    assert set(plain.amqp.queues) == {"default"}
    listening, stranger = make_app(routing.load(write_routing(**FANOUT))), Celery(set_as_current=False)
    start(stranger)
    assert set(listening.amqp.queues) == {"default", "archive", "both"}


@pytest.mark.parametrize(
    ("came_by", "goes_to"),
    [
        ({"exchange": "news", "routing_key": ""}, (RETRIES, None)),
        ({"exchange": "media", "routing_key": "a.b"}, (None, "media")),
        ({"exchange": "", "routing_key": "archive"}, ("archive", None)),
    ],
)
def test_only_a_broadcast_is_retried_by_the_worker_that_failed(make_app, write_routing, came_by, goes_to):
    app = make_app(routing.load(write_routing(**FANOUT)))
    start(app)

    @app.task(name="a.b", bind=True, shared=False)
    def task(self): ...

    task.push_request(id="1", args=(), kwargs={}, delivery_info=came_by)
    try:
        options = task.signature_from_request().options
    finally:
        task.pop_request()
    queue = options.get("queue")
    assert (getattr(queue, "alias", queue), options.get("exchange")) == goes_to


def test_a_message_without_a_key_goes_to_its_fanout_exchange(make_app, write_routing):
    """Celery takes it for one to a direct exchange, and publishes it to a queue without a name."""
    found = routing.load(write_routing(**FANOUT))
    app = make_app(found)
    sent = app.amqp.router.route({}, "a.b")
    assert sent["exchange_type"] == "fanout"
    with app.connection() as connection:
        listener = Queue("listener", found.broadcasts[0].exchange).bind(connection.channel())
        listener.declare()
        app.send_task("a.b", connection=connection)
        assert listener.get(no_ack=True).headers["task"] == "a.b"
        listener.channel.state.clear()
