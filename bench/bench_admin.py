"""P12: the overview, and a page of the list of messages under each filter, over a million messages and their results
(``--rows``) and the counts of a day.
"""

from __future__ import annotations

import time
from typing import Any

import backlog
from harness import Figure, Goal, Report, on_each_database, options, repeated

P12 = Goal("P12", "a page of the list of messages, its slowest filter", 200, most=True, unit="ms")
OVERVIEW = Goal("P12 overview", "the overview in the admin", 200, most=True, unit="ms")
OPTIONS = options(rows=1_000_000, repeats=9)
MOST_QUERIES = 10
RARE = "bench.rare"
#: Where a message stands among the others, from 1 on; two come a second.
AT = f"mod(n, {1 << 24})"
START_MS = int(time.time() * 1000) - OPTIONS.rows * 500
COLUMNS = {
    "id": f"(lpad(to_hex({START_MS} + {AT} * 500), 12, '0') || '7000' || lpad(to_hex(n), 16, '8'))::uuid",
    "created_at": f"to_timestamp(({START_MS} + {AT} * 500) / 1000.0)",
    "task_name": f"CASE WHEN {AT} <= 20 THEN '{RARE}' ELSE row.task_name END",
    "status": f"CASE WHEN mod({AT}, 1000) = 0 THEN 'dead' WHEN mod({AT}, 100) = 1 THEN 'pending' ELSE 'published' END",
    "published_at": backlog.NOW,
    "handled_at": f"CASE WHEN mod({AT}, 100) > 2 THEN {backlog.NOW} END",
    "object_model": f"CASE WHEN mod({AT}, 100) = 3 THEN 'notes.note' ELSE '' END",
    "object_pk": f"CASE WHEN mod({AT}, 100) = 3 THEN mod({AT}, 1000)::text ELSE '' END",
}
RESULTS = """
INSERT INTO django_celery_results_taskresult
    (task_id, task_name, status, content_type, content_encoding, result, date_created, date_done)
SELECT id::text, task_name, CASE WHEN random() < 0.01 THEN 'FAILURE' ELSE 'SUCCESS' END, 'application/json', 'utf-8',
    '1', created_at, created_at
FROM dispatch_outboxmessage WHERE handled_at IS NOT NULL AND status = 'published'
"""
#: What two relays and two collectors count in a day, with ten queues.
COUNTS = """
INSERT INTO dispatch_minutecount (minute, process, queue, outcome, number, milliseconds)
SELECT
    date_trunc('minute', now()) - make_interval(mins => minute),
    ('0190f3a2-0000-7000-8000-00000000000' || process)::uuid,
    'queue' || queue, outcome, 50, 2500
FROM generate_series(0, 1439) AS minute, generate_series(1, 2) AS process, generate_series(0, 9) AS queue,
    unnest(ARRAY['published', 'failed', 'task_succeeded']) AS outcome
"""
FILTERS: dict[str, dict[str, str]] = {
    "no filter": {},
    "its last page": {"p": "200"},
    **{
        status: {"status__exact": status}
        for status in (
            "pending",
            "claimed",
            "published",
            "running",
            "succeeded",
            "failed",
            "dead",
            "cancelled",
        )
    },
    "a task": {"task_name": backlog.TASK},
    "a task of twenty messages, the oldest": {"task_name": RARE},
    "dead of this task": {"task_name": RARE, "status__exact": "dead"},
    "failed of this task": {"task_name": RARE, "status__exact": "failed"},
    "a queue without messages": {"queue": "none"},
    "an origin without messages": {"origin__exact": "user"},
    "an object": {"object_model": "notes.note", "object_pk": "103"},
    "a model": {"object_model": "notes.note"},
    "the past hour": {"since": "1h"},
    "until yesterday": {"until": f"{time.strftime('%Y-%m-%dT%H:%M', time.gmtime(time.time() - 86_400))}"},
    "a search for part of a name": {"q": "rare"},
    "a search for an object": {"q": "103"},
}


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.urls import reverse

    from dispatch.models import TaskDefinition

    backlog.make_registry()
    TaskDefinition.objects.create(name=RARE, parameters={})
    backlog.fill(OPTIONS.rows, **COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(RESULTS)
        cursor.execute(COUNTS)
        cursor.execute("VACUUM ANALYZE")
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser("bench"))
    messages, overview = (
        reverse("admin:dispatch_outboxmessage_changelist"),
        reverse("admin:app_list", args=["dispatch"]),
    )
    pages = {name: _Page(client, messages, filters) for name, filters in FILTERS.items()}
    pages[OVERVIEW.name] = _Page(client, overview, {})
    series = repeated({name: page.milliseconds for name, page in pages.items()}, OPTIONS.repeats)
    return {"series": series, "queries": {name: page.queries for name, page in pages.items()}}


class _Page:
    """One page, and how many queries it takes."""

    def __init__(self, client: Any, url: str, filters: dict[str, str]) -> None:
        self.client, self.url, self.filters, self.queries = client, url, filters, 0

    def milliseconds(self) -> float:
        """Ask for the page."""
        from django.db import connection

        self.queries = 0
        with connection.execute_wrapper(self._count):
            began = time.perf_counter()
            response = self.client.get(self.url, self.filters)
            took = time.perf_counter() - began
        assert response.status_code == 200, (self.filters, response.status_code)
        return took * 1e3

    def _count(self, execute: Any, *arguments: Any) -> Any:
        self.queries += 1
        return execute(*arguments)


def main() -> None:
    databases = on_each_database(__file__, measure, only=["PostgreSQL"])
    report = Report("admin", databases)
    if "PostgreSQL" not in databases:
        report.say("PostgreSQL was not reached: not measured.")
        return report.write()
    found = databases["PostgreSQL"]
    figures = {name: Figure.of(values) for name, values in found["series"].items()}
    overview = figures.pop(OVERVIEW.name)
    report.title(f"PostgreSQL: a page of fifty messages of {OPTIONS.rows:,}")
    for name, figure in figures.items():
        report.row(name, figure, "ms", f"{found['queries'][name]} queries")
    asked = found["queries"].pop(OVERVIEW.name)
    most = max(found["queries"].values())
    report.title("Goals")
    report.say(f"At most {most} queries a page, and {asked} for the overview, goal ≤ {MOST_QUERIES}.")
    slowest = max(figures, key=lambda name: figures[name].value)
    report.goal(P12, figures[slowest], {}, met=most <= MOST_QUERIES, worst=slowest)
    report.goal(OVERVIEW, overview, {}, met=asked <= MOST_QUERIES)
    return report.write()


if __name__ == "__main__":
    main()
