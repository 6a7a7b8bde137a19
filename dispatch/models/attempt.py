"""The attempts that failed: one that succeeds is told by the message itself, and has no row here."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from dispatch.models.database import MomentField
from dispatch.models.outbox_message import OutboxMessage


class Attempt(models.Model):
    """A failed attempt to publish a message.

    ``number`` is None where the attempt was not counted: its broker or its queue was the cause, or its time was over.
    The database guards no foreign key: that would cost a lock an attempt, and a look here for each message pruned. Nor
    does Django, which would load all messages that ``QuerySet.delete()`` deletes: what it leaves here is pruned later.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    message = models.ForeignKey(
        OutboxMessage, models.DO_NOTHING, related_name="failed_attempts", db_constraint=False
    )
    number = models.PositiveIntegerField(_("number"), null=True)
    at = MomentField(_("at"))
    broker = models.CharField(_("broker"), max_length=64, blank=True)
    queue = models.CharField(_("queue"), max_length=200, blank=True)
    error = models.TextField(_("error"))
    message_id: uuid.UUID

    objects: ClassVar[models.Manager[Attempt]] = models.Manager()

    class Meta:
        verbose_name = _("failed attempt")
        verbose_name_plural = _("failed attempts")
        ordering = ("at", "number")

    def __str__(self) -> str:
        return f"{self.message_id} {self.number or ''}"
