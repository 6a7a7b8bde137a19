"""``dispatch routes list`` and ``routes explain``: what needs attention stands below the routing."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command
from kombu.transport import memory

from dispatch.client.worker_replies import Consumed
from dispatch.models import TaskDefinition
from tests.support.registry import TASK, make_registry


@pytest.fixture(autouse=True)
def fresh(broker_settings, db):
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()
    broker_settings("memory://")
    make_registry()


def run(*arguments):
    output = io.StringIO()
    call_command("dispatch", "routes", *arguments, stdout=output)
    return output.getvalue()


def consumed(monkeypatch, *names):
    answer = {"w@host": [Consumed(name, False) for name in names]}
    monkeypatch.setattr("dispatch.client.worker_control.consumed", lambda link: answer)


@pytest.mark.parametrize("action", [("list",), ("explain", TASK)], ids=["list", "explain"])
def test_a_queue_without_a_consumer_is_a_warning(action, monkeypatch):
    consumed(monkeypatch, "default")
    assert "Warning: llm: No worker consumes it" in run(*action)
    consumed(monkeypatch, "llm")
    assert "Warning" not in run(*action)


def test_machines_get_the_warnings_as_a_list(monkeypatch):
    consumed(monkeypatch, "default")
    [row] = json.loads(run("list", "--format", "json"))
    [warning] = json.loads(run("explain", TASK, "--format", "json"))["warnings"]
    assert warning == f"llm: {row['warnings'][0]}"
    consumed(monkeypatch, "llm")
    assert json.loads(run("explain", TASK, "--format", "json"))["warnings"] == []


def test_a_broker_that_is_down_is_a_warning_and_hides_no_routing(broker_settings):
    broker_settings("redis://127.0.0.1:1/0", BROKER_TIMEOUT=0.2)
    text = run("explain", TASK)
    assert "llm on broker 'default'" in text
    assert "Warning: llm: Broker 'default' cannot be reached" in text


@pytest.mark.parametrize("action", [("list",), ("explain", TASK)], ids=["list", "explain"])
def test_no_broker_is_asked_offline(action, monkeypatch):
    monkeypatch.setattr("dispatch.client.queue_state.opened", None)
    assert "Warning" not in run(*action, "--offline")


def test_a_priority_that_the_broker_ignores_is_a_warning():
    text = run("explain", TASK, "--priority", "7", "--offline")
    assert (
        "Warning: Priority 7 would be ignored in queue 'llm'. This kind of broker keeps no priorities" in text
    )


def test_a_priority_that_counts_as_less_on_this_broker_is_a_warning(broker_settings):
    broker_settings("redis://host/0")
    text = run("explain", TASK, "--priority", "255", "--offline")
    assert "priority 255 (as the broker sees it: 0)" in text
    assert "Warning: Priority 255 would count as 9 in queue 'llm'" in text


def test_mixed_priorities_are_a_warning(broker_settings):
    broker_settings("redis://host/0")
    TaskDefinition.objects.create(name="worker.tasks.llm.other", priority=3)
    assert "meet messages without one" in run("explain", TASK, "--offline")
