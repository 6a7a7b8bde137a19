"""Real brokers as tests see them: what is in a queue, and how to leave no trace."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import kombu


def read_all(url: str, queue: str, *, at_least: int = 0) -> list[kombu.Message]:
    """Take every message out of a queue, acknowledged; wait for ``at_least`` so many where nothing confirmed them."""
    messages: list[kombu.Message] = []
    deadline = time.monotonic() + 10
    with kombu.Connection(url, connect_timeout=3) as connection:
        # no declaration: the queue is read as the relay declared it
        bound = kombu.Queue(queue, no_declare=True).bind(connection.channel())
        with contextlib.suppress(*connection.channel_errors):  # RabbitMQ: no such queue, so nothing in it
            while (message := bound.get(no_ack=True)) or (
                len(messages) < at_least and time.monotonic() < deadline
            ):
                messages += [message] if message else []
    return messages


def task_ids(url: str, queue: str) -> list[str]:
    return [message.headers["id"] for message in read_all(url, queue)]


def body(message: kombu.Message) -> Any:
    return json.loads(message.body)


def delete_queue(url: str, *names: str) -> None:
    """Remove queues, and the same-named exchanges, from a shared server."""
    for name in names:
        with kombu.Connection(url, connect_timeout=3) as connection:
            channel = connection.channel()
            with contextlib.suppress(*connection.channel_errors):
                channel.queue_delete(name)
        with kombu.Connection(url, connect_timeout=3) as connection:
            channel = connection.channel()  # a refused request closed the last one
            with contextlib.suppress(*connection.channel_errors):
                channel.exchange_delete(name)
