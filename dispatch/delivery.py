"""``DISPATCH["DELIVERY"]``: what is done with messages as soon as their transaction has committed."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from traceback import format_exception
from typing import Any

from django.core.signals import setting_changed
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from dispatch import outbox, registry
from dispatch.conf import conf
from dispatch.core.message import represent
from dispatch.core.printable import one_line
from dispatch.core.redaction import redact
from dispatch.exceptions import ConfigurationError, DispatchError
from dispatch.models import OutboxMessage
from dispatch.models.write_transactions import brief_write
from dispatch.signals import messages_inserted

logger = logging.getLogger("dispatch.delivery")
Status = OutboxMessage.Status

#: Seconds for which a commit waits at most, for all brokers together.
LONGEST = 1.0
#: Messages of one transaction that are tried at its commit, at most.
MOST = 10_000
#: Rows that are read together.
CHUNK = 500
PRINTED = 'Printed to the console instead of published: DISPATCH["DELIVERY"] is "console".'


def connect() -> None:
    """Listen to what is inserted where the setting wants it, and to changes of the setting; again changes nothing."""
    setting_changed.connect(_follow, dispatch_uid="dispatch.delivery")
    _follow(setting="DISPATCH")


def _follow(*, setting: str, **_: Any) -> None:
    if setting != "DISPATCH":
        return
    # connected for nothing it would cost each send some microseconds
    messages_inserted.disconnect(dispatch_uid="dispatch.delivery")
    with suppress(ConfigurationError):  # told by a check, and by each send
        if conf.DELIVERY == "relay":
            return
    messages_inserted.connect(_inserted, dispatch_uid="dispatch.delivery")


class _AtCommit:
    """One of the callbacks of a transaction, which share its messages: the first that runs takes them all.

    Each insert has its own, since Django drops those of a savepoint that is rolled back; its messages are not found.
    """

    def __init__(
        self, deliver: Callable[[Sequence[uuid.UUID], str], None], ids: list[uuid.UUID], using: str
    ) -> None:
        self.deliver, self.ids, self.using = deliver, ids, using

    def __call__(self) -> None:
        ids = self.ids.copy()
        self.ids.clear()
        if not ids or connections[self.using].in_atomic_block:  # a test only plays a commit
            return
        try:
            self.deliver(ids, self.using)
        except (DispatchError, DatabaseError, InterfaceError) as error:
            _leave_to_relay(error)
        except Exception as error:  # noqa: BLE001 - the save has been committed, and Django cannot name this callback
            _leave_to_relay("".join(format_exception(error)))


def _inserted(*, messages: Sequence[OutboxMessage], using: str, **_: Any) -> None:
    try:
        way = conf.DELIVERY
    except ConfigurationError as error:  # it must not break a save
        return _leave_to_relay(error)
    connection: Any = connections[using]
    if way == "relay" or not (connection.in_atomic_block or connection.get_autocommit()):
        return None  # of commits that somebody manages by hand nobody hears
    deliver, is_meant = (_publish, _is_due) if way == "on_commit" else (_print, _is_printed)
    new = [each.pk for each in messages if is_meant(each)]
    if not new:
        return None
    callbacks = (callback for _, callback, _ in reversed(connection.run_on_commit))
    ids = next((each.ids for each in callbacks if isinstance(each, _AtCommit)), [])
    ids += new[: max(0, MOST - len(ids))] if way == "on_commit" else new
    transaction.on_commit(_AtCommit(deliver, ids, using), using=using, robust=True)
    return None


def _leave_to_relay(error: Exception | str) -> None:
    logger.error("Messages are left to a relay: %s", redact(str(error)).strip())


def _is_printed(message: OutboxMessage) -> bool:
    return message.status in (Status.PENDING, Status.CHAINED)


def _is_due(message: OutboxMessage) -> bool:
    """Tell whether a message waits for nothing: no moment, and no others with which it becomes one."""
    is_pending = message.status == Status.PENDING
    return is_pending and not message.coalesce_key and message.available_at <= timezone.now()


def _publish(ids: Sequence[uuid.UUID], using: str) -> None:
    from dispatch.relay.at_commit import publish  # with Celery, which others need not load

    publish(ids, using, LONGEST)


def _print(ids: Sequence[uuid.UUID], using: str) -> None:
    """Print messages, and cancel them: there is no worker, and nothing is to wait for one."""
    snapshot, rows = registry.current(), OutboxMessage.objects.using(using)
    for start in range(0, len(ids), CHUNK):
        for row in rows.filter(pk__in=ids[start : start + CHUNK]).order_by("created_at", "id"):
            line = f"dispatch: {_call(row, snapshot)} {_whither(row, snapshot)}, task id {row.pk}"
            if row.status == Status.CHAINED:  # it stays with the first of its chain
                _write_line(f"{line}, behind the step before it")
                continue
            mine = rows.filter(pk=row.pk, status=Status.PENDING)
            with brief_write(using):
                is_mine = mine.update(status=Status.CANCELLED, last_error=PRINTED)
            if is_mine:
                _write_line(line)


def _call(row: OutboxMessage, snapshot: registry.Snapshot) -> str:
    args, kwargs = snapshot.task(row.task_name).masked(row.args, row.kwargs)
    shown = [*map(represent, args), *(f"{name}={represent(value)}" for name, value in kwargs.items())]
    return f"{row.task_name}({', '.join(shown)})"


def _whither(row: OutboxMessage, snapshot: registry.Snapshot) -> str:
    to = outbox.resolve(outbox.call_of(row), row.options, snapshot)
    where = (
        f"queue {to.queue!r}" if to.queue else f"exchange {to.exchange!r}, routing key {to.routing_key!r},"
    )
    priority = "" if to.priority is None else f", priority {to.priority}"
    due = (
        f", due at {row.available_at.isoformat(' ', 'seconds')}" if row.available_at > timezone.now() else ""
    )
    return f"to {where} of broker {to.broker!r}{priority}{due}"


def _write_line(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    print(one_line(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)  # noqa: T201 - is asked for
