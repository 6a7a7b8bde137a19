"""Who did something last, as the admin's own history tells, and what is written into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from dispatch.admin import widgets


def write(request: HttpRequest, model: type[Model], text: str, name: str, row: Model | None) -> None:
    """Write what was done into the history of a row, or of what has none, under a name."""
    LogEntry.objects.create(
        user_id=request.user.pk or 0,  # the admin lets nobody in without a row
        content_type=ContentType.objects.get_for_model(model),
        object_id=str(row.pk) if row else None,
        object_repr=name[:200],
        action_flag=CHANGE,
        change_message=text,
    )


def changed(label: str) -> Q:
    """Return the question for entries of forms that changed a field of this label, which Django stores in English."""
    return Q(change_message__contains=f'"{label}"')


def last_entries(rows: Sequence[Any], said: Q) -> dict[str, LogEntry]:
    """Return, by primary key, the last entry about each of these rows of one model that says such a thing."""
    if not rows:
        return {}
    entries = LogEntry.objects.filter(
        said,
        content_type=ContentType.objects.get_for_model(type(rows[0])),
        object_id__in=[str(row.pk) for row in rows],
    )
    ordered = entries.select_related("user").order_by("action_time", "pk")
    return {str(entry.object_id): entry for entry in ordered}


def signed(entry: LogEntry) -> SafeString:
    """Return who it was, and when."""
    by = _("by %(user)s") % {"user": entry.user}
    return format_html("{} {}", by, widgets.moment(entry.action_time, by))
