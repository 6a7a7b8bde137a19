"""P9: enqueue, and claim and settle, with a full table: a million settled rows and a million pending (``--rows``).

Of what a relay asks the database, all counts that writes or locks. It looks at the backlog, too, after it has started
and after a change of routes, in slices of its own.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import Any

import backlog
from brokers import URLS, broker
from harness import Figure, Goal, Report, on_each_database, options, there
from registry import notice_changes

P9 = Goal("P9", "a batch claimed and settled: full / empty table", 1.2, most=True)
P9_ENQUEUE = Goal("P9 enqueue", "a message enqueued: full / empty table", 1.2, most=True)
OPTIONS = options(rows=1_000_000, repeats=15)
SENDS = 100
SETTLED = {"status": "'published'", "published_at": backlog.NOW, "handled_at": backlog.NOW}


def measure() -> dict[str, Any]:
    """Measure on this process's database: before it is filled, full, and emptied again."""
    from django.conf import settings
    from django.db import connection

    if not there({"Redis": URLS["Redis"]}):
        return {}
    backlog.make_registry()
    settings.DISPATCH = {"BROKERS": {"default": {"URL": URLS["Redis"]}}}
    found: dict[str, list[dict[str, list[float]]]] = defaultdict(list)
    backlog.empty()
    found["empty"].append(_measured(fill=True))
    backlog.fill(OPTIONS.rows, **SETTLED)
    backlog.fill(OPTIONS.rows)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE dispatch_outboxmessage")
    found["full"].append(_measured(fill=False))
    backlog.empty()
    found["empty"].append(_measured(fill=True))
    broker("Redis").purge()
    return {
        state: {what: [value for run in runs for value in run[what]] for what in runs[0]}
        for state, runs in found.items()
    }


def _measured(*, fill: bool) -> dict[str, list[float]]:
    """Return milliseconds in the database a batch of the relay, and milliseconds a message enqueued."""
    from django.db import connection, transaction

    from dispatch.api import send_task
    from dispatch.conf import conf
    from dispatch.relay import Relay

    relay, spent = Relay(), 0.0

    def timed(execute: Any, sql: str, *arguments: Any) -> Any:
        nonlocal spent
        began = time.perf_counter()
        try:
            return execute(sql, *arguments)
        finally:
            if not sql.startswith("SELECT") or "FOR UPDATE" in sql:
                spent += time.perf_counter() - began

    found: dict[str, list[float]] = {"batch": [], "enqueue": []}
    for repeat in range(OPTIONS.repeats + 1):
        if fill:  # as many as one batch takes
            backlog.fill(conf.RELAY_BATCH_SIZE)
        notice_changes()
        spent = 0.0
        with connection.execute_wrapper(timed):
            assert relay.step(), "nothing was published"
        batch = spent
        began = time.perf_counter()
        with transaction.atomic():
            for _ in range(SENDS):
                send_task(backlog.TASK, kwargs=backlog.ARGUMENTS)
        enqueue = (time.perf_counter() - began) / SENDS
        if fill:
            backlog.empty()
        if repeat:
            found["batch"].append(batch * 1e3)
            found["enqueue"].append(enqueue * 1e3)
    return found


def main() -> None:
    databases = on_each_database(__file__, measure, only=["PostgreSQL"])
    report = Report("backlog", databases)
    found = databases.get("PostgreSQL", {})
    if "full" not in found:
        report.say("PostgreSQL or Redis was not reached: not measured.")
        return report.write()
    report.title(f"PostgreSQL: {OPTIONS.rows:,} settled and {OPTIONS.rows:,} pending rows, and none")
    for what, text in (("batch", "a batch claimed and settled"), ("enqueue", "a message enqueued")):
        for state in ("empty", "full"):
            report.row(f"{text}, {state} table", Figure.of(found[state][what]), "ms")
    report.title("Goals")
    for goal, what in ((P9, "batch"), (P9_ENQUEUE, "enqueue")):
        usual = statistics.median(found["empty"][what])
        report.goal(
            goal, Figure.of([value / usual for value in found["full"][what]]), {}, rows=2 * OPTIONS.rows
        )
    return report.write()


if __name__ == "__main__":
    main()
