"""A million messages through a relay that prunes: its memory, and the sizes of the table and its indexes, over time.

    .venv/bin/python bench/soak.py [--messages 1000000] [--pause 12]

On PostgreSQL, in a database of its own, and with a Redis of its own, whose queue is emptied meanwhile. Messages come
20,000 at a time with a pause in between, and are kept for 30 s after they were published. After each time stands a
VACUUM, since autovacuum may be off where benchmarks run.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import backlog
import brokers
import processes
from bench_memory import published
from harness import on_each_database, options

OPTIONS = options(messages=1_000_000, pause=12)
ROUND, KEPT = 20_000, 30
TABLE = "dispatch_outboxmessage"
SIZES = f"SELECT (SELECT count(*) FROM {TABLE}), pg_table_size('{TABLE}'), pg_indexes_size('{TABLE}')"


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    from project.stack import embedded_broker

    backlog.make_registry()
    with tempfile.TemporaryDirectory() as folder, embedded_broker(Path(folder)) as broker:
        relay = processes.relay(broker.url, RETENTION={"published": KEPT}, RESULTS_HORIZON=1)
        try:
            relay.start()
            relay.wait_ready()
            soak(relay, brokers.Redis(broker.url))
        finally:
            relay.stop()
    return {}


def soak(relay: Any, queue: Any) -> None:
    began = time.monotonic()
    tell("seconds   messages   rows there   table MB   indexes MB   relay MiB   at most")
    for number in range(1, OPTIONS.messages // ROUND + 1):
        backlog.fill(ROUND, id=ids_of_now())
        published(ROUND, queue, relay)
        rows, table, indexes = vacuumed()
        if number % 5 == 0:
            now, most = (processes.memory_of(relay, kind) for kind in ("VmRSS", "VmHWM"))
            tell(
                f"{time.monotonic() - began:7.0f} {number * ROUND:10,} {rows:12,} {table / 1e6:10.1f} "
                f"{indexes / 1e6:12.1f} {now:11.1f} {most:9.1f}"
            )
        time.sleep(max(0.0, began + number * OPTIONS.pause - time.monotonic()))


def ids_of_now() -> str:
    """Return the SQL of UUIDv7 of this moment: pruning finds what is old by them."""
    at = f"{int(time.time() * 1000):012x}"
    return f"('{at[:8]}-{at[8:]}-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"


def vacuumed() -> tuple[int, int, int]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM {TABLE}")
        cursor.execute(SIZES)
        rows, table, indexes = cursor.fetchone()
    return rows, table, indexes


def tell(line: str) -> None:
    print(
        line, file=sys.stderr, flush=True
    )  # what stands in stdout is read by the process that started this one


if __name__ == "__main__":
    os.environ.setdefault("BENCH_PEER", "")  # nothing of the peer's is measured
    on_each_database(__file__, measure, only=["PostgreSQL"])
