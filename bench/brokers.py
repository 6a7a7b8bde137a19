"""The two brokers, asked and emptied by what is nearest to them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import cached_property
from typing import Any

QUEUE = "dispatch-bench"
URLS = {
    "Redis": os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/9"),
    "RabbitMQ": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}
RESULTS = os.environ.get("BENCH_RESULTS_URL", "redis://127.0.0.1:6379/10")


class Redis:
    """The list that is the queue."""

    def __init__(self, url: str) -> None:
        import redis

        self.url = url
        self.client = redis.Redis.from_url(url)

    def count(self) -> int:
        return int(self.client.llen(QUEUE))

    def take(self) -> int:
        """Take what there is out of the queue; return how many messages it was."""
        with self.client.pipeline() as pipeline:
            return int(pipeline.llen(QUEUE).delete(QUEUE).execute()[0])

    def purge(self) -> None:
        self.client.delete(QUEUE)

    delete = purge  # a list that is empty is gone

    def wait(self) -> None:
        """Return when a message has come, and take it."""
        assert self.client.brpop([QUEUE], timeout=10), "no message came"

    def ids(self) -> list[str]:
        """Return the ids of the messages."""
        return [json.loads(message)["headers"]["id"] for message in self.client.lrange(QUEUE, 0, -1)]


class RabbitMQ:
    """The queue of that name, which is deleted at the end."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def channel(self) -> Any:
        import kombu

        channel = kombu.Connection(self.url, heartbeat=0).channel()
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        return channel

    def count(self) -> int:
        return int(self.channel.queue_declare(QUEUE, passive=True).message_count)

    def purge(self) -> None:
        self.channel.queue_purge(QUEUE)

    def ids(self) -> list[str]:
        """Take the messages, and return their ids."""
        found: list[str] = []
        expected = self.count()
        tag = self.channel.basic_consume(
            QUEUE, no_ack=True, callback=lambda message: found.append(message.properties["correlation_id"])
        )
        with suppress(TimeoutError):
            while len(found) < expected:
                self.channel.connection.drain_events(timeout=5)
        self.channel.basic_cancel(tag)
        return found

    def delete(self) -> None:
        self.channel.queue_delete(QUEUE)


def broker(name: str) -> Any:
    """Return a broker by its name."""
    return {"Redis": Redis, "RabbitMQ": RabbitMQ}[name](URLS[name])
