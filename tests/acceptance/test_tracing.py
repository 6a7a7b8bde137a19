"""A trace goes on in a real worker, by OpenTelemetry's and Sentry's own instrumentations of Celery."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from celery import Celery
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.transport import Transport

from dispatch.api import send_task
from dispatch.models import OutboxMessage
from dispatch.relay import Relay
from dispatch.signals import messages_drafted
from dispatch.tracing import DispatchInstrumentor
from project.notes.models import Note
from project.stack import Process
from tests.support.how_to import blocks
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]
ROOT = Path(__file__).resolve().parents[2]
CELERY = ROOT / "worker_stub" / ".venv" / "bin" / "celery"


@pytest.fixture
def run(
    broker_settings: Callable[..., None],
    redis_url: str,
    results_url: str,
    tmp_path: Path,
    transactional_db: None,
) -> Iterator[Callable[[OutboxMessage], Any]]:
    """Return a function that publishes what waits, and returns what the worker made of a message."""
    broker_settings(redis_url, results_url)
    worker = Process(
        "traced-worker",
        [CELERY, "-A", "tests.support.traced_worker", "worker", "-Q", "llm", "-P", "solo", "-l", "INFO"],
        log=tmp_path / "traced-worker.log",
        ready=lambda process: " ready." in process.log.read_text(),
        env={**os.environ, "BROKER_URL": redis_url, "RESULT_BACKEND_URL": results_url},
        cwd=ROOT,
    )
    worker.start()
    worker.wait_ready(60)

    def result(message: OutboxMessage) -> Any:
        assert Relay().drain()
        backend = Celery(backend=results_url, set_as_current=False)
        return backend.AsyncResult(str(message.pk)).get(timeout=60)

    yield result
    worker.stop()


@pytest.fixture
def spans() -> Iterator[tuple[TracerProvider, Callable[[], dict[str, ReadableSpan]]]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    DispatchInstrumentor().instrument(tracer_provider=provider)
    yield provider, lambda: {span.name: span for span in exporter.get_finished_spans()}
    DispatchInstrumentor().uninstrument()


def test_the_worker_goes_on_with_the_trace_of_the_request(run: Any, spans: Any) -> None:
    provider, finished = spans
    make_trigger(make_registry(), "created")
    with provider.get_tracer("web").start_as_current_span("POST /notes"):
        Note.objects.create(title="N", body="Cats sleep.")
    told = run(OutboxMessage.objects.get())
    web, enqueue, publish = (
        finished()[name] for name in ("POST /notes", f"enqueue {TASK}", f"publish {TASK}")
    )
    assert enqueue.parent.span_id == web.context.span_id
    assert publish.parent.span_id == enqueue.context.span_id
    assert told["opentelemetry"] == [f"run/{TASK}", web.context.trace_id, enqueue.context.span_id]


class Kept(Transport):
    """Sentry's transport, which keeps what it is given."""

    envelopes: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.envelopes.append(envelope)


@pytest.fixture
def sentry() -> Iterator[list[Any]]:
    """Sentry as a web process has it, but for its integrations, which would change this one for ever."""
    sentry_sdk.init(
        dsn="http://key@localhost/1",
        transport=Kept,
        traces_sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    yield Kept.envelopes
    sentry_sdk.get_global_scope().set_client(None)
    Kept.envelopes.clear()


@pytest.fixture
def recipe() -> Iterator[None]:
    """What the how-to tells to write."""
    [code] = [block.text for block in blocks("monitoring") if "import sentry_sdk" in block.text]
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    yield
    messages_drafted.disconnect(namespace["carry_sentry_trace"])


def test_the_worker_goes_on_with_sentrys_trace(run: Any, sentry: list[Any], recipe: None) -> None:
    make_registry()
    with sentry_sdk.start_transaction(name="POST /notes") as web:
        message = send_task(TASK, kwargs=ARGUMENTS)
    assert run(message)["sentry"] == [web.trace_id, web.span_id]
    [envelope] = sentry
    assert envelope.get_transaction_event()["contexts"]["trace"]["trace_id"] == web.trace_id
