from __future__ import annotations

import pytest
from django.core import serializers
from django.db.models import ProtectedError
from django.forms import modelform_factory
from django.test import override_settings

from dispatch.core import codecs
from dispatch.core.routing import Target
from dispatch.models import Binding, Exchange, Manifest, Queue, Route, TaskDefinition

pytestmark = pytest.mark.django_db


@pytest.fixture
def queue():
    return Queue.objects.create(name="llm")


@pytest.fixture
def exchange():
    return Exchange.objects.create(name="media", type="topic")


# -- what full_clean refuses, and how it says so ------------------------------


@pytest.mark.parametrize("model", [Queue, Exchange])
def test_a_broker_that_is_not_in_the_settings_is_refused_with_those_that_are(model, refusal):
    assert refusal(model(name="a", broker="bulq"))["broker"] == (
        "No broker bulq in the settings: choose one of bulk, default."
    )


@override_settings(DISPATCH={})
def test_settings_without_a_broker_are_told_on_the_form_instead_of_breaking_it(refusal):
    assert "No broker: set DISPATCH" in refusal(Queue(name="a"))["broker"]


@pytest.mark.parametrize("arguments", [[], "text", 5], ids=repr)
def test_arguments_must_be_a_json_object(arguments, refusal):
    assert "Write a JSON object" in refusal(Queue(name="a", arguments=arguments or [1]))["arguments"]


@pytest.mark.parametrize(
    ("columns", "field", "complaint"),
    [
        ({"queue_type": "quorum", "max_priority": 5}, "max_priority", "refused by RabbitMQ"),
        ({"queue_type": "quorum", "durable": False}, "durable", "always durable"),
        ({"max_priority": 256}, "max_priority", "from 0 to 255"),
        ({"default_priority": 256}, "default_priority", "from 0 to 255"),
        ({"queue_type": "stream"}, "queue_type", "not a valid choice"),
        ({"name": ""}, "name", "cannot be blank"),
    ],
)
def test_a_queue_that_no_broker_takes_is_refused(columns, field, complaint, refusal):
    assert complaint in refusal(Queue(**{"name": "a", **columns}))[field]


def test_names_of_queues_are_unique_over_all_brokers(queue, refusal):
    assert "already exists" in refusal(Queue(name="llm", broker="bulk"))["name"]


def test_a_binding_joins_what_is_on_one_broker(exchange, refusal):
    elsewhere = Queue.objects.create(name="elsewhere", broker="bulk")
    assert refusal(Binding(queue=elsewhere, exchange=exchange))["__all__"] == (
        "Exchange media is on broker default, this queue on bulk: they must share one."
    )


def test_a_headers_exchange_is_refused_where_nothing_matches_headers(refusal):
    refused = refusal(Exchange(name="by headers", type="headers"))
    assert "has no exchanges of its own, and nothing there matches headers" in refused["type"]


def test_a_headers_exchange_is_accepted_on_a_broker_that_speaks_amqp():
    brokers = {"default": {"URL": "amqp://host"}}
    with override_settings(DISPATCH={"BROKERS": brokers}):
        Exchange(name="by headers", type="headers").full_clean()


def test_a_pattern_that_can_explode_is_refused_when_it_is_saved(refusal):
    refused = refusal(Route(pattern="(a|aa)+$", kind="regex", priority=1))
    assert "can take too long" in refused["pattern"]


def test_an_unfinished_binding_is_told_what_is_missing(refusal):
    assert set(refusal(Binding())) == {"queue", "exchange"}


@pytest.mark.parametrize(
    ("columns", "field", "complaint"),
    [
        ({}, "__all__", "This route decides nothing: choose a queue, an exchange or a priority."),
        ({"routing_key": "k", "priority": 1}, "routing_key", "needs an exchange to be published to"),
        ({"priority": 256}, "priority", "from 0 to 255"),
        ({"priority": 1, "kind": "regex", "pattern": "("}, "pattern", "'(' is not a regular expression"),
        ({"priority": 1, "kind": "python"}, "kind", "not a valid choice"),
        ({"kind": "callable", "pattern": "os.system"}, "pattern", 'not one of DISPATCH["ROUTERS"]'),
    ],
)
def test_a_route_that_cannot_work_is_refused(columns, field, complaint, refusal):
    assert complaint in refusal(Route(**{"pattern": "tasks.*", **columns}))[field]


def test_a_route_leads_to_a_queue_or_an_exchange_not_to_both(queue, exchange, refusal):
    refused = refusal(Route(pattern="tasks.*", queue=queue, exchange=exchange))
    assert refused["exchange"] == "Choose a queue or an exchange, not both."


@pytest.mark.parametrize(
    ("columns", "field", "complaint"),
    [
        ({"parameters": []}, "parameters", "must be a JSON object"),
        ({"parameters": {"type": "strnig"}}, "parameters", "Not a JSON Schema (2020-12)"),
        ({"parameters": {"x-positional": 5}}, "parameters", "x-positional must be a list"),
        (
            {"parameters": {"properties": {"a": {"pattern": "^(?!b)"}}}},
            "parameters",
            "none that takes linear time",
        ),
        ({"sensitive_parameters": "token"}, "sensitive_parameters", "Write a list of names"),
        ({"sensitive_parameters": [5]}, "sensitive_parameters", "Write a list of names"),
        ({"name": "tasks.a b"}, "name", "hold no spaces"),
        ({"priority": 256}, "priority", "from 0 to 255"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(columns, field, complaint, refusal):
    if columns.get("parameters") == []:
        columns = {"parameters": ["x"]}
    assert complaint in refusal(TaskDefinition(**{"name": "tasks.a", **columns}))[field]


@pytest.mark.parametrize(
    "columns",
    [{"serializer": "pickle"}, {"compression": "zzip"}, {"countdown": -1}, {"time_limit": -1}],
    ids=str,
)
def test_a_definition_whose_options_no_call_could_have_is_refused(columns, refusal):
    assert set(refusal(TaskDefinition(name="tasks.a", **columns))) == set(columns)


@pytest.mark.parametrize(
    ("column", "value"),
    [("serializer", "msgpack"), ("compression", "lzma")],
    ids=["serializer", "compression"],
)
def test_a_codec_that_is_not_installed_is_refused_when_it_is_set(
    column, value, refusal, settings, monkeypatch
):
    settings.DISPATCH = {**settings.DISPATCH, "SERIALIZERS": ["json", "msgpack"]}
    TaskDefinition(name="tasks.a", **{column: value}).full_clean()
    monkeypatch.setattr(codecs, "is_installed", lambda module: False)
    assert f"{value} is not installed here" in str(refusal(TaskDefinition(name="tasks.a", **{column: value})))


def test_rows_that_can_work_are_accepted(queue, exchange):
    Exchange(name="other", broker="bulk").full_clean()
    Binding(queue=queue, exchange=exchange, routing_key="").full_clean()
    Route(pattern="tasks.*", exchange=exchange, routing_key="k", priority=0).full_clean()
    Route(pattern="tasks.*", priority=0).full_clean()
    TaskDefinition(name="tasks.a", queue=queue).full_clean()


# -- the one default queue ----------------------------------------------------------


def test_one_queue_is_the_default_one_and_a_second_is_refused(refusal):
    Queue.objects.create(name="first", is_default=True)
    complaint = refusal(Queue(name="second", is_default=True))["is_default"]
    assert complaint == "Another queue is the default one: unset it there first."


def test_any_number_of_queues_may_not_be_the_default_one():
    Queue.objects.create(name="first")
    Queue(name="second").full_clean()


def test_a_form_takes_any_number_of_queues_and_one_default_one():
    form = modelform_factory(Queue, fields=["name", "broker", "queue_type", "is_default"])
    common = {"broker": "default", "queue_type": "classic"}
    form({"name": "a", "is_default": "on", **common}).save()
    form({"name": "b", **common}).save()
    form({"name": "c", **common}).save()
    assert form({"name": "d", "is_default": "on", **common}).errors == {
        "is_default": ["Another queue is the default one: unset it there first."]
    }


# -- what the database refuses when clean() is bypassed ------------------------------


@pytest.mark.parametrize(
    "columns",
    [{"max_priority": 256}, {"default_priority": 256}, {"name": "taken"}, {"is_default": True}],
    ids=str,
)
def test_the_database_refuses_a_bad_queue(columns, refused_by_database):
    refused_by_database(Queue(name="taken", is_default=True), Queue(**{"name": "a", **columns}))


@pytest.mark.parametrize("model", [Route, TaskDefinition])
def test_the_database_refuses_two_destinations_or_a_priority_out_of_range(
    model, queue, exchange, refused_by_database
):
    name = "pattern" if model is Route else "name"
    refused_by_database(model(**{name: "a"}, queue=queue, exchange=exchange))
    refused_by_database(model(**{name: "a"}, priority=256))


def test_the_database_refuses_what_is_there_already(queue, exchange, refused_by_database):
    refused_by_database(Exchange(name="media"))
    refused_by_database(*(Binding(queue=queue, exchange=exchange, routing_key="k") for _ in range(2)))
    refused_by_database(*(Route(pattern="a", kind="glob", priority=1) for _ in range(2)))
    refused_by_database(*(TaskDefinition(name="a") for _ in range(2)))
    refused_by_database(*(Manifest(worker="w", checksum="c") for _ in range(2)))


def test_a_queue_that_a_route_leads_to_cannot_be_deleted(queue, exchange):
    Route.objects.create(pattern="a", queue=queue)
    TaskDefinition.objects.create(name="a", exchange=exchange)
    for row in (queue, exchange):
        with pytest.raises(ProtectedError):
            row.delete()


# -- natural keys ----------------------------------------------------------------------


def test_every_row_is_found_by_its_natural_key(queue, exchange):
    rows = [
        queue,
        exchange,
        Binding.objects.create(queue=queue, exchange=exchange, routing_key="media.#"),
        Route.objects.create(pattern="tasks.*", queue=queue),
        TaskDefinition.objects.create(name="tasks.a"),
    ]
    for row in rows:
        assert type(row).objects.get_by_natural_key(*row.natural_key()) == row
    assert rows[2].natural_key() == ("llm", "media", "media.#")
    assert rows[3].natural_key() == ("tasks.*", "glob")


def test_rows_can_be_exported_and_loaded_without_their_primary_keys(queue, exchange):
    Binding.objects.create(queue=queue, exchange=exchange, routing_key="media.#")
    options = {"use_natural_foreign_keys": True, "use_natural_primary_keys": True}
    text = serializers.serialize("json", [queue, exchange, *Binding.objects.all()], **options)
    for model in (Binding, Queue, Exchange):
        model.objects.all().delete()
    for row in serializers.deserialize("json", text):
        row.save()
    assert Binding.objects.get().natural_key() == ("llm", "media", "media.#")


# -- what rows mean ----------------------------------------------------------------------


def test_a_quorum_queue_and_its_priorities_are_declared_by_arguments():
    queue = Queue(arguments={"x-max-length": 5}, queue_type="quorum")
    assert queue.declared_arguments() == {"x-max-length": 5, "x-queue-type": "quorum"}
    assert Queue(max_priority=9).declared_arguments() == {"x-max-priority": 9}
    assert Queue(max_priority=0).declared_arguments() == {"x-max-priority": 0}
    assert queue.arguments == {"x-max-length": 5}


def test_a_target_holds_what_the_row_asks_for_and_nothing_else(queue, exchange):
    assert Route(queue=queue).target() == Target(queue="llm")
    assert Route(exchange=exchange).target() == Target(exchange="media", routing_key="")
    assert Route(priority=0, routing_key="ignored").target() == Target(priority=0)


def test_only_options_that_are_set_are_options_and_false_is_set():
    assert TaskDefinition().options() == {}
    assert TaskDefinition(ignore_result=False, countdown=0, serializer="yaml").options() == {
        "ignore_result": False,
        "countdown": 0,
        "serializer": "yaml",
    }


def test_a_pattern_that_a_worker_wrote_does_not_keep_anyone_from_saving_its_task(db):
    row = TaskDefinition(name="a", parameters={"properties": {"a": {"pattern": "^(?!b)"}}}, source="manifest")
    row.full_clean()
