"""The registry follows the manifests: what is told, what stays, what is refused, on every database."""

from __future__ import annotations

import copy
import logging
import re
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext

from dispatch import contract, outbox, registry
from dispatch.api import Call, TaskRetired, send_many, send_task
from dispatch.contract import pending_messages, verify
from dispatch.core import manifest
from dispatch.core.schema.breaking_changes import Change
from dispatch.models import (
    Exchange,
    Manifest,
    OutboxMessage,
    Queue,
    RegistryVersion,
    Route,
    TaskDefinition,
    TriggerArgument,
)
from dispatch.relay import Relay
from project.notes.models import Note
from tests.support.databases import elsewhere
from tests.support.registry import (
    ODD_DEFINITIONS,
    make_queue,
    make_task,
    make_trigger,
    write_past_the_form,
)

pytestmark = pytest.mark.django_db(transaction=True)

SUMMARIZE, PREVIEW = "worker.tasks.llm.summarize_note", "worker.tasks.link.preview_links"


def offer(name: str = SUMMARIZE, *required: str, **entries: Any) -> dict[str, Any]:
    """A task of a manifest; ``entries`` are further keys, ``properties`` its parameters."""
    properties = entries.pop("properties", {"note_id": {"type": "string"}, "text": {"type": "string"}})
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        "x-positional": list(properties),
    }
    return {"name": name, "parameters": parameters, **entries}


def offers(
    *tasks: dict[str, Any], worker: str = "worker", version: str = "1.0", **entries: Any
) -> manifest.Manifest:
    document = {
        "manifest": 1,
        "worker": worker,
        "version": version,
        "queues": [],
        "tasks": list(tasks),
        **entries,
    }
    return manifest.read(manifest.sealed(document))


def columns() -> list[dict[str, Any]]:
    return list(TaskDefinition.objects.order_by("name").values())


def changes(result: contract.Synced) -> dict[str, list[str]]:
    found = result.difference
    return {task.name: [str(change) for change in task.changes] for task in (*found.changed, *found.returned)}


def broken(result: contract.Synced) -> list[tuple[str, str]]:
    return [(effect.kind, f"{effect.subject} {effect.sentence}") for effect in result.effects]


@pytest.fixture(autouse=True)
def fresh(no_ttl: None) -> None:
    make_queue("default", is_default=True)


# -- the queues that the worker's code sets -------------------------------------------------


WEB = {"queue": "web"}


def target(name: str = SUMMARIZE) -> tuple[str | None, str | None, str]:
    row = TaskDefinition.objects.select_related("queue", "exchange").get(name=name)
    return (
        row.queue.name if row.queue else None,
        row.exchange.name if row.exchange else None,
        row.routing_key,
    )


def own(result: contract.Synced) -> list[tuple[str, str, str]]:
    return [(each.task, each.place, each.problem) for each in result.own_queues]


def test_a_queue_that_the_workers_code_sets_is_told_and_brought_where_that_is_asked() -> None:
    offered = offers(
        offer(options=WEB),
        offer(PREVIEW),
        queues=[{"name": "web", "durable": False, "arguments": {"x-max-priority": 9, "x-expires": 5}}],
    )
    assert own(contract.sync(offered)) == [(SUMMARIZE, "queue 'web'", "")]
    assert target() == (None, None, "")
    assert own(contract.sync(offered, dry_run=True, own_queues=True)) == [(SUMMARIZE, "queue 'web'", "")]
    assert target() == (None, None, "")
    assert own(contract.sync(offered, own_queues=True)) == [(SUMMARIZE, "queue 'web'", "")]
    assert (target(), target(PREVIEW)) == (("web", None, ""), (None, None, ""))
    assert registry.current().destination(SUMMARIZE).queue == "web"
    queue = Queue.objects.get(name="web")
    assert (queue.broker, queue.durable, queue.max_priority, queue.arguments) == (
        "default",
        False,
        9,
        {"x-expires": 5},
    )
    assert own(contract.sync(offered)) == []


def test_a_queue_that_was_brought_follows_the_worker_and_one_that_was_chosen_stays() -> None:
    contract.sync(offers(offer(options=WEB), offer(PREVIEW, options=WEB)), own_queues=True)
    TaskDefinition.objects.filter(name=PREVIEW).update(queue=Queue.objects.get(name="default"))
    changed = offers(offer(options={"queue": "mail"}), offer(PREVIEW, options={"queue": "mail"}))
    assert own(contract.sync(changed, own_queues=True)) == [(SUMMARIZE, "queue 'mail'", "")]
    assert (target(), target(PREVIEW)) == (("mail", None, ""), ("default", None, ""))


def test_a_task_that_the_routes_send_there_already_is_not_told() -> None:
    Route.objects.create(pattern="worker.*", queue=make_queue("web"))
    assert own(contract.sync(offers(offer(options=WEB)))) == []


def test_an_exchange_that_the_workers_code_sets_is_brought_where_the_registry_has_it() -> None:
    offered = offers(offer(options={"exchange": "media", "routing_key": "media.a"}))
    [(_, place, problem)] = own(contract.sync(offered, own_queues=True))
    assert (place, problem) == (
        "exchange 'media' (media.a)",
        "the registry has no such exchange: add it with its bindings, or import it",
    )
    exchange = Exchange.objects.create(name="media", type="topic")
    make_queue("media").bindings.create(exchange=exchange, routing_key="media.#")
    assert own(contract.sync(offered, own_queues=True)) == [(SUMMARIZE, place, "")]
    assert target() == (None, "media", "media.a")


def test_a_queue_that_cannot_be_added_is_told_and_stops_no_other() -> None:
    offered = offers(offer(options={"queue": "q" * 201}), offer(PREVIEW, options=WEB))
    told = own(contract.sync(offered, own_queues=True))
    assert [name for name, _, problem in told if problem] == [SUMMARIZE]
    assert (target(), target(PREVIEW)) == ((None, None, ""), ("web", None, ""))


def test_a_task_that_the_manifest_cannot_describe_is_not_retired() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    left_out = [{"name": PREVIEW, "reason": "it is odd."}]
    result = contract.sync(offers(offer(), left_out=left_out, version="1.1"))
    assert result.difference.missing == ()
    assert result.difference.warnings == (
        f"{PREVIEW} is left out of the manifest, and stays as it is: it is odd.",
    )
    assert Manifest.objects.first().offers == sorted([SUMMARIZE, PREVIEW])
    send_task(PREVIEW, kwargs={"note_id": "1", "text": "x"})


# -- what is written ------------------------------------------------------------------------


def test_everything_that_a_manifest_says_of_a_task_is_kept() -> None:
    contract.sync(
        offers(
            offer(
                description="Größe ☃",
                returns={"type": "object", "properties": {"limit": {"maximum": 1e300, "minimum": 1.5e23}}},
                options={"rate_limit": "10/m", "ignore_result": True},
                deprecated="",
                sensitive=["text"],
            ),
            queues=[{"name": "llm", "durable": True, "arguments": {"x-max-priority": 9}}],
        )
    )
    row = TaskDefinition.objects.get()
    assert (row.name, row.description, row.deprecated, row.sensitive_parameters) == (
        SUMMARIZE,
        "Größe ☃",
        "",
        ["text"],
    )
    assert row.parameters["x-positional"] == ["note_id", "text"]
    assert row.worker_options == {"rate_limit": "10/m", "ignore_result": True}
    assert row.ignore_result is True
    imported = Manifest.objects.get()
    assert (imported.offers, imported.queues) == (
        [SUMMARIZE],
        [{"name": "llm", "durable": True, "arguments": {"x-max-priority": 9}}],
    )
    assert row.manifest == imported


def test_the_same_manifest_again_changes_nothing_and_leaves_the_version() -> None:
    first = offers(offer(returns={"maximum": 1e300, "enum": [True, 1.0, "a"]}), offer(PREVIEW))
    assert contract.sync(first).difference.added == (PREVIEW, SUMMARIZE)
    before, version, imported = columns(), RegistryVersion.current("default"), Manifest.objects.values().get()
    again = contract.sync(copy.deepcopy(first))
    assert again.difference.unchanged == (PREVIEW, SUMMARIZE)
    assert [*again.difference.changed, *again.effects, *again.difference.warnings] == []
    assert (columns(), Manifest.objects.values().get()) == (before, imported)
    assert RegistryVersion.current("default") == version


def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    before, version = columns(), RegistryVersion.current("default")
    new = offers(offer(SUMMARIZE, "text", properties={"text": {"type": "string"}}), version="2.0")
    dry = contract.sync(new, dry_run=True)
    assert (columns(), RegistryVersion.current("default"), Manifest.objects.count()) == (before, version, 1)
    assert not dry.applied
    assert contract.sync(new).difference == dry.difference


def test_what_the_operator_set_stays() -> None:
    contract.sync(offers(offer(options={"ignore_result": True})))
    queue = make_queue("mine")
    by_hand: dict[str, Any] = {
        "queue": queue, "priority": 7, "enabled": False, "paused": True, "countdown": 1.0, "expires": 2.0,
        "time_limit": 3.0, "soft_time_limit": 2.5, "serializer": "json", "compression": "gzip",
        "ignore_result": False, "sensitive_parameters": ["note_id"],
    }  # fmt: skip
    TaskDefinition.objects.update(**by_hand)
    contract.sync(
        offers(offer(description="New.", sensitive=["text"], options={"ignore_result": True, "priority": 1}))
    )
    row = TaskDefinition.objects.get()
    assert row.description == "New."
    assert row.sensitive_parameters == ["note_id", "text"]
    assert {name: getattr(row, name) for name in by_hand} == {
        **by_hand,
        "sensitive_parameters": ["note_id", "text"],
    }


def test_ignore_result_follows_the_worker_until_somebody_chooses() -> None:
    contract.sync(offers(offer(options={"ignore_result": True})))
    contract.sync(offers(offer(options={})))
    assert TaskDefinition.objects.get().ignore_result is None


def test_a_definition_made_by_hand_follows_the_manifest_that_brings_it_and_keeps_its_own() -> None:
    make_task(SUMMARIZE, parameters={}, priority=7, description="Mine.")
    result = contract.sync(offers(offer(description="Theirs.")))
    row = TaskDefinition.objects.get()
    assert (row.source, row.description, row.priority) == ("manifest", "Theirs.", 7)
    assert changes(result)[SUMMARIZE] == [
        "anything was accepted; now the arguments are checked",
        "has another description",
        "was written by hand, and follows the manifest of worker now",
    ]


def test_a_definition_written_past_the_form_is_replaced() -> None:
    contract.sync(offers(offer()))
    TaskDefinition.objects.update(parameters=["no", "schema"])
    contract.sync(offers(offer()), dry_run=True)
    contract.sync(offers(offer()))
    assert TaskDefinition.objects.get().parameters["type"] == "object"


@pytest.mark.parametrize(("column", "text"), ODD_DEFINITIONS)
def test_whatever_stands_in_a_definition_the_next_import_writes_it_anew(column: str, text: str) -> None:
    first = offers(offer(options={"ignore_result": True}), offer(PREVIEW))
    contract.sync(first)
    before = TaskDefinition.objects.values().get(name=SUMMARIZE)
    write_past_the_form(TaskDefinition, column, text, name=SUMMARIZE)
    for manifest_of in (first, offers(offer("other"), worker="another"), first):
        contract.sync(manifest_of, dry_run=True)
        result = contract.sync(manifest_of, refuse_breaking=True)
        assert result.applied
    assert TaskDefinition.objects.values().get(name=SUMMARIZE) == before
    verify("default")


def test_a_breaking_change_is_one_whatever_else_of_the_definition_is_odd() -> None:
    contract.sync(offers(offer(returns={"type": "null"})))
    for column, text in (("returns", '{"type": 5}'), ("worker_options", "5"), ("sensitive_parameters", "5")):
        write_past_the_form(TaskDefinition, column, text, name=SUMMARIZE)
        assert contract.sync(offers(offer(SUMMARIZE, "text")), dry_run=True).difference.breaking


@pytest.mark.parametrize("column", ["offers", "queues", "changes"])
@pytest.mark.parametrize(
    "text", ["5", '"text"', "[1]", '[{"name": 5}]', '[{"name": "llm"}]', "{}", "[1%s]" % ("0" * 5_000)]
)
def test_whatever_stands_in_an_imported_manifest_the_next_is_imported(column: str, text: str) -> None:
    first = offers(offer(), queues=[{"name": "llm", "durable": True, "arguments": {}}])
    contract.sync(first)
    write_past_the_form(Manifest, column, text, worker="worker")
    verify("default")
    for manifest_of in (offers(offer(PREVIEW), worker="another"), offers(offer(), version="2.0"), first):
        assert contract.sync(manifest_of).applied
    assert set(Manifest.objects.get(checksum=first.checksum).offers) == {SUMMARIZE}


def test_no_list_of_a_manifest_is_read_with_each_of_its_tasks() -> None:
    document = offers(*(offer(f"task{number}") for number in range(3)))
    contract.sync(document)
    with CaptureQueriesContext(connections["default"]) as queries:
        contract.sync(document)
    joined = [query["sql"] for query in queries if re.search("JOIN .?dispatch_manifest", query["sql"])]
    assert joined
    assert [sql for sql in joined if re.search(r"SELECT .*(offers|queues|changes).* FROM", sql)] == []


# -- what is told ---------------------------------------------------------------------------


def test_each_change_of_a_task_is_told_in_a_line_of_its_own() -> None:
    contract.sync(offers(offer(SUMMARIZE, "note_id", returns={"type": "object"}, options={"priority": 3})))
    found = contract.sync(
        offers(
            offer(
                SUMMARIZE,
                "note_id",
                properties={"note_id": {"type": "string"}, "body": {"type": "string"}},
                description="Better.",
                returns={},
                options={"rate_limit": "10/m"},
                deprecated="use another",
                sensitive=["body"],
            )
        )
    ).difference.changed
    assert [(task.name, task.breaking) for task in found] == [(SUMMARIZE, True)]
    assert found[0].changes == (
        Change("text", True, "is gone"),
        Change("body", False, "is new, optional: string"),
        Change("return value", True, "was object, is anything"),
        Change("", False, "option priority: was 3, is not set"),
        Change("", False, "option rate_limit: was not set, is '10/m'"),
        Change("", False, "is deprecated: use another"),
        Change("body", False, "is sensitive: its values are masked from now on"),
        Change("", False, "has another description"),
    )


def test_breaking_changes_can_be_refused_and_then_nothing_is_written() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    before = columns()
    for new in (offers(offer()), offers(offer(), offer(PREVIEW, "text"), offer("worker.tasks.new"))):
        result = contract.sync(new, refuse_breaking=True)
        assert (result.applied, result.difference.breaking, columns()) == (False, True, before)
    assert contract.sync(offers(offer(), offer(PREVIEW, description="New.")), refuse_breaking=True).applied


def test_an_older_version_of_the_worker_is_warned_of() -> None:
    contract.sync(offers(offer(), version="1.10.0"))
    [warning] = contract.sync(
        offers(offer(description="Old."), version="1.9.2"), dry_run=True
    ).difference.warnings
    assert warning.startswith("This manifest is of version 1.9.2, and that of 1.10.0 was imported on ")
    assert not contract.sync(offers(offer(), version="1.10"), dry_run=True).difference.warnings
    assert not contract.sync(offers(offer(), version="abc"), dry_run=True).difference.warnings


def test_a_manifest_keeps_what_its_last_import_changed() -> None:
    first, second = offers(offer()), offers(offer(), offer(PREVIEW), version="2.0")
    contract.sync(first)
    contract.sync(second)
    nothing = {"added": [], "changed": [], "returned": [], "missing": []}
    assert Manifest.objects.get(version="2.0").changes == nothing | {"added": [PREVIEW]}
    contract.sync(first)
    assert Manifest.objects.get(version="1.0").changes == nothing | {"missing": [PREVIEW]}


def test_what_differs_from_what_was_looked_at_is_not_written() -> None:
    looked = contract.sync(offers(offer()), dry_run=True)
    make_task(SUMMARIZE)
    assert not contract.sync(offers(offer()), expected=looked.fingerprint).applied
    assert not Manifest.objects.exists()
    looked = contract.sync(offers(offer()), dry_run=True)
    assert contract.sync(offers(offer()), expected=looked.fingerprint).applied


def test_going_back_to_an_earlier_manifest_makes_it_the_last_one() -> None:
    first, second = offers(offer(), version="1"), offers(offer(), version="2")
    for each in (first, second, first):
        contract.sync(each)
    assert Manifest.objects.first().version == "1"  # type: ignore[union-attr]
    assert TaskDefinition.objects.get().manifest == Manifest.objects.first()


# -- tasks that go and come back ------------------------------------------------------------


def test_a_task_that_is_no_longer_offered_is_retired_and_sending_it_is_refused_with_date_and_version() -> (
    None
):
    contract.sync(offers(offer(), offer(PREVIEW)))
    result = contract.sync(offers(offer(PREVIEW), version="2.0"))
    assert result.difference.missing == (SUMMARIZE,)
    row = TaskDefinition.objects.get(name=SUMMARIZE)
    assert row.retired_version == "2.0"
    with pytest.raises(
        TaskRetired, match=rf"was retired on {row.retired_at:%Y-%m-%d}, when worker 2\.0 no longer"
    ):
        send_task(SUMMARIZE, kwargs={"text": "a"})
    assert not OutboxMessage.objects.exists()
    assert contract.sync(offers(offer(PREVIEW), version="2.0")).difference.missing == ()


def test_a_link_to_a_retired_task_is_refused_too() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    contract.sync(offers(offer(PREVIEW)))
    with pytest.raises(TaskRetired):
        send_task(PREVIEW, kwargs={"text": "a"}, link=SUMMARIZE)


def test_a_task_that_returns_can_be_sent_again() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    contract.sync(offers(offer(PREVIEW)))
    result = contract.sync(offers(offer(SUMMARIZE, "text"), offer(PREVIEW)))
    assert changes(result) == {SUMMARIZE: ["text was optional, is required"]}
    row = TaskDefinition.objects.get(name=SUMMARIZE)
    assert (row.retired_at, row.retired_version) == (None, "")
    assert send_task(SUMMARIZE, kwargs={"text": "a"}).status == "pending"


def test_a_trigger_of_a_retired_task_leaves_a_dead_message_that_says_so() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    make_trigger(TaskDefinition.objects.get(name=SUMMARIZE), "created")
    contract.sync(offers(offer(PREVIEW), version="2.0"))
    Note.objects.create(title="A", body="b")
    message = OutboxMessage.objects.get()
    assert message.status == "dead"
    assert "TaskRetired" in message.last_error
    assert "worker 2.0 no longer offered it" in message.last_error


def test_what_waits_of_a_retired_task_is_held_back_until_the_task_returns(
    broker_settings: Callable[..., None], redis_url: str
) -> None:
    broker_settings(redis_url)
    contract.sync(offers(offer(), offer(PREVIEW)))
    held, free = (send_task(name, kwargs={"text": "a"}) for name in (SUMMARIZE, PREVIEW))
    contract.sync(offers(offer(PREVIEW)))

    def statuses() -> list[str]:
        return [OutboxMessage.objects.get(pk=row.pk).status for row in (held, free)]

    Relay().drain()
    assert statuses() == ["pending", "published"]
    contract.sync(offers(offer(), offer(PREVIEW)))
    Relay().drain()
    assert statuses() == ["published", "published"]


def test_what_is_held_back_can_be_cancelled() -> None:
    contract.sync(offers(offer()))
    send_task(SUMMARIZE, kwargs={"text": "a"})
    contract.sync(offers())
    assert outbox.cancel(OutboxMessage.objects.all()) == 1


def test_a_retired_definition_is_kept_with_its_triggers() -> None:
    contract.sync(offers(offer()))
    task = TaskDefinition.objects.get()
    make_trigger(task, "created")
    contract.sync(offers())
    with pytest.raises(ProtectedError):
        task.delete()


def test_a_deprecated_task_is_sent_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    contract.sync(offers(offer(deprecated="use another, says the worker")))
    with caplog.at_level(logging.WARNING, "dispatch.registry"):
        for _ in range(3):
            send_task(SUMMARIZE, kwargs={"text": "a"})
    assert [record.message for record in caplog.records] == [
        f"Task '{SUMMARIZE}' is deprecated by its worker: use another, says the worker"
    ]


# -- several workers ------------------------------------------------------------------------


def test_a_manifest_never_retires_the_tasks_of_another_worker() -> None:
    contract.sync(offers(offer(), worker="llm"))
    contract.sync(offers(offer(PREVIEW), worker="links"))
    assert contract.sync(offers(worker="links")).difference.missing == (PREVIEW,)
    assert not TaskDefinition.objects.filter(name=SUMMARIZE, retired_at__isnull=False).exists()


def test_a_task_that_moves_to_another_worker_is_not_retired_by_the_first() -> None:
    contract.sync(offers(offer(), offer(PREVIEW), worker="old"))
    assert contract.sync(offers(offer(), worker="new")).difference.unchanged == (SUMMARIZE,)
    moved = contract.sync(offers(offer(PREVIEW), worker="old", version="2"))
    assert moved.difference.missing == ()
    assert changes(moved) == {SUMMARIZE: ["is still offered by new 1.0, and comes from there now"]}
    assert TaskDefinition.objects.get(name=SUMMARIZE).manifest.worker == "new"  # type: ignore[union-attr]
    assert contract.sync(offers(worker="new", version="3")).difference.missing == (SUMMARIZE,)


def test_a_task_that_moves_the_other_way_round_is_retired_and_returns() -> None:
    contract.sync(offers(offer(), worker="old"))
    assert contract.sync(offers(worker="old", version="2")).difference.missing == (SUMMARIZE,)
    assert changes(contract.sync(offers(offer(), worker="new"))) == {
        SUMMARIZE: ["comes from new now, no longer from old"]
    }
    row = TaskDefinition.objects.get()
    assert (row.manifest.worker, row.retired_at) == ("new", None)  # type: ignore[union-attr]


def test_two_workers_that_offer_one_task_differently_are_warned_of() -> None:
    contract.sync(offers(offer(), worker="one"))
    assert not contract.sync(offers(offer(), worker="two")).difference.warnings
    [warning] = contract.sync(offers(offer(SUMMARIZE, "text"), worker="two")).difference.warnings
    assert warning.startswith(f"{SUMMARIZE} is offered by one 1.0 too, with other parameters")


# -- what it breaks -------------------------------------------------------------------------


def test_a_trigger_whose_mapping_no_longer_fits_is_told_with_the_reason() -> None:
    contract.sync(offers(offer()))
    trigger = make_trigger(TaskDefinition.objects.get(), "created", name="Summarise")
    TriggerArgument.objects.filter(trigger=trigger, parameter="note_id").update(source="constant", value="5")
    new = offers(
        offer(SUMMARIZE, "style", properties={"note_id": {"type": "string"}, "style": {"type": "string"}})
    )
    [(kind, sentence)] = broken(contract.sync(new, dry_run=True))
    assert kind == "trigger"
    assert sentence == (
        "Summarise no longer fits: it does not give 'style', which is required; its constant for 'note_id' does not "
        "fit: 5 is not of type 'string' (at /kwargs/note_id); it gives 'text', which the task does not take."
    )


def test_a_trigger_that_could_not_work_before_is_not_said_to_break() -> None:
    contract.sync(offers(offer()))
    trigger = make_trigger(TaskDefinition.objects.get(), "created", name="Summarise")
    TriggerArgument.objects.filter(trigger=trigger, parameter="text").update(value="no_such_column")
    assert broken(contract.sync(offers(offer(SUMMARIZE, "note_id")), dry_run=True)) == []


def test_a_field_that_feeds_a_narrowed_parameter_is_told() -> None:
    contract.sync(offers(offer()))
    make_trigger(TaskDefinition.objects.get(), "created", name="Summarise")
    new = offers(
        offer(properties={"note_id": {"type": "string"}, "text": {"type": "string", "maxLength": 9}})
    )
    [(_, sentence)] = broken(contract.sync(new, dry_run=True))
    assert (
        "it gives 'text' from the field 'body', and text is string as before, defined differently" in sentence
    )


def test_a_change_that_breaks_nothing_tells_of_no_trigger() -> None:
    contract.sync(offers(offer()))
    make_trigger(TaskDefinition.objects.get(), "created")
    wider = {"note_id": {"type": "string"}, "text": {"type": ["string", "null"]}, "more": {"type": "integer"}}
    assert broken(contract.sync(offers(offer(properties=wider)))) == []


def test_triggers_in_code_are_told_of() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    code = [("notes.receivers.summarize", SUMMARIZE), ("notes.receivers.preview", PREVIEW), ("other", "a")]
    result = contract.sync(offers(offer(SUMMARIZE, "text")), dry_run=True, code=code)
    assert broken(result) == [
        ("code", "notes.receivers.summarize may no longer fit: its arguments are made in code, look there."),
        ("code", "notes.receivers.preview leaves dead messages: its task is retired."),
    ]


def test_a_route_that_matches_nothing_any_more_is_told() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    queue = make_queue("llm")
    for pattern in ("worker.tasks.llm.*", "worker.*", "elsewhere.*"):
        Route.objects.create(pattern=pattern, kind="glob", queue=queue)
    assert broken(contract.sync(offers(offer(PREVIEW)), dry_run=True)) == [
        ("route", "worker.tasks.llm.* (glob) matches no task any more.")
    ]


def test_waiting_messages_that_would_fail_are_counted_with_examples() -> None:
    contract.sync(offers(offer(), offer(PREVIEW)))
    bad = send_many(Call(SUMMARIZE, kwargs={"text": "a"}) for _ in range(5))
    send_many(Call(SUMMARIZE, ["1", "a"]) for _ in range(4))
    held = send_task(PREVIEW, kwargs={"text": "a"})
    result = contract.sync(offers(offer(SUMMARIZE, "note_id")), dry_run=True)
    preview, summarize = result.effects
    assert (preview.messages, preview.examples) == (1, (str(held.pk),))
    assert preview.sentence.startswith(f"1 waiting message of {PREVIEW} held back until the task returns")
    assert (summarize.messages, summarize.examples) == (5, tuple(sorted(str(row.pk) for row in bad)[:3]))
    assert summarize.sentence.startswith(
        f"5 waiting messages of {SUMMARIZE} that would fail in the worker: argument"
    )


def test_values_of_sensitive_parameters_are_not_quoted() -> None:
    contract.sync(offers(offer()))
    trigger = make_trigger(TaskDefinition.objects.get(), "created", name="Summarise")
    TriggerArgument.objects.filter(trigger=trigger, parameter="text").update(
        source="constant", value='"hunter2"'
    )
    send_task(SUMMARIZE, kwargs={"text": "hunter2"})
    narrower = {"note_id": {"type": "string"}, "text": {"type": "integer"}}
    found = contract.sync(offers(offer(properties=narrower, sensitive=["text"])), dry_run=True).effects
    assert [effect.kind for effect in found] == ["trigger", "messages"]
    assert "hunter2" not in str(found)


def test_a_large_backlog_is_looked_at_in_bounded_steps_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_messages, "MOST_CHECKED", 1000)
    contract.sync(offers(offer()))
    text = "a" * 10_000
    send_many(Call(SUMMARIZE, kwargs={"text": text}) for _ in range(3000))
    new = offers(offer(SUMMARIZE, "note_id"))
    tracemalloc.start()
    [effect] = contract.sync(new, dry_run=True).effects
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert effect.messages == 1000
    assert "among the first 1,000 of 3,000" in effect.sentence
    assert peak < 20_000_000


# -- all or nothing -------------------------------------------------------------------------


def test_an_import_that_fails_midway_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    contract.sync(offers(offer()))
    before = columns()

    def fail(self: TaskDefinition, **options: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(TaskDefinition, "save", fail)
    with pytest.raises(RuntimeError):
        contract.sync(offers(offer(description="New."), offer(PREVIEW), version="2"))
    monkeypatch.undo()
    assert columns() == before
    assert Manifest.objects.count() == 1
    assert set(registry.current().tasks) == {SUMMARIZE}


def test_two_imports_at_once_come_one_after_the_other() -> None:
    contract.sync(offers())
    start = threading.Barrier(4)
    results, errors = [], []

    def work(number: int) -> None:
        tasks = [offer(f"worker.tasks.t{n}", description=f"of {number}") for n in range(30)]
        document = offers(*tasks, version=f"{number}")
        start.wait()
        try:
            results.append(contract.sync(document))
        except Exception as error:  # noqa: BLE001 - told by the assertion
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(len(result.difference.added) for result in results) == [0, 0, 0, 30]
    last = Manifest.objects.first()
    assert {row.description for row in TaskDefinition.objects.all()} == {f"of {last.version}"}  # type: ignore[union-attr]
    assert set(TaskDefinition.objects.values_list("manifest", flat=True)) == {last.pk}  # type: ignore[union-attr]


def test_two_first_imports_at_once_leave_one_definition_each() -> None:
    RegistryVersion.objects.all().delete()
    start = threading.Barrier(2)
    errors = []

    def work() -> None:
        start.wait()
        try:
            contract.sync(offers(offer()))
        except Exception as error:  # noqa: BLE001 - told by the assertion
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert TaskDefinition.objects.count() == 1


def test_another_process_sees_a_retired_task_at_once() -> None:
    contract.sync(offers(offer()))
    contract.sync(offers())
    assert elsewhere(lambda: registry.current().tasks[SUMMARIZE].retired)
