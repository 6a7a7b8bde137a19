"""The processes of the system, started and stopped in order."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from project.stack.network import HOST, free_port, http_answers
from project.stack.process import Process, ProcessDied, says

ROOT = Path(__file__).resolve().parents[2]
WORKER_BIN = ROOT / "worker_stub" / ".venv" / "bin"

# What a shell may hold that would change how the worker, a stranger to Django, or the project behaves.
NOT_INHERITED = (
    "DJANGO_",
    "PYTHON",
    "DATABASE_",
    "BROKER_",
    "RESULT_BACKEND",
    "ACCEPT_CONTENT",
    "CELERY_",
    "ROUTING_",
    "VIRTUAL_ENV",
)

UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
WORKER = ["-A", "worker", "worker", "--loglevel", "INFO", "--concurrency", "2"]
WORKER += ["--without-gossip", "--without-mingle"]  # it is alone, and starts a second sooner

ALL = ("web", "worker", "relay", "results")


class Stack:
    """Web, worker, relay and results over one database and one broker, each with a log in `directory`.

    As a context manager it starts the processes named in `start` and, whatever happens, stops all at the end.
    Each can be stopped, killed and started again in between: `stack["relay"].kill()`, `stack.start("relay")`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        broker_url: str,
        result_backend_url: str,
        broker_folder: str = "",
        web_port: int | None = None,
        start: Iterable[str] = ALL,
    ) -> None:
        self.directory = directory
        self.routing_file = directory / "routing.json"
        self.web_url = f"http://{HOST}:{web_port or free_port()}/"
        self._start = tuple(start)
        self._addresses = {
            "DATABASE_URL": database_url,
            "BROKER_URL": broker_url,
            "RESULT_BACKEND_URL": result_backend_url,
            "BROKER_FOLDER": broker_folder,
        }
        self._processes = {process.name: process for process in self._build()}

    def __enter__(self) -> Stack:
        try:
            self.start(*self._start)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Process:
        return self._processes[name]

    @property
    def web_environment(self) -> dict[str, str]:
        """The environment of the Django processes, for whoever wants to be one of them."""
        return _inherited() | self._addresses | {"DJANGO_SETTINGS_MODULE": "project.settings", **UNBUFFERED}

    @property
    def worker_environment(self) -> dict[str, str]:
        """The worker's: clean of Django, and of the database, which is not its business."""
        addresses = {name: value for name, value in self._addresses.items() if name != "DATABASE_URL"}
        routing = {"ROUTING_FILE": str(self.routing_file)} if self.routing_file.exists() else {}
        return _inherited() | addresses | routing | UNBUFFERED

    def start(self, *names: str, timeout: float = 30) -> None:
        """Start processes together and wait until each is ready."""
        started = [self._processes[name] for name in names]
        for process in started:
            process.env = self.worker_environment if process.name == "worker" else self.web_environment
            process.start()
        for process in started:
            process.wait_ready(timeout)

    def stop(self) -> None:
        """Stop all, those first that make work for the others."""
        for process in self._processes.values():
            process.stop()

    def check(self) -> None:
        """Raise ProcessDied if one of the processes that were started has ended by itself."""
        for process in self._processes.values():
            if process.died:
                process.check()

    def manage(self, *arguments: str) -> str:
        """Run `manage.py …` to its end and return what it printed."""
        return _run([sys.executable, ROOT / "manage.py", *arguments], self.web_environment)

    def write_manifest(self, path: Path) -> None:
        """Ask the worker's code what it offers."""
        path.write_text(_run([WORKER_BIN / "celery", "-A", "worker", "manifest"], self.worker_environment))

    def prepare(self, report: Callable[[str], None] = lambda step: None) -> None:
        """Do what a deployment does once: tables, manifest, configuration, and the worker's routing file."""
        manifest = self.directory / "manifest.json"
        self.directory.mkdir(parents=True, exist_ok=True)
        report("creating the tables")
        self.manage("migrate")
        report("asking the worker for its manifest")
        self.write_manifest(manifest)
        self.manage("dispatch", "manifest", "sync", str(manifest))
        report("configuring queues, routes and triggers")
        self.manage("configure_notes")
        self.manage("dispatch", "routes", "export", str(self.routing_file))

    def _build(self) -> Iterable[Process]:
        manage = [sys.executable, ROOT / "manage.py"]
        address = self.web_url.removeprefix("http://").rstrip("/")
        # --insecure: this is Django's development server with DEBUG off, and the admin wants its stylesheets.
        yield self._process(
            "web",
            [*manage, "runserver", "--noreload", "--insecure", address],
            ready=lambda process: http_answers(f"{self.web_url}admin/login/"),
        )
        yield self._process("relay", [*manage, "dispatch", "relay"], ready=says("Relaying"))
        name = f"stack-{secrets.token_hex(4)}@%h"  # two stacks may share a broker
        yield self._process(
            "worker",
            [WORKER_BIN / "celery", *WORKER, "--hostname", name],
            ready=says(" ready."),
            cwd=self.directory,
        )
        yield self._process("results", [*manage, "dispatch", "results"], ready=says("Collecting"))

    def _process(self, name: str, command: list[str | Path], **options: object) -> Process:
        return Process(name, command, log=self.directory / f"{name}.log", **options)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}


def _run(command: list[str | Path], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        line = " ".join(map(str, command))
        raise ProcessDied(
            f"{line}\nended with exit code {done.returncode}:\n{done.stdout}{done.stderr}".rstrip()
        )
    return done.stdout
