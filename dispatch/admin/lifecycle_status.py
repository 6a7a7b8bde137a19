"""The one status that a message is shown with: its own in the outbox, then what its result says."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from dispatch.models import OutboxMessage

Status = OutboxMessage.Status


class Lifecycle(models.TextChoices):
    """Where a message is on its way from the outbox to the end of its task."""

    PENDING = "pending", _("pending")
    CHAINED = "chained", _("waits in its chain")
    CLAIMED = "claimed", _("claimed")
    PUBLISHED = "published", _("published")
    UNAWAITED = "unawaited", _("published, no result wanted")
    RUNNING = "running", _("running")
    RETRYING = "retrying", _("retried by the worker")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    REVOKED = "revoked", _("revoked")
    DEAD = "dead", _("dead")
    CANCELLED = "cancelled", _("cancelled")
    SUPERSEDED = "superseded", _("superseded")


#: A result came, and is no longer kept: how the task ended is not known any more, so that nothing finds these.
FINISHED = ("finished", _("finished, result no longer kept"))

#: What the rows of a status have in common, where the outbox knows it.
CONDITIONS: dict[str, dict[str, Any]] = {
    **{status: {"status": status} for status in Status if status != Status.PUBLISHED},
    Lifecycle.PUBLISHED: {"status": Status.PUBLISHED, "ignore_result": False, "handled_at": None},
    Lifecycle.UNAWAITED: {"status": Status.PUBLISHED, "ignore_result": True},
}
#: Celery's states of a result, where that knows it. PROGRESS is the state that its documentation makes up.
STATES: dict[str, tuple[str, ...]] = {
    Lifecycle.RUNNING: ("STARTED", "PROGRESS"),
    Lifecycle.RETRYING: ("RETRY",),
    Lifecycle.SUCCEEDED: ("SUCCESS",),
    Lifecycle.FAILED: ("FAILURE", "REJECTED"),
    Lifecycle.REVOKED: ("REVOKED",),
}
_OF_STATE = {state: lifecycle for lifecycle, states in STATES.items() for state in states}
#: States in which no worker has begun.
_NOT_BEGUN = ("", "PENDING", "RECEIVED")


def of(message: OutboxMessage, state: str) -> tuple[str, Any]:
    """Return the status of a message whose result has this state ("" where there is none), and its name."""
    found = message.status
    if found == Status.PUBLISHED and state not in _NOT_BEGUN:
        found = _OF_STATE.get(state, Lifecycle.RUNNING)  # a state that the task makes up
    elif found == Status.PUBLISHED and message.handled_at:
        return FINISHED
    elif found == Status.PUBLISHED and message.ignore_result:
        found = Lifecycle.UNAWAITED
    return found, Lifecycle(found).label
