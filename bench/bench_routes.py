"""P10: where 1,000 registered names go, with 1,000 routes and with one."""

from __future__ import annotations

from typing import Any

from harness import Goal, Report, on_each_database, options, ratio, repeated, timed

P10 = Goal("P10", "resolving 1,000 names: 1,000 routes / 1 route", 1.1, most=True)
OPTIONS = options(repeats=31)
NAMES = ROUTES = 1_000
ONE, MANY = "1 route, a name", "1,000 routes, a name"


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    from django.db import connection

    from dispatch.models import Queue, Route, TaskDefinition
    from dispatch.registry.snapshot_loader import load

    queue = Queue.objects.create(name="default", is_default=True)
    names = [f"app.tasks.number_{at}" for at in range(NAMES)]
    TaskDefinition.objects.bulk_create(TaskDefinition(name=name, parameters={}) for name in names)
    # Globs and regular expressions by turns; those of the names stand last.
    kinds = (("glob", "*.other_{}.*"), ("regex", r"other\.tasks\.number_{}\d*$"))
    routes = [
        Route(position=at, pattern=kinds[at % 2][1].format(at), kind=kinds[at % 2][0], queue=queue)
        for at in range(ROUTES - 1)
    ]
    last = Route(position=ROUTES, pattern="app.tasks.*", kind="glob", queue=queue)
    last.save()
    few = load(connection.alias)
    Route.objects.bulk_create(routes)
    many = load(connection.alias)

    def resolved(snapshot: Any) -> Any:
        return lambda: timed(lambda: [snapshot.destination(name) for name in names], 10) / NAMES

    return {"series": repeated({ONE: resolved(few), MANY: resolved(many)}, OPTIONS.repeats)}


def main() -> None:
    [(name, found)] = on_each_database(__file__, measure, only=["SQLite"]).items()
    report = Report("routes", {name: found})
    report.title(f"Where {NAMES:,} registered names go, in a snapshot of the registry")
    report.times(found["series"])
    report.goal(P10, ratio(found["series"], MANY, ONE), {})
    report.write()


if __name__ == "__main__":
    main()
