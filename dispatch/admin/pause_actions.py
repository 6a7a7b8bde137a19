"""The actions that hold messages back, on the pages of queues and of tasks."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from dispatch.admin import widgets
from dispatch.admin.explanations.section import ExplainedAdmin
from dispatch.models.write_transactions import write_transaction

MOST_NAMED = 10


class PausingAdmin(ExplainedAdmin):
    """Base of the pages of rows that have a flag ``paused``."""

    actions = ("pause", "resume")

    @admin.action(description=_("Pause selected %(verbose_name_plural)s"), permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        if names := self._set_paused(request, queryset, True):
            text = _("Paused: %(names)s. Messages wait in the outbox until you resume.")
            messages.success(request, text % {"names": names})
        else:
            messages.info(request, _("Nothing to do: they are paused already."))

    @admin.action(description=_("Resume selected %(verbose_name_plural)s"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        if names := self._set_paused(request, queryset, False):
            messages.success(
                request, _("Resumed: %(names)s. The relay publishes what waited.") % {"names": names}
            )
        else:
            messages.info(request, _("Nothing to do: none of them is paused."))

    @admin.display(description=_("state"), ordering="paused")
    def state(self, row: Any) -> SafeString:
        return widgets.badge("paused", _("paused")) if row.paused else widgets.badge("active", _("active"))

    def _set_paused(self, request: HttpRequest, queryset: QuerySet[Any], paused: bool) -> str:
        with write_transaction(queryset.db):
            rows = list(queryset.filter(paused=not paused))
            queryset.filter(pk__in=[row.pk for row in rows]).update(paused=paused)
            for row in rows:
                self.log_change(request, row, _t("Paused.") if paused else _t("Resumed."))
        return _named([str(row) for row in rows])


def _named(names: list[str]) -> str:
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    more = _t("%(count)s more") % {"count": widgets.number(len(names) - MOST_NAMED)}
    return ", ".join([*names[:MOST_NAMED], more])
