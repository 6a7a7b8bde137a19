"""Live, typed reads of the one ``DISPATCH`` setting; each read sees ``override_settings`` and later changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from django.conf import settings

from dispatch.core.codecs import COMPRESSIONS, DEFAULT_SERIALIZER, SERIALIZERS, absence
from dispatch.core.redaction import redact
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError

T = TypeVar("T")
DEFAULT_BROKER = "default"
_AMQP = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq"})
_REDIS = frozenset({"redis", "rediss", "redis+socket", "sentinel"})
#: Where a worker stores results so that no other process finds them, by the scheme of the result backend.
_OUT_OF_REACH = {
    "rpc": "it sends each result to the process that sent the message, and the collector is another",
    "disabled": "it stores nothing",
    "cache+memory": "each process has a memory of its own",
}
_BROKER_KEYS = ("URL", "RESULT_BACKEND", "CONF")


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
    def serializer(self) -> str:
        """The serializer of messages whose call and task name none: Celery's ``task_serializer`` in ``CONF``."""
        return self.conf.get("task_serializer") or DEFAULT_SERIALIZER

    @property
    def compression(self) -> str | None:
        """The compression of messages whose call and task name none: Celery's ``task_compression`` in ``CONF``."""
        return self.conf.get("task_compression") or None


class Setting(Generic[T]):
    """One key of ``DISPATCH``: its default, what is accepted, and how that is put into words."""

    def __init__(self, default: T, accepts: Callable[[Any], bool], expected: str) -> None:
        self.default = default
        self.accepts = accepts
        self.expected = expected
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
        shown = f"a {type(value).__name__}" if secret else redact(repr(value))
        return f'DISPATCH["{self.name}"] is {shown}, but must be {self.expected}.'


def _number(least: float, *, whole: bool = False) -> Callable[[Any], bool]:
    kinds = int if whole else (int, float)
    return lambda value: (
        isinstance(value, kinds) and not isinstance(value, bool) and least <= value < math.inf
    )


def _names(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in value)


class Conf:
    """The keys of ``DISPATCH``. Times are in seconds."""

    BROKERS = Setting[Mapping[str, Mapping[str, Any]]](
        {}, lambda value: isinstance(value, Mapping), "a dictionary of alias to broker"
    )
    BROKER_TIMEOUT = Setting(2.0, _number(0.001), "a number of seconds above 0")
    REGISTRY_TTL = Setting(1.0, _number(0), "a number of seconds, 0 or more")
    TRIGGER_ERRORS = Setting("dead", lambda value: value in ("dead", "raise"), '"dead" or "raise"')
    AUTOCOMMIT_MODELS = Setting[tuple[str, ...]]((), _names, 'a list of models such as "app.model"')
    SENSITIVE_FIELDS = Setting[tuple[str, ...]]((), _names, 'a list of fields such as "app.model.field"')
    SERIALIZERS = Setting[tuple[str, ...]](
        ("json",),
        lambda value: _names(value) and DEFAULT_SERIALIZER in value and set(value) <= SERIALIZERS.keys(),
        "a list of json, yaml and msgpack, json among them (pickle is refused: it runs code)",
    )
    MAX_ARGUMENTS_SIZE = Setting(1_048_576, _number(1, whole=True), "a whole number of bytes, 1 or more")
    ROUTERS = Setting[tuple[str, ...]]((), _names, "a list of dotted paths of router callables")
    RELAY_BATCH_SIZE = Setting(200, _number(1, whole=True), "a whole number, 1 or more")
    RELAY_POLL_INTERVAL = Setting(0.1, _number(0.001), "a number of seconds above 0")
    RELAY_LEASE = Setting(60.0, _number(1), "a number of seconds, 1 or more")
    MAX_ATTEMPTS = Setting(12, _number(1, whole=True), "a whole number, 1 or more")
    BACKOFF_BASE = Setting(1.0, _number(0), "a number of seconds, 0 or more")
    BACKOFF_MAX = Setting(300.0, _number(0), "a number of seconds, 0 or more")
    RESULTS_POLL_INTERVAL = Setting(0.5, _number(0.001), "a number of seconds above 0")
    RESULTS_HORIZON = Setting(86_400.0, _number(1), "a number of seconds, 1 or more")

    @property
    def brokers(self) -> dict[str, Broker]:
        """The brokers by alias. Without ``BROKERS``, the ``CELERY_…`` settings of the project make the default one."""
        entries = self.BROKERS
        if not entries:
            return {DEFAULT_BROKER: _celery_broker()}
        return {alias: _broker(alias, entry) for alias, entry in entries.items()}

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
            yield f"DISPATCH has no key {redact(repr(name))}{suggest(str(name), known)}: remove or correct it."
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
    where = f'DISPATCH["BROKERS"][{redact(repr(alias))}]'
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} is a {type(entry).__name__}, but must be a dictionary with a URL.")
    for key in entry:
        if key not in _BROKER_KEYS:
            raise ConfigurationError(
                f"{where} has an unknown key {redact(repr(key))}: the keys are {', '.join(_BROKER_KEYS)}."
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
    _check_encoding(f'{where}["CONF"]', extra)
    return Broker(alias, url, backend, extra)


def _check_encoding(where: str, extra: Mapping[str, Any]) -> None:
    if (serializer := extra.get("task_serializer")) is not None:
        more = ', or add it to DISPATCH["SERIALIZERS"]'
        _check_codec(f'{where}["task_serializer"]', serializer, conf.SERIALIZERS, more)
    if (compression := extra.get("task_compression")) is not None:
        _check_codec(f'{where}["task_compression"]', compression, tuple(COMPRESSIONS))


def _check_codec(where: str, name: Any, known: Collection[str], more: str = "") -> None:
    if name not in known:
        raise ConfigurationError(
            f"{where} is {redact(repr(name))}, but must be one of {', '.join(known)}{more}."
        )
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
    return Broker(DEFAULT_BROKER, url, getattr(settings, "CELERY_RESULT_BACKEND", None) or "")
