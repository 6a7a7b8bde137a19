"""What may stand in a row, a result or a worker's reply that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any

from django.db import connections
from hypothesis import strategies as st

from dispatch.models import OutboxMessage

#: Levels that Python's reader of JSON gives up on, and a number of more digits than it takes.
DEEP, LONG = "[" * 100_000 + "]" * 100_000, "9" * 5_000
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "x", "\ud800", "\x00", "😀", "2026-13-01", "0001-01-01T00:00:00+14:00", 10**300]),
)
#: Any JSON, not only what an API would write.
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(["__type__", "__value__"]), inner, max_size=3)
    ),
    max_leaves=6,
)
TEXTS = st.one_of(
    JSON.map(json.dumps), st.text(max_size=20), st.sampled_from([DEEP, LONG, "{", '{"a": NaN}'])
)

#: Columns of an outbox row, with what no call would have stored there.
ODD_ROWS = {
    "args are no JSON": ("args", "["),
    "args are an object": ("args", "{}"),
    "args are a text": ("args", '"abc"'),
    "args are null": ("args", "null"),
    "args are empty": ("args", ""),
    "args are too deep": ("args", DEEP),
    "args hold half a pair": ("args", r'["\ud800"]'),
    "args hold too long a number": ("args", f"[{LONG}]"),
    "kwargs are no JSON": ("kwargs", "text"),
    "kwargs are a list": ("kwargs", "[]"),
    "kwargs look like kombu's own": ("kwargs", '{"text": {"__type__": "x", "__value__": 1}}'),
    "options are a list": ("options", "[]"),
    "options are a text": ("options", '"abc"'),
    "options are null": ("options", "null"),
    "eta is no time": ("options", '{"eta": "tomorrow"}'),
    "eta is a number": ("options", '{"eta": 5}'),
    "eta has no timezone": ("options", '{"eta": "2026-01-01T00:00:00"}'),
    "queue is a list": ("options", '{"queue": ["llm"]}'),
    "exchange is an object": ("options", '{"exchange": {}}'),
    "routing key is a list": ("options", '{"routing_key": ["a"]}'),
    "priority is a text": ("options", '{"priority": "high"}'),
    "priority is a list": ("options", '{"priority": [5]}'),
    "time limit is a text": ("options", '{"time_limit": "long"}'),
    "link names no task": ("options", '{"link": [5]}'),
    "stamps are a list": ("options", '{"stamps": ["a"]}'),
    "serializer is a number": ("options", '{"serializer": 5}'),
    "compression is unknown": ("options", '{"compression": "nope"}'),
    "headers are a list": ("headers", '["a"]'),
    "headers are a text": ("headers", '"abc"'),
    "headers replace Celery's own": ("headers", '{"id": [1]}'),
}


def write(message: OutboxMessage, column: str, value: Any, using: str = "default") -> None:
    """Write a value into a row past the model, as far as the database takes it."""
    connection = connections[using]
    pk = message._meta.pk.get_db_prep_value(message.pk, connection)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {message._meta.db_table} SET {column} = %s WHERE id = %s", [value, pk])
