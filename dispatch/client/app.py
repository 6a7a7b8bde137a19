"""Celery apps that only send, or only read results; guests that leave the project's own Celery alone.

``set_as_current=False`` and ``fixups=[]`` keep a new ``Celery()`` from capturing the project's
``shared_task``s and from hooking into Django. Senders have no result backend: a publish must not touch one.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Connection

from dispatch.conf import Broker, conf


@lru_cache
def sender(broker: str, url: str) -> Celery:
    """Return the send-only app of a broker, from which headers and connections are made."""
    return _guest(f"dispatch.{broker}", broker_url=url, result_backend="disabled://")


@lru_cache
def reader(broker: str) -> Celery:
    """Return the app that reads a broker's result backend."""
    entry = conf.brokers[broker]
    timeout = conf.BROKER_TIMEOUT
    return _guest(
        f"dispatch.{broker}.results",
        broker_url=entry.url,
        result_backend=entry.result_backend or "disabled://",
        redis_socket_timeout=timeout,
        redis_socket_connect_timeout=timeout,
        redis_backend_health_check_interval=0,
        **entry.conf,
    )


def connection(broker: Broker) -> Connection:
    """Return a new connection, not yet opened, every step of which is bounded by ``BROKER_TIMEOUT``.

    The URL is given in full: Celery would let the variable CELERY_BROKER_URL overrule the settings.
    """
    app = sender(broker.alias, broker.url)
    options = dict(broker.conf)
    transport_options = _bounded(conf.BROKER_TIMEOUT) | dict(options.pop("broker_transport_options", {}))
    app.conf.update(options)
    result: Connection = app.connection_for_write(
        url=broker.url, connect_timeout=conf.BROKER_TIMEOUT, transport_options=transport_options
    )
    return result


def forget() -> None:
    """Drop every app, for the settings changed or the process was forked."""
    sender.cache_clear()
    reader.cache_clear()


os.register_at_fork(after_in_child=forget)


def _guest(name: str, **settings: Any) -> Celery:
    app = Celery(name, set_as_current=False, fixups=[])
    app.conf.update(settings)
    return app


def _bounded(timeout: float) -> dict[str, Any]:
    return {
        "max_retries": 0,  # retries are the relay's: one inside kombu duplicates a message that did arrive
        "socket_timeout": timeout,  # Redis
        "socket_connect_timeout": timeout,
        "retry_on_timeout": False,
        "read_timeout": timeout,  # AMQP
        "write_timeout": timeout,
        "confirm_publish": True,
    }
