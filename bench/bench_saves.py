"""P1 and P2: what a trigger costs a save, and what the app costs the saves of models that have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness import Goal, Report, Series, difference, on_each_database, ratio, repeated, timed
from registry import BODY, cursor_insert, make_task, make_trigger, notice_changes

P1 = Goal("P1", "save with one trigger / bare save + cursor INSERT", 1.15, most=True)
P2 = Goal("P2", "added to a save of a model without trigger", 10, most=True, unit="µs")
REPEATS, SAVES, COMMITS = 15, 100, 20
TURNS = 25  # of transactions, by which P1 is judged
MANY = 1_000
BARE, BOTH, TRIGGER = "bare save", "bare save + cursor INSERT", "save with one matching trigger"
WITHOUT, WITH = "without dispatch", "with dispatch"
#: How much more 1,000 triggers may seem to cost than one: the noise of the measurement, in µs.
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

    insert = cursor_insert(connection)

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
        REPEATS if size == 1 else TURNS,
    )


def _without_trigger() -> Series:
    from django.db import transaction

    @transaction.atomic
    def saves() -> float:
        return timed(lambda: _note().save(), SAVES)

    def without() -> float:
        with _unhooked():
            return saves()

    return repeated({WITHOUT: without, WITH: lambda: notice_changes() or saves()}, 4 * REPEATS)


def _note() -> Any:
    from project.notes.models import Note

    return Note(title="A note", body=BODY)


@contextmanager
def _unhooked() -> Iterator[None]:
    """Take dispatch out of Django's saves: neither of its wrappers runs."""
    from django.db.models import Model
    from django.db.models.signals import post_save

    hooked, sending = Model.save_base, post_save.send
    Model.save_base, post_save.send = hooked.__wrapped__, sending.__wrapped__
    try:
        yield
    finally:
        Model.save_base, post_save.send = hooked, sending


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
    report.title("Goals")
    _judge_triggers(report, databases)
    _judge_others(report, databases["SQLite"])
    report.write()


def _judge_triggers(report: Report, databases: dict[str, dict[str, Any]]) -> None:
    """P1 is the worst of the three databases, in transactions of 100 saves; with fewer it is not measured."""
    if len(databases) < 3:
        report.lines.append("  P1 needs all three databases: not measured.")
        return
    figures = {name: ratio(found["transaction"], TRIGGER, BOTH) for name, found in databases.items()}
    worst = max(figures.values(), key=lambda figure: figure.value)
    report.goal(P1, worst, {name: figure.value for name, figure in figures.items()})


def _judge_others(report: Report, found: dict[str, Any]) -> None:
    """P2 is the higher of the two figures, and that they are one and the same but for noise."""
    few, many = (difference(found[key], WITH, WITHOUT) for key in ("few", "many"))
    report.row("added while other models have one trigger", few, "µs")
    report.row(f"added while other models have {MANY:,} triggers", many, "µs")
    worst = max(few, many, key=lambda figure: figure.value)
    report.goal(P2, worst, {"SQLite": worst.value}, met=many.value - few.value <= NOISE)


if __name__ == "__main__":
    main()
