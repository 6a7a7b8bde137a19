"""Which message was sent again as which."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Resend(models.Model):
    """A message that a user sent again as a new one.

    Both are plain ids, as ``OutboxMessage.superseded_by`` is: either message may be pruned before the other.
    """

    copy = models.UUIDField(_("copy"), primary_key=True, editable=False)
    original = models.UUIDField(_("original"), db_index=True, editable=False)

    objects: ClassVar[models.Manager[Resend]] = models.Manager()

    class Meta:
        verbose_name = _("message sent again")
        verbose_name_plural = _("messages sent again")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.original} → {self.copy}"
