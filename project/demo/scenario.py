"""What the demo does, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from django.db import transaction
from django_celery_results.models import TaskResult
from rich.console import Console

from dispatch.api import UnknownTask, send_task
from dispatch.models import OutboxMessage
from project.demo import samples
from project.notes.models import Note
from project.notes.registry import FAILING_TITLE

TASK = "worker.tasks.llm.summarize_note"
MISSPELT = "worker.tasks.llm.sumarize_note"


@dataclass
class Row:
    """One thing that was done, and how far it has come."""

    title: str
    task: str = ""
    queue: str = ""
    published: float | None = None  # seconds after the save
    finished: float | None = None
    state: str = "waiting"
    outcome: str = ""
    as_expected: bool | None = None  # None: not known yet


@dataclass
class SavedNote(Row):
    """A note saved through the ORM: a trigger enqueues its message, the worker answers."""

    note: Note = field(kw_only=True)
    expected: str = field(kw_only=True)
    expected_queue: str = field(kw_only=True)

    def refresh(self) -> None:
        message = OutboxMessage.objects.filter(object_model="notes.note", object_pk=str(self.note.pk)).get()
        self.task, self.queue, self.state = message.task_name, message.queue, message.status
        self.published = _seconds(message, message.published_at)
        self.finished = _seconds(message, message.handled_at)
        if message.handled_at:
            self._finish(message)
        elif message.status == OutboxMessage.Status.DEAD:
            self.outcome, self.as_expected = message.last_error, False

    def _finish(self, message: OutboxMessage) -> None:
        self.note.refresh_from_db()
        self.state = TaskResult.objects.get(task_id=str(message.pk)).status
        self.outcome = self.note.summary or self.note.failure
        self.as_expected = (
            self.state == self.expected and self._note_tells() and self.queue == self.expected_queue
        )

    def _note_tells(self) -> bool:
        """Success fills the summary and failure the failure, never both."""
        succeeded = self.expected == "SUCCESS"
        return bool(self.note.summary) == succeeded and bool(self.note.failure) != succeeded


class Scenario:
    """The rows of the demo. Making them does everything; `refresh` looks how far it has come."""

    def __init__(self, saved: list[SavedNote], others: list[Row]) -> None:
        self.saved = saved
        self.rows = [*saved, *others]

    @classmethod
    def play(cls, directory: Path) -> Scenario:
        saved = [
            _save("text note", "llm", kind=Note.Kind.TEXT, title="Valparaíso", body=samples.TEXT),
            _save_audio(directory),
            _save_link(directory),
            _save("note that must fail", "default", expected="FAILURE", title=FAILING_TITLE, body="-"),
        ]
        return cls(saved, [_roll_back(), _misspell()])

    @property
    def settled(self) -> bool:
        return all(row.as_expected is not None for row in self.rows)

    def refresh(self) -> None:
        for row in self.saved:
            if row.as_expected is None:
                row.refresh()

    def report(self, console: Console) -> bool:
        """Print the verdict; a message that nobody caused, for example by saving a summary, spoils it."""
        wrong = [
            f"{row.title}: {row.state}, {row.outcome or 'no outcome'}"
            for row in self.rows
            if not row.as_expected
        ]
        if (enqueued := OutboxMessage.objects.count()) != len(self.saved):
            wrong.append(f"{enqueued} messages in the outbox where {len(self.saved)} were caused")
        for line in wrong:
            console.print(f"not as expected: {line}", style="red", markup=False)
        if not wrong:
            console.print(f"All {len(self.rows)} outcomes are as expected.", style="green")
        return not wrong


def _save(title: str, queue: str, /, *, expected: str = "SUCCESS", **fields: str) -> SavedNote:
    note = Note.objects.create(**fields)
    return SavedNote(title, note=note, expected=expected, expected_queue=queue)


def _save_audio(directory: Path) -> SavedNote:
    path = samples.write_tone(directory / "tone.wav")
    return _save("audio note", "stt", kind=Note.Kind.AUDIO, title="A tone", audio=str(path))


def _save_link(directory: Path) -> SavedNote:
    page = samples.write_page(directory / "tides.html")
    body = f"See {page.as_uri()} and https://docs.djangoproject.com/ for more."
    return _save("link note", "link", kind=Note.Kind.LINK, title="Links", body=body)


def _roll_back() -> Row:
    """A save that does not stand sends nothing."""
    row = Row("rolled-back note", task=TASK, state="rolled back")
    try:
        with transaction.atomic():
            note = Note.objects.create(title="Never was", body=samples.TEXT)
            inside = OutboxMessage.objects.filter(object_pk=str(note.pk)).count()
            raise _Rollback
    except _Rollback:
        left = OutboxMessage.objects.filter(object_pk=str(note.pk)).count()
    row.as_expected = (inside, left) == (1, 0)
    row.outcome = f"{inside} message inside the transaction, {left} after it"
    return row


def _misspell() -> Row:
    """A name that no worker knows is refused where it is written."""
    row = Row("misspelt task", task=MISSPELT, state="not refused", as_expected=False)
    try:
        send_task(MISSPELT, kwargs={"note_id": "1", "text": "-"})
    except UnknownTask as error:
        row.state, row.outcome, row.as_expected = "refused", str(error), TASK in str(error)
    return row


class _Rollback(Exception):
    pass


def _seconds(message: OutboxMessage, moment: object) -> float | None:
    return (moment - message.created_at).total_seconds() if moment else None
