"""The Celery app that `celery beat` wants; it needs no broker, as nothing is published by it."""

from __future__ import annotations

import django
from celery import Celery

django.setup()
app = Celery("web", broker="amqp://nowhere.invalid", set_as_current=False)
app.conf.update(beat_max_loop_interval=1, timezone="UTC")
