"""Requeueing, cancelling and revoking many messages: asked before, done in steps, told in numbers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from dispatch.admin import base, links, message_window, widgets
from dispatch.admin.message_actions import MOVES, REVOKE, Move, Tally, in_words
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.outbox.lifecycle import STEP

#: Seconds after which a request begins no further step, and asks whether to go on.
PATIENCE = 5.0


BULKS: dict[str, Move] = {**MOVES, "revoke": REVOKE}


class BulkActions(base.ReadOnlyAdmin):
    """The actions of the list. The messages that were asked about are those to which it is done, and no others."""

    actions = ("requeue", "cancel", "revoke")

    @admin.action(description=_("Requeue selected messages"), permissions=["requeue"])
    def requeue(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._ask("requeue", request, queryset)

    @admin.action(description=_("Cancel selected messages"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._ask("cancel", request, queryset)

    @admin.action(description=_("Revoke selected messages"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._ask("revoke", request, queryset)

    def get_urls(self) -> list[Any]:
        pages = [
            path(f"{verb}/", self._bulk_view(verb), name=f"dispatch_outboxmessage_bulk_{verb}")
            for verb in BULKS
        ]
        return [*pages, *super().get_urls()]

    def _ask(self, verb: str, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Show what would happen to which messages, and ask."""
        ids = [*queryset.order_by("pk").values_list("pk", flat=True)[: message_window.SIZE]]
        tally, move = Tally(), BULKS[verb]
        for at in range(0, len(ids), STEP):
            tally.add(move.forecast(self._rows(request).filter(pk__in=ids[at : at + STEP])))
        able = sum(tally.able.values()) - tally.empty
        return self._page(
            verb,
            request,
            ids,
            title=move.question % {"count": able} if able else _("Nothing to do"),
            able=able,
            counts=in_words(tally.able),
            obstacles=[*move.obstacles(tally)],
            total=len(ids),
        )

    def _bulk_view(self, verb: str) -> Any:
        @require_POST
        @transaction.non_atomic_requests  # each step commits, and revoking asks brokers
        def view(request: HttpRequest) -> HttpResponse:
            if not (self.has_view_permission(request) and getattr(self, f"has_{verb}_permission")(request)):
                raise PermissionDenied
            ids = _ids(request.POST.get("ids", ""))
            total = _number(request.POST.get("total", ""), len(ids))
            left = self._do(verb, request, ids)
            if not left:
                return HttpResponseRedirect(self._with_filters(request, "changelist"))
            done = widgets.number(total - len(left))
            text = gettext("%(done)s of %(total)s messages done") % {
                "done": done,
                "total": widgets.number(total),
            }
            return self._page(
                verb, request, left, title=text, able=len(left), total=total, done=total - len(left)
            )

        return self.admin_site.admin_view(view)

    def _do(self, verb: str, request: HttpRequest, ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
        """Do it for some seconds; return what is left."""
        tally, move, began = Tally(), BULKS[verb], time.monotonic()
        while ids:
            tally.add(move.carry_out(request, self._rows(request).filter(pk__in=ids[:STEP])))
            ids = ids[STEP:]
            if time.monotonic() - began > PATIENCE:
                break
        move.tell(request, tally)
        return ids

    def _rows(self, request: HttpRequest) -> OutboxQuerySet:
        return cast("OutboxQuerySet", self.get_queryset(request))

    def _page(
        self, verb: str, request: HttpRequest, ids: Sequence[uuid.UUID], **context: Any
    ) -> HttpResponse:
        return self.own_page(
            request,
            "admin/dispatch/outboxmessage/bulk.html",
            ids=" ".join(each.hex for each in ids),
            move=BULKS[verb],
            action_url=self._with_filters(request, f"bulk_{verb}"),
            list_url=self._with_filters(request, "changelist"),
            **context,
        )

    def _with_filters(self, request: HttpRequest, name: str) -> str:
        address = links.page(f"dispatch_outboxmessage_{name}", self.admin_site)
        return links.with_filters(self, request, address)


def _ids(text: str) -> list[uuid.UUID]:
    """Return the messages that the form names. Raises BadRequest for what no page of ours would send."""
    try:
        ids = [uuid.UUID(each) for each in text.split()]
    except ValueError:
        raise BadRequest("What was selected are no task ids.") from None
    if len(ids) > message_window.SIZE:
        raise BadRequest("More was selected than a list holds.")
    return ids


def _number(text: str, least: int) -> int:
    return max(int(text), least) if text.isdecimal() and len(text) < 10 else least
