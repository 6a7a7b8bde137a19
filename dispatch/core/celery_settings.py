"""Celery settings that stand in ``CONF`` of a broker: of what kind each must be, and which have no effect there."""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo
from collections.abc import Mapping
from typing import Any

from dispatch.core.setting_kinds import HOUR, YEAR, Kind, names, number, seconds, whole


def _are_steps(value: Any) -> bool:
    """Tell whether these are steps of priorities that kombu can keep lists for: rising, and none of them twice."""
    is_step = number(0, 255, int)
    return isinstance(value, (list, tuple, range)) and (
        bool(value) and all(map(is_step, value)) and list(value) == sorted(set(value))
    )


def _is_zone(value: Any) -> bool:
    if isinstance(value, dt.tzinfo):
        return True
    try:
        return isinstance(value, str) and bool(zoneinfo.ZoneInfo(value))
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):  # OSError: the name of a folder
        return False


TEXT = Kind(lambda value: isinstance(value, str), "a text")
FLAG = Kind(lambda value: isinstance(value, bool), "True or False")
OBJECT = Kind(
    lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
    "a dictionary with texts as keys",
)
SSL = Kind(
    lambda value: isinstance(value, bool) or OBJECT.accepts(value),
    "True, False or a dictionary of TLS options",
)
SECONDS = seconds(0, YEAR)
TIMEOUT = seconds(0.001, HOUR)

#: What Celery settings in ``CONF`` must be, as far as dispatch, Celery's sender or its result backends use them. Others
#: reach Celery as they are.
CONF = {
    **dict.fromkeys(
        (
            "broker_transport_options",
            "result_backend_transport_options",
            "database_engine_options",
            "database_table_names",
            "database_table_schemas",
            "cache_backend_options",
            "mongodb_backend_settings",
            "couchbase_backend_settings",
            "arangodb_backend_settings",
            "cassandra_options",
        ),
        OBJECT.or_none(),
    ),
    **dict.fromkeys(("broker_use_ssl", "redis_backend_use_ssl"), SSL.or_none()),
    **dict.fromkeys(
        (
            "enable_utc",
            "redis_retry_on_timeout",
            "redis_socket_keepalive",
            "result_extended",
            "result_persistent",
            "result_backend_always_retry",
            "database_short_lived_sessions",
            "database_create_tables_at_setup",
        ),
        FLAG.or_none(),
    ),
    **dict.fromkeys(
        ("broker_connection_timeout", "redis_socket_timeout", "redis_socket_connect_timeout"),
        TIMEOUT.or_none(),
    ),
    **dict.fromkeys(("broker_heartbeat", "redis_backend_health_check_interval"), SECONDS.or_none()),
    "broker_pool_limit": whole(0, 65_535).or_none(),
    "redis_max_connections": whole(1, 65_535).or_none(),
    "result_backend_max_retries": Kind(number(0, math.inf, (int, float)), "a number, 0 or more").or_none(),
    **dict.fromkeys(("broker_login_method", "result_serializer", "result_compression"), TEXT.or_none()),
    **dict.fromkeys(("accept_content", "result_accept_content"), names("content types").or_none()),
    "timezone": Kind(_is_zone, 'a timezone such as "Europe/Berlin"').or_none(),
}
#: Likewise what stands in ``broker_transport_options`` and ``result_backend_transport_options``.
TRANSPORT_OPTIONS = {
    "priority_steps": Kind(_are_steps, "a list of rising whole numbers from 0 to 255").or_none(),
    **dict.fromkeys(
        ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout"), TIMEOUT.or_none()
    ),
    "visibility_timeout": SECONDS.or_none(),
    "max_retries": whole(0, 1_000).or_none(),
    "max_connections": whole(1, 65_535).or_none(),
    **dict.fromkeys(("sep", "global_keyprefix", "master_name", "client_name"), TEXT.or_none()),
    **dict.fromkeys(("retry_on_timeout", "confirm_publish", "socket_keepalive"), FLAG.or_none()),
    "sentinel_kwargs": OBJECT.or_none(),
}
#: Celery settings that have no effect in ``CONF``, and where to write what they mean.
ELSEWHERE = {
    **dict.fromkeys(("broker_url", "broker_read_url", "broker_write_url", "broker_transport"), '"URL"'),
    **dict.fromkeys(
        ("broker_host", "broker_port", "broker_user", "broker_password", "broker_vhost"), '"URL"'
    ),
    "result_backend": '"RESULT_BACKEND"',
}
