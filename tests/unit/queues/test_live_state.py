"""Looks at the brokers that a whole process shares."""

from __future__ import annotations

import threading

import pytest

from dispatch.core.routing import Queue
from dispatch.queues import Seen
from dispatch.queues import live_state as module
from dispatch.queues.live_state import Sights
from tests.support.registry import make_queue


@pytest.fixture
def asked(broker_settings, db, monkeypatch):
    """What was asked for, look by look."""
    broker_settings("memory://")
    make_queue("a")
    make_queue("b")
    looks: list[list[str]] = []

    def look(names):
        looks.append(list(names))
        return [(Queue(name, "default"), Seen("ok", "", len(looks), 1)) for name in names]

    monkeypatch.setattr(module, "look", look)
    return looks


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_look_is_shared_until_it_is_old(asked, clock):
    sights = Sights()
    assert sights.of(["a"])["a"].age == 0
    clock[0] += 5
    assert sights.of(["a"])["a"].age == 5
    assert asked == [["a"]]
    clock[0] += 6
    assert sights.of(["a", "b"])["a"].seen.ready == 2
    assert asked == [["a"], ["a", "b"]]


def test_names_of_nobody_are_left_out(asked):
    assert Sights().of(["gone"]) == {}
    assert asked == []


def test_while_one_asks_the_others_are_told_what_is_known(asked, clock, monkeypatch):
    sights, inside, go_on = Sights(), threading.Event(), threading.Event()
    sights.of(["a"])
    clock[0] += 11
    look = module.look

    def slow(names):
        inside.set()
        assert go_on.wait(5)
        return look(names)

    monkeypatch.setattr(module, "look", slow)
    table = module.registry.current()
    monkeypatch.setattr(module.registry, "current", lambda: table)
    other = threading.Thread(target=sights.of, args=(["a", "b"],))
    other.start()
    assert inside.wait(5)
    known = sights.of(["a", "b"])
    go_on.set()
    other.join(5)
    assert known["a"].age == 11
    assert "b" not in known
    assert asked == [["a"], ["a", "b"]]
    assert sights.of(["b"])["b"].age == 0


def test_another_address_is_another_broker(asked, broker_settings):
    sights = Sights()
    sights.of(["a"])
    broker_settings("memory://elsewhere")
    sights.of(["a"])
    assert asked == [["a"], ["a"]]


def test_an_error_leaves_the_broker_free_to_be_asked_again(asked, monkeypatch):
    sights, look = Sights(), module.look

    def failing(names):
        raise OSError("lost")

    monkeypatch.setattr(module, "look", failing)
    with pytest.raises(OSError, match="lost"):
        sights.of(["a"])
    monkeypatch.setattr(module, "look", look)
    assert "a" in sights.of(["a"])
