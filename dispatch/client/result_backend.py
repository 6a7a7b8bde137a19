"""Reads what the worker stored in its own result backend, without turning it into Python exceptions."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pickle import PickleError
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celery.backends.base import BaseKeyValueStoreBackend
from celery.exceptions import SecurityError
from celery.result import AsyncResult
from celery.states import FAILURE, PENDING, READY_STATES, SUCCESS
from kombu.exceptions import SerializationError, SerializerNotInstalled
from kombu.utils.encoding import bytes_to_str

from dispatch.client.background_calls import within_timeout
from dispatch.client.broker_errors import sentence
from dispatch.client.celery_apps import reader, stored_results
from dispatch.conf import conf
from dispatch.core import tls
from dispatch.core.redaction import redact, shorten, storable
from dispatch.exceptions import BrokerUnavailable

__all__ = [
    "READY_STATES",
    "SUCCESS",
    "AsyncResult",
    "Outcome",
    "async_result",
    "finished",
    "last_word",
    "unreadable",
]


#: What Celery's own code raises for a stored result that it cannot read. A backend that is away raises other kinds.
UNREADABLE = (
    SerializationError,
    SerializerNotInstalled,
    SecurityError,
    PickleError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    ArithmeticError,
    RecursionError,
    EOFError,
)
#: The years in which a task may have ended: each database, and each timezone, has them.
YEARS = range(1000, 9999)

#: Puts one question to a result backend, and waits for the answer no longer than ``BROKER_TIMEOUT``.
Ask: TypeAlias = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one task ended. ``result`` is JSON; of an exception it holds exc_type, exc_message and exc_module.

    ``problem`` says why that is not what the worker stored, "" where it is.
    """

    task_id: str
    status: str
    result: str
    traceback: str | None = None
    done_at: dt.datetime | None = None
    worker: str | None = None
    problem: str = ""


def unreadable(task_id: str, problem: str) -> Outcome:
    """Return the failure of a task whose result nobody can use; ``problem`` says why, in a sentence."""
    result = {"exc_type": "UnreadableResult", "exc_message": [problem]}
    return Outcome(task_id, FAILURE, json.dumps(result), problem=problem)


def async_result(task_id: str, broker: str) -> AsyncResult[Any]:
    """Return Celery's AsyncResult, bound to the broker's result backend."""
    return AsyncResult(task_id, app=reader(broker))


def finished(broker: str, task_ids: Sequence[str]) -> list[Outcome]:
    """Return the outcomes of those tasks that have ended; of one that cannot be read, why.

    Raises BrokerUnavailable if the result backend cannot be asked.
    """
    with _opened(broker) as (ask, backend):
        stored = list(_stored(ask, backend, task_ids))
        zone = ask(partial(_zone, backend)) if any(each for _, each in stored) else dt.UTC
    found = (_read(backend, task_id, each, zone) for task_id, each in stored)
    return [outcome for outcome in found if outcome is not None]


def last_word(broker: str, task_id: str) -> tuple[str, str]:
    """Return the state that a worker last stored of a task, and the worker; "" for what it does not tell.

    Of a task that has begun it tells so if its ``task_track_started`` is set. Raises BrokerUnavailable.
    """
    with _opened(broker) as (ask, backend):
        [(_, stored)] = _stored(ask, backend, [task_id])
    try:
        meta = _decoded(backend, stored) if stored else {}
        state, result = _text(meta, "status") or "", meta.get("result")
        host = _text(result, "hostname") if isinstance(result, dict) else None
        return "" if state == PENDING else state, _text(meta, "worker") or host or ""
    except UNREADABLE:
        return "", ""


@contextmanager
def _opened(broker: str) -> Iterator[tuple[Ask, Any]]:
    """Yield how the result backend is asked, and the backend; whatever it raises is a BrokerUnavailable."""
    ask = partial(within_timeout, ("results", broker, conf.brokers[broker].result_backend))
    try:
        yield ask, ask(lambda: _backend(broker))
    except BrokerUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - each backend has its own kinds; each means "not now"
        raise BrokerUnavailable(
            sentence(f"The result backend of broker {broker!r} cannot be read", error)
        ) from None


def _backend(broker: str) -> Any:
    try:
        return stored_results(broker)
    except BrokerUnavailable:
        raise
    except Exception:  # noqa: BLE001 - parsers quote the URL, and so the password, in their own ways
        raise BrokerUnavailable(
            f"The result backend of broker {broker!r} cannot be used: "
            f'correct DISPATCH["BROKERS"]["{broker}"]["RESULT_BACKEND"], or install what it needs.'
            f"{tls.advice(conf.brokers[broker].result_backend)}"
        ) from None


def _stored(ask: Ask, backend: Any, task_ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield what the backend holds of each task, not decoded where that can be left to us."""
    if isinstance(backend, BaseKeyValueStoreBackend):
        keys = [backend.get_key_for_task(task_id) for task_id in task_ids]
        yield from zip(task_ids, _payloads(ask, backend, keys), strict=True)
    else:
        for task_id in task_ids:
            yield task_id, ask(partial(_meta, backend, task_id))


def _meta(backend: Any, task_id: str) -> Any:
    try:
        return backend.get_task_meta(task_id, cache=False)
    except UNREADABLE as error:
        return error


def _payloads(ask: Ask, backend: Any, keys: Sequence[Any]) -> Sequence[Any]:
    """Return what is stored under each key; memcached answers with a mapping, Redis with a list, S3 one by one."""
    try:
        found = ask(lambda: backend.mget(keys))
    except NotImplementedError:
        return [ask(partial(backend.get, key)) for key in keys]
    if not isinstance(found, Mapping):
        return list(found)
    by_text = {bytes_to_str(key): value for key, value in found.items()}
    return [by_text.get(bytes_to_str(key)) for key in keys]


def _read(backend: Any, task_id: str, stored: Any, zone: dt.tzinfo) -> Outcome | None:
    """Return how a task ended, None if it has not; whatever is odd in what is stored is that task's own failure."""
    if not stored:
        return None
    try:
        return _outcome(task_id, _decoded(backend, stored), zone)
    except Exception as error:  # noqa: BLE001 - nobody knows what a worker, or somebody else, has stored
        reason = shorten(redact(f"{type(error).__name__}: {error}"))
        return unreadable(task_id, storable(f"The worker stored a result that cannot be read: {reason}"))


def _decoded(backend: Any, stored: Any) -> Any:
    """Return a stored result as plain data.

    JSON is read without kombu's conversions, which fail on a task's own data of the shape __type__ and __value__.
    """
    if isinstance(stored, Exception):
        raise stored
    if isinstance(stored, dict):
        return stored
    return json.loads(stored) if backend.serializer == "json" else backend.decode(stored)


def _zone(backend: Any) -> dt.tzinfo:
    """Return where the times that a result backend returns without a zone are local.

    Into SQL, Celery writes the worker's local time: PostgreSQL makes it its session's, others drop the zone, so that
    only ``timezone`` in ``CONF`` can tell it.
    """
    if not hasattr(backend, "ResultSession"):
        return dt.UTC
    zone: dt.tzinfo = backend.app.timezone
    with closing(backend.ResultSession()) as session, suppress(ZoneInfoNotFoundError, ValueError):
        if session.get_bind().dialect.name == "postgresql":
            zone = ZoneInfo(session.connection().exec_driver_sql("SHOW timezone").scalar_one())
    return zone


def _outcome(task_id: str, meta: Any, zone: dt.tzinfo) -> Outcome | None:
    if not isinstance(meta, dict):
        raise TypeError(f"it is no object, but a {type(meta).__name__}")
    status = _text(meta, "status")
    if status is None:
        raise ValueError("it has no status")
    if status not in READY_STATES:
        return None
    return Outcome(
        task_id=task_id,
        status=status,
        result=storable(json.dumps(_as_data(meta.get("result")), default=str, ensure_ascii=False)),
        traceback=_text(meta, "traceback"),
        done_at=_moment(meta.get("date_done"), zone),
        worker=_text(meta, "worker"),
    )


def _text(meta: Mapping[str, Any], name: str) -> str | None:
    value = meta.get(name)
    if not isinstance(value, (str, type(None))):
        raise TypeError(f"its {name} is no text, but a {type(value).__name__}")
    return storable(value) if value else None


def _as_data(result: Any) -> Any:
    if isinstance(result, BaseException):
        kind = type(result)
        return {
            "exc_type": kind.__name__,
            "exc_message": [str(arg) for arg in result.args],
            "exc_module": kind.__module__,
        }
    return result


def _moment(value: Any, zone: dt.tzinfo) -> dt.datetime | None:
    """Return the moment that is meant, in UTC."""
    if value is None:
        return None
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(dt.UTC)
    if moment.year not in YEARS:
        raise ValueError(f"its date_done is {moment.isoformat()}")
    return moment
