"""Processes that are measured: started with the benchmark's database, and asked what CPU and memory they take."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

from harness import ROOT

from project.stack import Process
from project.stack.process import says

WORKER = ROOT / "worker_stub" / ".venv" / "bin" / "celery"
TICKS = os.sysconf("SC_CLK_TCK")
_folder = tempfile.TemporaryDirectory(prefix="dispatch-bench-")
LOGS = Path(_folder.name)
_numbers = count()


def relay(broker: str, results: str = "", **settings: Any) -> Process:
    """Return a relay that is not started yet; ``settings`` are keys of ``DISPATCH``."""
    return _manage(["dispatch", "relay"], broker, settings, results, ready=says("Relaying"))


def collector(broker: str, results: str, **settings: Any) -> Process:
    """Return a collector that is not started yet."""
    return _manage(["dispatch", "results"], broker, settings, results, ready=says("Collecting"))


def peers_relay(broker: str) -> Process:
    """Return the peer's relay with the settings that make it fastest, found by trying batches and threads.

    Its threads publish one message each and share an interpreter: they gain where there is a confirm to wait for.
    """
    threads = "8" if broker.startswith("amqp") else "1"
    command = [
        "celery_outbox_relay",
        "--batch-size",
        "1000",
        "--publish-concurrency",
        threads,
        "--idle-time",
        "0.05",
    ]
    return _manage(command, broker, {}, peer="django_celery_outbox")


def worker(broker: str, results: str) -> Process:
    """Return a worker of worker_stub, with the task of the backlog; the registry's queues are told to it."""
    from django.core.management import call_command

    routing = LOGS / "routing.json"
    call_command("dispatch", "routes", "export", str(routing), stdout=StringIO())
    path = os.pathsep.join(map(str, (ROOT / "worker_stub", ROOT / "bench")))
    environment = {
        "BROKER_URL": broker,
        "RESULT_BACKEND_URL": results,
        "ROUTING_FILE": str(routing),
        "PYTHONPATH": path,
    }
    command = [WORKER, "-A", "worker", "worker", "--include", "worker_tasks", "--concurrency", "1"]
    command += [
        "--loglevel",
        "INFO",
        "--hostname",
        f"bench-{os.getpid()}@%h",
        "--without-gossip",
        "--without-mingle",
    ]
    return Process(
        "worker", command, log=LOGS / "worker.log", ready=says(" ready."), env=os.environ | environment
    )


def limit(broker: str) -> Process:
    """Return the relay that does nothing but the least."""
    return _process([Path(__file__).parent / "limit_relay.py"], _environment(broker, {}))


def _manage(
    arguments: list[str],
    broker: str,
    settings: dict[str, Any],
    results: str = "",
    ready: Callable[[Process], bool] = lambda process: True,
    peer: str = "",
) -> Process:
    return _process([ROOT / "manage.py", *arguments], _environment(broker, settings, results, peer), ready)


def _process(
    command: list[str | Path],
    environment: dict[str, str],
    ready: Callable[[Process], bool] = lambda process: True,
) -> Process:
    log = LOGS / f"{next(_numbers)}.log"
    command = [sys.executable, *command]
    return Process(Path(command[1]).name, command, log=log, ready=ready, env=environment, cwd=ROOT)


def _environment(broker: str, settings: dict[str, Any], results: str = "", peer: str = "") -> dict[str, str]:
    """Return the environment of a process; what the peer imports is in the memory of its own alone."""
    return os.environ | {
        "DATABASE_URL": database_url(),
        "BROKER_URL": broker,
        "RESULT_BACKEND_URL": results,
        "BENCH_DISPATCH": json.dumps(settings),
        "BENCH_PEER": peer,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "bench"))),
        "PYTHONUNBUFFERED": "1",
    }


def database_url() -> str:
    """Return the URL of the database that was made for this benchmark."""
    from django.db import connection

    return f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{connection.settings_dict['NAME']}"


# ---------------------------------------------------------------- what they take


def cpu_of(process: Process) -> float:
    """Return the seconds of CPU that a process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_machine() -> float:
    """Return the seconds of CPU that all processes of this machine have taken."""
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / TICKS


def memory_of(process: Process, kind: str = "VmHWM") -> float:
    """Return the most memory that a process has had, in MiB, or another kind: ``VmRSS`` is what it has now."""
    return int(Path(f"/proc/{process.pid}/status").read_text().split(f"{kind}:")[1].split()[0]) / 1024
