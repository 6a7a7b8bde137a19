"""P1 and P2: what a trigger costs a save, and what the app costs the saves of models that have none."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import Any

from harness import (
    Figure,
    Goal,
    Report,
    Series,
    difference,
    on_each_database,
    options,
    ratio,
    repeated,
    timed,
)
from registry import BODY, cursor_insert, make_task, make_trigger, notice_changes

P1 = {
    name: Goal("P1", "save with one trigger / bare save + cursor INSERT", most_times, most=True)
    for name, most_times in {"SQLite": 1.25, "PostgreSQL": 1.15, "MariaDB": 1.15}.items()
}
#: P2: so many µs, or this part of the bare save, whichever is more.
MOST_ADDED, MOST_PART = 5, 0.02
OPTIONS = options(repeats=15)
SAVES, COMMITS = 100, 20
MANY = 1_000
BARE, BOTH, TRIGGER = "bare save", "bare save + cursor INSERT", "save with one matching trigger"
WITHOUT, WITH = "without dispatch", "with dispatch"
#: How much more 1,000 triggers may seem to cost than one: the noise of the measurement, in µs. It is CPU, for so little
#: is lost in what a busy machine does meanwhile.
NOISE = 2.0


def measure() -> dict[str, Any]:
    """Measure on this process's database; what is Python alone, on SQLite, which disturbs it least."""
    from django.db import connection

    task = make_task()
    found = _beside_others(task) if connection.vendor == "sqlite" else {}
    make_trigger(task, "on notes", "notes.note", note_id="pk", text="body")
    return found | {"transaction": _with_trigger(SAVES), "autocommit": _with_trigger(1)}


def _beside_others(task: Any) -> dict[str, Series]:
    """Measure saves of a model without trigger, while other models have one, then 1,000."""
    from django.db import transaction

    from dispatch.models import Trigger

    make_trigger(task, "on tags", "notes.tag", note_id="pk", text="name")
    few = _without_trigger()
    with transaction.atomic():
        for at in range(1, MANY):
            make_trigger(task, f"on others {at}", ("auth.user", "auth.group", "notes.tag")[at % 3])
    many = _without_trigger()
    Trigger.objects.exclude(name="on tags").delete()
    return {"few": few, "many": many}


def _with_trigger(size: int) -> Series:
    """Measure new notes in transactions of ``size``: all in one, or each in its own."""
    from django.db import connection, transaction

    insert = cursor_insert(connection, of_trigger=True)

    def save() -> None:
        _note().save()

    def save_and_insert() -> None:
        note = _note()
        note.save()
        insert(note.pk, note.body)

    def one_transaction(operation: Callable[[], None]) -> float:
        notice_changes()
        if size == 1:
            return timed(transaction.atomic(operation), COMMITS)
        return timed(transaction.atomic(lambda: [operation() for _ in range(size)]), 1) / size

    def unhooked(operation: Callable[[], None]) -> float:
        with _unhooked():
            return one_transaction(operation)

    return repeated(
        {
            BARE: lambda: unhooked(save),
            BOTH: lambda: unhooked(save_and_insert),
            TRIGGER: lambda: one_transaction(save),
        },
        OPTIONS.repeats if size == 1 else 2 * OPTIONS.repeats,
    )


def _without_trigger() -> Series:
    from django.db import transaction

    @transaction.atomic
    def saves() -> float:
        return timed(lambda: _note().save(), SAVES, process_time)

    def without() -> float:
        with _unhooked():
            return saves()

    return repeated({WITHOUT: without, WITH: lambda: notice_changes() or saves()}, 4 * OPTIONS.repeats)


def _note() -> Any:
    from project.notes.models import Note

    return Note(title="A note", body=BODY)


@contextmanager
def _unhooked() -> Iterator[None]:
    """Take dispatch out of Django's saves: its wrapper does not run."""
    from django.db.models import Model

    hooked = Model._save_table
    Model._save_table = hooked.__wrapped__
    try:
        yield
    finally:
        Model._save_table = hooked


def main() -> None:
    databases = on_each_database(__file__, measure)
    report = Report("saves", databases)
    for name, found in databases.items():
        report.title(f"{name}: new notes, {SAVES} saves a transaction")
        report.times(found["transaction"])
        report.row("trigger / bare save + cursor INSERT", ratio(found["transaction"], TRIGGER, BOTH), "×")
        report.title(f"{name}: new notes, each its own transaction")
        report.times(found["autocommit"])
        report.row("trigger / bare save + cursor INSERT", ratio(found["autocommit"], TRIGGER, BOTH), "×")
    report.title(f"Goals: P1 in transactions of {SAVES} saves, by the database that is the farthest from it")
    report.worst(P1, {name: ratio(found["transaction"], TRIGGER, BOTH) for name, found in databases.items()})
    _judge_others(report, databases["SQLite"])
    report.write()


def _judge_others(report: Report, found: dict[str, Any]) -> None:
    """P2 is the higher of the two figures, and that they are one and the same but for noise."""
    few, many = (difference(found[key], WITH, WITHOUT) for key in ("few", "many"))
    report.row("added while other models have one trigger", few, "µs")
    report.row(f"added while other models have {MANY:,} triggers", many, "µs")
    worst = max(few, many, key=lambda figure: figure.value)
    bare = statistics.median(found["few"][WITHOUT])
    most = round(max(MOST_ADDED, MOST_PART * bare), 1)
    report.row("the bare save", Figure.of(found["few"][WITHOUT]), "µs")
    goal = Goal("P2", "CPU added to a save of a model without trigger", most, most=True, unit="µs")
    report.goal(goal, worst, {"SQLite": worst.value}, met=many.value - few.value <= NOISE)


if __name__ == "__main__":
    main()
