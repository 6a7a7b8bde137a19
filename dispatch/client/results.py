"""Reads what the worker stored in its own result backend, without turning it into Python exceptions."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery.backends.base import BaseKeyValueStoreBackend
from celery.result import AsyncResult
from celery.states import READY_STATES

from dispatch.client.app import reader
from dispatch.core.wording import redact
from dispatch.exceptions import BrokerUnavailable

__all__ = ["READY_STATES", "AsyncResult", "Outcome", "async_result", "finished"]


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
    backend = reader(broker).backend
    try:
        return [_outcome(task_id, meta) for task_id, meta in _metas(backend, task_ids) if _is_ready(meta)]
    except Exception as error:  # noqa: BLE001 - each backend has its own kinds; each means "not now"
        reason = redact(str(error)) or type(error).__name__
        raise BrokerUnavailable(f"The result backend of broker {broker!r} cannot be read: {reason}") from None


def _is_ready(meta: Mapping[str, Any] | None) -> bool:
    return meta is not None and meta.get("status") in READY_STATES


def _metas(backend: Any, task_ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(backend, BaseKeyValueStoreBackend):
        keys = [backend.get_key_for_task(task_id) for task_id in task_ids]
        for task_id, payload in zip(task_ids, backend.mget(keys), strict=True):
            yield task_id, backend.decode(payload) if payload else None
    else:
        for task_id in task_ids:
            yield task_id, backend.get_task_meta(task_id, cache=False)


def _outcome(task_id: str, meta: Mapping[str, Any]) -> Outcome:
    return Outcome(
        task_id=task_id,
        status=meta["status"],
        result=json.dumps(_as_data(meta.get("result")), default=str, ensure_ascii=False),
        traceback=meta.get("traceback"),
        done_at=_moment(meta.get("date_done")),
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


def _moment(value: Any) -> dt.datetime | None:
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    return None
