"""Celery apps that only send, or only read results; guests that leave the project's own Celery alone.

``set_as_current=False`` and ``fixups=[]`` keep a new ``Celery()`` from capturing the project's
``shared_task``s and from hooking into Django. Senders have no result backend: a publish must not touch one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Connection

from dispatch.conf import Broker, conf
from dispatch.exceptions import BrokerUnavailable


@lru_cache
def sender(broker: str, url: str) -> Celery:
    """Return the send-only app of a broker, from which headers and connections are made."""
    return _guest(f"dispatch.{broker}", "disabled://", {"broker_url": url})


@lru_cache
def reader(broker: str) -> Celery:
    """Return the app that reads a broker's result backend."""
    entry = conf.brokers[broker]
    timeout = conf.BROKER_TIMEOUT
    defaults = {
        "redis_socket_timeout": timeout,
        "redis_socket_connect_timeout": timeout,
        "redis_backend_health_check_interval": 0,
    }
    settings = defaults | dict(entry.conf) | {"broker_url": entry.url}
    return _guest(f"dispatch.{broker}.results", entry.result_backend or "disabled://", settings)


def connection(broker: Broker) -> Connection:
    """Return a new connection, not yet opened, every step of which is bounded by ``BROKER_TIMEOUT``.

    The URL is given in full: Celery would let the variable CELERY_BROKER_URL overrule the settings.
    """
    app = sender(broker.alias, broker.url)
    options = dict(broker.conf)
    transport_options = _bounded(conf.BROKER_TIMEOUT) | dict(options.pop("broker_transport_options", {}))
    app.conf.update(options)
    try:
        result: Connection = app.connection_for_write(
            url=broker.url, connect_timeout=conf.BROKER_TIMEOUT, transport_options=transport_options
        )
        _ = result.transport  # fails here where the URL names no transport, not at the first use
    except Exception:  # noqa: BLE001 - parsers quote the URL, and so the password, in their own ways
        raise BrokerUnavailable(
            f"Broker {broker.alias!r} has a URL that cannot be used: "
            f'correct DISPATCH["BROKERS"]["{broker.alias}"]["URL"].'
        ) from None
    return result


def forget() -> None:
    """Drop every app, for the settings changed or the process was forked."""
    sender.cache_clear()
    reader.cache_clear()


os.register_at_fork(after_in_child=forget)


def _guest(name: str, backend: str, settings: Mapping[str, Any]) -> Celery:
    app = Celery(name, set_as_current=False, fixups=[])
    app.backend_cls = backend  # not by a setting, which the variable CELERY_RESULT_BACKEND would overrule
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
