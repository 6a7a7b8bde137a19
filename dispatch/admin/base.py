"""The bases of the admin's pages and forms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AutocompleteSelect, RelatedFieldWidgetWrapper
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.db import router
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from dispatch.admin import links
from dispatch.admin.request_guard import guarded
from dispatch.admin.widgets import EMPTY, JSON_IN_LINES
from dispatch.conf import DEFAULT_BROKER, conf
from dispatch.core.redaction import storable
from dispatch.exceptions import ConfigurationError
from dispatch.models.write_transactions import write_transaction

#: Characters of a search: what is sought has no longer names, and each word is one more condition of the query.
LONGEST_TERM = 255

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    ModelForm = forms.ModelForm[Any]
else:
    ModelAdmin, TabularInline, ModelForm = admin.ModelAdmin, admin.TabularInline, forms.ModelForm


class Form(ModelForm):
    """Shows what ``Model.clean`` says of a read-only column too, and one error for a field instead of two."""

    def add_error(self, field: str | None, error: Any) -> None:
        super().add_error(field, self._without_strays(error) if field is None else error)

    def _without_strays(self, error: Any) -> Any:
        messages = getattr(error, "error_dict", None)
        if messages is None:
            return error
        kept = {
            name: errors
            for name, errors in messages.items()
            if name in self.fields and name not in self.errors
        }
        strays = [error for name, errors in messages.items() if name not in self.fields for error in errors]
        return ValidationError({**kept, NON_FIELD_ERRORS: strays} if strays else kept)


class BrokerForm(Form):
    """The broker is chosen among the aliases of the settings; on the model it is a plain text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "broker" in self.fields:
            old = self.fields["broker"]
            self.fields["broker"] = forms.ChoiceField(
                label=old.label,
                choices=_broker_choices(self.instance.broker),
                initial=DEFAULT_BROKER,
                help_text=_("One of the brokers in the settings, under DISPATCH[“BROKERS”]."),
            )


def _broker_choices(stored: str) -> list[tuple[str, Any]]:
    try:
        known = sorted(conf.brokers)
    except ConfigurationError:
        known = []
    choices: list[tuple[str, Any]] = [(alias, alias) for alias in known]
    if stored not in known:
        choices.append((stored, format_html(str(_("{} (not in the settings)")), stored)))
    return choices


class RowSelect(AutocompleteSelect):
    """A choice among many rows; what is no key, as an address or a form may hold, is shown as none."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        model = self.field.remote_field.model
        return super().optgroups(name, [each for each in value if may_be_key(model, each)], attr)


class _WithRowSelects:
    def formfield_for_foreignkey(self: Any, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", RowSelect(db_field, self.admin_site, using=kwargs.get("using")))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]


class Inline(_WithRowSelects, TabularInline):
    """Base of the rows that stand in another's page."""


def may_be_key(model: type[Model], value: Any) -> bool:
    """Tell whether a row of this model could have this primary key."""
    try:
        model._meta.pk.clean(value, None)
    except ValidationError:
        return False
    return True


def _as_text(field: Any) -> Callable[[Any], str]:
    """Return what shows a foreign key without a link."""

    def text(row: Any) -> str:
        value = getattr(row, field.name)
        return EMPTY if value is None else str(value)

    text.__name__ = field.name
    return admin.display(description=field.verbose_name)(text)


class Admin(_WithRowSelects, ModelAdmin):
    """Base of the pages: ``intro`` explains the list, ``empty_help`` says how its first row comes about."""

    intro: str | Promise = ""
    empty_help: str | Promise = ""
    list_class: type[ChangeList] = ChangeList
    view_on_site = False
    save_on_top = False
    form = Form
    change_list_template = "admin/dispatch/change_list.html"
    formfield_overrides = JSON_IN_LINES

    class Media:
        css = {"all": ("dispatch/admin.css",)}

    @property
    def urls(self) -> list[URLPattern]:
        return [guarded(page, self.admin_site) for page in self.get_urls()]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None)  # an empty _to_field is none

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found: tuple[QuerySet[Any], bool] = super().get_search_results(
            request, queryset, storable(search_term, LONGEST_TERM)
        )
        return found

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> Any:
        if all(may_be_key(self.model, key) for key in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            return super().response_action(request, queryset, *args, **kwargs)
        self.message_user(request, _("What was selected is no row of this list."), messages.WARNING)
        return HttpResponseRedirect(request.get_full_path())

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        widget = getattr(field, "widget", None)
        if isinstance(widget, RelatedFieldWidgetWrapper):
            widget.can_delete_related = False  # a red cross beside a choice is taken for "clear it"
        return field

    def viewer(self, request: HttpRequest) -> links.Viewer:
        """Return what tells which pages of this site the user of a request may see."""
        return links.Viewer(self.admin_site, request)

    def own_page(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        """Return a page that Django's admin does not have, in the frame of those that it has."""
        request.current_app = self.admin_site.name  # as Django's own pages do
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "may_view_list": self.has_view_permission(request),
            "list_url": links.page(f"dispatch_{self.opts.model_name}_changelist", self.admin_site),
        }
        return TemplateResponse(request, template, frame | context)

    def viewed_row(self, request: HttpRequest, pk: Any) -> Any:
        """Return the row of such a page. Raises Http404, and PermissionDenied for those who may not view it."""
        row = self.get_object(request, str(pk))
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def row_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page of a row shows beside its form."""
        return {}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if row := context.get("original"):
            context = {**self.row_context(request, row), **context}
        self._unlink(request, self.model, context["adminform"])
        for inline in context["inline_admin_formsets"]:
            self._unlink(request, inline.opts.model, inline)
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def _unlink(self, request: HttpRequest, model: type[Model], shown: Any) -> None:
        """Let read-only foreign keys be texts where this user may not see the row: Django links to it all the same."""
        texts = {
            field.name: _as_text(field)
            for field in model._meta.fields
            if field.is_relation and not self.viewer(request).may_open(field.related_model)
        }
        is_whole = not getattr(shown, "has_change_permission", True)  # of an inline that may only be seen
        read_only = {name for name in texts if is_whole or name in shown.readonly_fields}
        shown.fieldsets = [
            (
                title,
                {
                    **options,
                    "fields": [texts[f] if f in read_only else f for f in flatten(options["fields"])],
                },
            )
            for title, options in shown.fieldsets
        ]
        shown.readonly_fields = [*shown.readonly_fields, *texts.values()]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with self._writing(request):
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with self._writing(request):
            return super().delete_view(request, *args, **kwargs)

    def _writing(self, request: HttpRequest) -> AbstractContextManager[None]:
        """Open the transaction in which Django reads a row and then writes it."""
        return (
            write_transaction(router.db_for_write(self.model)) if request.method == "POST" else nullcontext()
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return self.list_class

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{"form": Form, **kwargs})


class ReadOnlyAdmin(Admin):
    """Pages on which nothing is added, changed or deleted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
