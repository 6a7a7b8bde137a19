"""`make run`: the whole system until Ctrl-C, with the admin to look at it."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path

import django

from project.stack import ProcessDied, Stack, embedded_broker, exit_on_signals
from project.stack.network import free_port, port_is_free

DIRECTORY = Path(__file__).resolve().parents[1] / "var" / "run"
PORT = 8000
USER = "admin"


def main() -> int:
    exit_on_signals()
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        _run()
    except ProcessDied as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("\nEverything has been stopped.")
    return 0


def _run() -> None:
    with embedded_broker(DIRECTORY) as broker:
        print(f"broker: {broker.description}", flush=True)
        stack = Stack(
            DIRECTORY,
            database_url=f"sqlite:///{DIRECTORY / 'db.sqlite3'}",
            broker_url=broker.url,
            result_backend_url=broker.result_backend,
            broker_folder=broker.folder,
            web_port=PORT if port_is_free(PORT) else free_port(),
        )
        stack.prepare(lambda step: print(step, flush=True))
        password = _new_password(stack)
        with stack:
            print(f"\n{stack.web_url}admin/   user: {USER}   password: {password}")
            print(f"Logs are in {os.path.relpath(DIRECTORY)}. Ctrl-C stops everything.", flush=True)
            _watch(stack)


def _new_password(stack: Stack) -> str:
    """Give the admin user a new password each time, so that none is ever written down."""
    os.environ.update(stack.web_environment)
    django.setup()
    from django.contrib.auth.models import User

    password = secrets.token_urlsafe(12)
    user, _ = User.objects.get_or_create(username=USER, defaults={"is_staff": True, "is_superuser": True})
    user.set_password(password)
    user.save()
    return password


def _watch(stack: Stack) -> None:
    while True:
        stack.check()
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
