"""What the admin's pages are made of: form fields for JSON and names, and small pieces of HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localdate, localtime
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    import datetime as dt

EMPTY = "–"
WIDE = forms.TextInput(attrs={"size": 60})
_BREAKS = re.compile(r"(?<=[._])(?=\w{4,})")


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
