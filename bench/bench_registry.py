"""P16 and P17: what a process pays to know 10,000 tasks, and what an import pays to read them in manifests.

Time is that of the CPU, for a registry is loaded in one go; memory is what Python asked for at most meanwhile.
"""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

from bench_validation import CASES
from harness import Figure, Goal, Report, on_each_database

P16 = Goal("P16", "CPU to load a registry of 10,000 tasks", 1_000, most=True, unit="ms")
P17 = Goal("P17", "CPU to read a task of a manifest", 0.5, most=True, unit="ms")
MOST_MEMORY = 100
TASKS, WORKERS, REPEATS = 10_000, 2, 9
MIB = 1024 * 1024


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    from django.db import connection

    from dispatch.core import manifest
    from dispatch.models import Manifest, Queue, TaskDefinition
    from dispatch.registry.snapshot_loader import load

    Queue.objects.create(name="default", is_default=True)
    reading = []
    for text in map(_manifest, range(WORKERS)):
        begun = time.process_time()
        found = manifest.read(text)
        reading.append((time.process_time() - begun) * 1e3 / len(found.tasks))
        row = Manifest.objects.create(worker=found.worker, offers=[task.name for task in found.tasks])
        TaskDefinition.objects.bulk_create(
            TaskDefinition(name=task.name, parameters=task.parameters, returns=task.returns, manifest=row)
            for task in found.tasks
        )
    loading = []
    for _ in range(REPEATS):
        begun = time.process_time()
        snapshot = load(connection.alias)
        loading.append((time.process_time() - begun) * 1e3)
        assert len(snapshot.tasks) == TASKS
    tracemalloc.start()
    kept = load(connection.alias)
    held, peak = (size / MIB for size in tracemalloc.get_traced_memory())
    assert len(kept.tasks) == TASKS
    return {"reading": reading, "loading": loading, "held": held, "peak": peak}


def _manifest(worker: int) -> str:
    from dispatch.core import manifest

    schemas = [schema for schema, _ in CASES.values()]
    tasks = [
        {
            "name": f"w{worker}.tasks.number_{at}",
            "parameters": schemas[at % len(schemas)],
            "returns": {"type": "object"},
        }
        for at in range(TASKS // WORKERS)
    ]
    return manifest.sealed(
        {"manifest": 1, "worker": f"w{worker}", "version": "1", "queues": [], "tasks": tasks}
    )


def main() -> None:
    databases = on_each_database(__file__, measure)
    report = Report("registry", databases)
    figures = {name: Figure.of(found["loading"]) for name, found in databases.items()}
    report.title(f"A registry of {TASKS:,} tasks")
    for name, found in databases.items():
        report.row(
            f"{name}: loading it",
            figures[name],
            "ms",
            f"{found['held']:.0f} MiB, {found['peak']:.0f} at most",
        )
    report.title(f"Goals: P16 holds where no more than {MOST_MEMORY} MiB are asked for")
    worst = max(figures.values(), key=lambda figure: figure.value)
    least = max(found["peak"] for found in databases.values())
    report.goal(P16, worst, {name: each.value for name, each in figures.items()}, met=least <= MOST_MEMORY)
    reading = Figure.of([figure for found in databases.values() for figure in found["reading"]])
    report.goal(P17, reading, {})
    report.write()


if __name__ == "__main__":
    main()
