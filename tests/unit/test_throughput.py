"""What is read of the counts of minutes, and of the times in the ids of messages."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.utils import timezone

from dispatch import throughput
from dispatch.heartbeats import Count
from dispatch.models import MinuteCount, OutboxMessage
from dispatch.outbox.retention import first_id
from tests.support.processes import make_process

pytestmark = pytest.mark.django_db


def count(minute: dt.datetime, outcome: str = "published", **columns: object) -> None:
    values = {"process": make_process().pk, "queue": "llm", "number": 1, **columns}
    MinuteCount.objects.create(minute=minute, outcome=outcome, **values)


def found(series: throughput.Series, *outcomes: str) -> dict[dt.datetime, Count]:
    counts = zip(series.starts, series.of(*outcomes), strict=True)
    return {start: count for start, count in counts if count.number}


def test_processes_and_queues_are_summed_by_the_minute_and_by_the_hour() -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=3)
    for queue in ("llm", "web"):
        count(hour, queue=queue, number=3, milliseconds=1_500)
    count(hour + dt.timedelta(minutes=59), number=4, milliseconds=1_000)
    last_hour, day = throughput.of_hour_and_day("default")
    assert found(day, "published") == {hour: Count(10, 4.0)}
    assert day.of("published", "dead") == day.of("published")
    assert found(day, "dead") == {}
    assert (len(day.starts), len(last_hour.starts)) == (24, 60)


def test_what_is_older_than_the_spans_is_left_out() -> None:
    minute = timezone.now().replace(second=0, microsecond=0) - dt.timedelta(minutes=10)
    count(minute, number=5)
    count(minute - dt.timedelta(minutes=60), number=7)
    count(minute - dt.timedelta(hours=25), number=9)
    hour, day = throughput.of_hour_and_day("default")
    assert found(hour, "published") == {minute: Count(5)}
    assert sum(day.of("published"), Count()) == Count(12)


def test_the_mean_of_none_is_nothing() -> None:
    assert (Count().mean, Count(4, 2.0).mean) == (0.0, 0.5)


# -- what was enqueued ------------------------------------------------------------------------------------


def minutes() -> list[dt.datetime]:
    now = timezone.now().replace(second=0, microsecond=0)
    return [now - dt.timedelta(minutes=back) for back in reversed(range(60))]


def enqueue(*moments: dt.datetime) -> None:
    for moment in moments:
        OutboxMessage.objects.create(pk=uuid.UUID(int=first_id(moment).int + 1), task_name="a.task")


def test_what_was_enqueued_is_counted_by_the_minutes_in_the_ids_whatever_became_of_it() -> None:
    shown = minutes()
    seconds = [dt.timedelta(seconds=at) for at in (0, 30, 59.999)]
    enqueue(shown[0] - seconds[2], *(shown[0] + at for at in seconds), shown[40], shown[59] + 2 * seconds[1])
    OutboxMessage.objects.create(pk=uuid.uuid4(), task_name="a.task", status="dead")  # no time is in this
    OutboxMessage.objects.filter(pk__lt=first_id(shown[1])).update(
        status="published", published_at=timezone.now()
    )
    counts, total = throughput.enqueued("default", shown)
    assert ({at: each.number for at, each in enumerate(counts) if each.number}, total) == ({0: 3, 40: 1}, 4)


def test_of_too_many_the_newest_are_counted_and_no_minute_in_part(monkeypatch) -> None:
    monkeypatch.setattr(throughput, "MOST_READ", 4)
    shown = minutes()
    second = dt.timedelta(seconds=1)
    enqueue(shown[57], shown[57] + second, shown[58], shown[58] + second, shown[59])
    counts, total = throughput.enqueued("default", shown)
    assert ([each.number for each in counts[-3:]], total) == ([0, 2, 1], 4)
