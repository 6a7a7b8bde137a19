"""What the admin pages share: their base, form fields for JSON and names, and small pieces of HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localdate, localtime
from django.utils.translation import gettext_lazy as _

from dispatch.conf import DEFAULT_BROKER, conf
from dispatch.exceptions import ConfigurationError

if TYPE_CHECKING:
    import datetime as dt

    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    ModelForm = forms.ModelForm[Any]
else:
    ModelAdmin, TabularInline, ModelForm = admin.ModelAdmin, admin.TabularInline, forms.ModelForm

EMPTY = "–"
_BREAKS = re.compile(r"(?<=[._])(?=\w{4,})")


WIDE = forms.TextInput(attrs={"size": 60})


class JSONField(forms.JSONField):
    """JSON in indented lines; an error says where it is, and an empty text means the column's default."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, (str, forms.fields.InvalidJSONInput)):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False, cls=self.encoder)

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except ValidationError:
            raise ValidationError(_complaint(value), code="invalid") from None

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return self.initial() if cleaned is None and callable(self.initial) else cleaned


def _complaint(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        where = {"line": getattr(error, "lineno", 1), "column": getattr(error, "colno", 1)}
        reason = getattr(error, "msg", str(error))
        return _(
            "This is not JSON at line %(line)d, column %(column)d: %(reason)s. Texts and keys need double quotes."
        ) % {
            **where,
            "reason": reason,
        }
    return str(forms.JSONField.default_error_messages["invalid"])


def _json_overrides(**attrs: Any) -> dict[Any, Any]:
    widget = forms.Textarea(attrs={"class": "dispatch-code", "spellcheck": "false", **attrs})
    return {models.JSONField: {"form_class": JSONField, "widget": widget}}


JSON_IN_LINES = _json_overrides(rows=4, cols=60)
JSON_IN_A_LINE = _json_overrides(rows=1, cols=30)


class NamesField(forms.CharField):
    """A list of names, one a line."""

    widget = forms.Textarea(attrs={"rows": 3, "cols": 40, "class": "dispatch-code", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, (list, tuple)) else value

    def to_python(self, value: Any) -> Any:
        return [name for line in (value or "").splitlines() if (name := line.strip())]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or ()) != self.to_python(data))


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


def badge(kind: str, text: Any) -> SafeString:
    """Return a label whose colour and sign come from the class ``dispatch-badge-KIND``."""
    return format_html('<span class="dispatch-badge dispatch-badge-{}">{}</span>', kind.lower(), text)


def moment(value: dt.datetime, label: Any) -> SafeString:
    """Return a time to the second, in the current time zone; the date only where it is not today's."""
    local = localtime(value)
    shown = f"{local:%H:%M:%S}" if local.date() == localdate() else f"{local:%Y-%m-%d %H:%M}"
    return format_html(
        '<time class="dispatch-whole" datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        f"{label} {local:%Y-%m-%d %H:%M:%S %Z}",
        shown,
    )


def dotted(name: str) -> SafeString:
    """Return a dotted name that may be broken between its words."""
    return format_html_join(SafeString("<wbr>"), "{}", ((part,) for part in _BREAKS.split(name)))


def shortened(text: str, length: int = 80) -> SafeString | str:
    """Return the beginning of a text, the whole of it as a tooltip."""
    if not text:
        return EMPTY
    return format_html('<span title="{}">{}</span>', text, Truncator(text).chars(length))


def listed(names: Iterable[str]) -> str:
    """Return names as an enumeration, or a dash."""
    return ", ".join(names) or EMPTY


def number(count: int) -> str:
    """Return a count in the reader's notation."""
    return str(localize(count, use_l10n=True))
