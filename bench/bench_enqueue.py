"""P3 and P4: enqueuing one task, beside the peer and beside a bare INSERT, and enqueuing many."""

from __future__ import annotations

from typing import Any

from harness import Figure, Goal, Report, on_each_database, ratio, repeated, timed
from registry import ARGUMENTS, TASK, cursor_insert, make_task, notice_changes

P3 = Goal("P3", "django-celery-outbox's send_task / ours", 3, most=False)
P4 = Goal("P4", "1,000 × send_task / send_many of 1,000", 6, most=False)
REPEATS, SENDS, MANY = 20, 100, 1_000
PEER, OURS = "django-celery-outbox: send_task", "dispatch: send_task"
LIMIT = "cursor INSERT by hand, nothing checked"
ONE_BY_ONE, AT_ONCE = "dispatch: 1,000 × send_task, a message", "dispatch: send_many of 1,000, a message"
#: The goals were set by measurements on this one; the others are shown.
REFERENCE = "PostgreSQL"


def measure() -> dict[str, Any]:
    """Measure on this process's database: each transaction counts with its commit."""
    from django.conf import settings
    from django.db import connection, transaction
    from django_celery_outbox import OutboxCelery

    from dispatch.api import Call, send_many, send_task

    make_task()
    settings.MONITORING_METRICS_ENABLED = False  # the peer's metrics, sent by UDP at each commit
    peer = OutboxCelery("bench", broker="memory://", set_as_current=False)

    insert = cursor_insert(connection)

    def limit() -> None:
        insert(ARGUMENTS["note_id"], ARGUMENTS["text"])

    def ours() -> None:
        send_task(TASK, kwargs=ARGUMENTS)

    def theirs() -> None:
        peer.send_task(TASK, kwargs=ARGUMENTS)

    def many() -> None:
        send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(MANY))

    def in_one_transaction(operation: Any, count: int) -> float:
        notice_changes()
        return timed(transaction.atomic(lambda: [operation() for _ in range(count)]), 1) / count

    sends = {
        PEER: lambda: in_one_transaction(theirs, SENDS),
        OURS: lambda: in_one_transaction(ours, SENDS),
        LIMIT: lambda: in_one_transaction(limit, SENDS),
    }
    bulk = {
        ONE_BY_ONE: lambda: in_one_transaction(ours, MANY),
        AT_ONCE: lambda: in_one_transaction(many, 1) / MANY,
    }
    return {"sends": repeated(sends, REPEATS), "bulk": repeated(bulk, REPEATS // 2)}


def main() -> None:
    databases = on_each_database(__file__, measure)
    report = Report("enqueue", databases)
    sent = {name: ratio(found["sends"], PEER, OURS) for name, found in databases.items()}
    bulk = {name: ratio(found["bulk"], ONE_BY_ONE, AT_ONCE) for name, found in databases.items()}
    for name, found in databases.items():
        report.title(f"{name}: {SENDS} sends a transaction, its commit included")
        report.times(found["sends"])
        report.row("peer / ours", sent[name], "×")
        report.row("peer / INSERT by hand: the limit", ratio(found["sends"], PEER, LIMIT), "×")
        report.title(f"{name}: {MANY:,} messages in a transaction, its commit included")
        report.times(found["bulk"])
        report.row("one by one / at once", bulk[name], "×")
    report.title(f"Goals, on {REFERENCE}")
    if REFERENCE in databases:
        report.goal(P3, sent[REFERENCE], _values(sent))
        report.goal(P4, bulk[REFERENCE], _values(bulk))
    else:
        report.lines.append(f"  {REFERENCE} was not reached: not measured.")
    report.write()


def _values(figures: dict[str, Figure]) -> dict[str, float]:
    return {name: figure.value for name, figure in figures.items()}


if __name__ == "__main__":
    main()
