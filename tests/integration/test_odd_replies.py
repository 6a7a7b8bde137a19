"""Replies to Celery's remote control that nobody can read, among others that are fine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from dispatch.client import queue_state, worker_control
from dispatch.client.queue_state import Link
from dispatch.conf import conf

pytestmark = pytest.mark.one_database

#: A body, how it is written, and its headers beside the ticket.
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
ODD: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "no JSON": ("{", JSON, {}),
    "no text": (b"\xff\xfe", JSON, {}),
    "too deep": ("[" * 100_000, JSON, {}),
    "no object": ("[5]", JSON, {}),
    "pickled": (
        pickle.dumps({"w": []}),
        {"content_type": "application/x-python-serialize", "content_encoding": "binary"},
        {},
    ),
    "of a kind nobody knows": ("x", {"content_type": "x/y", "content_encoding": "utf-8"}, {}),
    "in letters nobody knows": (
        b"{}",
        {"content_type": "application/json", "content_encoding": "klingon"},
        {},
    ),
    "with an odd clock": (json.dumps({"odd": []}), JSON, {"clock": "noon", "expires": "soon"}),
    "to another question": (json.dumps({"stranger": []}), JSON, {"ticket": "another"}),
    "with an odd ticket": (json.dumps({"stranger": []}), JSON, {"ticket": ["a"]}),
    "not compressed as it says": ("{}", JSON, {"compression": "application/x-gzip"}),
}


def good(worker: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    return json.dumps({worker: [{"name": "llm"}]}), JSON, {}


@pytest.fixture(params=["redis", "rabbitmq"])
def link(request: pytest.FixtureRequest, broker_settings: Callable[..., None]) -> Iterator[Link]:
    url = request.getfixturevalue(f"{request.param}_url")
    broker_settings(url)
    with queue_state.opened(conf.brokers["default"]) as link:
        broker_settings(url, BROKER_TIMEOUT=0.5)  # for which replies are waited for
        yield link


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function by which workers answer the next question with these replies."""

    def answer(*replies: tuple[Any, dict[str, Any], dict[str, Any]]) -> None:
        def publish(mailbox: Any, *args: Any, reply_ticket: str, channel: Any, **options: Any) -> None:
            mailbox.reply_queue(channel).declare()
            for body, written, headers in replies:
                kombu.Producer(channel).publish(
                    body,
                    exchange=mailbox.reply_exchange.name,
                    routing_key=mailbox.oid,
                    headers={"ticket": reply_ticket, **headers},
                    **written,
                )

        monkeypatch.setattr(worker_control._Mailbox, "_publish", publish)

    return answer


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_reply_keeps_no_other_worker_from_being_heard(
    link: Link, fleet: Callable[..., None], odd: tuple[Any, dict[str, Any], dict[str, Any]]
) -> None:
    fleet(good("a"), odd, good("b"))
    found = worker_control.consumed(link)
    assert {"a", "b"} <= found.keys() <= {"a", "b", "odd"}


def test_what_is_no_message_at_all_keeps_no_worker_from_being_heard(
    redis_url: str, broker_settings: Callable[..., None], fleet: Callable[..., None]
) -> None:
    broker_settings(redis_url, BROKER_TIMEOUT=0.3)
    with queue_state.opened(conf.brokers["default"]) as link:
        fleet(good("a"))
        publish = worker_control._Mailbox._publish

        def with_garbage(mailbox: Any, *args: Any, channel: Any, **options: Any) -> None:
            publish(mailbox, *args, channel=channel, **options)
            for text in ("{", "[]", "{}", '{"body": 5, "properties": []}', '"text"'):
                channel.client.rpush(mailbox.reply_queue.name, text)

        worker_control._Mailbox._publish = with_garbage  # type: ignore[method-assign]  # undone by fleet
        assert worker_control.consumed(link).keys() == {"a"}
