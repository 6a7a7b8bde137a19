"""Brokers and result backends, as the settings name them: no server is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import metadata
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error, register

from dispatch import conf
from dispatch.core import tls, url_schemes
from dispatch.core.broker_urls import flaw
from dispatch.core.celery_settings import ELSEWHERE
from dispatch.core.redaction import redact
from dispatch.exceptions import ConfigurationError

#: Celery since then stores JSON in SQL, and reads memcached by a library that does not unpickle.
SAFE_CELERY = (5, 7)


@register("dispatch")
def check_urls(**_: Any) -> list[CheckMessage]:
    """dispatch.E005: a URL that libraries may read otherwise than it is meant, and quote in pieces."""
    return [
        Error(
            f"{name} does not parse cleanly: {found}.",
            hint="Until then it is not used: nothing is sent over this broker, and no result read of it.",
            id="dispatch.E005",
        )
        for name, url in conf.urls()
        if (found := flaw(url))
    ]


@register("dispatch")
def check_brokers(**_: Any) -> list[CheckMessage]:
    """dispatch.W012: results that cannot be collected. W013: TLS that verifies nobody. W018, W019: pickled results."""
    return [
        message for broker in _brokers() for message in (*_results(broker), *_tls(broker), *_pickles(broker))
    ]


@register("dispatch")
def check_url_schemes(**_: Any) -> list[CheckMessage]:
    """dispatch.E007: a broker whose URL no transport reads. E008: likewise a result backend. W020: no driver here."""
    return [
        message for broker in _brokers() for message in (*_unknown_schemes(broker), *_missing_drivers(broker))
    ]


@register("dispatch")
def check_celery_settings(**_: Any) -> list[CheckMessage]:
    """dispatch.W021: a key of CONF has no effect there, or is no setting of Celery."""
    return [message for broker in _brokers() if broker.conf for message in _idle_settings(broker)]


def _results(broker: conf.Broker) -> Iterator[CheckMessage]:
    if broker.out_of_reach:
        yield checks.Warning(
            f"The results of broker {broker.alias!r} cannot be collected from its RESULT_BACKEND: "
            f"{broker.out_of_reach}.",
            hint="Let the worker store results where others can read them, such as redis:// or db+postgresql://; or "
            "leave RESULT_BACKEND empty if you need none.",
            id="dispatch.W012",
        )


def _tls(broker: conf.Broker) -> Iterator[CheckMessage]:
    for key, url, setting in (
        ("URL", broker.url, "broker_use_ssl"),
        ("RESULT_BACKEND", broker.result_backend, "redis_backend_use_ssl"),
    ):
        if lack := tls.lack(url, broker.conf.get(setting), setting):
            yield checks.Warning(
                f"The {key} of broker {broker.alias!r} can be answered by anyone: {lack}.",
                hint="Write ?ssl_cert_reqs=required into a rediss:// URL; of amqps://, set broker_use_ssl in CONF to "
                '{"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "…"}.',
                id="dispatch.W013",
            )


def _pickles(broker: conf.Broker) -> Iterator[CheckMessage]:
    if broker.result_backend and broker.unpickles_results:
        yield checks.Warning(
            f"The results of broker {broker.alias!r} may be pickles, which its CONF accepts: whoever can write to the "
            f"result backend can run code where results are read.",
            hint='Let the worker store JSON, and take pickle out of "result_accept_content" and "accept_content".',
            id="dispatch.W018",
        )
    elif (
        broker.result_backend.startswith(("db+", "cache+memcache", "cache+pylibmc"))
        and _celery() < SAFE_CELERY
    ):
        yield checks.Warning(
            f"The results of broker {broker.alias!r} cannot be read: Celery before 5.7 pickles and unpickles what this "
            f"kind of result backend holds, and pickles are refused.",
            hint="Upgrade Celery in the worker and here; or use another result backend, such as redis://; or allow "
            'pickle by name in CONF: "result_accept_content": ["json", "pickle"].',
            id="dispatch.W019",
        )


def _celery() -> tuple[int, ...]:
    return tuple(map(int, metadata.version("celery").split(".")[:2]))


def _unknown_schemes(broker: conf.Broker) -> Iterator[CheckMessage]:
    for check, key, problem in (
        ("dispatch.E007", "URL", url_schemes.unknown_broker(broker.url)),
        ("dispatch.E008", "RESULT_BACKEND", url_schemes.unknown_result_backend(broker.result_backend)),
    ):
        if problem:
            yield Error(
                f"The {key} of broker {broker.alias!r} cannot be used: {problem}.",
                hint="Correct it: docs/reference/settings.md, A broker. If a package of yours brings it, silence this.",
                id=check,
            )


def _missing_drivers(broker: conf.Broker) -> Iterator[CheckMessage]:
    for key, module in (
        ("URL", url_schemes.missing_driver(broker.url)),
        ("RESULT_BACKEND", url_schemes.missing_driver(result_backend=broker.result_backend)),
    ):
        if module:
            yield checks.Warning(
                f"The {key} of broker {broker.alias!r} needs the Python module {module}, which is not installed here.",
                hint="Install it where manage.py dispatch relay and dispatch results run.",
                id="dispatch.W020",
            )


def _idle_settings(broker: conf.Broker) -> Iterator[CheckMessage]:
    from dispatch.client import celery_apps

    idle = {
        name: f"which has no effect there: write the broker's {ELSEWHERE[name]}"
        for name in sorted(ELSEWHERE.keys() & broker.conf)
    }
    idle |= {
        name: f"which is no setting of Celery{close}: correct or remove it"
        for name, close in celery_apps.unknown_settings(broker.conf).items()
    }
    for name, why in idle.items():
        yield checks.Warning(
            f"CONF of broker {broker.alias!r} has {redact(repr(name))}, {why}.",
            hint="Celery's documentation has every setting, in lower case.",
            id="dispatch.W021",
        )


def _brokers() -> Collection[conf.Broker]:
    """Return the brokers of the settings, none where these are bad, which :func:`check_settings` tells."""
    try:
        return conf.conf.brokers.values()
    except ConfigurationError:
        return ()
