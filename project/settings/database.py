"""What each kind of database needs beside its URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SQLITE_INIT = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"


def database(config: dict[str, Any], test_suffix: str = "") -> dict[str, Any]:
    """Return a `DATABASES` entry made from a parsed URL.

    `test_suffix` lets two test runs share one server: it ends the name of the test database.
    """
    engine = config["ENGINE"]
    if engine.endswith("sqlite3"):
        return _sqlite(config, test_suffix)
    if engine.endswith("mysql"):
        _use_pymysql()
        config = {**config, "OPTIONS": {"charset": "utf8mb4", **config.get("OPTIONS", {})}}
    return {**config, "TEST": {"NAME": f"test_{config['NAME']}{test_suffix}"}}


def _sqlite(config: dict[str, Any], test_suffix: str) -> dict[str, Any]:
    """Writers queue for the lock instead of failing at once, and readers never wait for one."""
    options = {"transaction_mode": "IMMEDIATE", "init_command": SQLITE_INIT, "timeout": 20}
    config = {**config, "OPTIONS": options | config.get("OPTIONS", {})}
    if config["NAME"] == ":memory:":
        return config
    path = Path(config["NAME"])
    # A file, not memory: locking between connections is part of what the tests are about.
    test_path = path.with_name(f"test_{path.stem}{test_suffix}.sqlite3")
    return {**config, "TEST": {"NAME": str(test_path)}}


def _use_pymysql() -> None:
    import pymysql

    pymysql.install_as_MySQLdb()
