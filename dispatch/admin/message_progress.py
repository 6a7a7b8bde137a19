"""Why is it not there yet? At which step a message waits, since when, and what to do, in words made of what is known.

Nobody is asked for a page: relays and collectors tell of themselves, and what a broker showed comes with its age.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from dispatch import health, registry
from dispatch.admin import widgets
from dispatch.admin.message_list import result_model
from dispatch.admin.pause_actions import pauses
from dispatch.conf import conf
from dispatch.core.sentences import duration
from dispatch.exceptions import BrokerUnavailable
from dispatch.models import OutboxMessage, Process, Queue, TaskDefinition
from dispatch.models.database import database_now
from dispatch.outbox import canvas

if TYPE_CHECKING:
    from dispatch.queues import Sight

Status, Kind = OutboxMessage.Status, Process.Kind
#: Seconds for which a message may be due before that is worth a word.
PATIENCE = 30.0
#: Processes that are looked at.
MOST_PROCESSES = 50
FINISHED = ("SUCCESS", "FAILURE", "REVOKED")
#: What is said where none was ever seen, the last one was stopped, or it is silent.
ABSENCES = {
    Kind.RELAY: (
        gettext_lazy("No relay has been seen: start one, manage.py dispatch relay."),
        gettext_lazy("No relay runs: %(where)s was stopped %(ago)s. Start one: manage.py dispatch relay."),
        gettext_lazy(
            "No relay answers: %(where)s was last seen %(ago)s. Look at it, or start one: manage.py dispatch relay."
        ),
    ),
    Kind.COLLECTOR: (
        gettext_lazy(
            "Nobody fetches its result, for no collector has been seen: start one, manage.py dispatch results."
        ),
        gettext_lazy(
            "Nobody fetches its result: the collector %(where)s was stopped %(ago)s. Start one: manage.py dispatch "
            "results."
        ),
        gettext_lazy(
            "Nobody fetches its result: the collector %(where)s was last seen %(ago)s. Look at it, or start one: "
            "manage.py dispatch results."
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a message is, in words; ``about`` is the row to look at, and nothing changes by itself once it is final."""

    words: str
    is_final: bool = False
    about: Model | None = None


def progress(message: OutboxMessage, result: Any, *, ask: bool = False) -> Progress:
    """Say where a message is; ``result`` is its TaskResult, if there is one. Who may wait lets the broker be asked."""
    now = _now(message)
    if message.status == Status.PENDING:
        return _pending(message, now)
    if message.status == Status.CHAINED:
        return _chained(message)
    if message.status == Status.CLAIMED:
        return Progress(_claimed(message, now))
    if message.status == Status.PUBLISHED:
        return _finished(message, result, now) if result else _published(message, now, ask)
    return _ended(message, now)


def _now(message: OutboxMessage) -> dt.datetime:
    """Return the time by the clock that the columns of a message, and heartbeats, are written by."""
    rows = OutboxMessage.objects.using(message._state.db).filter(pk=message.pk)
    return rows.annotate(now=database_now()).values_list("now", flat=True).first() or timezone.now()


def _seconds(moment: dt.datetime | None, now: dt.datetime) -> float:
    return (now - moment).total_seconds() if moment else 0.0  # SQLite has None for what is no time


def _ago(moment: dt.datetime | None, now: dt.datetime) -> str:
    age = max(_seconds(moment, now), 0.0)
    return _("%(age)s ago (%(time)s)") % {"age": duration(age), "time": widgets.clock(moment)}


def _lasting(moment: dt.datetime | None, now: dt.datetime) -> str:
    age = max(_seconds(moment, now), 0.0)
    return _("for %(age)s (since %(time)s)") % {"age": duration(age), "time": widgets.clock(moment)}


# ------------------------------------------------------------------ before it is published


def _pending(message: OutboxMessage, now: dt.datetime) -> Progress:
    if held := _held(message, now):
        return held
    relays = _alive(message, Kind.RELAY, now)
    wait = -_seconds(message.available_at, now)
    if wait > 0:
        words = _waiting(message, wait)
        return Progress(words if relays else f"{words} {_absence(message, Kind.RELAY, now)}")
    if not relays:
        due = _("It has been due %(lasting)s.") % {"lasting": _lasting(message.available_at, now)}
        return Progress(f"{due} {_absence(message, Kind.RELAY, now)}")
    if message.last_error:
        return Progress(_failing(message, now))
    if told := _told_by(relays, message):
        return Progress(told)
    seen = _ago(max(relay.seen_at for relay in relays), now)
    if wait < -PATIENCE:
        text = _(
            "It has been due %(lasting)s. A relay runs, seen %(seen)s, and takes what is due longer first: if this "
            "lasts, run more relays."
        )
        return Progress(text % {"lasting": _lasting(message.available_at, now), "seen": seen})
    return Progress(_("It is due, and a relay, seen %(seen)s, publishes it next.") % {"seen": seen})


def _held(message: OutboxMessage, now: dt.datetime) -> Progress | None:
    """Say what holds a message back on purpose."""
    snapshot = registry.current()
    task = snapshot.tasks.get(message.task_name)
    if task and task.retired:
        text = _("Its task was retired %(retired)s: it waits until the task returns, or you cancel it.")
        return Progress(text % {"retired": task.retired}, about=_row(TaskDefinition, message.task_name))
    if message.task_name in snapshot.paused_tasks:
        row = _row(TaskDefinition, message.task_name)
        text = _("Its task is paused%(by)s: it waits until the task is resumed.")
        return Progress(text % {"by": _paused_by(row, now)}, about=row)
    if message.queue in snapshot.paused:
        row = _row(Queue, message.queue)
        text = _("Its queue %(queue)s is paused%(by)s: it waits until the queue is resumed.")
        return Progress(text % {"queue": message.queue, "by": _paused_by(row, now)}, about=row)
    return None


def _row(model: type[Queue | TaskDefinition], name: str) -> Model | None:
    found: Model | None = model._default_manager.filter(name=name).first()
    return found


def _paused_by(row: Model | None, now: dt.datetime) -> str:
    """Return who paused it, and when, as far as the admin's history tells: a command leaves no line there."""
    entry = pauses([row]).get(str(row.pk)) if row else None
    if entry is None:
        return ""
    return _(", by %(user)s %(ago)s") % {
        "user": entry.user.get_username(),
        "ago": _ago(entry.action_time, now),
    }


def _waiting(message: OutboxMessage, wait: float) -> str:
    due = {"wait": duration(ceil(wait)), "time": widgets.clock(message.available_at)}
    if message.attempts:
        text = _("Attempt %(number)s failed as the error below says; the next is due in %(wait)s (%(time)s).")
        return text % {**due, "number": message.attempts}
    return _("It waits until it is due, in %(wait)s (%(time)s).") % due


def _failing(message: OutboxMessage, now: dt.datetime) -> str:
    last: Any = message.failed_attempts.order_by("-at").first()
    if last is not None and last.number is None:  # of equal errors that do not count, the first alone is kept
        text = _(
            "Its broker, or its queue, does not take it %(lasting)s, as the error below says. The relay tries again "
            "every few seconds, and goes on as soon as it can: remove the cause."
        )
        return text % {"lasting": _lasting(last.at, now)}
    text = _(
        "Attempt %(number)s of %(most)s failed as the error below says, and it is due again: a relay tries it next."
    )
    return text % {"number": message.attempts, "most": conf.MAX_ATTEMPTS}


def _told_by(relays: Iterable[Process], message: OutboxMessage) -> str:
    """Say what relays tell of the message's queue, or of another queue of its broker."""
    errors: dict[str, Any] = {}
    for relay in relays:
        errors |= relay.errors if isinstance(relay.errors, dict) else {}
    queues = registry.current().table.queues
    of_broker = (name for name in errors if name in queues and queues[name].broker == message.broker)
    queue = message.queue if message.queue in errors else next(of_broker, None)
    if queue is None:
        return ""
    text = _(
        "It is due, but the relay cannot publish to queue %(queue)s of this broker at present: %(error)s"
    )
    return text % {"queue": queue, "error": errors[queue]}


def _claimed(message: OutboxMessage, now: dt.datetime) -> str:
    left = -_seconds(message.lease_expires_at, now)
    if left > 0:
        text = _("A relay is publishing it. Should that relay stop, another takes over in %(left)s.")
        return text % {"left": duration(left)}
    text = _("The relay that took it has not come back: its lease ended %(ago)s.") % {
        "ago": _ago(message.lease_expires_at, now)
    }
    if _alive(message, Kind.RELAY, now):
        return " ".join((text, _("Another one takes over.")))
    return f"{text} {_absence(message, Kind.RELAY, now)}"


# ------------------------------------------------------------------ the processes


def _processes(message: OutboxMessage, kind: str) -> list[Process]:
    """Return those that told of themselves, the last to do so first."""
    return list(Process.objects.using(message._state.db).filter(kind=kind)[:MOST_PROCESSES])


def _alive(message: OutboxMessage, kind: str, now: dt.datetime) -> list[Process]:
    return [each for each in _processes(message, kind) if health.state(each, now) == "alive"]


def _absence(message: OutboxMessage, kind: Process.Kind, now: dt.datetime) -> str:
    last = next(iter(_processes(message, kind)), None)
    never, stopped, silent = ABSENCES[kind]
    if last is None:
        return str(never)
    told = {"where": f"{last.host}:{last.pid}", "ago": _ago(last.stopped_at or last.seen_at, now)}
    return str(stopped if last.stopped_at else silent) % told


def _chained(message: OutboxMessage) -> Progress:
    first = OutboxMessage.objects.using(message._state.db).filter(pk__in=[message.root_id]).first()
    if first is None:
        return Progress(_("It is not sent any more: the first message of its chain is gone."), is_final=True)
    if first.status in (Status.PENDING, Status.CLAIMED):
        return Progress(
            _("It goes with the first message of its chain, which was not sent yet."), about=first
        )
    text = _(
        "It was not sent, since the first message of its chain was not: requeue that one, and it goes with it."
    )
    return Progress(text, is_final=True, about=first)


# ------------------------------------------------------------------ with the broker and the worker


def _published(message: OutboxMessage, now: dt.datetime, ask: bool) -> Progress:
    took = _took(message) % {"ago": _ago(message.published_at, now)}
    if message.handled_at:
        text = _("Its result was handled %(ago)s, and is kept no longer.")
        return Progress(f"{took} {text % {'ago': _ago(message.handled_at, now)}}", is_final=True)
    if message.ignore_result:
        text = _("No result is kept, since the task asks for none: whether it ran, its worker's log tells.")
        return Progress(f"{took} {text}", is_final=True)
    broker = conf.brokers.get(message.broker)
    if broker and (not broker.result_backend or broker.out_of_reach):
        text = _("Nobody asks for its result: its broker has no RESULT_BACKEND that can be read from here.")
        return Progress(f"{took} {text}", is_final=True)
    if _seconds(message.published_at, now) > conf.RESULTS_HORIZON:
        text = _("No result came within %(horizon)s, and it is asked for no longer.")
        return Progress(f"{took} {text % {'horizon': duration(conf.RESULTS_HORIZON)}}", is_final=True)
    is_fetched = _alive(message, Kind.COLLECTOR, now)
    word = (_last_word(message) if ask and broker else "") or _("No worker has reported a result yet.")
    parts = [
        took,
        word if is_fetched else _absence(message, Kind.COLLECTOR, now),
        *_consumption(message, ask),
    ]
    return Progress(" ".join(parts))


def _took(message: OutboxMessage) -> str:
    if not message.root_id:
        return _("The broker took it %(ago)s.")
    return _("The broker took its chain %(ago)s: the worker that ends the step before it sends it.")


def _last_word(message: OutboxMessage) -> str:
    """Say what the result backend holds of a task whose result was not fetched."""
    from dispatch.client.result_backend import READY_STATES, last_word

    if conf.brokers[message.broker].result_backend.startswith("django-db"):  # then a TaskResult would tell
        return ""
    try:
        state, worker = last_word(message.broker, str(message.pk))
    except BrokerUnavailable as error:
        return str(error)
    if not state:
        return ""
    if state in READY_STATES:
        return _("It has ended, and the collector fetches its result.")
    if state == "STARTED":
        return _("A worker has begun it, and has not finished: %(worker)s.") % {
            "worker": worker or widgets.EMPTY
        }
    return _("No result yet: the worker's last word is %(status)s.") % {"status": state.lower()}


def _consumption(message: OutboxMessage, ask: bool) -> list[str]:
    """Say what the broker shows of the queues, as far as it has been asked."""
    from dispatch.queues import sights

    names = published_queues(message)
    found = sights.of(names) if ask else sights.known(names)
    return [_of_queue(name, sight) for name, sight in found.items()]


def _of_queue(name: str, sight: Sight) -> str:
    seen, told = sight.seen, {"queue": name, "ago": duration(sight.age)}
    if seen.state in ("down", "refused"):
        return _("Asked %(ago)s ago, the broker did not tell of queue %(queue)s: %(note)s") % {
            **told,
            "note": seen.note,
        }
    if seen.consumers is None:
        text = _(
            "Asked %(ago)s ago, no worker told whether it consumes queue %(queue)s: none runs, or none lets itself be "
            "asked."
        )
        return text % told
    if not seen.consumers:
        text = _(
            "Asked %(ago)s ago, nobody consumed queue %(queue)s: start a worker (manage.py dispatch worker-command "
            "%(queue)s), or let a running one take it (manage.py dispatch queues apply)."
        )
        return text % told
    told |= {
        "consumers": widgets.number(seen.consumers),
        "ready": _("nobody knows how many") if seen.ready is None else widgets.number(seen.ready),
    }
    return (
        ngettext(
            "Asked %(ago)s ago, queue %(queue)s had %(consumers)s consumer, messages waiting in it: %(ready)s.",
            "Asked %(ago)s ago, queue %(queue)s had %(consumers)s consumers, messages waiting in it: %(ready)s.",
            seen.consumers,
        )
        % told
    )


def published_queues(message: OutboxMessage) -> list[str]:
    """Return the queues that it was published to; of a row that holds something odd, none."""
    went = message.published_to
    queues = went.get("queues") if isinstance(went, dict) else None
    return [str(name) for name in queues] if isinstance(queues, list) else []


def _finished(message: OutboxMessage, result: Any, now: dt.datetime) -> Progress:
    at, is_final = _ago(result.date_done, now), result.status in FINISHED
    cause = _failed_before(message) if result.status == "FAILURE" else None
    if result.status == "SUCCESS":
        text = _("The worker finished it %(at)s.")
    elif cause:
        text = _(
            "It did not run: a step before it in its chain failed %(at)s, with the exception below. If its cause is "
            "gone, send the chain again."
        )
    elif result.status == "FAILURE":
        text = _(
            "A worker ran it, and the task failed %(at)s, with the exception below. If its cause is gone, send it "
            "again as new."
        )
    elif result.status == "REVOKED":
        text = _("It was revoked %(at)s, and did not run to its end.")
    elif result.status == "STARTED":
        text = _("A worker runs it %(lasting)s.")
    elif result.status == "RETRY":
        text = _("The worker tries it again: the last try failed %(at)s, with the exception below.")
    else:
        text = _("The worker has it; its last word, %(at)s, is %(status)s.")
    since = _lasting(getattr(result, "date_started", None) or result.date_done, now)  # since version 2.6
    words = text % {"at": at, "lasting": since, "status": result.status.lower()}
    return Progress(words, is_final=is_final, about=cause)


def _failed_before(message: OutboxMessage) -> OutboxMessage | None:
    """Return the step before it that failed: Celery's worker stores its exception for each of those behind it too."""
    steps = canvas.members(message) if message.root_id else []
    rows = result_model()._default_manager.using(message._state.db)
    failures = rows.filter(task_id__in=[str(step.pk) for step in steps], status="FAILURE")
    failed = set(failures.values_list("task_id", flat=True)) if steps else ()
    first = next((step for step in steps if str(step.pk) in failed), None)
    return None if first == message else first


# ------------------------------------------------------------------ what is not sent


def _ended(message: OutboxMessage, now: dt.datetime) -> Progress:
    ago = {"ago": _ago(message.available_at, now)}
    if message.status == Status.SUPERSEDED:
        later = OutboxMessage.objects.using(message._state.db).filter(pk__in=[message.superseded_by]).first()
        text = _(
            "It was not sent: a later message of the same object, within the coalescing window, took its place."
        )
        return Progress(text, is_final=True, about=later)
    if message.status == Status.CANCELLED and message.last_error:
        return Progress(_("It was cancelled %(ago)s, as the error below says.") % ago, is_final=True)
    if message.status == Status.CANCELLED:
        return Progress(
            _("It was cancelled %(ago)s, and is not sent unless you requeue it.") % ago, is_final=True
        )
    if not message.broker:
        text = _(
            "It died %(ago)s: the trigger could not make the message, as the error below says. Correct the trigger, "
            "then save the object again."
        )
        return Progress(text % ago, is_final=True)
    text = ngettext(
        "It died %(ago)s, after %(number)s attempt, of the error below. Remove its cause, then requeue it.",
        "It died %(ago)s, after %(number)s attempts, of the error below. Remove its cause, then requeue it.",
        message.attempts,
    )
    return Progress(text % {**ago, "number": message.attempts}, is_final=True)
