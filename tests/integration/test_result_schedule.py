"""Which messages are asked for now: by age in the database, and by what asking for them costs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.api import Call, send_many
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.results import schedule
from dispatch.results.schedule import FREE, PAID, Schedule, bands
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.django_db
HOUR = 3600.0
#: The age of a message that stays young for as long as a busy machine may take.
YOUNG = -60.0


@pytest.fixture(autouse=True)
def registry(broker_settings: Callable[..., None]) -> None:
    broker_settings("memory://", "redis://")
    make_registry()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The process's clock; that of the database goes on."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def published(*ages: float) -> list[str]:
    """Return the ids of messages published so many seconds ago."""
    rows = send_many([Call(TASK, kwargs=ARGUMENTS) for _ in ages])
    for row, age in zip(rows, ages, strict=True):
        moment = database_now() - dt.timedelta(seconds=age)
        OutboxMessage.objects.filter(pk=row.pk).update(status="published", published_at=moment)
    return [str(row.pk) for row in rows]


def asked(of: Schedule, *, has_ended: Callable[[str], bool] = lambda _: False) -> list[str]:
    """Return the ids that are due; those that have ended are handled at once."""
    ids = []
    for chunk in of.chunks():
        ids += chunk
        ended = [each for each in chunk if has_ended(each)]
        of.handled += OutboxMessage.objects.filter(pk__in=ended).update(handled_at=database_now())
    return ids


@given(st.floats(1, 1e9), st.floats(0, 1, exclude_max=True))
def test_each_age_before_the_horizon_is_in_one_band(horizon: float, part: float) -> None:
    age = horizon * part
    assert sum(band.youngest <= age < band.oldest for band in bands(horizon)) == 1
    assert max(band.oldest for band in bands(horizon)) == horizon


def test_young_ones_are_asked_for_each_time_and_old_ones_when_they_are_due(clock: SimpleNamespace) -> None:
    young, old, oldest = published(YOUNG, 600, 20 * HOUR)
    own = Schedule("default", "default")
    assert asked(own) == [young, old, oldest]
    assert asked(own) == [young]
    clock.now += 600 / 8
    assert asked(own) == [young, old]
    clock.now += schedule.SELDOM
    assert asked(own) == [young, old, oldest]


def test_one_that_appears_late_is_asked_for_as_any_of_its_age(clock: SimpleNamespace) -> None:
    own = Schedule("default", "default")
    asked(own)
    [late] = published(5)  # its relay's transaction took that long
    clock.now += 1
    assert asked(own) == [late]


def test_what_is_handled_ignored_too_old_or_another_brokers_is_not_asked_for() -> None:
    handled, ignored, _too_old, foreign, awaited = published(0, 0, 25 * HOUR, 0, 0)
    OutboxMessage.objects.filter(pk=handled).update(handled_at=database_now())
    OutboxMessage.objects.filter(pk=ignored).update(ignore_result=True)
    OutboxMessage.objects.filter(pk=foreign).update(broker="other")
    assert asked(Schedule("default", "default")) == [awaited]


def test_what_is_wanted_now_is_asked_for_first_whatever_its_age_if_it_awaits_a_result() -> None:
    old, handled = published(HOUR, HOUR)
    own = Schedule("default", "default")
    asked(own)
    OutboxMessage.objects.filter(pk=handled).update(handled_at=database_now())
    assert list(own.chunks([UUID(old), UUID(handled), UUID(int=1)])) == [[old]]


def test_of_many_each_is_asked_for_once_while_others_are_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "CHUNK", 2)
    monkeypatch.setattr(schedule, "PAGE", 3)
    ids = published(*range(40, 20, -1))
    found = asked(Schedule("default", "default"), has_ended=lambda each: ids.index(each) % 3 > 0)
    assert found == ids


def test_so_many_that_had_no_result_rest_for_as_long_as_asking_would_take_a_hundred_times(
    clock: SimpleNamespace,
) -> None:
    ids = published(*[YOUNG] * (FREE + 100))
    own = Schedule("default", "default")
    assert set(asked(own)) == set(ids)
    assert asked(own) == []
    clock.now += 0.101
    assert set(asked(own)) == set(ids)


def test_results_that_come_shorten_the_rest(clock: SimpleNamespace) -> None:
    ids = published(*[YOUNG] * (FREE + 100))
    ended = set(ids[: 100 // PAID])
    own = Schedule("default", "default")
    asked(own, has_ended=ended.__contains__)
    assert set(asked(own)) == set(ids) - ended
