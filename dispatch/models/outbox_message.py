"""The outbox: one row per message, inserted in the transaction that caused it."""

from __future__ import annotations

import datetime as dt
import secrets
import time
import uuid
from collections.abc import Iterable
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dispatch.models.database import Column, MomentField, PartialIndex, ReadableJSON

TASK_LENGTH, NAME_LENGTH, KEY_LENGTH = 255, 200, 255
#: Twelve bits stand for the part of a millisecond, by method 3 of RFC 9562, section 6.2.
PARTS = 1 << 12
_last = 0


def new_task_id() -> uuid.UUID:
    """Return a UUIDv7: ordered by time, so that rows are inserted at the end of the index.

    The package uuid6 counts by whole milliseconds: 5,000 at once end five seconds ahead of the clock.
    """
    global _last
    _last = max(time.time_ns() * PARTS // 1_000_000, _last + 1)
    milliseconds, part = divmod(_last, PARTS)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | part << 64 | 2 << 62 | secrets.randbits(62))


def of_object(labels: Iterable[str], pk: str | None = None) -> Q:
    """Return the condition of messages of an object, or of all objects of these models.

    The index has no messages without an object, and SQLite wants to be told that none of them is sought.
    """
    found = Q(object_model__gt="", object_model__in=[*labels])
    return found if pk is None else found & Q(object_pk=pk)


class OutboxQuerySet(models.QuerySet["OutboxMessage"]):
    """The questions that several layers ask of the outbox."""

    def awaiting_result(self) -> OutboxQuerySet:
        """Published messages whose result is wanted and was not handled yet."""
        return self.filter(status=OutboxMessage.Status.PUBLISHED, ignore_result=False, handled_at=None)


class OutboxMessage(models.Model):
    """A message on its way: what is sent, where it is, and what came of it.

    ``args`` and ``kwargs`` are the JSON texts that go on the wire: a JSON column would reorder keys and change
    numbers. The origin and the object are plain values, since they may live in another database than the row.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        CHAINED = "chained", _("waits in its chain")
        CLAIMED = "claimed", _("claimed")
        PUBLISHED = "published", _("published")
        SUPERSEDED = "superseded", _("superseded")
        DEAD = "dead", _("dead")
        CANCELLED = "cancelled", _("cancelled")

    class Origin(models.TextChoices):
        CODE = "code", _("code")
        TRIGGER = "trigger", _("trigger")
        USER = "user", _("user")

    #: Statuses that may go back to pending, and those that an operator may cancel.
    REQUEUEABLE: ClassVar = (Status.DEAD, Status.CANCELLED)
    CANCELLABLE: ClassVar = (Status.PENDING, Status.DEAD)

    #: For type checkers alone, never set: what the task returns, as far as the message's own type tells.
    _returned: Any

    id: Column[uuid.UUID] = models.UUIDField(
        _("task id"), primary_key=True, default=new_task_id, editable=False
    )
    task_name: Column[str] = models.CharField(_("task"), max_length=TASK_LENGTH)
    args: Column[str] = models.TextField(_("args"), default="[]")
    kwargs: Column[str] = models.TextField(_("kwargs"), default="{}")
    options: Column[Any] = ReadableJSON(_("options"), default=dict, blank=True)
    headers: Column[Any] = ReadableJSON(_("headers"), default=dict, blank=True)
    ignore_result: Column[bool] = models.BooleanField(_("ignore result"), default=False)

    origin: Column[str] = models.CharField(_("origin"), max_length=16, choices=Origin, default=Origin.CODE)
    origin_name: Column[str] = models.CharField(_("sent by"), max_length=NAME_LENGTH, blank=True)
    object_model: Column[str] = models.CharField(_("model"), max_length=NAME_LENGTH, blank=True)
    object_pk: Column[str] = models.CharField(_("primary key"), max_length=KEY_LENGTH, blank=True)
    object_schema: Column[str] = models.CharField(
        _("schema"),
        max_length=63,
        default="",
        db_default="",
        blank=True,
        help_text=_("The tenant's schema that holds the object, where each tenant has one."),
    )

    coalesce_key: Column[str] = models.CharField(
        _("coalescing key"),
        max_length=32,
        blank=True,
        editable=False,
        help_text=_("Pending messages of one key become one when they are claimed."),
    )
    superseded_by: Column[uuid.UUID | None] = models.UUIDField(
        _("superseded by"), null=True, blank=True, editable=False
    )
    root_id: Column[uuid.UUID | None] = models.UUIDField(
        _("first of its chain"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("The message within which a later step of a chain is sent."),
    )

    status: Column[str] = models.CharField(_("status"), max_length=16, choices=Status, default=Status.PENDING)
    broker: Column[str] = models.CharField(_("broker"), max_length=64, blank=True)
    queue: Column[str] = models.CharField(_("queue"), max_length=200, blank=True)
    pinned: Column[bool] = models.BooleanField(
        _("pinned"), default=False, help_text=_("The sender chose queue or exchange: routes do not move it.")
    )
    created_at: Column[dt.datetime] = MomentField(_("enqueued at"), default=timezone.now)
    available_at: Column[dt.datetime] = MomentField(_("due at"), default=timezone.now)
    expires_at: Column[dt.datetime | None] = MomentField(_("expires at"), null=True, blank=True)
    attempts: Column[int] = models.PositiveIntegerField(_("attempts"), default=0)
    last_error: Column[str] = models.TextField(_("last error"), blank=True)
    lease_token: Column[uuid.UUID | None] = models.UUIDField(
        _("lease"), null=True, blank=True, editable=False
    )
    lease_expires_at: Column[dt.datetime | None] = MomentField(
        _("lease expires at"), null=True, blank=True, editable=False
    )

    published_at: Column[dt.datetime | None] = MomentField(_("published at"), null=True, blank=True)
    published_to: Column[Any] = ReadableJSON(_("published to"), null=True, blank=True)
    handled_at: Column[dt.datetime | None] = MomentField(_("result handled at"), null=True, blank=True)

    objects: ClassVar[models.Manager[OutboxMessage]] = OutboxQuerySet.as_manager()

    class Meta:
        verbose_name: ClassVar[Any] = _("outbox message")
        verbose_name_plural: ClassVar[Any] = _("outbox messages")
        permissions: ClassVar[Any] = (
            ("requeue_outboxmessage", "Can requeue outbox messages"),
            ("cancel_outboxmessage", "Can cancel outbox messages"),
            ("revoke_outboxmessage", "Can revoke tasks that workers hold"),
            ("view_arguments_outboxmessage", "Can view sensitive arguments"),
        )
        ordering: ClassVar[Any] = ("-id",)
        constraints: ClassVar[Any] = (
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "pending",
                        "chained",
                        "claimed",
                        "published",
                        "superseded",
                        "dead",
                        "cancelled",
                    ]
                ),
                name="dispatch_outbox_status",
            ),
            models.CheckConstraint(
                condition=~Q(status="claimed")
                | (Q(lease_token__isnull=False) & Q(lease_expires_at__isnull=False)),
                name="dispatch_outbox_claimed_has_lease",
            ),
            models.CheckConstraint(
                condition=~Q(status="published") | Q(published_at__isnull=False),
                name="dispatch_outbox_published_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(status="superseded") | Q(superseded_by__isnull=False),
                name="dispatch_outbox_superseded_by_one",
            ),
            models.CheckConstraint(
                condition=~Q(status="chained") | Q(root_id__isnull=False),
                name="dispatch_outbox_chained_to_one",
            ),
        )
        indexes: ClassVar[Any] = (
            PartialIndex(
                where={"status": "pending"}, fields=["available_at", "id"], name="dispatch_outbox_pending"
            ),
            PartialIndex(
                where={"status": "pending"},
                fields=["queue", "available_at", "id"],
                name="dispatch_outbox_queue",
            ),
            PartialIndex(where={"status": "claimed"}, fields=["lease_token"], name="dispatch_outbox_claimed"),
            PartialIndex(
                where={"status": "published", "ignore_result": False, "handled_at__isnull": True},
                fields=["published_at"],
                name="dispatch_outbox_awaiting",
            ),
            PartialIndex(
                where={"status": "dead"},
                fields=["available_at", "id"],
                name="dispatch_outbox_dead",
                only_partial=True,
            ),
            PartialIndex(
                where={"coalesce_key__gt": ""},
                fields=["coalesce_key", "created_at"],
                name="dispatch_outbox_coalesce",
            ),
            PartialIndex(
                where={"object_model__gt": ""},
                fields=["object_model", "object_pk"],
                name="dispatch_outbox_object",
            ),
        )

    def __str__(self) -> str:
        return f"{self.task_name} {self.id}"
