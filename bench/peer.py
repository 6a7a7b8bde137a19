"""The peer's Celery app with what makes it fastest: no metrics, no log but warnings. RabbitMQ confirms."""

from __future__ import annotations

import logging
import os

import structlog
from brokers import QUEUE
from django_celery_outbox import OutboxCelery
from django_celery_outbox.relay import _relay

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
# 28 exchanges and queues for messages with an eta, of which there are none here: they would stay on the broker.
_relay.declare_native_delayed_delivery_exchanges_and_queues = lambda *arguments, **options: None

app = OutboxCelery("peer", broker=os.environ.get("BROKER_URL", "memory://"), set_as_current=False)
app.conf.update(task_default_queue=QUEUE, task_create_missing_queues=True)
if app.conf.broker_url.startswith("amqp"):
    app.conf.broker_transport_options = {"confirm_publish": True}
