"""P13: what the collector handles, beside django-celery-results' own way to store results (PostgreSQL, Redis)."""

from __future__ import annotations

import json
import time
from typing import Any

import backlog
import processes
from brokers import RESULTS, URLS
from harness import RESULTS as FOLDER
from harness import Figure, Goal, Report, on_each_database, options, ratio, there

P13 = Goal("P13", "results a second, no receivers / TaskResult.objects.store_result", 10, most=False)
P13_RECEIVER = Goal(
    "P13 receiver", "results a second, a receiver that writes a row / store_result", 3, most=False
)
P13_IDLE = Goal(
    "P13 idle", "of a core, while 100,000 results are awaited and none comes", 1, most=True, unit="%"
)
OPTIONS = options(results=2_000, repeats=3, awaited=100_000, idle=10)
BARE, RECEIVER, PEER = (
    "the collector, no receivers",
    "the collector, a receiver that writes a row",
    "store_result",
)
STORED = 500
#: About 200 bytes of result.
VALUE = {"summary": "Cats sleep in the sun, and so would everybody else. " * 3, "sentences": 3, "words": 30}
PUBLISHED = {"status": "'published'", "published_at": backlog.NOW}
DEADLINE = 300


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    from django.conf import settings

    if not there({"Redis": RESULTS}):
        return {}
    backlog.make_registry()
    settings.DISPATCH = {"BROKERS": {"default": {"URL": URLS["Redis"], "RESULT_BACKEND": RESULTS}}}
    _forget_receivers()
    contenders = {BARE: _collected, RECEIVER: _collected_and_received, PEER: _stored_by_peer}
    found: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for repeat in range(OPTIONS.repeats):
        for at in range(len(contenders)):
            name = [*contenders][(at + repeat) % len(contenders)]
            found[name].append(contenders[name]())
    return {"runs": found, "idle": _idle()}


def _forget_receivers() -> None:
    """Let go of the receiver of the project's notes."""
    from dispatch.api import task_finished

    task_finished.receivers = []
    task_finished.sender_receivers_cache.clear()


def _collected() -> list[float]:
    """Collect results that wait in Redis; return how many a second, and µs of CPU each."""
    from django_celery_results.models import TaskResult

    from dispatch.models import OutboxMessage
    from dispatch.results import Collector

    backlog.empty()
    TaskResult.objects.all().delete()
    backlog.fill(OPTIONS.results, **PUBLISHED)
    ids = [*map(str, OutboxMessage.objects.values_list("pk", flat=True))]
    client = _store(ids)
    collector = Collector()
    began, cpu, handled = time.perf_counter(), time.process_time(), 0
    while handled < len(ids):
        handled += collector.sweep()
        assert time.perf_counter() < began + DEADLINE, f"{handled} of {len(ids)} results were handled"
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert TaskResult.objects.count() == len(ids)
    client.flushdb()
    return [len(ids) / took, cpu / len(ids) * 1e6]


def _store(ids: list[str]) -> Any:
    """Put results into Redis as Celery's backend does."""
    import redis

    client = redis.Redis.from_url(RESULTS)
    client.flushdb()
    meta = {"status": "SUCCESS", "result": VALUE, "traceback": None, "children": []}
    meta["date_done"] = "2026-11-28T12:00:00.000000+00:00"
    with client.pipeline() as pipeline:
        for task_id in ids:
            pipeline.set(f"celery-task-meta-{task_id}", json.dumps({**meta, "task_id": task_id}))
        pipeline.execute()
    return client


def _collected_and_received() -> list[float]:
    from dispatch.api import task_finished
    from project.notes.models import Note

    def write(*, message: Any, result: Any, **_: Any) -> None:
        Note.objects.create(title="A summary", body=result.result)

    task_finished.connect(write)
    try:
        return _collected()
    finally:
        _forget_receivers()
        Note.objects.all().delete()


def _stored_by_peer() -> list[float]:
    """Store results one by one, each with its commit, as a worker with ``django-db`` does."""
    from django_celery_results.models import TaskResult

    backlog.empty()
    TaskResult.objects.all().delete()
    result = json.dumps(VALUE)
    began, cpu = time.perf_counter(), time.process_time()
    for at in range(STORED):
        TaskResult.objects.store_result("application/json", "utf-8", f"task-{at}", result, "SUCCESS")
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return [STORED / took, cpu / STORED * 1e6]


def _idle() -> float:
    """Return the percentage of a core that a collector takes for awaited results that do not come."""
    backlog.empty()
    hours = f"{backlog.NOW} - mod(n, {OPTIONS.awaited}) * INTERVAL '12 hours' / {OPTIONS.awaited}"
    backlog.fill(OPTIONS.awaited, **{**PUBLISHED, "published_at": hours})
    collector = processes.collector(URLS["Redis"], RESULTS)
    try:
        collector.start()
        collector.wait_ready()
        time.sleep(5)  # in which it asks for all of them once
        began, cpu = time.perf_counter(), processes.cpu_of(collector)
        time.sleep(OPTIONS.idle)
        return (processes.cpu_of(collector) - cpu) / (time.perf_counter() - began) * 100
    finally:
        collector.stop()


def main() -> None:
    databases = on_each_database(__file__, measure, only=["PostgreSQL"])
    report = Report("results", databases)
    found = databases.get("PostgreSQL", {})
    if "runs" not in found:
        report.say("PostgreSQL or Redis was not reached: not measured.")
        return report.write()
    rates = {name: [rate for rate, _ in runs] for name, runs in found["runs"].items()}
    report.title(f"PostgreSQL, Redis: {OPTIONS.results:,} results of 200 bytes")
    for name, runs in found["runs"].items():
        report.row(
            name,
            Figure.of(rates[name]),
            "/s",
            f"{Figure.of([cpu for _, cpu in runs]).value:.0f} µs of CPU each",
        )
    report.title("Goals: P13 holds where the collector is no slower than one relay publishes, too")
    own, relay = Figure.of(rates[BARE]).value, _rate_of_relay()
    report.row("one relay publishes", Figure.of([relay]), "/s", "by the last run of bench_relay.py")
    report.goal(P13, ratio(rates, BARE, PEER), {}, met=own >= relay, rate=own)
    report.goal(P13_RECEIVER, ratio(rates, RECEIVER, PEER), {}, rate=Figure.of(rates[RECEIVER]).value)
    report.goal(P13_IDLE, Figure.of([found["idle"]]), {}, awaited=OPTIONS.awaited)
    return report.write()


def _rate_of_relay() -> float:
    latest = FOLDER / "latest.json"
    goals = json.loads(latest.read_text()) if latest.exists() else {}
    return float(goals.get("P5", {}).get("rate", 0))


if __name__ == "__main__":
    main()
