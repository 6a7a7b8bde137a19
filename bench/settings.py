"""The project's settings, with the peer beside it."""

from project.settings import *  # noqa: F403 - all of them
from project.settings import INSTALLED_APPS as APPS

INSTALLED_APPS = [*APPS, "django_celery_outbox"]
CELERY_OUTBOX_APP = "bench_enqueue.PEER"
