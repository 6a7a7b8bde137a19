"""Celery apps that only send, or only read results; guests that leave the project's own Celery alone.

``set_as_current=False`` and ``fixups=[]`` keep a new ``Celery()`` from capturing the project's
``shared_task``s and from hooking into Django. Senders have no result backend: a publish must not touch one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from redis.backoff import NoBackoff
from redis.retry import Retry

from dispatch.client.pickled_results import refused
from dispatch.conf import Broker, conf
from dispatch.core import tls, url_schemes
from dispatch.core.broker_urls import flaw
from dispatch.core.celery_settings import ELSEWHERE
from dispatch.core.suggestions import suggest
from dispatch.exceptions import BrokerUnavailable


@lru_cache
def sender(broker: str, url: str) -> Celery:
    """Return the send-only app of a broker, from which headers and connections are made."""
    return _guest(f"dispatch.{broker}", "disabled://", {"broker_url": url})


@lru_cache
def reader(broker: str) -> Celery:
    """Return the app that reads a broker's result backend."""
    return _reader(broker)


def _reader(broker: str) -> Celery:
    entry = conf.brokers[broker]
    if found := flaw(entry.result_backend):
        raise BrokerUnavailable(
            f"The result backend of broker {broker!r} cannot be used: in "
            f'DISPATCH["BROKERS"]["{broker}"]["RESULT_BACKEND"] {found}.'
        ) from None
    timeout = conf.BROKER_TIMEOUT
    defaults = {
        "redis_socket_timeout": timeout,
        "redis_socket_connect_timeout": timeout,
        "redis_backend_health_check_interval": 0,
        "result_backend_always_retry": False,  # the collector asks again
        "result_backend_max_retries": 0,
    }
    given = {name: value for name, value in entry.conf.items() if name not in ELSEWHERE}
    settings = defaults | given | {"broker_url": entry.url}
    options = dict(settings.get("result_backend_transport_options") or {})
    settings["result_backend_transport_options"] = options | _sentinels(
        entry.result_backend, timeout, options
    )
    return _guest(f"dispatch.{broker}.results", entry.result_backend or "disabled://", settings, _Reader)


@lru_cache
def stored_results(broker: str) -> Any:
    """Return the result backend of a broker, which reads failures as the data that is stored, not as exceptions.

    It is one for all threads, where Celery's apps make one for each.
    """
    backend: Any = _reader(broker).backend
    backend.meta_from_decoded = lambda meta: meta
    return backend


def connection(broker: Broker) -> Connection:
    """Return a new connection, not yet opened, every step of which is bounded by ``BROKER_TIMEOUT``.

    Several hosts of a URL share it, so that each is tried. The URL is given in full: Celery would let the variable
    CELERY_BROKER_URL overrule the settings.
    """
    if found := flaw(broker.url):
        raise BrokerUnavailable(
            f"Broker {broker.alias!r} has a URL that cannot be used: in "
            f'DISPATCH["BROKERS"]["{broker.alias}"]["URL"] {found}.'
        ) from None
    problem = url_schemes.unknown_broker(broker.url)
    if problem and broker.scheme not in TRANSPORT_ALIASES:  # where packages register their own
        raise _unusable(broker, problem)
    if module := url_schemes.missing_driver(broker.url):
        raise BrokerUnavailable(
            f"Broker {broker.alias!r} cannot be reached: its driver, the Python module {module}, is not installed."
        )
    app = sender(broker.alias, broker.url)
    options = {name: value for name, value in broker.conf.items() if name not in ELSEWHERE}
    given = dict(options.pop("broker_transport_options", None) or {})
    timeout = conf.BROKER_TIMEOUT
    share = timeout if _names_sentinels(broker.url) else timeout / _hosts(broker.url)
    transport_options = _bounded(broker, timeout, share) | given | _sentinels(broker.url, timeout, given)
    app.conf.update(options)
    try:
        result: Connection = app.connection_for_write(
            url=broker.url, connect_timeout=share, transport_options=transport_options
        )
        _ = result.transport  # fails here where the URL names no transport, not at the first use
    except Exception:  # noqa: BLE001 - parsers quote the URL, and so the password, in their own ways
        raise _unusable(broker, "it cannot be read") from None
    return result


def _unusable(broker: Broker, why: str) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"Broker {broker.alias!r} has a URL that cannot be used, because {why}: "
        f'correct DISPATCH["BROKERS"]["{broker.alias}"]["URL"].{tls.advice(broker.url)}'
    )


def open_up(connection: Connection) -> None:
    """Open a connection, over the first host that answers; raises what its driver raises.

    Each is tried once, without kombu's pauses of two seconds: the relay does the waiting. A client of sentinels asks
    all of them by itself.
    """
    tries = 1 if connection.transport_cls == "sentinel" else max(len(connection.alt), 1)
    connection.ensure_connection(max_retries=tries - 1, interval_start=0)


def unknown_settings(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are no settings of Celery, each with what was perhaps meant."""
    from celery.app.defaults import SETTING_KEYS

    # result backends read some that are not listed
    known = {*SETTING_KEYS, "redis_backend_health_check_interval", "redis_backend_credential_provider"}
    return {name: suggest(name, known) for name in names if name not in known}


def forget() -> None:
    """Drop every app, for the settings changed or the process was forked."""
    sender.cache_clear()
    reader.cache_clear()
    stored_results.cache_clear()


os.register_at_fork(after_in_child=forget)


class _Reader(Celery):
    """An app whose result backends, one for each thread, unpickle nothing unless the settings allow it."""

    def _get_backend(self) -> Any:
        return refused(super()._get_backend())  # type: ignore[misc]  # not in its stubs


def _guest(name: str, backend: str, settings: Mapping[str, Any], kind: type[Celery] = Celery) -> Celery:
    app = kind(name, set_as_current=False, fixups=[])
    app.backend_cls = backend  # not by a setting, which the variable CELERY_RESULT_BACKEND would overrule
    app.conf.update(settings)
    return app


def _names_sentinels(url: str) -> bool:
    return url.startswith("sentinel://")


def _hosts(url: str) -> int:
    return url.count(";") + 1


def _sentinels(url: str, timeout: float, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return how sentinels are asked, where the URL names some: redis-py would try each for ten seconds and more."""
    if not _names_sentinels(url):
        return {}
    share = timeout / _hosts(url)
    bounds = {"socket_timeout": share, "socket_connect_timeout": share, "retry": Retry(NoBackoff(), 0)}
    return {"sentinel_kwargs": bounds | dict(options.get("sentinel_kwargs") or {})}


def _bounded(broker: Broker, timeout: float, share: float) -> dict[str, Any]:
    """Return the options that bound each step, by the names that the broker's driver knows: others refuse unknown ones.

    ``max_retries`` is 0, for retries are the relay's: one inside kombu duplicates a message that did arrive.
    """
    if broker.is_urgent_low:  # Redis
        timeouts = {"socket_timeout": share, "socket_connect_timeout": share, "retry_on_timeout": False}
        return {"max_retries": 0, **timeouts}
    if broker.has_exchanges:  # AMQP
        return {"max_retries": 0, "read_timeout": timeout, "write_timeout": timeout, "confirm_publish": True}
    return {}
