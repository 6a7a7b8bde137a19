"""Who relays and collects, and how much each minute: written by the processes themselves, read wherever one looks."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from dispatch.conf import conf
from dispatch.models.database import MomentField, ReadableJSON
from dispatch.models.outbox_message import NAME_LENGTH

#: Seconds without a heartbeat after which a process counts as silent, beside what its loop may wait by the settings.
SILENCE = 60.0


class Process(models.Model):
    """A relay or a collector, as it last told of itself; all times are the database's.

    ``dispatch run`` is one of each, of the same process id: either loop may hang alone. ``errors`` holds the last error
    of each queue to which it cannot publish at present.
    """

    class Kind(models.TextChoices):
        RELAY = "relay", _("relay")
        COLLECTOR = "collector", _("collector")

    id = models.UUIDField(primary_key=True, editable=False)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    host = models.CharField(_("host"), max_length=255)
    pid = models.BigIntegerField(_("process id"))
    version = models.CharField(_("version of dispatch"), max_length=64)
    started_at = MomentField(_("started at"))
    seen_at = MomentField(_("last seen"))
    stopped_at = MomentField(_("stopped at"), null=True)
    errors = ReadableJSON(_("last errors"), default=dict)

    objects: ClassVar[models.Manager[Process]] = models.Manager()

    class Meta:
        verbose_name = _("process")
        verbose_name_plural = _("processes")
        ordering = ("-seen_at",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} {self.host}:{self.pid}"

    @staticmethod
    def silence(kind: str) -> float:
        """Return after how many seconds without a heartbeat a process of this kind counts as silent."""
        return SILENCE + (
            conf.RELAY_POLL_INTERVAL if kind == Process.Kind.RELAY else conf.RESULTS_POLL_INTERVAL
        )


class MinuteCount(models.Model):
    """How many messages of a queue one process brought to an outcome within a minute; kept for a day.

    Each process writes rows of its own, so that none waits for another; its numbers only grow, so that writing them
    twice is writing them once. ``milliseconds`` is the sum over the messages: of a published one from when it was due,
    of a task's outcome from when it was published until the collector had it, and 0 for the rest.
    """

    class Outcome(models.TextChoices):
        PUBLISHED = "published", _("published")
        FAILED = "failed", _("failed attempts")
        DEAD = "dead", _("dead")
        SUPERSEDED = "superseded", _("superseded")
        CANCELLED = "cancelled", _("expired")
        TASK_SUCCEEDED = "task_succeeded", _("tasks succeeded")
        TASK_FAILED = "task_failed", _("tasks failed")

    minute = models.DateTimeField(_("minute"))
    process = models.UUIDField(_("process"))
    queue = models.CharField(_("queue"), max_length=NAME_LENGTH, blank=True)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome)
    number = models.PositiveIntegerField(_("number"))
    milliseconds = models.PositiveBigIntegerField(_("milliseconds"), default=0, db_default=0)

    objects: ClassVar[models.Manager[MinuteCount]] = models.Manager()

    class Meta:
        verbose_name = _("count of a minute")
        verbose_name_plural = _("counts of minutes")
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=["minute", "process", "queue", "outcome"], name="dispatch_minute_count"
            ),
        )

    def __str__(self) -> str:
        return f"{self.minute:%H:%M} {self.queue} {self.outcome}: {self.number}"
