"""The bases of the admin's pages and forms."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import router
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from dispatch.admin.widgets import (
    JSON_IN_LINES,
)
from dispatch.conf import DEFAULT_BROKER, conf
from dispatch.exceptions import ConfigurationError
from dispatch.models.write_transactions import write_transaction

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


class Admin(ModelAdmin):
    """Base of the pages: ``intro`` explains the list, ``empty_help`` says how its first row comes about."""

    intro: str | Promise = ""
    empty_help: str | Promise = ""
    view_on_site = False
    save_on_top = False
    form = Form
    change_list_template = "admin/dispatch/change_list.html"
    formfield_overrides = JSON_IN_LINES

    class Media:
        css = {"all": ("dispatch/admin.css",)}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        widget = getattr(field, "widget", None)
        if isinstance(widget, RelatedFieldWidgetWrapper):
            widget.can_delete_related = False  # a red cross beside a choice is taken for "clear it"
        return field

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
