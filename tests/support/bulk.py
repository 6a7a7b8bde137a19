"""Outboxes as full as production's: a million rows by one statement of SQL."""

from __future__ import annotations

from typing import Any

from django.db import connection

from dispatch.models import OutboxMessage

#: A relation of the numbers 1 to {count}, in a column n.
SERIES = {
    "postgresql": "generate_series(1, {count}) AS series(n)",
    "mysql": "(SELECT seq AS n FROM seq_1_to_{count}) AS series",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)",
}
#: An id that begins with {prefix}, four hexadecimal digits, and grows with n.
IDS = {
    "postgresql": "('{prefix}0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
    "mysql": "CAST(CONCAT('{prefix}0000-0000-7000-8000-', LPAD(LOWER(HEX(n)), 12, '0')) AS UUID)",
    "sqlite": "printf('{prefix}000000007000%016x', n)",
}
#: The template's due time, n milliseconds later.
DUE = {
    "postgresql": "available_at + n * interval '1 millisecond'",
    "mysql": "available_at + INTERVAL n * 1000 MICROSECOND",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', available_at, '+' || (n / 1000.0) || ' seconds')",
}


def multiply(template: OutboxMessage, count: int, prefix: str = "0000", **columns: str) -> None:
    """Insert ``count`` copies of a row, due a millisecond after each other.

    Their ids begin with ``prefix``; ``columns`` are further SQL expressions over n and the template's columns.
    """
    vendor = connection.vendor
    values: dict[str, Any] = {field.column: field.column for field in OutboxMessage._meta.concrete_fields}
    values |= {"id": IDS[vendor].format(prefix=prefix), "available_at": DUE[vendor], **columns}
    table = OutboxMessage._meta.db_table
    statement = (
        f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} "
        f"FROM {table}, {SERIES[vendor].format(count=count)} WHERE id = %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [OutboxMessage._meta.pk.get_db_prep_value(template.pk, connection)])
    analyze()


def analyze() -> None:
    """Give the planner its statistics, as the database does by itself in time."""
    statement = {"mysql": "ANALYZE TABLE {}", "postgresql": "VACUUM ANALYZE {}"}.get(
        connection.vendor, "ANALYZE {}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement.format(OutboxMessage._meta.db_table))
        if connection.vendor == "mysql":
            cursor.fetchall()
