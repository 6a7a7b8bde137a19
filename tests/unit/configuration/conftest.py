from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def fresh(broker_settings):
    broker_settings("memory://", brokers={"bulk": {"URL": "memory://"}})
