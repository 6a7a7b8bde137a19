"""The limit: a relay that claims, writes the envelope by hand, publishes and settles, and can do nothing else.

It has no registry, no routes, no retries, no dead letters, no signals; it stops when it is killed.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from brokers import QUEUE

BATCH = 500
CLAIM = """
UPDATE dispatch_outboxmessage SET status = 'claimed', attempts = attempts + 1, lease_token = %s,
    lease_expires_at = clock_timestamp() + INTERVAL '60 s'
WHERE id IN (
    SELECT id FROM dispatch_outboxmessage WHERE status = 'pending' AND available_at <= clock_timestamp()
    ORDER BY available_at, id LIMIT %s FOR UPDATE SKIP LOCKED
) RETURNING id::text, task_name, args, kwargs
"""
SETTLE = """
UPDATE dispatch_outboxmessage SET status = 'published', published_at = clock_timestamp(), lease_token = NULL,
    lease_expires_at = NULL
WHERE lease_token = %s
"""
EMBED = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'
HEADERS = {
    "lang": "py", "shadow": None, "eta": None, "expires": None, "group": None, "group_index": None, "retries": 0,
    "timelimit": [None, None], "parent_id": None, "argsrepr": "()", "kwargsrepr": "{}", "origin": "limit",
    "ignore_result": False, "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
}  # fmt: skip
Row = tuple[str, str, str, str]


def redis_publisher(url: str) -> Callable[[Sequence[Row]], None]:
    import redis

    client = redis.Redis.from_url(url)
    headers = json.dumps(HEADERS)[:-1]
    delivery = json.dumps({"exchange": "", "routing_key": QUEUE})

    def envelope(row: Row) -> str:
        task_id, task, args, kwargs = row
        body = b64encode(f"[{args}, {kwargs}, {EMBED}]".encode()).decode()
        return (
            f'{{"body": "{body}", "content-encoding": "utf-8", "content-type": "application/json", "headers": '
            f'{headers}, "id": "{task_id}", "root_id": "{task_id}", "task": "{task}"}}, "properties": '
            f'{{"correlation_id": "{task_id}", "reply_to": "", "delivery_mode": 2, "delivery_info": {delivery}, '
            f'"priority": 0, "body_encoding": "base64", "delivery_tag": "{task_id}"}}}}'
        )

    return lambda rows: client.lpush(QUEUE, *map(envelope, rows))


def rabbitmq_publisher(url: str) -> Callable[[Sequence[Row]], None]:
    import amqp
    import kombu

    connection = kombu.Connection(url, heartbeat=0)
    channel = connection.channel()
    channel.confirm_select()
    confirmed = 0

    def on_ack(tag: int, multiple: bool) -> None:
        nonlocal confirmed
        confirmed = max(confirmed, tag)  # one queue confirms in order

    channel.events["basic_ack"].add(on_ack)
    sent = 0

    def publish(rows: Sequence[Row]) -> None:
        nonlocal sent
        for task_id, task, args, kwargs in rows:
            message = amqp.Message(
                f"[{args}, {kwargs}, {EMBED}]",
                content_type="application/json",
                content_encoding="utf-8",
                application_headers=HEADERS | {"id": task_id, "root_id": task_id, "task": task},
                correlation_id=task_id,
                delivery_mode=2,
            )
            channel._basic_publish(message, "", QUEUE, mandatory=True)
        sent += len(rows)
        while confirmed < sent:
            connection.drain_events()

    return publish


def main() -> None:
    url: Any = os.environ["BROKER_URL"]
    publish = (rabbitmq_publisher if url.startswith("amqp") else redis_publisher)(url)
    with psycopg.connect(
        os.environ["DATABASE_URL"].replace("postgres:", "postgresql:"), autocommit=True
    ) as connection:
        while True:
            token = uuid.uuid4()
            rows = connection.execute(CLAIM, [token, BATCH]).fetchall()
            if rows:
                publish(rows)
                connection.execute(SETTLE, [token])
            else:
                time.sleep(0.02)


if __name__ == "__main__":
    main()
