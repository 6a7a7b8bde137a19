"""Health: which processes live, what waits and since when, and what of that is wrong.

What is asked is found at the end of an index, or counted to ``MOST_COUNTED`` at most: as cheap with a million rows.
"""

from __future__ import annotations

import datetime as dt
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias

from django.db import connections
from django.db.models import Sum
from django.db.models.expressions import Combinable
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext_lazy

from dispatch import outbox, registry
from dispatch.conf import conf
from dispatch.core.sentences import duration
from dispatch.models import MinuteCount, OutboxMessage, Process
from dispatch.models.database import Epoch, database_now
from dispatch.models.outbox_message import OutboxQuerySet

Status, Kind, Outcome = OutboxMessage.Status, Process.Kind, MinuteCount.Outcome
#: By process, queue and outcome.
Counts: TypeAlias = dict[tuple[Any, str, str], int]
State = Literal["alive", "silent", "stopped"]

#: What processes did is told of so many minutes, the one that has begun among them.
MINUTES = 5
#: Messages are counted up to this, and so many processes and queues are told of.
MOST_COUNTED, MOST_LINES, MOST_CLAIMED = 1_000, 500, 20_000
#: Seconds for which at most a message is due: the time of an odd row may be no time.
EVER = 1e11
#: Seconds for which a message may be due before something is wrong.
MAX_AGE = 300.0
START_RELAY = gettext_noop("Start one: `manage.py dispatch relay`.")
RELAY_MORE = gettext_noop(
    "See whether the broker takes them (`manage.py dispatch queues list`); if it does, run more relays."
)
LOOK_AT_DEAD = gettext_noop("See why in the admin, under Outbox messages; then requeue or cancel them.")
START_COLLECTOR = gettext_noop(
    "Start one: `manage.py dispatch results`; or, where nobody wants results, leave RESULT_BACKEND empty."
)
#: What a process did, in words.
DID = {
    Outcome.PUBLISHED: ngettext_lazy("%(number)s published", "%(number)s published", "count"),
    Outcome.FAILED: ngettext_lazy("%(number)s failed attempt", "%(number)s failed attempts", "count"),
    Outcome.DEAD: ngettext_lazy("%(number)s dead", "%(number)s dead", "count"),
    Outcome.SUPERSEDED: ngettext_lazy("%(number)s superseded", "%(number)s superseded", "count"),
    Outcome.CANCELLED: ngettext_lazy("%(number)s expired", "%(number)s expired", "count"),
    Outcome.TASK_SUCCEEDED: ngettext_lazy("%(number)s task succeeded", "%(number)s tasks succeeded", "count"),
    Outcome.TASK_FAILED: ngettext_lazy("%(number)s task failed", "%(number)s tasks failed", "count"),
}


@dataclass(frozen=True, slots=True)
class ProcessLine:
    """A relay or collector: ``seen`` so many seconds ago, what it did in the last minutes, the last error by queue."""

    kind: str
    host: str
    pid: int
    version: str
    state: State
    started_at: dt.datetime
    seen: float
    did: Mapping[str, int]
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is pending for a queue, counted to ``MOST_COUNTED``; ``oldest_due``: as of a ``QueueLine``."""

    pending: int = 0
    oldest_due: float | None = None


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue as the outbox has it; ``oldest_due``: seconds for which its oldest message is due, None without one.

    ``published`` and ``failed`` attempts are those of the last minutes; ``error`` is the last one, if it fails now.
    """

    queue: str
    broker: str
    paused: bool
    pending: int
    claimed: int
    oldest_due: float | None
    published: int
    failed: int
    error: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with ``subject``; ``fails``: what is promised is not kept while it lasts."""

    kind: Literal["relay", "overdue", "dead", "collector"]
    subject: str
    sentence: str
    remedy: str
    fails: bool = True


@dataclass(frozen=True, slots=True)
class Health:
    """All that can be seen of one outbox. ``oldest_awaited``: seconds since the oldest message without a result."""

    processes: list[ProcessLine]
    queues: list[QueueLine]
    dead: int
    awaited: int
    oldest_awaited: float | None

    def problems(self, max_silence: float | None = None, max_age: float = MAX_AGE) -> Iterator[Problem]:
        """Yield what is wrong: a process may be silent, and a message due, for so many seconds."""
        due = {
            line.queue: line.oldest_due
            for line in self.queues
            if line.oldest_due is not None and not line.paused
        }
        silence = Process.silence(Kind.RELAY) if max_silence is None else max_silence
        oldest = max(due.values(), default=0.0)
        if oldest > silence and not self._seen(Kind.RELAY, silence):
            yield Problem(
                "relay",
                Kind.RELAY,
                _("No relay was seen for %(silence)s, and messages are due, the oldest for %(oldest)s.")
                % {"silence": duration(silence), "oldest": duration(oldest)},
                _(START_RELAY),
            )
        else:
            yield from (_overdue(line) for line in self.queues if due.get(line.queue, 0.0) > max_age)
        if self.dead:
            yield Problem(
                "dead",
                Status.DEAD,
                _("Dead messages: %(number)s.")
                % {"number": f"{_number(self.dead)}{'+' * (self.dead >= MOST_COUNTED)}"},
                _(LOOK_AT_DEAD),
                fails=False,
            )
        silence = Process.silence(Kind.COLLECTOR) if max_silence is None else max_silence
        awaited = self.oldest_awaited or 0.0
        if awaited > silence and not self._seen(Kind.COLLECTOR, silence):
            yield Problem(
                "collector",
                Kind.COLLECTOR,
                _(
                    "No collector was seen for %(silence)s, and results are awaited, the oldest for %(oldest)s."
                )
                % {"silence": duration(silence), "oldest": duration(awaited)},
                _(START_COLLECTOR),
            )

    def _seen(self, kind: str, seconds: float) -> bool:
        return any(each.kind == kind and each.seen <= seconds for each in self.processes)


def look(using: str) -> Health:
    """Look at the outbox of one database. Raises ConfigurationError for brokers that cannot be read."""
    counts = _counts(using)
    processes = list(_processes(using, counts))
    rows = _messages(using)
    seen = _at_once(  # each in the order of an index: else a planner may scan the table
        using,
        rows.filter(status=Status.CLAIMED).order_by("lease_token")[:MOST_CLAIMED],
        rows.filter(status=Status.DEAD).order_by("available_at")[:MOST_COUNTED],
        _awaited(using).order_by("published_at")[:MOST_COUNTED],
    )
    awaited = [age for _queue, age in seen[Status.PUBLISHED]]
    claimed = Counter(queue for queue, _age in seen[Status.CLAIMED])
    return Health(
        processes=processes,
        queues=list(_queues(using, counts, processes, claimed)),
        dead=len(seen[Status.DEAD]),
        awaited=len(awaited),
        oldest_awaited=min(max(0.0, *awaited), EVER) if awaited else None,
    )


def waiting(using: str) -> Mapping[str, Waiting]:
    """Return what waits in the outbox for each queue, without those that nothing waits for.

    It is read along the index of queues, in one query as a rule, and one more for each ``MOST_COUNTED`` messages.
    """
    found: dict[str, Waiting] = {}
    pending = _messages(using).filter(status=Status.PENDING)
    rest = pending
    for _page in range(MOST_LINES):
        ages = rest.order_by("queue", "available_at").values_list("queue", _age("available_at"))
        page = list(ages[:MOST_COUNTED])
        by_queue: dict[str, list[float]] = defaultdict(list)
        for queue, age in page:
            by_queue[queue].append(age)
        found |= {queue: _held(each) for queue, each in by_queue.items()}
        if len(page) < MOST_COUNTED:
            break
        last = page[-1][0]  # counted in part, unless it alone fills the page
        rest = pending.filter(**{"queue__gt" if page[0][0] == last else "queue__gte": last})
    return found


def waiting_for(using: str, queue: str) -> Waiting:
    """Return what waits in the outbox for one queue."""
    rows = _messages(using).filter(status=Status.PENDING, queue=queue).order_by("available_at")
    return _held([*rows.values_list(_age("available_at"), flat=True)[:MOST_COUNTED]])


def lives_here(using: str, kind: str, silence: float) -> bool:
    """Tell whether a process of this kind on this host was seen within so many seconds."""
    rows = Process.objects.using(using).filter(kind=kind, host=socket.gethostname(), stopped_at=None)
    return rows.filter(seen_at__gte=database_now() - dt.timedelta(seconds=silence)).exists()


def did(using: str) -> Mapping[Any, Mapping[str, int]]:
    """Return what each process did in the last minutes, by its id and the outcome."""
    return _by_process(_counts(using))


def in_words(did: Mapping[str, int]) -> str:
    """Say what a process did: ``1,200 published, 3 failed attempts``; "" for nothing."""
    numbers = {each: did[each] for each in Outcome if did.get(each)}
    return ", ".join(
        DID[each] % {"count": count, "number": _number(count)} for each, count in numbers.items()
    )


def _number(count: int) -> str:
    return str(number_format(count, force_grouping=True))


def state(process: Process, now: dt.datetime) -> State:
    """Return how a process stands at a time of the database's clock."""
    if process.stopped_at is not None:
        return "stopped"
    return "alive" if (now - process.seen_at).total_seconds() <= Process.silence(process.kind) else "silent"


def _overdue(line: QueueLine) -> Problem:
    text = (
        _("Messages for queue %(queue)s are due for %(oldest)s.")
        if line.queue
        else _("Messages for no queue are due for %(oldest)s.")
    )
    sentence = text % {"queue": repr(line.queue), "oldest": duration(line.oldest_due or 0.0)}
    if line.error:
        sentence += " " + _("The last error: %(error)s") % {"error": line.error}
    return Problem("overdue", line.queue, sentence, _(RELAY_MORE))


def _messages(using: str) -> OutboxQuerySet:
    return OutboxMessage.objects.using(using).order_by()


def _age(column: str) -> Combinable:
    """Return the seconds since a time of a column, by the database's clock."""
    return Epoch(database_now()) - Epoch(column)


def _at_once(using: str, *parts: OutboxQuerySet) -> Mapping[str, list[tuple[str, float]]]:
    """Return queue, and seconds since it was published, of the messages of all parts, by status, in one query.

    ``QuerySet.union`` takes no limited parts on SQLite.
    """
    columns = "status", "queue", _age("published_at")
    queries = [part.values_list(*columns).query.get_compiler(using, elide_empty=False) for part in parts]
    statements, parameters = zip(*(each.as_sql() for each in queries), strict=True)
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    with connections[using].cursor() as cursor:
        union = " UNION ALL ".join(f"SELECT * FROM ({each}) AS part" for each in statements)  # noqa: S608 - Django's
        cursor.execute(union, [*chain.from_iterable(parameters)])
        for status, *row in cursor.fetchall():
            found[status].append(row)
    return found


def _held(ages: Sequence[float]) -> Waiting:
    """Return what waits, by its ages, the oldest first; what is due later has none yet."""
    return Waiting(len(ages), min(ages[0], EVER) if ages and ages[0] >= 0 else None)


def _counts(using: str) -> Counts:
    since = database_now() - dt.timedelta(minutes=MINUTES)
    rows = MinuteCount.objects.using(using).filter(minute__gt=since)
    summed = rows.values_list("process", "queue", "outcome").annotate(Sum("number"))
    return {(process, queue, outcome): number for process, queue, outcome, number in summed}


def _by_process(counts: Counts) -> dict[Any, Counter[str]]:
    found: dict[Any, Counter[str]] = defaultdict(Counter)
    for (process, _queue, outcome), number in counts.items():
        found[process][outcome] += number
    return found


def _processes(using: str, counts: Counts) -> Iterator[ProcessLine]:
    done = _by_process(counts)
    rows: Any = Process.objects.using(using).annotate(now=database_now())
    for row in rows[:MOST_LINES]:
        yield ProcessLine(
            kind=row.kind,
            host=row.host,
            pid=row.pid,
            version=row.version,
            state=state(row, row.now),
            started_at=row.started_at,
            seen=max((row.now - row.seen_at).total_seconds(), 0.0),
            did=done.get(row.pk, {}),
            errors=row.errors if isinstance(row.errors, dict) else {},
        )


def _queues(
    using: str, counts: Counts, processes: Iterable[ProcessLine], claimed: Counter[str]
) -> Iterator[QueueLine]:
    snapshot = registry.current()
    pending = waiting(using)
    recent: Counter[tuple[str, str]] = Counter()
    for (_process, queue, outcome), number in counts.items():
        recent[queue, outcome] += number
    errors: dict[str, str] = {}
    for line in processes:
        errors |= line.errors if line.state == "alive" else {}
    names = {*snapshot.table.queues, *pending, *claimed, *errors}
    for name in sorted(names)[:MOST_LINES]:
        held = pending.get(name, Waiting())
        known = snapshot.table.queues.get(name)
        yield QueueLine(
            queue=name,
            broker=known.broker if known else "",
            paused=name in snapshot.paused or name == outbox.PAUSED_TASK,
            pending=held.pending,
            claimed=claimed[name],
            oldest_due=held.oldest_due,
            published=recent[name, Outcome.PUBLISHED],
            failed=recent[name, Outcome.FAILED],
            error=errors.get(name, ""),
        )


def _awaited(using: str) -> OutboxQuerySet:
    """Return the messages whose result a collector asks for."""
    horizon = database_now() - dt.timedelta(seconds=conf.RESULTS_HORIZON)
    rows = _messages(using).awaiting_result().filter(published_at__gte=horizon)
    brokers = conf.brokers
    asked = [alias for alias, each in brokers.items() if each.result_backend and not each.out_of_reach]
    return rows if len(asked) == len(brokers) else rows.filter(broker__in=asked)
