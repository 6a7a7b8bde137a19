from __future__ import annotations

import hashlib
import json

import pytest
from celery import Celery
from celery_manifest import checksum
from hypothesis import given
from hypothesis import strategies as st

from worker import routing
from worker.config import PACKAGED_ROUTING
from worker.routing import RoutingError

MEDIA = {
    "exchanges": [
        {"name": "media", "type": "topic", "durable": True, "arguments": {"alternate-exchange": "lost"}}
    ],
    "queues": [
        {"name": "default"},
        {
            "name": "clips",
            "durable": False,
            "arguments": {"x-max-priority": 9},
            "bindings": [
                {"exchange": "media", "routing_key": "media.#", "arguments": {}},
                {"exchange": "media", "routing_key": "clip.*", "arguments": {"x-match": "all"}},
            ],
        },
    ],
}


def sample_app(found):
    app = Celery("sample", broker="memory://", set_as_current=False)
    app.conf.update(
        task_queues=found.queues,
        task_default_queue=found.default_queue,
        task_routes=(found.router,),
        task_create_missing_queues=False,
    )
    return app


def destination(found, name, **options):
    """Return queue, exchange and routing key that Celery makes of the routing."""
    route = sample_app(found).amqp.router.route(options, name)
    return getattr(route.get("queue"), "name", None), route.get("exchange"), route.get("routing_key")


@pytest.fixture
def declared():
    """Declare the queues on an in-memory broker and return its bindings as (exchange, key, queue)."""

    def declare(found):
        app = sample_app(found)
        with app.connection() as connection:
            channel = connection.default_channel
            app.amqp.TaskConsumer(channel).declare()
            table = {queue.name: channel.state.queue_bindings(queue.name) for queue in found.queues}
            rows = {(row.exchange, row.routing_key, name) for name, each in table.items() for row in each}
            channel.state.clear()
            return rows

    return declare


def test_the_packaged_file_lets_the_worker_start_alone():
    found = routing.load(PACKAGED_ROUTING)
    assert found.default_queue == "default"
    assert [queue.name for queue in found.queues] == ["default", "link", "llm", "stt"]
    assert destination(found, "worker.tasks.stt.transcribe_audio") == ("stt", None, None)


def test_a_queue_without_bindings_gets_the_direct_exchange_of_its_name(write_routing, declared):
    assert declared(routing.load(write_routing())) == {("default", "default", "default")}


def test_a_queue_with_bindings_gets_these_and_no_other(write_routing, declared):
    found = routing.load(write_routing(**MEDIA))
    assert declared(found) == {
        ("default", "default", "default"),
        ("media", "media.#", "clips"),
        ("media", "clip.*", "clips"),
    }


def test_arguments_and_durability_are_passed_as_they_are(write_routing):
    clips = routing.load(write_routing(**MEDIA)).queues[1]
    assert (clips.durable, clips.queue_arguments) == (False, {"x-max-priority": 9})
    bindings = {each.routing_key: each for each in clips.bindings}
    assert bindings["clip.*"].arguments == {"x-match": "all"}
    exchange = bindings["media.#"].exchange
    assert (exchange.name, exchange.type, exchange.arguments) == (
        "media",
        "topic",
        {"alternate-exchange": "lost"},
    )


def test_only_the_queues_of_the_own_broker_are_declared(write_routing):
    path = write_routing(queues=[{"name": "default"}, {"name": "far", "broker": "remote"}])
    assert [queue.name for queue in routing.load(path).queues] == ["default"]
    assert [queue.name for queue in routing.load(path, "remote").queues] == ["far"]


TO_MEDIA = {"exchange": "media", "routing_key": "media.clip"}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.b", {}, (None, "media", "media.clip")),
        ("a.b", {"routing_key": "media.other"}, (None, "media", "media.other")),
        ("a.b", {"queue": "default"}, ("default", None, None)),
        ("c.d", {}, ("clips", None, None)),
        ("c.d", {"exchange": "media", "routing_key": "x"}, ("clips", "media", "x")),
        ("e.f", {}, ("default", None, None)),
        ("e.f", {"queue": "clips"}, ("clips", None, None)),
    ],
)
def test_a_message_of_the_worker_goes_where_the_file_or_the_caller_says(
    write_routing, name, options, expected
):
    found = routing.load(write_routing(**MEDIA, tasks={"a.b": TO_MEDIA, "c.d": {"queue": "clips"}}))
    assert destination(found, name, **options) == expected
    assert destination(found, name, **options) == expected, "asking has changed the answer"


def test_a_message_to_an_exchange_declares_it(write_routing):
    router = routing.load(write_routing(**MEDIA, tasks={"a.b": TO_MEDIA})).router
    for name, options in (("a.b", {}), ("e.f", {"exchange": "media"})):
        (exchange,) = router(name, (), {}, options)["declare"]
        assert (exchange.name, exchange.type) == ("media", "topic")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"routing": 2}, "at routing: Input should be 1"),
        ({"queues": []}, "default_queue names the queue 'default', which the file does not list"),
        ({"default_queue": "celery"}, "default_queue names the queue 'celery'"),
        ({"queues": [{"durable": True}]}, "at queues/0/name: Field required"),
        ({"tasks": {"a.b": {"queue": "llmm"}}}, "the route of a.b names the queue 'llmm'"),
        ({"tasks": {"a.b": {"exchange": "x"}}}, "the route of a.b names the exchange 'x'"),
        ({"exchanges": MEDIA["exchanges"] + [{"name": "x", "type": "toppic"}]}, "at exchanges/1/type"),
        (
            {"exchanges": []} | {"queues": MEDIA["queues"]},
            "a binding of the queue 'clips' names the exchange 'media'",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_cause_and_remedy(write_routing, changes, cause):
    with pytest.raises(RoutingError) as error:
        routing.load(write_routing(**changes))
    assert cause in str(error.value)
    assert "manage.py dispatch routes export" in str(error.value)


def test_a_broker_without_queues_is_refused(write_routing):
    with pytest.raises(RoutingError, match=r"no queue belongs to the broker 'remote' \(BROKER_ALIAS\)"):
        routing.load(write_routing(), "remote")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        RoutingError, match=r"nowhere\.json' cannot be used: it cannot be read \(No such file"
    ):
        routing.load(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("content", "cause"), [(b"{", "not JSON"), (b"\xff", "not JSON"), (b"[]", "not a JSON object")]
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path, content, cause):
    path = tmp_path / "routing.json"
    path.write_bytes(content)
    with pytest.raises(RoutingError, match=cause):
        routing.load(path)


@pytest.mark.parametrize("given_checksum", ["sha256:00", None, 7])
def test_a_file_changed_by_hand_is_refused(write_routing, given_checksum):
    with pytest.raises(RoutingError, match="its checksum is"):
        routing.load(write_routing(checksum=given_checksum))


def test_a_lone_surrogate_is_refused(write_routing):
    path = write_routing()
    path.write_text(path.read_text().replace('"tasks": {}', r'"tasks": {"\ud800": {}}'))
    with pytest.raises(RoutingError, match="lone surrogate"):
        routing.load(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=4))
def test_the_checksum_ignores_order_layout_and_itself(document):
    rewritten = json.loads(json.dumps(dict(reversed(document.items())), indent=3))
    assert checksum(rewritten | {"checksum": "x"}) == checksum(document)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=4), JSON)
def test_the_checksum_sees_every_change(document, value):
    assert checksum(document | {"added": value}) != checksum(document)


def test_the_checksum_is_the_agreed_one():
    canonical = '{"a":[1,null],"b":"ü"}'
    expected = "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
    assert checksum({"b": "ü", "a": [1, None], "checksum": "ignored"}) == expected
