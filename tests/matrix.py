"""Runs the suite on SQLite, then what touches the database on PostgreSQL and MariaDB, where they answer."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.servers import CHROMIUM, DATABASES, RABBITMQ, servers_required

ON_EVERY_DATABASE = ["tests/integration", "tests/unit/models"]


def main(arguments: list[str]) -> int:
    failed = _run("SQLite", {}, arguments)
    missing = [] if RABBITMQ.answers else ["RabbitMQ"]
    missing += [] if CHROMIUM else ["Chromium"]
    for server in DATABASES.values():
        if server.answers:
            failed |= _run(server.name, {"DATABASE_URL": server.url}, [*arguments, *ON_EVERY_DATABASE])
        else:
            missing.append(server.name)
    if missing:
        print(f"\nNot found, so not tested: {', '.join(missing)}.", flush=True)
    return int(failed or (bool(missing) and servers_required()))


def _run(name: str, environment: dict[str, str], arguments: list[str]) -> bool:
    print(f"\n» tests on {name}", flush=True)
    command = [sys.executable, "-m", "pytest", *arguments]
    inherited = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return bool(subprocess.run(command, env=inherited | environment, check=False).returncode)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
