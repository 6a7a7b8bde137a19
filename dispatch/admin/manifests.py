"""The manifests that were imported, and the import of one: uploaded, read as a difference, then applied."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import router
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from dispatch.admin import base, contract, links, manifest_changes, widgets
from dispatch.core import manifest as documents
from dispatch.exceptions import InvalidManifest
from dispatch.models import Manifest, OutboxMessage, Route, Trigger
from dispatch.models.write_transactions import write_transaction

#: Bytes that the other fields of the form take at the most, in which the manifest is sent a second time.
OTHER_FIELDS = 10_000
MOST_TASKS = 100
#: What no longer works after an import, and whose model one must be allowed to view to be told which.
EFFECTS: dict[str, tuple[Any, type[Model]]] = {
    "trigger": (_("trigger"), Trigger),
    "code": (_("trigger in code"), Trigger),
    "route": (_("route"), Route),
    "messages": (_("messages"), OutboxMessage),
}


def most_bytes() -> int:
    """Return how large a manifest may be here: what it is applied with is a field, no file."""
    most: Any = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return documents.LONGEST if most is None else min(documents.LONGEST, most - OTHER_FIELDS)


def read(text: str) -> documents.Manifest:
    """Return the manifest that a text holds. Raises ValidationError, which names what is wrong."""
    try:
        return documents.read(text)
    except InvalidManifest as error:
        raise ValidationError(widgets.with_commands(error)) from None


class UploadForm(forms.Form):
    """A manifest as the worker writes it; ``cleaned_data`` holds its text."""

    manifest = forms.FileField(
        label=_("Manifest"),
        widget=forms.FileInput(attrs={"accept": ".json,application/json"}),
        help_text=_("The file that celery -A worker manifest writes. Nothing is changed yet."),
    )

    def clean_manifest(self) -> str:
        file = self.cleaned_data["manifest"]
        if file.size > most_bytes():
            text = _(
                "The file has %(size)s bytes, and %(most)s are the most here: is it the right one? A larger manifest "
                "is imported by manage.py dispatch manifest sync FILE."
            )
            sizes = {"size": widgets.number(file.size), "most": widgets.number(most_bytes())}
            raise ValidationError(text % sizes)
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValidationError(_("The file is no text in UTF-8: is it the right one?")) from None
        read(text)
        return re.sub(
            r"[\r\n]\s*", "", text
        )  # browsers write line breaks otherwise, and JSON has none in a text


class ApplyForm(forms.Form):
    """The manifest that was shown, and the fingerprint of what it would have changed."""

    manifest = forms.CharField(widget=forms.HiddenInput, strip=False)
    shown = forms.CharField(widget=forms.HiddenInput)


@admin.register(Manifest)
class ManifestAdmin(base.ReadOnlyAdmin):
    """Which manifests were imported, and what they brought."""

    intro = _("What the workers said of themselves, and what each import of it changed.")
    empty_help = _(
        "No manifest yet. Write one with celery -A worker manifest, and import it here, or with manage.py dispatch "
        "manifest sync FILE."
    )
    list_display = ("worker", "version", "task_count", "changed", "imported_at")
    list_filter = ("worker",)
    search_fields = ("worker", "version", "checksum")
    fields = ("worker", "version", "changed", "consumed", "checksum", "imported_at")
    readonly_fields = ("changed", "consumed")
    change_list_template = "admin/dispatch/manifest/change_list.html"
    change_form_template = "admin/dispatch/manifest/change_form.html"

    def has_sync_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("dispatch.sync_manifest")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(task_count=Count("tasks"))
        return rows

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("contract/", contract.view(self), name="dispatch_contract"),
            path("sync/", wrap(self.sync_view), name="dispatch_manifest_sync"),
            path("apply/", wrap(require_POST(self.apply_view)), name="dispatch_manifest_apply"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"may_sync": self.has_sync_permission(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def row_context(self, request: HttpRequest, row: Manifest) -> dict[str, Any]:
        names = row.tasks.values_list("name", flat=True)[:MOST_TASKS]
        return {
            "sections": manifest_changes.sections(row.changes, self.viewer(request)),
            "tasks": manifest_changes.links_to(names, self.viewer(request)),
        }

    def sync_view(self, request: HttpRequest) -> HttpResponse:
        """Take a manifest in, and show what it would change."""
        self._check_permission(request)
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method != "POST" or not form.is_valid():
            return self._page(request, form=form)
        return self._preview(request, form.cleaned_data["manifest"])

    def apply_view(self, request: HttpRequest) -> HttpResponse:
        """Import the manifest whose difference was shown, if it is still the same."""
        self._check_permission(request)
        form = ApplyForm(request.POST)
        try:
            manifest = read(form.data.get("manifest", ""))
        except ValidationError as error:
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(links.page("dispatch_manifest_sync", self.admin_site))
        with write_transaction(router.db_for_write(Manifest)):
            synced = _sync(manifest, expected=form.data.get("shown", ""))
            if synced.applied:
                row = Manifest.objects.get(worker=manifest.worker, checksum=manifest.checksum)
                told = manifest_changes.summary(synced.difference.document()) or gettext(
                    "no task has changed"
                )
                self.log_change(request, row, gettext("Imported: %(changes)s.") % {"changes": told})
        if not synced.applied:
            text = _(
                "The registry has changed in the meantime, and nothing was imported: look again, and apply."
            )
            self.message_user(request, text, messages.WARNING)
            return self._preview(request, form.data["manifest"])
        text = _("Imported the manifest of %(manifest)s: %(changes)s.")
        self.message_user(request, text % {"manifest": row, "changes": told}, messages.SUCCESS)
        return HttpResponseRedirect(links.change_url(row, self.admin_site))

    def _check_permission(self, request: HttpRequest) -> None:
        if not self.has_sync_permission(request):
            raise PermissionDenied

    def _preview(self, request: HttpRequest, text: str) -> HttpResponse:
        synced = _sync(documents.read(text), dry_run=True)
        effects = [
            (label, effect)
            for effect in synced.effects
            for label, model in [EFFECTS[effect.kind]]
            if self.viewer(request).may_view(model)
        ]
        return self._page(
            request,
            synced=synced,
            effects=effects[:MOST_TASKS],
            hidden=len(synced.effects) - len(effects),
            sections=manifest_changes.sections(synced.difference.document(), self.viewer(request)),
            form=ApplyForm(initial={"manifest": text, "shown": synced.fingerprint}),
        )

    def _page(self, request: HttpRequest, **context: Any) -> HttpResponse:
        return self.own_page(
            request, "admin/dispatch/manifest/sync.html", title=_("Import a manifest"), **context
        )

    @admin.display(description=_("tasks now"), ordering="task_count")
    def task_count(self, manifest: Any) -> str:
        return widgets.number(manifest.task_count)

    @admin.display(description=_("its last import"))
    def changed(self, manifest: Manifest) -> str:
        return manifest_changes.summary(manifest.changes) or widgets.EMPTY

    @admin.display(description=_("consumed queues"))
    def consumed(self, manifest: Manifest) -> str:
        queues = manifest.queues if isinstance(manifest.queues, list) else []  # whatever wrote the row
        return widgets.listed(str(queue.get("name")) for queue in queues if isinstance(queue, dict))


def _sync(manifest: documents.Manifest, **options: Any) -> Any:
    from dispatch.contract import sync  # a web process that imports none need not read for it
    from dispatch.triggers.code_triggers import declared

    code = [(trigger.name, trigger.task) for trigger in declared.values()]
    return sync(manifest, code=code, **options)
