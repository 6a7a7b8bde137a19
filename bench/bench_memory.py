"""P11: the memory of a relay while it publishes many messages (``--rows 1000000``; a fifth of that otherwise)."""

from __future__ import annotations

from typing import Any

import backlog
import processes
from bench_relay import wait_for
from brokers import URLS, broker
from harness import Figure, Goal, Report, on_each_database, options, there

P11 = Goal(
    "P11", "memory of the relay, added by the messages after the first 20,000", 5, most=True, unit="MiB"
)
MOST_MEMORY = 100
FIRST, AT_ONCE = 20_000, 60_000
OPTIONS = options(rows=200_000)


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    if not there({"Redis": URLS["Redis"]}):
        return {}
    backlog.make_registry()
    backlog.empty()
    queue, relay = broker("Redis"), processes.relay(URLS["Redis"])
    queue.purge()
    try:
        relay.start()
        relay.wait_ready()
        found, sent = {}, 0
        for rows in (FIRST, *[AT_ONCE] * ((OPTIONS.rows - FIRST) // AT_ONCE)):
            backlog.fill(rows)
            sent += published(rows, queue, relay)
            found[sent] = processes.memory_of(relay)
            backlog.empty()
    finally:
        relay.stop()
        queue.purge()
    return {"memory": found}


def published(rows: int, queue: Any, relay: Any) -> int:
    """Wait until so many messages came, and take them: the broker's memory is not the subject."""
    left = rows

    def is_done() -> bool:
        nonlocal left
        left -= queue.take()
        return left <= 0

    wait_for(is_done, [relay], 0.2)
    return rows


def main() -> None:
    databases = on_each_database(__file__, measure, only=["PostgreSQL"])
    report = Report("memory", databases)
    report.title("PostgreSQL → Redis: the most memory that one relay has had")
    memory = databases.get("PostgreSQL", {}).get("memory")
    if not memory:
        report.say("PostgreSQL or Redis was not reached: not measured.")
        return report.write()
    for sent, most in memory.items():
        report.row(f"after {int(sent):,} messages", Figure.of([most]), "MiB")
    first, *_, last = memory.values()
    report.title(f"Goal: flat, and no more than {MOST_MEMORY} MiB")
    report.goal(
        P11, Figure.of([last - first]), {}, met=last <= MOST_MEMORY, messages=int([*memory][-1]), most=last
    )
    return report.write()


if __name__ == "__main__":
    main()
