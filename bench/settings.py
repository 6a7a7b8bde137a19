"""The project's settings, with the peer beside it."""

import json
import os

from project.settings import *  # noqa: F403 - all of them
from project.settings import DISPATCH as OF_PROJECT
from project.settings import INSTALLED_APPS as APPS

INSTALLED_APPS = [*APPS, "django_celery_outbox"]
CELERY_OUTBOX_APP = "peer.app"
MONITORING_METRICS_ENABLED = False  # the peer's, sent by UDP at each commit
DISPATCH = OF_PROJECT | json.loads(os.environ.get("BENCH_DISPATCH", "{}"))
