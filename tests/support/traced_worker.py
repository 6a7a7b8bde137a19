"""A worker whose task returns what it knows of the trace it runs in, by OpenTelemetry and by Sentry."""

from __future__ import annotations

import os
from typing import Any

import sentry_sdk
from celery import Celery
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport


class Nowhere(Transport):
    def capture_envelope(self, envelope: Any) -> None:
        pass


trace.set_tracer_provider(TracerProvider())
CeleryInstrumentor().instrument()
sentry_sdk.init(
    dsn="http://key@localhost/1",
    transport=Nowhere,
    traces_sample_rate=1.0,
    integrations=[CeleryIntegration()],
    auto_enabling_integrations=False,
)
app = Celery("traced_worker", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_BACKEND_URL"])


@app.task(name="worker.tasks.llm.summarize_note")
def summarize_note(note_id: str, text: str, sentences: int = 2) -> dict[str, Any]:
    span: Any = trace.get_current_span()
    transaction = sentry_sdk.get_current_scope().transaction
    return {
        "opentelemetry": [span.name, span.context.trace_id, span.parent and span.parent.span_id],
        "sentry": transaction and [transaction.trace_id, transaction.parent_span_id],
    }
