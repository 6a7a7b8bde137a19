"""``manifest show --format asyncapi``, against the standard's own schema.

``tests/support/asyncapi-3.0.0.schema.json`` is that of the AsyncAPI Initiative (Apache License 2.0), without
its white space.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema_rs
import pytest
from django.core.management import call_command
from django.test import override_settings

from dispatch.api import send_task
from dispatch.contract import asyncapi_document
from dispatch.models import Exchange, OutboxMessage, Queue, Route, TaskDefinition
from tests.support.registry import (
    ODD_DEFINITIONS,
    TASK,
    make_queue,
    make_registry,
    make_task,
    write_past_the_form,
)

SCHEMA = Path(__file__).resolve().parents[2] / "support" / "asyncapi-3.0.0.schema.json"
STANDARD = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
BROKERS = {
    "default": {"URL": "redis://:a-secret@redis.example:6380/3"},
    "rabbit": {"URL": "amqp://user:a-secret@rabbit.example:5672/shop"},
}

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


def document() -> dict:
    out = io.StringIO()
    with override_settings(DISPATCH={"BROKERS": BROKERS}):
        call_command("dispatch", "manifest", "show", "--format", "asyncapi", stdout=out)
    assert "a-secret" not in out.getvalue()
    found = json.loads(out.getvalue())
    STANDARD.validate(found)
    return found


def body_schema(found: dict, name: str = TASK) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(found["components"]["messages"][name]["payload"]["schema"])


def test_queues_and_exchanges_are_channels_on_the_servers_of_their_brokers() -> None:
    make_registry()
    events = Exchange.objects.create(name="events", type="topic", broker="rabbit")
    make_queue("mails", broker="rabbit").bindings.create(exchange=events, routing_key="mail.#")
    for name, columns in {
        "m.send": {"queue": None},
        "m.event": {"exchange": events, "routing_key": "mail.new"},
    }.items():
        make_task(name, **columns)
    Route.objects.create(pattern="m.send", kind="exact", queue_id=events.bindings.get().queue_id)
    found = document()
    assert found["servers"] == {
        "default": {"host": "redis.example:6380", "protocol": "redis"},
        "rabbit": {"host": "rabbit.example:5672", "protocol": "amqp"},
    }
    channels = {key: (each["address"], list(each["messages"])) for key, each in found["channels"].items()}
    assert channels == {
        "llm": ("llm", [TASK]),
        "mails": ("mails", ["m.send"]),
        "exchange:events:mail.new": ("mail.new", ["m.event"]),
    }
    assert "bindings" not in found["channels"]["llm"]
    assert found["channels"]["mails"]["bindings"]["amqp"]["queue"]["name"] == "mails"
    assert found["channels"]["exchange:events:mail.new"]["bindings"]["amqp"]["exchange"]["type"] == "topic"


def test_without_exchanges_a_message_is_in_each_queue_that_its_key_reaches() -> None:
    events = Exchange.objects.create(name="events", type="topic")
    for name in ("one", "two"):
        make_queue(name).bindings.create(exchange=events, routing_key="mail.#")
    make_task(exchange=events, routing_key="mail.new")
    broadcast = Exchange.objects.create(name="all", type="fanout")
    make_task("reload", exchange=broadcast)
    assert {key: list(each["messages"]) for key, each in document()["channels"].items()} == {
        "one": [TASK],
        "two": [TASK],
        "exchange:all:": ["reload"],
    }


def test_names_that_differ_have_keys_that_differ() -> None:
    names = ["a b", "a_20_b", "a 20_", "a_20 ", "a_", "a_5f_", "é", "_e9_"]
    queue, other = make_queue("q"), make_queue("q.x")
    for name in names:
        make_task(name, queue=queue)
    make_task("x.t", queue=queue)
    make_task("t", queue=other)
    found = document()
    messages = found["components"]["messages"].values()
    assert sorted(each["name"] for each in messages) == sorted([*names, "x.t", "t"])
    assert len(found["operations"]) == len(names) + 2


def test_a_queue_may_be_named_as_an_exchange_with_its_key() -> None:
    events = Exchange.objects.create(name="a", type="topic", broker="rabbit")
    others = Exchange.objects.create(name="a.b", type="topic", broker="rabbit")
    make_queue("exchange.a.b.c", broker="rabbit").bindings.create(exchange=events, routing_key="#")
    make_queue("other", broker="rabbit").bindings.create(exchange=others, routing_key="#")
    make_task("one", exchange=events, routing_key="b.c")
    make_task("two", exchange=others, routing_key="c")
    make_task("three", queue=Queue.objects.get(name="exchange.a.b.c"))
    assert [list(each["messages"]) for each in document()["channels"].values()] == [
        ["one"],
        ["three"],
        ["two"],
    ]


@pytest.mark.parametrize(
    "url", ["amqp://user:a/secret@host", "amqp://user:a#secret@host", "sqs://key:a/secret@"]
)
def test_a_password_that_is_not_quoted_is_not_taken_for_a_host(url: str) -> None:
    make_registry()
    with override_settings(DISPATCH={"BROKERS": {"default": {"URL": url}}}):
        assert "user" not in str(asyncapi_document()["servers"])
        assert "key" not in str(asyncapi_document()["servers"])


def test_the_body_that_is_sent_fits_its_schema_and_another_does_not() -> None:
    make_registry()
    accepts = body_schema(document()).is_valid
    for args, kwargs in [((), {"note_id": "1", "text": "Words."}), (("1", "Words."), {"sentences": 2})]:
        message = send_task(TASK, args=args, kwargs=kwargs)
        assert accepts([json.loads(message.args), json.loads(message.kwargs), {"callbacks": None}])
    assert not accepts([[], {"note_id": "1"}, {}])
    assert not accepts([[1, 2, 3, 4], {}, {}])
    assert OutboxMessage.objects.count() == 2


def test_the_references_of_a_task_s_schema_lead_into_it() -> None:
    make_registry()
    parameters = {"properties": {"size": {"$ref": "#/$defs/Size"}}, "$defs": {"Size": {"enum": ["S", "L"]}}}
    make_task("resize: all", parameters=parameters)
    found = document()
    accepts = body_schema(found, "resize_3a__20_all").is_valid
    assert (accepts([[], {"size": "S"}, {}]), accepts([[], {"size": "M"}, {}])) == (True, False)


@pytest.mark.parametrize(("column", "text"), ODD_DEFINITIONS)
def test_a_row_that_cannot_be_read_is_a_message_without_a_schema_of_its_own(column: str, text: str) -> None:
    make_registry()
    make_task("other")
    write_past_the_form(TaskDefinition, column, text, name=TASK)
    assert list(document()["components"]["messages"]) == ["other", TASK]


def test_a_deprecated_task_is_tagged_and_a_task_without_destination_left_out() -> None:
    make_task("nowhere")
    assert document()["components"]["messages"] == {}
    make_registry()
    TaskDefinition.objects.filter(name=TASK).update(deprecated="Send another.", description="Summarise.")
    message = document()["components"]["messages"][TASK]
    assert (message["tags"], message["summary"]) == (
        [{"name": "deprecated", "description": "Send another."}],
        "Summarise.",
    )
