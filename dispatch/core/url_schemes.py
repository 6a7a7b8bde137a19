"""The schemes of broker and result backend URLs that kombu and Celery know, and whether their driver is installed."""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib.metadata import entry_points

from dispatch.core.codecs import is_installed
from dispatch.core.suggestions import suggest

#: Each with the modules of which kombu needs one.
BROKERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("redis", "rediss", "redis+socket", "sentinel"), ("redis",)),
    **dict.fromkeys(("amqp", "amqps", "pyamqp"), ("amqp",)),
    "librabbitmq": ("librabbitmq",),
    **dict.fromkeys(("memory", "filesystem"), ()),
    **dict.fromkeys(("sqs", "SQS"), ("boto3",)),
    **dict.fromkeys(("kafka", "confluentkafka"), ("confluent_kafka",)),
    **dict.fromkeys(("sqla", "sqlalchemy"), ("sqlalchemy",)),
    "mongodb": ("pymongo",),
    "zookeeper": ("kazoo",),
    "qpid": ("qpid",),
    "consul": ("consul",),
    "etcd": ("etcd",),
    "azurestoragequeues": ("azure.storage.queue",),
    "azureservicebus": ("azure.servicebus",),
    "gcpubsub": ("google.cloud.pubsub_v1",),
    "pgmq": ("pgmq",),
    "pyro": ("Pyro4",),
    **dict.fromkeys(("slmq", "SLMQ"), ("softlayer_messaging",)),
}
#: Likewise of Celery.
RESULT_BACKENDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("redis", "rediss", "sentinel"), ("redis",)),
    **dict.fromkeys(("rpc", "file", "disabled"), ()),
    **dict.fromkeys(("django-db", "django-cache"), ("django_celery_results",)),
    **dict.fromkeys(("db", "database"), ("sqlalchemy",)),
    "cache+memory": (),
    **dict.fromkeys(
        ("cache+memcached", "cache+pylibmc", "cache+pymemcache"), ("pymemcache", "pylibmc", "memcache")
    ),
    "mongodb": ("pymongo",),
    "elasticsearch": ("elasticsearch",),
    "cassandra": ("cassandra",),
    "couchbase": ("couchbase",),
    "couchdb": ("pycouchdb",),
    "cosmosdbsql": ("pydocumentdb",),
    "consul": ("consul",),
    **dict.fromkeys(("dynamodb", "s3"), ("boto3",)),
    "azureblockblob": ("azure.storage.blob",),
    "arangodb": ("pyArango",),
    "gs": ("google.cloud.storage",),
}
#: A class of somebody's own, as Celery takes one.
_CLASS = re.compile(r"[A-Za-z_]\w*(\.\w+)+(:\w+)?|[A-Za-z_]\w*:[A-Za-z_]\w*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")


def unknown_broker(url: str) -> str:
    """Say why kombu has no transport for a URL; empty if it has."""
    return _unknown(_scheme(url).lower(), BROKERS)


def unknown_result_backend(url: str) -> str:
    """Say why Celery has no result backend of this name or URL; empty if it has, or none is named."""
    return "" if not url or _is_plugin(url) else _unknown(_scheme(url), RESULT_BACKENDS)


def missing_driver(broker_url: str = "", result_backend: str = "") -> str:
    """Return the Python module that a URL of a known scheme needs and that is not installed here, or nothing."""
    modules = BROKERS.get(_name(_scheme(broker_url).lower(), BROKERS)) or RESULT_BACKENDS.get(
        _name(_scheme(result_backend), RESULT_BACKENDS)
    )
    return "" if not modules or any(map(is_installed, modules)) else modules[0]


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _name(scheme: str, known: Collection[str]) -> str:
    return scheme if scheme in known else scheme.partition("+")[0]  # behind it stands a driver, or a dialect


def _is_plugin(url: str) -> bool:
    scheme = _scheme(url)
    return bool(_CLASS.fullmatch(scheme) or entry_points(group="celery.result_backends", name=scheme))


def _unknown(scheme: str, known: Collection[str]) -> str:
    if _name(scheme, known) in known:
        return ""
    if not _SCHEME.fullmatch(scheme):  # and so perhaps a part of a password
        return "it begins with no scheme, such as redis://"
    return f"the scheme {scheme!r} is unknown{suggest(scheme, known)}"
