from __future__ import annotations

import pytest
from celery import Celery

from dispatch.client import celery_import
from dispatch.conf import Broker


@pytest.fixture
def read(monkeypatch):
    """Return a function that reads an app with these settings."""

    def of(url="amqp://nowhere", app=None, **settings):
        app = app or Celery("foreign", set_as_current=False, fixups=[])
        app.conf.update(broker_url=url, **settings)
        monkeypatch.setattr(celery_import, "_load", lambda path: app)
        return celery_import.read("proj.celery:app", Broker("default", url))

    return of


@pytest.fixture
def rows(read):
    """Return a function that gives one list of the document by name, or by pattern."""

    def of(section, **settings):
        found = read(**settings).document[section]
        return {row.get("name", row.get("pattern")): row for row in found}

    return of
