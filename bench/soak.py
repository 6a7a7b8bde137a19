"""A million messages through one outbox of which the last 100,000 are kept: sizes of the table and its indexes.

    DATABASE_URL=postgres://… .venv/bin/python bench/soak_retention.py [--messages 1000000]

On PostgreSQL alone, whose sizes it reads. It makes a database of its own there. Rows are inserted, claimed and settled
by one statement each, since only what they leave in the table counts here, and pruned as relays do it. After
each round stands a VACUUM, since autovacuum may be off where benchmarks run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
os.environ.setdefault("TEST_DATABASE_SUFFIX", "_soak")

ROUND, KEPT_ROUNDS = 20_000, 5
TABLE = "dispatch_outboxmessage"
SIZES = f"""
    SELECT pg_table_size('{TABLE}') / 1e6, pg_indexes_size('{TABLE}') / 1e6, (SELECT count(*) FROM {TABLE})
"""


def insert(template: Any, connection: Any) -> None:
    """Insert a round of copies of the template, with ids of this moment."""
    from dispatch.models import OutboxMessage

    at = f"{int(time.time() * 1000):012x}"
    values = {field.column: field.column for field in OutboxMessage._meta.concrete_fields}
    values["id"] = f"('{at[:8]}-{at[8:]}-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
    values |= dict.fromkeys(("created_at", "available_at"), "clock_timestamp()")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} ({', '.join(values)}) SELECT {', '.join(values.values())} "
            f"FROM {TABLE}, generate_series(1, {ROUND}) AS series(n) WHERE id = %s",
            [template.pk],
        )


def publish(template: Any) -> None:
    """Claim and settle all that is pending, as a relay leaves it."""
    from dispatch.models import OutboxMessage
    from dispatch.models.database import database_now

    rows, token = OutboxMessage.objects.exclude(pk=template.pk), uuid.uuid4()
    rows.filter(status="pending").update(status="claimed", lease_token=token, lease_expires_at=database_now())
    rows.filter(status="claimed").update(
        status="published", lease_token=None, lease_expires_at=None, attempts=1, published_at=database_now()
    )


def soak(messages: int, connection: Any) -> None:
    from dispatch.api import send_task
    from dispatch.outbox.retention import Pruning

    template = send_task("bench.task", kwargs={"text": "Cats sleep. " * 8}, ignore_result=True)
    starts: list[datetime] = []
    pruned, pruning = 0, 0.0
    print("   sent     rows  table MB  indexes MB  µs a pruned row", flush=True)
    for sent in range(ROUND, messages + ROUND, ROUND):
        starts.append(datetime.now(UTC))
        insert(template, connection)
        publish(template)
        began = time.perf_counter()
        kept = datetime.now(UTC) - starts[max(len(starts) - KEPT_ROUNDS, 0)]
        pruned += sum(Pruning("default", {"published": kept + timedelta(milliseconds=5)}).steps())
        pruning += time.perf_counter() - began
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM {TABLE}")
            if sent % (messages // 10) == 0:
                cursor.execute(SIZES)
                table, indexes, rows = cursor.fetchone()
                each = pruning / max(pruned, 1) * 1e6
                print(f"{sent:>7}  {rows:>7}  {table:>8.1f}  {indexes:>10.1f}  {each:>15.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, serialize=False, autoclobber=True)
    try:
        from dispatch.models import Queue, TaskDefinition

        queue = Queue.objects.create(name="bench", is_default=True)
        TaskDefinition.objects.create(name="bench.task", parameters={}, queue=queue)
        settings.DISPATCH = {"BROKERS": {"default": {"URL": "memory://"}}, "RESULTS_HORIZON": 1}
        soak(options.messages, connection)
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


if __name__ == "__main__":
    main()
