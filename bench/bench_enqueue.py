"""P3 and P4: enqueuing one task, beside a bare INSERT of the same row and beside the peer, and enqueuing many."""

from __future__ import annotations

from typing import Any

from harness import Goal, Report, on_each_database, options, ratio, repeated, timed
from registry import ARGUMENTS, TASK, cursor_insert, make_task, notice_changes

LEAST_OF_LIMIT = {"SQLite": 0.8, "PostgreSQL": 0.8, "MariaDB": 0.8}
LEAST_OF_MANY = {"SQLite": 3, "PostgreSQL": 6, "MariaDB": 4}
P3 = {
    name: Goal("P3", "INSERT of the same row by hand / send_task", least, most=False)
    for name, least in LEAST_OF_LIMIT.items()
}
P4 = {
    name: Goal("P4", "1,000 × send_task / send_many of 1,000", least, most=False)
    for name, least in LEAST_OF_MANY.items()
}
OPTIONS = options(repeats=20)
SENDS, MANY = 100, 1_000
PEER, OURS = "django-celery-outbox: send_task", "dispatch: send_task"
LIMIT = "cursor INSERT by hand, nothing checked"
ONE_BY_ONE, AT_ONCE = "dispatch: 1,000 × send_task, a message", "dispatch: send_many of 1,000, a message"


def measure() -> dict[str, Any]:
    """Measure on this process's database: each transaction counts with its commit."""
    from django.db import connection, transaction
    from django_celery_outbox import OutboxCelery

    from dispatch.api import Call, send_many, send_task

    make_task()
    peer = OutboxCelery("bench", broker="memory://", set_as_current=False)

    insert = cursor_insert(connection, of_trigger=False)

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
    return {"sends": repeated(sends, OPTIONS.repeats), "bulk": repeated(bulk, OPTIONS.repeats // 2)}


def main() -> None:
    databases = on_each_database(__file__, measure)
    report = Report("enqueue", databases)
    sent = {name: ratio(found["sends"], LIMIT, OURS) for name, found in databases.items()}
    bulk = {name: ratio(found["bulk"], ONE_BY_ONE, AT_ONCE) for name, found in databases.items()}
    for name, found in databases.items():
        report.title(f"{name}: {SENDS} sends a transaction, its commit included")
        report.times(found["sends"])
        report.row("the limit / ours", sent[name], "×")
        report.row("peer / ours", ratio(found["sends"], PEER, OURS), "×")
        report.title(f"{name}: {MANY:,} messages in a transaction, its commit included")
        report.times(found["bulk"])
        report.row("one by one / at once", bulk[name], "×")
    report.title("Goals, each by the database that is the farthest from it")
    report.worst(P3, sent)
    report.worst(P4, bulk)
    report.write()


if __name__ == "__main__":
    main()
