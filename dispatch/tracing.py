"""Traces by OpenTelemetry: each message carries the context in which it was enqueued, where Celery's workers look.

Needs the extra ``opentelemetry``. Nothing is traced unless :class:`DispatchInstrumentor` is told to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from dispatch import __version__
from dispatch.signals import messages_counted, messages_drafted

if TYPE_CHECKING:  # instrumentors are called before Django is set up
    from dispatch.heartbeats import Tally
    from dispatch.models import OutboxMessage

UID = "dispatch.tracing"
#: The outcomes of an attempt to publish.
ATTEMPTS = ("published", "failed", "dead")


class DispatchInstrumentor:
    """Begins and ends to trace, with the methods of OpenTelemetry's own instrumentors.

    ``opentelemetry-instrument`` finds it by itself. Spans: ``enqueue TASK`` inside whatever is the current one, and as
    its children ``publish TASK``, from when the message was due until the broker had it, and what the worker runs.
    """

    def instrument(self, *, tracer_provider: TracerProvider | None = None, **_: Any) -> None:
        """Trace what this process enqueues and publishes; again changes nothing."""
        self._tracer = trace.get_tracer("dispatch", __version__, tracer_provider)
        messages_drafted.connect(self._enqueue, weak=False, dispatch_uid=UID)
        messages_counted.connect(self._publish, weak=False, dispatch_uid=UID)

    def uninstrument(self, **_: Any) -> None:
        """Trace no longer."""
        messages_drafted.disconnect(dispatch_uid=UID)
        messages_counted.disconnect(dispatch_uid=UID)

    def _enqueue(self, *, messages: Sequence[OutboxMessage], **_: Any) -> None:
        for message in messages:
            with self._tracer.start_as_current_span(
                f"enqueue {message.task_name}",
                kind=SpanKind.PRODUCER,
                attributes=_attributes(message, message.queue, "create"),
            ):
                inject(message.headers)

    def _publish(self, *, tallies: Sequence[Tally], **_: Any) -> None:
        now = time.time()
        for tally in tallies:
            if tally.outcome in ATTEMPTS and (context := _context(tally.message.headers)) is not None:
                span = self._tracer.start_span(
                    f"publish {tally.message.task_name}",
                    context,
                    SpanKind.PRODUCER,
                    _attributes(tally.message, tally.queue, "send"),
                    start_time=int(max(0.0, min(tally.message.due, now)) * 1e9),
                )
                if tally.outcome != "published":
                    span.set_status(Status(StatusCode.ERROR, tally.error))
                span.end()


def _attributes(message: Any, queue: str, operation: str) -> dict[str, str]:
    """Return the attributes by OpenTelemetry's conventions for messaging, and the one of its Celery instrumentation."""
    return {
        "messaging.system": "celery",
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": str(message.pk),
        "celery.task_name": message.task_name,
    }


def _context(headers: str) -> Any:
    """Return the context that the headers of a claimed row carry, None where they carry none."""
    with suppress(TypeError, ValueError):  # an odd row's
        carrier = json.loads(headers)
        if carrier and isinstance(carrier, dict):
            context = extract(carrier)
            return context if trace.get_current_span(context).get_span_context().is_valid else None
    return None
