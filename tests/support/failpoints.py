"""Runs a command of ``manage.py`` in which something goes wrong.

``python -m tests.support.failpoints SCRIPT COMMAND…``: the script is Python, and finds here what can go wrong, and
when: at a statement, whoever issues it. So a relay is met at its claim or at its settle, however it is written.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.signals import connection_created
from django.utils import timezone

REACHED = "The failpoint was reached."
SETS_CLAIMED = re.compile(r"\bSET\b(?:(?!\bWHERE\b).)*?\bstatus\W* = 'claimed'", re.DOTALL)


def is_claim(statement: str) -> bool:
    return "UPDATE" in statement and bool(SETS_CLAIMED.search(statement))


def is_settle(statement: str) -> bool:
    return "UPDATE" in statement and "'published'" in statement and not is_claim(statement)


def is_result(statement: str) -> bool:
    return "celery_results_taskresult" in statement and statement.lstrip().startswith(("INSERT", "UPDATE"))


def is_mark(statement: str) -> bool:
    """Tell whether it marks messages whose result is handled."""
    return statement.startswith("UPDATE") and "handled_at" in statement.partition("WHERE")[0]


def before(is_meant: Callable[[str], bool], act: Callable[[], object], *, nth: int = 1) -> None:
    """Act when the nth such statement is about to be executed, once."""
    _at(is_meant, act, nth, is_after=False)


def after(is_meant: Callable[[str], bool], act: Callable[[], object], *, nth: int = 1) -> None:
    """Act when the nth such statement was executed, and is not committed yet."""
    _at(is_meant, act, nth, is_after=True)


def _at(is_meant: Callable[[str], bool], act: Callable[[], object], nth: int, *, is_after: bool) -> None:
    seen = 0

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal seen
        meant = is_meant(filled_in(sql, params))
        seen += meant
        is_it = meant and seen == nth
        if is_it:
            print(REACHED, flush=True)
        if is_it and not is_after:
            act()
        answer = execute(sql, params, many, context)
        if is_it and is_after:
            act()
        return answer

    def install(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(wrapper)

    connection_created.connect(install, weak=False)


def filled_in(sql: str, params: Any) -> str:
    """Return the statement as it may be read, not as it may be executed."""
    for value in params if isinstance(params, (list, tuple)) else ():
        sql = sql.replace("%s", f"'{value}'", 1)
    return sql


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end_connection() -> None:
    """Let the server end the connection that is in use, as an administrator or a restart does."""
    mine, vendor = connections[DEFAULT_DB_ALIAS], connections[DEFAULT_DB_ALIAS].vendor
    other = mine.copy()
    with contextlib.closing(other), other.cursor() as cursor:
        if vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [mine.connection.info.backend_pid])
        else:
            cursor.execute(f"KILL {mine.connection.thread_id()}")
    time.sleep(0.1)  # it ends a moment after it was told to


def fail(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def shift_clock(**shift: float) -> None:
    """Let this machine's clock be off, as far as Python sees it."""
    off, now, clock = dt.timedelta(**shift), timezone.now, time.time
    timezone.now = lambda: now() + off
    time.time = lambda: clock() + off.total_seconds()


def count_results() -> None:
    """Let the receiver of another app leave a row for each call."""
    from dispatch.api import task_finished
    from project.notes.models import Note

    def leave_a_row(*, message: Any, using: str, **_: Any) -> None:
        Note.objects.using(using).create(title=str(message.pk))

    task_finished.connect(leave_a_row, weak=False)


def no_receivers() -> None:
    from dispatch.api import task_finished

    task_finished.receivers.clear()
    task_finished.sender_receivers_cache.clear()


def _main(script: str, arguments: list[str]) -> None:
    import django
    from django.core.management import execute_from_command_line

    django.setup()
    exec(script, globals())
    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
