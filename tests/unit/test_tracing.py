"""What is traced, and what of it goes with a message."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from dispatch.api import Call, send_many, send_task
from dispatch.heartbeats import Tally
from dispatch.models import OutboxMessage
from dispatch.relay import Relay
from dispatch.signals import messages_counted, messages_drafted
from dispatch.tracing import DispatchInstrumentor
from tests.support.registry import ARGUMENTS, TASK, make_registry

Spans = Callable[[], list[ReadableSpan]]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider()


@pytest.fixture
def spans(provider: TracerProvider) -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    DispatchInstrumentor().instrument(tracer_provider=provider)
    DispatchInstrumentor().instrument(tracer_provider=provider)  # again changes nothing
    yield lambda: list(exporter.get_finished_spans())
    DispatchInstrumentor().uninstrument()


@pytest.fixture
def registry(broker_settings: Callable[..., None], transactional_db: None) -> None:
    broker_settings("memory://")
    make_registry()


def traceparent(span: ReadableSpan) -> str:
    context = span.context
    assert context
    return (
        f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"
    )


@pytest.mark.usefixtures("registry")
def test_each_message_carries_the_context_of_its_own_span(spans: Spans) -> None:
    messages = send_many([Call(TASK, kwargs=ARGUMENTS), Call(TASK, kwargs=ARGUMENTS, headers={"x": "y"})])
    first, second = spans()
    stored = {row.pk: row.headers for row in OutboxMessage.objects.all()}
    assert [stored[message.pk] for message in messages] == [
        {"traceparent": traceparent(first)},
        {"x": "y", "traceparent": traceparent(second)},
    ]
    assert first.kind is SpanKind.PRODUCER
    assert first.attributes == {
        "messaging.system": "celery",
        "messaging.operation.type": "create",
        "messaging.destination.name": "llm",
        "messaging.message.id": str(messages[0].pk),
        "celery.task_name": TASK,
    }


@pytest.mark.usefixtures("registry")
def test_publishing_is_a_child_of_enqueueing_and_begins_when_the_message_was_due(spans: Spans) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    Relay().drain()
    enqueue, publish = spans()
    assert (enqueue.name, publish.name) == (f"enqueue {TASK}", f"publish {TASK}")
    assert enqueue.context
    assert publish.parent
    assert publish.parent.span_id == enqueue.context.span_id
    assert publish.start_time == pytest.approx(message.available_at.timestamp() * 1e9, abs=5e9)
    assert publish.status.status_code is StatusCode.UNSET


@pytest.mark.usefixtures("registry")
def test_an_attempt_that_failed_is_a_span_that_says_why(spans: Spans) -> None:
    send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.update(options={"serializer": "yaml"})  # which is not allowed
    Relay().step()
    _enqueue, publish = spans()
    assert publish.status.status_code is StatusCode.ERROR
    assert "'yaml' is not one of" in str(publish.status.description)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("columns", "reason"),
    [({"args": "{"}, "cannot be read"), ({"task_name": "no.such.task", "attempts": 99}, "no.such.task")],
    ids=["unreadable", "refused"],
)
def test_a_message_that_is_dead_before_it_is_published_has_a_span_that_says_why(
    spans: Spans, columns: dict[str, Any], reason: str
) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.update(**columns)
    Relay().step()
    message.refresh_from_db()
    assert message.status == "dead"
    _enqueue, publish = spans()
    assert publish.status.status_code is StatusCode.ERROR
    assert publish.status.description == message.last_error
    assert reason in message.last_error


@pytest.mark.usefixtures("registry")
def test_what_was_enqueued_untraced_is_published_untraced(provider: TracerProvider, spans: Spans) -> None:
    DispatchInstrumentor().uninstrument()
    send_task(TASK, kwargs=ARGUMENTS)
    send_task(TASK, kwargs=ARGUMENTS, headers={"traceparent": "nonsense"})
    DispatchInstrumentor().instrument(tracer_provider=provider)
    assert Relay().drain() == 2
    assert spans() == []


@pytest.mark.one_database
@pytest.mark.parametrize("headers", ["", "[]", "5", "{", None, '{"traceparent": 5}', '{"traceparent": [1]}'])
def test_odd_headers_are_passed_over(spans: Spans, headers: Any) -> None:
    row = SimpleNamespace(headers=headers, task_name=TASK, pk=1, due=0.0)
    [(_, answer)] = messages_counted.send_robust(None, tallies=[Tally("llm", "dead", message=row)])
    assert (answer, spans()) == (None, [])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("registry")
def test_who_adds_headers_and_fails_costs_no_message() -> None:
    def fail(**_: Any) -> None:
        raise ValueError("It broke.")

    messages_drafted.connect(fail)
    try:
        message = send_task(TASK, kwargs=ARGUMENTS)
    finally:
        messages_drafted.disconnect(fail)
    assert OutboxMessage.objects.get().pk == message.pk


@pytest.mark.one_database
def test_opentelemetrys_own_command_finds_the_instrumentor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [(name, value)] = project["entry-points"]["opentelemetry_instrumentor"].items()
    group = "opentelemetry_instrumentor"
    found = importlib.metadata.EntryPoint(name, value, group).load()
    found().instrument(skip_dep_check=True)  # as it calls it
    assert messages_drafted.receivers
    found().uninstrument()
    assert not messages_drafted.receivers


@pytest.mark.one_database
def test_the_instrumentor_needs_no_settings_and_nothing_else_needs_the_extra() -> None:
    code = """
import sys
from dispatch.tracing import DispatchInstrumentor
DispatchInstrumentor().instrument()
assert "dispatch.models" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})
