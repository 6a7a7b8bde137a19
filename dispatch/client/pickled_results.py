"""Keeps result backends from unpickling what somebody stored: to read a pickle is to run the code that it names.

Celery itself does so in two places, whatever its settings accept: in SQL, where it pickled all results before 5.7 and
reads those on; and in memcached, whose libraries before 5.7 unpickle by themselves.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

from celery.backends import cache
from celery.exceptions import ImproperlyConfigured, SecurityError
from celery.states import PENDING, READY_STATES
from kombu.serialization import prepare_accept_content
from kombu.utils.encoding import ensure_bytes

JSON, PICKLE = prepare_accept_content(["json"]), prepare_accept_content(["pickle"])
#: With which each pickle of protocol 2 and above begins.
MARK = b"\x80"
REMEDY = (
    "Let the worker store JSON (into SQL: by Celery 5.7 or later), or allow pickle by name in CONF: "
    '"result_accept_content": ["json", "pickle"].'
)
REFUSED = f"it is pickled, and to read it could run code. {REMEDY}"
#: What the module has since its libraries for memcached do not unpickle.
_SINCE_5_7 = "get_memcache_client"
UNPICKLES = f"Before Celery 5.7, libraries for memcached unpickle whatever is stored. {REMEDY}"


def refused(backend: Any) -> Any:
    """Return the result backend, which raises SecurityError where it would unpickle unless its settings accept that."""
    backend.accept = backend.accept or JSON  # of none at all, kombu would read whatever there is
    if backend.accept >= PICKLE:
        return backend
    if hasattr(backend, "_decode_stored_result"):
        backend._decode_stored_result = partial(_decoded, backend)
    elif hasattr(backend, "ResultSession"):
        backend._get_task_meta_for = partial(_unread, backend)
    elif (
        isinstance(backend, cache.CacheBackend)
        and not _is_in_memory(backend)
        and not hasattr(cache, _SINCE_5_7)
    ):
        raise ImproperlyConfigured(UNPICKLES)
    return backend


def _is_in_memory(backend: Any) -> bool:
    return str(backend.backend) == "memory"


def _decoded(backend: Any, payload: Any) -> Any:
    """Return the result of a row, by the serializer of the settings alone."""
    if payload is None:
        return None
    try:
        return backend.decode(ensure_bytes(payload))
    except Exception:
        if ensure_bytes(payload).startswith(MARK):
            raise SecurityError(REFUSED) from None
        raise


def _unread(backend: Any, task_id: str) -> dict[str, Any]:
    """Return what is known of a task without its result, which Celery before 5.7 unpickles with the row."""
    table = backend.task_cls
    with closing(backend.ResultSession()) as session:
        row = session.query(table.status).filter(table.task_id == task_id).first()
    status = row[0] if row else PENDING
    if status in READY_STATES:
        raise SecurityError(REFUSED)
    return {"task_id": task_id, "status": status, "result": None}
