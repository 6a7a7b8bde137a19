"""`make run`: the whole system until Ctrl-C, with the admin to look at it."""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

from project.stack import Broker, ProcessDied, Stack, embedded_broker, exit_on_signals
from project.stack.network import free_port, port_is_free

DIRECTORY = Path(__file__).resolve().parents[1] / "var" / "run"
PORT = 8000
USER = "admin"


class AlreadyRunning(RuntimeError):
    """Another `make run` has this directory: its database, its password, and the outbox that its relay serves."""


def main() -> int:
    exit_on_signals()
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(DIRECTORY):
            _run()
    except (ProcessDied, AlreadyRunning) as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("\nEverything has been stopped.")
    return 0


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold a lock, which goes with the process however that ends."""
    with (directory / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyRunning(
                f"`make run` runs already in this checkout, as process {lock.read().strip() or '?'}: "
                f"stop it with Ctrl-C where it was started. Nothing of it was touched."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _run() -> None:
    with embedded_broker(DIRECTORY) as broker:
        print(f"broker: {broker.description}", flush=True)
        stack = Stack(
            DIRECTORY,
            database_url=f"sqlite:///{DIRECTORY / 'db.sqlite3'}",
            broker_url=broker.url,
            result_backend_url=broker.result_backend,
            broker_folder=broker.folder,
            web_port=_port(),
        )
        stack.prepare(lambda step: print(step, flush=True))
        password = _new_password(stack)
        with stack:
            print(f"\n{stack.web_url}admin/   user: {USER}   password: {password}")
            print(f"Logs are in {os.path.relpath(DIRECTORY)}. Ctrl-C stops everything.", flush=True)
            _watch(stack, broker)


def _port() -> int:
    if port_is_free(PORT):
        return PORT
    port = free_port()
    print(f"port {PORT} is in use by another program: the admin is on port {port} instead", flush=True)
    return port


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


def _watch(stack: Stack, broker: Broker) -> None:
    try:
        while True:
            stack.check()
            broker.check()
            time.sleep(1)
    except ProcessDied as error:
        print(f"\n{error}\nStopping the others.", flush=True)  # before that takes its time
        raise SystemExit(1) from None


if __name__ == "__main__":
    sys.exit(main())
