"""The page of one message, and what is done there: requeue, cancel, revoke, move, look at sensitive arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from dispatch.admin import base, links, widgets
from dispatch.admin.message_actions import MOVES, REVOKE, REVOKE_AND_END
from dispatch.exceptions import PublishError
from dispatch.models import OutboxMessage

Act = Callable[[HttpRequest, OutboxMessage], None]


class MessagePage(base.ReadOnlyAdmin):
    """Everything about one message, and the buttons that apply to it, for those who may press them."""

    fieldsets = ((None, {"fields": ("task_name",)}),)
    change_form_template = "admin/dispatch/outboxmessage/change_form.html"

    class Media:
        js = ("dispatch/refresh.js",)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.requeue_outboxmessage")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.cancel_outboxmessage")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.revoke_outboxmessage")

    def has_view_arguments_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.view_arguments_outboxmessage")

    def get_urls(self) -> list[Any]:
        def page(name: str, view: Any) -> Any:
            return path(
                f"<uuid:pk>/{name}/", self.admin_site.admin_view(view), name=f"dispatch_outboxmessage_{name}"
            )

        return [
            page("requeue", self._button(self.has_requeue_permission, self._perform("requeue"))),
            page("cancel", self._button(self.has_cancel_permission, self._perform("cancel"))),
            page("revoke", self._button(self.has_revoke_permission, self._revoke)),
            page("move", self._button(self.has_requeue_permission, self._move)),
            page("arguments", self.arguments_view),
            page("progress", self.progress_view),
            *super().get_urls(),
        ]

    def row_context(self, request: HttpRequest, row: OutboxMessage) -> dict[str, Any]:
        from dispatch.admin.message_detail import describe

        detail = describe(row, self.viewer(request))
        return {
            "detail": detail,
            "moves": [*self._moves(request, row, detail)],
            "may_view_arguments": self.has_view_arguments_permission(request),
        }

    @method_decorator(transaction.non_atomic_requests)
    def progress_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Answer the page's script with where the message is now; a broker may be asked for that."""
        from dispatch.admin.message_detail import where

        message = self.viewed_row(request, pk)
        request.current_app = self.admin_site.name  # as Django's own pages do
        context = {"message": message, "where": where(message, self.viewer(request))}
        return render(request, "dispatch/message_progress.html", context)

    @method_decorator(require_POST)
    def arguments_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Show the arguments as they are, and leave a line in the history that says so."""
        from dispatch.admin.message_detail import unmasked

        if not self.has_view_arguments_permission(request):
            raise PermissionDenied
        message = self.viewed_row(request, pk)
        self.log_change(request, message, _("Sensitive arguments viewed."))
        return self.own_page(
            request,
            "admin/dispatch/outboxmessage/arguments.html",
            title=_("Arguments"),
            subtitle=str(message),
            original=message,
            arguments=unmasked(message),
        )

    def _moves(self, request: HttpRequest, message: OutboxMessage, detail: dict[str, Any]) -> Any:
        """Yield the verb and the label of each button."""
        for verb, move in MOVES.items():
            if getattr(self, f"has_{verb}_permission")(request) and move.applies(message):
                yield verb, move.label
        is_final = detail["where"].progress.is_final
        is_published = message.status == OutboxMessage.Status.PUBLISHED
        if self.has_revoke_permission(request) and is_published and (not is_final or message.ignore_result):
            yield "revoke", REVOKE.label
        if self.has_requeue_permission(request) and detail["can_move"]:
            yield "move", _("Move to %(place)s") % {"place": detail["elsewhere"]}

    def _button(self, may: Callable[[HttpRequest], bool], act: Act) -> Any:
        @require_POST
        @transaction.non_atomic_requests  # some ask a broker
        def view(request: HttpRequest, pk: Any) -> HttpResponse:
            if not may(request):
                raise PermissionDenied
            message = self.viewed_row(request, pk)
            act(request, message)
            return HttpResponseRedirect(links.change_url(message, self.admin_site))

        return view

    def _perform(self, verb: str) -> Act:
        return lambda request, message: MOVES[verb].perform(
            request, self.get_queryset(request).filter(pk=message.pk)
        )

    def _revoke(self, request: HttpRequest, message: OutboxMessage) -> None:
        move = REVOKE_AND_END if "terminate" in request.POST else REVOKE
        move.perform(request, self.get_queryset(request).filter(pk=message.pk))

    def _move(self, request: HttpRequest, message: OutboxMessage) -> None:
        from dispatch.outbox.transfer import transfer

        try:
            place = transfer(message)
        except PublishError as error:
            messages.error(request, widgets.with_commands(error))
            return
        text = _("Moved from queue %(old)s to queue %(new)s.")
        self.log_change(request, message, text % {"old": message.queue, "new": place.queue})
        messages.success(
            request, _("It was taken out of its queue: the relay publishes it where it belongs now.")
        )
