"""Sending a task by hand: a form, what would be sent and where it would go, and then the sending.

The task id is chosen when it is shown what would be sent: who sends that twice, by a reload or a second click, finds
the message that was sent.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, router
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils import timezone
from django.utils.formats import localize
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from dispatch import outbox, registry
from dispatch.admin import broker_state, links, message_window, widgets
from dispatch.admin.explanations import rule_names
from dispatch.admin.explanations.in_one_sentence import place
from dispatch.admin.explanations.section import Note
from dispatch.admin.links import Viewer
from dispatch.admin.schema_form import resized, without_item
from dispatch.admin.send_form import NOTHING, Repeated, SendForm, repeated
from dispatch.client.message_protocol import embed
from dispatch.core.call import Call
from dispatch.core.routing import Request
from dispatch.exceptions import SendError, UnreadableMessage
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.models.outbox_message import new_task_id
from dispatch.models.write_transactions import write_transaction
from dispatch.outbox.masking import masked_option
from dispatch.outbox.resends import note_resend
from dispatch.registry.routing_explanation import explain

#: What is posted with the form and is none of its fields.
BESIDE = ("csrfmiddlewaretoken", "step", "task_id")


class SendView:
    """One request for the page from which a task is sent."""

    def __init__(self, admin: Any, request: HttpRequest, row: TaskDefinition) -> None:
        self.admin, self.request, self.row = admin, request, row
        self.site = admin.admin_site
        self.viewer = Viewer(self.site, request)
        self.using = router.db_for_write(OutboxMessage)
        self.snapshot = registry.current()
        self.may_view = request.user.has_perm("dispatch.view_arguments_outboxmessage")
        self.notes: list[Note] = []

    def respond(self) -> HttpResponse:
        """Return the page, or lead to the message that was sent."""
        try:
            self.task = self.snapshot.task(self.row.name)
        except SendError as error:
            self.notes.append(Note("warning", _("cannot be sent"), str(error)))
            return self._page()
        self._tell_of_the_task()
        if self.request.method != "POST":
            return self._page(form=self._form(None))
        data = self.request.POST
        step, _space, what = data.get("step", "").partition(" ")
        if step in ("check", "send"):
            form, task_id = self._form(data), message_window.as_uuid(data.get("task_id", ""))
            return self._send(form, task_id) if task_id and step == "send" else self._check(form)
        form = self._form(_changed(data, step, what))
        return self._page(form=form.switched() if step == "switch" else form.draft())

    def _tell_of_the_task(self) -> None:
        if self.task.deprecated is not None:
            text = self.task.deprecated or _("The worker advises against sending it.")
            self.notes.append(Note("warning", _("deprecated"), text))
        if self.task.paused:
            text = _("What is sent waits in the outbox until the task is resumed.")
            self.notes.append(Note("paused", _("paused"), text))

    def _form(self, data: QueryDict | None) -> SendForm:
        return SendForm(self.task, self.snapshot, self._repeated, data)

    # ------------------------------------------------------------- the message that is sent again

    @cached_property
    def _original(self) -> OutboxMessage | None:
        """The message that the address names, which is sent again."""
        pk = self.request.GET.get("again")
        if pk is None:
            return None
        if not self.viewer.may_open(OutboxMessage):
            raise PermissionDenied
        found: OutboxMessage | None = self.site.get_model_admin(OutboxMessage).get_object(self.request, pk)
        if found is None or found.task_name != self.row.name:
            raise Http404
        return found

    @cached_property
    def _repeated(self) -> Repeated:
        if self._original is None:
            return NOTHING
        try:
            found = repeated(self._original, self.task, may_view=self.may_view)
        except UnreadableMessage as error:
            self.notes.append(Note("warning", _("not filled in"), str(error)))
            return NOTHING
        if kept := [*found.kept, *found.kept_options]:
            text = _("Left empty, these are sent as they were: %(names)s.") % {"names": ", ".join(kept)}
            self.notes.append(Note("masked", _("not shown"), text))
        return found

    # ------------------------------------------------------------- what is done

    def _check(self, form: SendForm) -> HttpResponse:
        task_id = new_task_id()
        if form.is_valid():
            try:
                call = form.call(task_id)
                draft = outbox.draft(call, self._origin, self.snapshot, timezone.now())
                return self._page(shown=self._shown(call, draft))
            except SendError as error:
                form.add_error(error)
        return self._page(form=form)

    def _send(self, form: SendForm, task_id: uuid.UUID) -> HttpResponse:
        if not form.is_valid():
            return self._page(form=form)
        try:
            self._enqueue(form.call(task_id))
        except (SendError, IntegrityError) as error:
            if OutboxMessage.objects.using(self.using).filter(pk=task_id).exists():
                messages.info(self.request, _("It had been sent before, and was not sent again."))
                return self._leave(task_id)
            if not isinstance(error, SendError):
                raise
            form.add_error(error)
            return self._page(form=form)
        messages.success(self.request, _("Sent: %(task)s.") % {"task": self.row.name})
        return self._leave(task_id)

    def _enqueue(self, call: Call) -> None:
        with write_transaction(self.using):
            [message] = outbox.enqueue([call], using=self.using, origin=self._origin)
            if self._original:
                note_resend(self._original, message)
            self.admin.log_addition(self.request, message, _("Sent by hand."))

    @property
    def _origin(self) -> outbox.Origin:
        return outbox.Origin(OutboxMessage.Origin.USER.value, self.request.user.get_username())

    def _leave(self, task_id: uuid.UUID) -> HttpResponse:
        """Lead to the message, where the user may see it."""
        may_see = self.viewer.may_open(OutboxMessage)
        model, pk = (OutboxMessage, task_id) if may_see else (TaskDefinition, self.row.pk)
        return HttpResponseRedirect(links.url(model, pk, self.site))

    # ------------------------------------------------------------- what is shown

    def _page(self, form: SendForm | None = None, shown: dict[str, Any] | None = None) -> HttpResponse:
        page: HttpResponse = self.admin.own_page(
            self.request,
            "admin/dispatch/taskdefinition/send.html",
            title=_("Send"),
            subtitle=self.row.name,
            row=self.row,
            notes=self.notes,
            form=form,
            shown=shown,
            again=self._original,
            again_url=links.change_url(self._original, self.site) if self._original else "",
        )
        return page

    def _shown(self, call: Call, draft: outbox.Draft) -> dict[str, Any]:
        """Return what would be sent, and where; ``body`` is what goes on the wire, but for what is sensitive."""
        row = draft.row
        args, kwargs = json.loads(row.args), json.loads(row.kwargs)
        found = explain(self.snapshot, call.name, call.target, Request(call.name, args, kwargs, row.options))
        destination = found.destination
        if not self.may_view:
            args, kwargs = self.task.mask(args, kwargs)
        options = row.options if self.may_view else masked_option(row.options)
        body = [args, kwargs, embed(options.get("link", ()), options.get("link_error", ()))]
        return {
            "task_id": row.pk,
            "place": place(destination) if destination else "",
            "decided_by": rule_names.decisions(found.decided_by),
            "seen": broker_state.look(self.site, destination.queues if destination else ()),
            "due": _due(draft),
            "expires_at": row.expires_at,
            "options": [(name, json.dumps(each, ensure_ascii=False)) for name, each in options.items()],
            "headers": ", ".join(row.headers),
            "body": json.dumps(body, ensure_ascii=False, indent=2),
            "posted": [
                (name, value)
                for name, values in self.request.POST.lists()
                for value in values
                if name not in BESIDE
            ],
        }


def _changed(data: QueryDict, step: str, what: str) -> QueryDict:
    """Return what was posted with an item, or an object, more or less."""
    if step == "resize":
        size, _space, pointer = what.partition(" ")
        return resized(data, size, pointer)
    return without_item(data, what) if step == "drop" else data


def _due(draft: outbox.Draft) -> str:
    if draft.lag is None:
        return localize(widgets.local(draft.row.available_at))
    if not draft.lag:
        return _("at once")
    return _("%(seconds)g s after it is sent") % {"seconds": draft.lag.total_seconds()}
