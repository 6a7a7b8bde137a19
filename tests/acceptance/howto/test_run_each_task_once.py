"""docs/howto/run-each-task-once.md: what it quotes of the worker's code, and its SQL on SQLite and PostgreSQL."""

from __future__ import annotations

import ast
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from project.stack.stack import ROOT
from tests.support.how_to import blocks
from tests.support.stacks import fresh_database

pytestmark = pytest.mark.slow

TABLE, ONCE, TASK, DELETE = (block.text for block in blocks("run-each-task-once"))
WORKER = ROOT / "worker_stub" / "worker"


def test_it_quotes_the_workers_code() -> None:
    once, ledger = (ast.parse((WORKER / name).read_text()) for name in ("once.py", "tasks/ledger.py"))
    assert ast.unparse(ast.parse(TASK)) in ast.unparse(ledger).replace("self: Any", "self")
    [function] = [part for part in once.body if isinstance(part, ast.FunctionDef)]
    # The page leaves out docstring and types.
    del function.body[0]
    function.returns = None
    for argument in function.args.args:
        argument.annotation = None
    assert ast.unparse(ast.parse(ONCE)) in ast.unparse(once)
    assert TABLE.replace("TABLE", "TABLE IF NOT EXISTS") in (WORKER / "once.py").read_text()


def marked_twice(connection: Any, code: str) -> list[bool]:
    names: dict[str, Any] = {}
    exec(code, names)
    connection.execute(TABLE)
    return [names["processed"](connection, "worker.tasks.ledger.credit_account", "one") for _ in range(2)]


def test_on_sqlite_a_copy_is_told() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert marked_twice(connection, ONCE) == [False, True]


def test_on_postgresql_a_copy_is_told_and_what_is_old_is_deleted(tmp_path: Path) -> None:
    with fresh_database("postgresql", tmp_path) as url, psycopg.connect(url) as connection:
        assert marked_twice(connection, ONCE.replace("?", "%s")) == [False, True]
        connection.execute("INSERT INTO processed VALUES ('a', 'old', now() - interval '91 days')")
        assert connection.execute(DELETE).rowcount == 1
        assert connection.execute("SELECT task_id FROM processed").fetchall() == [("one",)]
