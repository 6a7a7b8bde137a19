"""Rows a second that one relay publishes, in batches and one by one, side by side on Redis and RabbitMQ.

    DATABASE_URL=postgres://… .venv/bin/python bench/bench_relay.py [--rows 5000] [--repeats 5]

It makes a database of its own on the server of DATABASE_URL (SQLite without one), and empties the queue ``bench`` of
each broker. "publish" is what the brokers' part takes, without claiming and settling.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
os.environ.setdefault("DATABASE_URL", "sqlite://:memory:")

BROKERS = {
    "Redis": os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/9"),
    "RabbitMQ": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}
SIZES = (1, 200)


def prepare() -> Callable[[], None]:
    """Make an empty database with a registry; return what destroys it."""
    import django

    django.setup()
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, serialize=False)
    from dispatch.models import Queue, TaskDefinition

    queue = Queue.objects.create(name="bench", is_default=True)
    parameters = {"type": "object", "properties": {"note_id": {"type": "string"}, "text": {"type": "string"}}}
    TaskDefinition.objects.create(name="bench.task", parameters=parameters, queue=queue)
    return lambda: connection.creation.destroy_test_db(name, verbosity=0)


def fill(rows: int) -> None:
    from dispatch.api import Call, send_many
    from dispatch.models import OutboxMessage

    OutboxMessage.objects.all().delete()
    send_many(Call("bench.task", kwargs={"note_id": str(n), "text": "Cats sleep. " * 8}) for n in range(rows))


def drain(url: str, size: int) -> tuple[float, float]:
    """Publish what is due in claims of one size; return the seconds it took in all, and those of publishing."""
    from django.conf import settings

    from dispatch.client.publisher import Publisher
    from dispatch.relay import Relay

    settings.DISPATCH = {"BROKERS": {"default": {"URL": url}}}
    relay, spent, publish = Relay(), 0.0, Publisher.publish_batch

    def timed(self: Publisher, parcels: Any, table: Any, **options: Any) -> Any:
        nonlocal spent
        began = time.perf_counter()
        parts = [parcels[at : at + size] for at in range(0, len(parcels), size)]
        found = [answer for part in parts for answer in publish(self, part, table, **options)]
        spent += time.perf_counter() - began
        return found

    Publisher.publish_batch = timed  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        relay.drain()
        return time.perf_counter() - began, spent
    finally:
        Publisher.publish_batch = publish  # type: ignore[method-assign]


def empty(url: str) -> None:
    import kombu

    with kombu.Connection(url) as connection:
        channel = connection.channel()
        with suppress(*connection.channel_errors):  # RabbitMQ: there is no such queue yet
            channel.queue_purge("bench")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    destroy = prepare()
    total, publishing = defaultdict(list), defaultdict(list)
    try:
        for _ in range(options.repeats):
            for broker, url in BROKERS.items():
                for size in SIZES:
                    empty(url)
                    fill(options.rows)
                    seconds, spent = drain(url, size)
                    total[broker, size].append(options.rows / seconds)
                    publishing[broker, size].append(options.rows / spent)
    finally:
        for url in BROKERS.values():
            empty(url)
        destroy()
    report(options, total, publishing)


def report(options: argparse.Namespace, total: dict[Any, Any], publishing: dict[Any, Any]) -> None:
    from django.db import connection

    print(
        f"{connection.vendor}, Python {platform.python_version()}, {os.cpu_count()} cores, {options.rows} rows, "
    )
    print(f"medians of {options.repeats} interleaved repeats, rows a second (least to most)")
    for (broker, size), found in total.items():
        shown = [
            f"{statistics.median(rates):6.0f} ({min(rates):.0f} to {max(rates):.0f})"
            for rates in (found, publishing[broker, size])
        ]
        print(f"{broker:9} batches of {size:3}: relay {shown[0]}, publish {shown[1]}")


if __name__ == "__main__":
    main()
