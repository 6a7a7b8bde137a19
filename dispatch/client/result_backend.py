"""Reads what the worker stored in its own result backend, without turning it into Python exceptions."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celery.backends.base import BaseKeyValueStoreBackend
from celery.result import AsyncResult
from celery.states import FAILURE, READY_STATES
from kombu.exceptions import DecodeError
from kombu.utils.encoding import bytes_to_str

from dispatch.client.background_calls import within_timeout
from dispatch.client.broker_errors import sentence
from dispatch.client.celery_apps import reader, stored_results
from dispatch.conf import conf
from dispatch.core import tls
from dispatch.core.redaction import storable
from dispatch.exceptions import BrokerUnavailable

__all__ = ["READY_STATES", "AsyncResult", "Outcome", "async_result", "finished"]

#: Puts one question to a result backend, and waits for the answer no longer than ``BROKER_TIMEOUT``.
Ask: TypeAlias = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one task ended. ``result`` is JSON; of an exception it holds exc_type, exc_message and exc_module."""

    task_id: str
    status: str
    result: str
    traceback: str | None
    done_at: dt.datetime | None
    worker: str | None


def async_result(task_id: str, broker: str) -> AsyncResult[Any]:
    """Return Celery's AsyncResult, bound to the broker's result backend."""
    return AsyncResult(task_id, app=reader(broker))


def finished(broker: str, task_ids: Sequence[str]) -> list[Outcome]:
    """Return the outcomes of those tasks that have ended.

    Raises BrokerUnavailable if the result backend cannot be asked.
    """
    ask = partial(within_timeout, ("results", broker, conf.brokers[broker].result_backend))
    try:
        backend = ask(lambda: _backend(broker))
        metas = [(task_id, meta) for task_id, meta in _metas(ask, backend, task_ids) if _is_ready(meta)]
        zone = ask(partial(_zone, backend)) if metas else None
    except BrokerUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - each backend has its own kinds; each means "not now"
        raise BrokerUnavailable(
            sentence(f"The result backend of broker {broker!r} cannot be read", error)
        ) from None
    return [_outcome(task_id, meta, zone) for task_id, meta in metas]


def _backend(broker: str) -> Any:
    try:
        return stored_results(broker)
    except Exception:  # noqa: BLE001 - parsers quote the URL, and so the password, in their own ways
        raise BrokerUnavailable(
            f"The result backend of broker {broker!r} cannot be used: "
            f'correct DISPATCH["BROKERS"]["{broker}"]["RESULT_BACKEND"], or install what it needs.'
            f"{tls.advice(conf.brokers[broker].result_backend)}"
        ) from None


def _is_ready(meta: Mapping[str, Any] | None) -> bool:
    return meta is not None and meta.get("status") in READY_STATES


def _metas(ask: Ask, backend: Any, task_ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(backend, BaseKeyValueStoreBackend):
        keys = [backend.get_key_for_task(task_id) for task_id in task_ids]
        for task_id, payload in zip(task_ids, _payloads(ask, backend, keys), strict=True):
            yield task_id, _decode(backend, payload) if payload else None
    else:
        for task_id in task_ids:
            yield task_id, ask(partial(_meta, backend, task_id))


def _meta(backend: Any, task_id: str) -> Any:
    try:
        return backend.get_task_meta(task_id, cache=False)
    except (DecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        return _unreadable(error)


def _decode(backend: Any, payload: Any) -> Any:
    """Return a stored result as plain data; what cannot be read is a failure of that task alone.

    JSON is read without kombu's conversions, which fail on a task's own data of the shape __type__ and __value__.
    """
    try:
        return json.loads(payload) if backend.serializer == "json" else backend.decode(payload)
    except Exception as error:  # noqa: BLE001 - each serializer has its own kinds
        return _unreadable(error)


def _unreadable(error: Exception) -> dict[str, Any]:
    text = f"The worker stored a result that cannot be read: {type(error).__name__}"
    return {"status": FAILURE, "result": {"exc_type": "UnreadableResult", "exc_message": [text]}}


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


def _outcome(task_id: str, meta: Mapping[str, Any], zone: dt.tzinfo | None) -> Outcome:
    return Outcome(
        task_id=task_id,
        status=meta["status"],
        result=storable(json.dumps(_as_data(meta.get("result")), default=str, ensure_ascii=False)),
        traceback=storable(meta["traceback"]) if meta.get("traceback") else None,
        done_at=_moment(meta.get("date_done"), zone),
        worker=meta.get("worker"),
    )


def _as_data(result: Any) -> Any:
    if isinstance(result, BaseException):
        kind = type(result)
        return {
            "exc_type": kind.__name__,
            "exc_message": [str(arg) for arg in result.args],
            "exc_module": kind.__module__,
        }
    return result


def _moment(value: Any, zone: dt.tzinfo | None) -> dt.datetime | None:
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=zone)
    return None
