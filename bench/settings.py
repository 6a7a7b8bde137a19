"""The project's settings, with the peer beside it; without it where ``BENCH_PEER`` is empty."""

import json
import os

from project.settings import *  # noqa: F403 - all of them
from project.settings import DISPATCH as OF_PROJECT
from project.settings import INSTALLED_APPS as APPS

INSTALLED_APPS = [*APPS, *os.environ.get("BENCH_PEER", "django_celery_outbox").split()]
CELERY_OUTBOX_APP = "peer.app"
MONITORING_METRICS_ENABLED = False  # the peer's, sent by UDP at each commit
DISPATCH = OF_PROJECT | json.loads(os.environ.get("BENCH_DISPATCH", "{}"))
