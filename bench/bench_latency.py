"""P8 and P14: how long an idle system takes from a commit to the message, and from a save to its result.

Once by polling, with what idle processes take of a core meanwhile; once more with what ``conf`` has to be woken up by.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import backlog
import processes
from brokers import RESULTS, URLS, broker
from harness import Figure, Goal, Report, on_each_database, options, there
from registry import make_trigger

from project.stack import Process

P8 = Goal("P8", "commit → message in Redis, by polling: p50", 60, most=True, unit="ms")
P8_LISTEN = Goal("P8 LISTEN", "commit → message in Redis, with LISTEN: p50", 15, most=True, unit="ms")
P14 = Goal("P14", "save → result in the database, by polling: p50", 150, most=True, unit="ms")
P14_LISTEN = Goal("P14 LISTEN", "save → result in the database, woken up: p50", 60, most=True, unit="ms")
MOST_IDLE, MOST_P99 = 1.0, 100
OPTIONS = options(messages=60, results=30, idle=10)
#: Pauses that meet the polls at all of their phases.
PAUSES = [0.12 + 0.0137 * (at * 7 % 23) for at in range(1_000)]
DEADLINE = 30


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    from django.conf import settings

    if not there({"Redis": URLS["Redis"]}):
        return {}
    make_trigger(backlog.make_registry(), "on notes", "notes.note", note_id="pk", text="body")
    polling = {"messages": _messages({}), "results": _results({})}
    wakes = _wakes()
    settings.DISPATCH = settings.DISPATCH | wakes  # of this process, too: who enqueues is who notifies
    return {
        "polling": polling,
        "woken": {"messages": _messages(wakes), "results": _results(wakes)} if wakes else {},
    }


def _wakes() -> dict[str, bool]:
    """Return the settings by which relay and collector are woken up instead of polling, if there are any."""
    from dispatch.conf import Conf

    return {name: True for name in vars(Conf) if "LISTEN" in name or "NOTIF" in name}


def _messages(settings: dict[str, bool]) -> dict[str, Any]:
    """Measure from the commit of a message to its arrival, and what the relay takes while there are none."""
    from dispatch.api import send_task

    backlog.empty()
    queue, relay = broker("Redis"), processes.relay(URLS["Redis"], **settings)
    queue.purge()

    def sent() -> None:
        send_task(backlog.TASK, kwargs=backlog.ARGUMENTS)

    try:
        relay.start()
        relay.wait_ready()
        sent()
        queue.wait()
        times = _times(sent, queue.wait, OPTIONS.messages)
        return {"times": times, "idle": _idle(relay)}
    finally:
        relay.stop()
        queue.purge()


def _results(settings: dict[str, bool]) -> dict[str, Any]:
    """Measure from a save to the result in the database, by way of a worker whose task does nothing."""
    if not processes.WORKER.exists():
        print(
            f"{processes.WORKER} is not there (make venv): P14 is not measured.", file=sys.stderr, flush=True
        )
        return {}
    from django_celery_results.models import TaskResult

    from dispatch.models import OutboxMessage
    from project.notes.models import Note

    backlog.empty()
    broker("Redis").purge()
    relay, collector = (
        make(URLS["Redis"], RESULTS, **settings) for make in (processes.relay, processes.collector)
    )
    started = [processes.worker(URLS["Redis"], RESULTS), relay, collector]
    message = ""

    def save() -> None:
        nonlocal message
        note = Note(title="A note", body="Cats.")
        note.save()
        message = str(OutboxMessage.objects.values_list("pk", flat=True).get(object_pk=str(note.pk)))

    def result() -> None:
        deadline = time.monotonic() + DEADLINE
        while not TaskResult.objects.filter(task_id=message).exists():
            assert time.monotonic() < deadline, "no result came"
            time.sleep(0.002)

    try:
        for process in started:
            process.start()
        for process in started:
            process.wait_ready()
        save()
        result()
        return {"times": _times(save, result, OPTIONS.results), "idle": _idle(collector)}
    finally:
        for process in reversed(started):
            process.stop()
        broker("Redis").purge()


def _times(begin: Callable[[], None], end: Callable[[], None], repeats: int) -> list[float]:
    """Return milliseconds from one to the other, each on an idle system."""
    found = []
    for pause in PAUSES[:repeats]:
        time.sleep(pause)
        begin()
        began = time.perf_counter()
        end()
        found.append((time.perf_counter() - began) * 1e3)
    return found


def _idle(process: Process) -> float:
    """Return the percentage of a core that a process takes while there is nothing to do."""
    time.sleep(2)
    began, cpu = time.perf_counter(), processes.cpu_of(process)
    time.sleep(OPTIONS.idle)
    return (processes.cpu_of(process) - cpu) / (time.perf_counter() - began) * 100


def main() -> None:
    databases = on_each_database(__file__, measure, only=["PostgreSQL"])
    report = Report("latency", databases)
    found = databases.get("PostgreSQL", {})
    if "polling" not in found:
        report.say("PostgreSQL or Redis was not reached: not measured.")
    for key, messages, results in (("polling", P8, P14), ("woken", P8_LISTEN, P14_LISTEN)):
        for goal, each in (
            (messages, found.get(key, {}).get("messages")),
            (results, found.get(key, {}).get("results")),
        ):
            if each:
                _judge(report, goal, each)
    if "polling" in found and not found["woken"]:
        report.say("No setting wakes a relay up yet: LISTEN is not measured.")
    report.write()


def _judge(report: Report, goal: Goal, found: dict[str, Any]) -> None:
    times = found["times"]
    p99 = statistics.quantiles(times, n=100)[98]
    report.title(f"{goal.text.partition(':')[0]} ({len(times)} times)")
    report.row("p99", Figure.of([p99]), "ms")
    report.row(
        "an idle " + ("relay" if goal.name.startswith("P8") else "collector"),
        Figure.of([found["idle"]]),
        "%",
        "of a core",
    )
    met = {P8: found["idle"] < MOST_IDLE, P8_LISTEN: p99 <= MOST_P99}.get(goal, True)
    report.goal(goal, Figure.of(times), {}, met=met, p99=round(p99, 1), idle=round(found["idle"], 2))


if __name__ == "__main__":
    main()
