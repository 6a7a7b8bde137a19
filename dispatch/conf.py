"""Live, typed reads of the one ``DISPATCH`` setting; each read sees ``override_settings`` and later changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

from django.conf import settings
from django.utils.module_loading import import_string

from dispatch.core.broker_urls import secrets_of
from dispatch.core.celery_settings import CONF, OBJECT, TIMEOUT, TRANSPORT_OPTIONS
from dispatch.core.codecs import COMPRESSIONS, DEFAULT_SERIALIZER, SERIALIZERS, absence
from dispatch.core.redaction import know, redact, shorten
from dispatch.core.setting_kinds import (
    HOUR,
    RETAINED,
    RETENTION,
    YEAR,
    Kind,
    are_names,
    names,
    one_of,
    seconds,
    whole,
)
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError

T = TypeVar("T")
DEFAULT_BROKER = "default"
WEEK = 7 * 86_400.0
_AMQP = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq"})
_REDIS = frozenset({"redis", "rediss", "redis+socket", "sentinel"})
#: Where a worker stores results so that no other process finds them, by the scheme of the result backend.
_OUT_OF_REACH = {
    "rpc": "it sends each result to the process that sent the message, and the collector is another",
    "disabled": "it stores nothing",
    "cache+memory": "each process has a memory of its own",
}
_BROKER_KEYS = ("URL", "RESULT_BACKEND", "CONF")
#: As long as the columns that hold an alias.
LONGEST_ALIAS = 64


@dataclass(frozen=True, slots=True)
class Broker:
    """One entry of ``DISPATCH["BROKERS"]``; ``conf`` holds any further Celery settings."""

    alias: str
    url: str = field(repr=False)
    result_backend: str = field(default="", repr=False)
    conf: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def scheme(self) -> str:
        """The URL's scheme: which kind of broker this is."""
        return self.url.partition("://")[0].lower()

    @property
    def has_exchanges(self) -> bool:
        """Whether the broker routes by itself (AMQP), or the registry must (Redis and the other virtual ones)."""
        return self.scheme in _AMQP

    @property
    def is_urgent_low(self) -> bool:
        """Whether 0 is the most urgent priority, as on Redis, instead of the least."""
        return self.scheme in _REDIS

    @property
    def out_of_reach(self) -> str:
        """Why no other process can read the result backend; empty if one can, or there is none."""
        return _OUT_OF_REACH.get(self.result_backend.partition("://")[0].lower(), "")

    @property
    def keeps_results_in_redis(self) -> bool:
        """Whether the result backend is Redis, where each stored result is published, too."""
        return self.result_backend.partition("://")[0].lower() in _REDIS

    @property
    def unpickles_results(self) -> bool:
        """Whether ``CONF`` names pickle among what may be read of the result backend."""
        accepted: Any = self.conf.get("result_accept_content") or self.conf.get("accept_content")
        return are_names(accepted) and not {"pickle", "application/x-python-serialize"}.isdisjoint(accepted)

    @property
    def serializer(self) -> str:
        """The serializer of messages whose call and task name none: Celery's ``task_serializer`` in ``CONF``."""
        return self.conf.get("task_serializer") or DEFAULT_SERIALIZER

    @property
    def compression(self) -> str | None:
        """The compression of messages whose call and task name none: Celery's ``task_compression`` in ``CONF``."""
        return self.conf.get("task_compression") or None


class Setting(Generic[T]):
    """One key of ``DISPATCH``: its default, what is accepted, and how that is put into words."""

    def __init__(self, default: T, kind: Kind) -> None:
        self.default = default
        self.accepts, self.expected = kind
        # What was read last, if nobody can change it in place: it is not looked at again.
        self._accepted: object = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        given = getattr(settings, "DISPATCH", None)
        value: T = (given if type(given) is dict else user_settings()).get(self.name, self.default)
        if value is not self._accepted:
            if not self.accepts(value):
                raise ConfigurationError(self.complaint(value))
            self._accepted = value if isinstance(value, (int, float, str, tuple)) else self.default
        return value

    def complaint(self, value: Any) -> str:
        """Say what is wrong with ``value`` and what would be right."""
        secret = self.name == "BROKERS"  # may hold passwords that are not part of a URL
        shown = f"a {type(value).__name__}" if secret else _shown(value)
        return f'DISPATCH["{self.name}"] is {shown}, but must be {self.expected}.'


def _shown(value: Any) -> str:
    try:
        return shorten(redact(repr(value)))
    except (ValueError, RecursionError):  # a number of more digits, or levels, than Python writes
        return f"a {type(value).__name__} that is too long to be shown"


def _is_function(path: Any) -> bool:
    if path == "":
        return True
    try:
        return callable(import_string(path))
    except (AttributeError, ImportError, ValueError):  # the first: no text
        return False


class Conf:
    """The keys of ``DISPATCH``. Times are in seconds."""

    BROKERS = Setting[Mapping[str, Mapping[str, Any]]](
        {}, Kind(lambda value: isinstance(value, Mapping), "a dictionary of alias to broker")
    )
    BROKER_TIMEOUT = Setting(2.0, TIMEOUT)
    REGISTRY_TTL = Setting(1.0, seconds(0, YEAR))
    TRIGGER_ERRORS = Setting("dead", one_of("dead", "raise"))
    DELIVERY = Setting("relay", one_of("relay", "on_commit", "console"))
    SENSITIVE_FIELDS = Setting[tuple[str, ...]]((), names('fields such as "app.model.field"'))
    SERIALIZERS = Setting[tuple[str, ...]](
        ("json",),
        Kind(
            lambda value: (
                are_names(value) and DEFAULT_SERIALIZER in value and set(value) <= SERIALIZERS.keys()
            ),
            "a list of json, yaml and msgpack, json among them (pickle is refused: it runs code)",
        ),
    )
    MAX_ARGUMENTS_SIZE = Setting(1_048_576, whole(1, 1_000_000_000, " of bytes"))
    ROUTERS = Setting[tuple[str, ...]]((), names("dotted paths of router callables"))
    SCHEMA_NAME = Setting(
        "",
        Kind(
            _is_function, "the dotted path of a function that takes an alias and returns the name of a schema"
        ),
    )
    RELAY_BATCH_SIZE = Setting(500, whole(1, 10_000))  # SQLite takes 32,766 parameters, and each row is one
    RELAY_POLL_INTERVAL = Setting(0.08, seconds(0.001, HOUR))
    LISTEN = Setting(False, Kind(lambda value: isinstance(value, bool), "True or False"))
    RELAY_LEASE = Setting(60.0, seconds(1, YEAR))
    MAX_ATTEMPTS = Setting(12, whole(1, 1_000))
    BACKOFF_BASE = Setting(1.0, seconds(0.001, YEAR))  # 0 would ask a broker that is down without a pause
    BACKOFF_MAX = Setting(300.0, seconds(0, YEAR))
    RESULTS_POLL_INTERVAL = Setting(0.15, seconds(0.001, HOUR))
    RESULTS_HORIZON = Setting(86_400.0, seconds(1, 10 * YEAR))
    RETENTION = Setting[Mapping[str, float | dt.timedelta | None] | None](
        {"published": WEEK, "superseded": WEEK, "cancelled": WEEK, "dead": None}, RETENTION
    )
    PRUNE_RESULTS = Setting(False, Kind(lambda value: isinstance(value, bool), "True or False"))

    @property
    def brokers(self) -> dict[str, Broker]:
        """The brokers by alias. Without ``BROKERS``, the ``CELERY_…`` settings of the project make the default one."""
        entries = self.BROKERS
        if not entries:
            return {DEFAULT_BROKER: _celery_broker()}
        return {alias: _broker(alias, entry) for alias, entry in entries.items()}

    @property
    def retention(self) -> dict[str, dt.timedelta | None]:
        """How long settled messages are kept, by status; None: for ever. What is left out is kept as by default."""
        given = self.RETENTION
        if given is None:
            return dict.fromkeys(RETAINED)
        merged = {**(type(self).RETENTION.default or {}), **given}
        return {
            status: dt.timedelta(seconds=kept) if isinstance(kept, (int, float)) else kept
            for status, kept in merged.items()
        }

    def serializer(self, alias: str) -> str:
        """Return what a message to this broker is written in if neither call nor task says so."""
        if len(self.SERIALIZERS) == 1:
            return DEFAULT_SERIALIZER  # no send need read all brokers for that
        broker = self.brokers.get(alias)
        return broker.serializer if broker else DEFAULT_SERIALIZER


conf = Conf()


def user_settings() -> dict[str, Any]:
    """Return the project's ``DISPATCH`` dictionary, empty where it has none."""
    value = getattr(settings, "DISPATCH", {})
    if not isinstance(value, dict):
        raise ConfigurationError(f"DISPATCH is a {type(value).__name__}, but must be a dictionary.")
    return value


def problems() -> Iterator[str]:
    """Yield a sentence for each unknown key and each bad value of the project's ``DISPATCH``."""
    known = {name: value for name, value in vars(Conf).items() if isinstance(value, Setting)}
    for name, value in user_settings().items():
        if name not in known:
            yield f"DISPATCH has no key {_shown(name)}{suggest(str(name), known)}: remove or correct it."
        elif not known[name].accepts(value):
            yield known[name].complaint(value)
        elif name == "BROKERS":
            yield from _broker_problems(value)
        elif name == "SERIALIZERS":
            yield from (f'DISPATCH["SERIALIZERS"]: {lack}.' for each in value if (lack := absence(each)))


def _broker_problems(entries: Mapping[str, Any]) -> Iterator[str]:
    for alias, entry in entries.items():
        try:
            _broker(alias, entry)
        except ConfigurationError as error:
            yield str(error)
    if entries and DEFAULT_BROKER not in entries:
        yield f'DISPATCH["BROKERS"] has no {DEFAULT_BROKER!r} broker: name one so.'


def _broker(alias: str, entry: Any) -> Broker:
    where = _entry(alias)
    _check_alias(alias)
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} is a {type(entry).__name__}, but must be a dictionary with a URL.")
    for key in entry:
        if key not in _BROKER_KEYS:
            raise ConfigurationError(
                f"{where} has an unknown key {_shown(key)}: the keys are {', '.join(_BROKER_KEYS)}."
            )
    url, backend, extra = entry.get("URL"), entry.get("RESULT_BACKEND") or "", entry.get("CONF") or {}
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError(
            f'{where}["URL"] is missing or no URL: write one such as redis://host:6379/0.'
        )
    if not isinstance(backend, str) or not isinstance(extra, Mapping):
        raise ConfigurationError(
            f"{where}: RESULT_BACKEND must be a text, and CONF a dictionary of Celery settings."
        )
    _check_conf(f'{where}["CONF"]', extra)
    _check_encoding(f'{where}["CONF"]', extra)
    return Broker(alias, url, backend, extra)


@lru_cache(maxsize=100)
def _entry(alias: str) -> str:
    return f'DISPATCH["BROKERS"][{_shown(alias)}]'


def _check_alias(alias: Any) -> None:
    is_text = isinstance(alias, str) and 0 < len(alias) <= LONGEST_ALIAS
    if not is_text or not alias.isprintable() or alias != alias.strip():
        raise ConfigurationError(
            f'DISPATCH["BROKERS"] has the alias {_shown(alias)}, but an alias must be a text of 1 to {LONGEST_ALIAS} '
            f"characters that can be seen, such as {DEFAULT_BROKER!r}."
        )


def _check_conf(where: str, extra: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for a Celery setting, or a transport option, that is not of its kind."""
    _check_kind(where, extra, OBJECT)
    for name, value in extra.items():
        if kind := CONF.get(name):
            _check_kind(f'{where}["{name}"]', value, kind)
    for options in ("broker_transport_options", "result_backend_transport_options"):
        for name, value in (extra.get(options) or {}).items():
            if kind := TRANSPORT_OPTIONS.get(name):
                _check_kind(f'{where}["{options}"]["{name}"]', value, kind)


def _check_kind(where: str, value: Any, kind: Kind) -> None:
    if not kind.accepts(value):  # only numbers are shown: a text may be a password
        shown = _shown(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}"
        raise ConfigurationError(f"{where} is {shown}, but must be {kind.expected}.")


def _check_encoding(where: str, extra: Mapping[str, Any]) -> None:
    if (serializer := extra.get("task_serializer")) is not None:
        more = ', or add it to DISPATCH["SERIALIZERS"]'
        _check_codec(f'{where}["task_serializer"]', serializer, conf.SERIALIZERS, more)
    if (compression := extra.get("task_compression")) is not None:
        _check_codec(f'{where}["task_compression"]', compression, tuple(COMPRESSIONS))


def _check_codec(where: str, name: Any, known: Collection[str], more: str = "") -> None:
    if name not in known:
        raise ConfigurationError(f"{where} is {_shown(name)}, but must be one of {', '.join(known)}{more}.")
    if lacking := absence(name):
        raise ConfigurationError(f"{where}: {lacking}.")


def _celery_broker() -> Broker:
    url = getattr(settings, "CELERY_BROKER_URL", None)
    if not url:
        raise ConfigurationError(
            'No broker: set DISPATCH["BROKERS"]["default"]["URL"], or CELERY_BROKER_URL, in the settings.'
        )
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError("CELERY_BROKER_URL is no URL: write one such as redis://host:6379/0.")
    backend = getattr(settings, "CELERY_RESULT_BACKEND", None) or ""
    if not isinstance(backend, str):
        raise ConfigurationError(f"CELERY_RESULT_BACKEND is a {type(backend).__name__}, but must be a text.")
    return Broker(DEFAULT_BROKER, url, backend)


def urls() -> Iterator[tuple[str, str]]:
    """Yield each configured text that is to be a URL of a broker or result backend, and the setting it stands in."""
    given = getattr(settings, "DISPATCH", None)
    brokers = given.get("BROKERS") if isinstance(given, Mapping) else None
    for alias, entry in brokers.items() if isinstance(brokers, Mapping) else ():
        for key in ("URL", "RESULT_BACKEND"):
            if isinstance(entry, Mapping) and isinstance(entry.get(key), str):
                yield f'{_entry(alias)}["{key}"]', entry[key]
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND") if not brokers else ():
        if isinstance(url := getattr(settings, name, None), str):
            yield name, url


def _credentials() -> Iterator[str]:
    """Yield what is secret in the settings, whatever their shape: an error may be about a bad one."""
    for name in ("DISPATCH", "DATABASES", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        yield from secrets_of(getattr(settings, name, None))


know(_credentials)
