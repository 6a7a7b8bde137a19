"""The actions that hold messages back, on the pages of queues and of tasks, and who did so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import history, widgets
from dispatch.admin.explanations.section import ExplainedAdmin, Note
from dispatch.models.write_transactions import write_transaction

MOST_NAMED = 10
#: What the history says, in any language: it is looked for there.
PAUSED, RESUMED = "Paused.", "Resumed."


class PausingList(ChangeList):
    """A list that knows who paused its rows."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        known = pauses(self.result_list)  # whose rows stay: the forms in the list take them too
        for row in self.result_list:
            row.pause = known.get(str(row.pk))


class PausingAdmin(ExplainedAdmin):
    """Base of the pages of rows that have a flag ``paused``."""

    list_class = PausingList
    actions: Sequence[str] = ("pause", "resume")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"dispatch.pause_{self.opts.model_name}")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        kept = () if self.has_pause_permission(request) else ("paused",)
        return (*super().get_readonly_fields(request, obj), *kept)

    @admin.action(description=_("Pause selected %(verbose_name_plural)s"), permissions=["pause"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        if names := self._set_paused(request, queryset, True):
            text = _("Paused: %(names)s. Messages wait in the outbox until you resume.")
            messages.success(request, text % {"names": names})
        else:
            messages.info(request, _("Nothing to do: they are paused already."))

    @admin.action(description=_("Resume selected %(verbose_name_plural)s"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        if names := self._set_paused(request, queryset, False):
            messages.success(
                request, _("Resumed: %(names)s. The relay publishes what waited.") % {"names": names}
            )
        else:
            messages.info(request, _("Nothing to do: none of them is paused."))

    @admin.display(description=_("state"), ordering="paused")
    def state(self, row: Any) -> SafeString:
        if not row.paused:
            return widgets.badge("active", pgettext("not paused", "active"))
        badge, pause = widgets.badge("paused", _("paused")), getattr(row, "pause", None)
        if pause is None:
            return badge
        return widgets.remarked(badge, history.signed(pause))

    def _set_paused(self, request: HttpRequest, queryset: QuerySet[Any], paused: bool) -> str:
        with write_transaction(queryset.db):
            rows = list(queryset.filter(paused=not paused))
            queryset.filter(pk__in=[row.pk for row in rows]).update(paused=paused)
            for row in rows:
                self.log_change(request, row, PAUSED if paused else RESUMED)
        return widgets.listed(map(str, rows), MOST_NAMED) if rows else ""


def pauses(rows: Iterable[Any]) -> dict[str, LogEntry]:
    """Return, by primary key, the entry of the history that tells who paused a row, and when.

    Those that are not paused now have none, nor have those that ``dispatch queues pause`` or other code paused.
    """
    said = Q(change_message__in=(PAUSED, RESUMED)) | history.changed("Paused")
    last = history.last_entries([row for row in rows if row.paused], said)
    return {pk: entry for pk, entry in last.items() if entry.change_message != RESUMED}


def pause_notes(row: Any) -> list[Note]:
    """Return what the page of a row says of its pause."""
    if not row.paused:
        return []
    pause = pauses([row]).get(str(row.pk))
    who = format_html("{}. ", history.signed(pause)) if pause else ""
    text = gettext("Its messages wait in the outbox until somebody resumes it.")
    return [Note("paused", _("paused"), format_html("{}{}", who, text))]
