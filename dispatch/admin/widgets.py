"""What the admin's pages are made of: form fields for JSON and names, and small pieces of HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localdate, localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch.core.json_values import DEPTH, plain
from dispatch.core.redaction import storable
from dispatch.core.suggestions import closest
from dispatch.exceptions import InvalidArguments

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
        return storable(json.dumps(value, indent=2, ensure_ascii=False, cls=self.encoder))

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return what is shown again: as it was written, where it cannot be stored."""
        try:
            self.to_python(data)
        except ValidationError:
            return forms.fields.InvalidJSONInput(data)
        return super().bound_data(data, initial)

    def to_python(self, value: Any) -> Any:
        try:
            found = super().to_python(value)
        except (ValidationError, ValueError, RecursionError):
            raise ValidationError(_complaint(value), code="invalid") from None
        try:
            plain(found)
        except InvalidArguments as error:
            raise ValidationError(str(error), code="invalid") from None
        return found

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return self.initial() if cleaned is None and callable(self.initial) else cleaned


def _complaint(text: str) -> str:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        text = gettext(
            "This is not JSON at line %(line)d, column %(column)d: %(reason)s. Texts and keys need double quotes."
        )
        return text % {"line": error.lineno, "column": error.colno, "reason": error.msg}
    except ValueError:
        return str(_("A number in it has too many digits for JSON: write a text."))
    except RecursionError:
        return _("It is nested more than %(depth)d levels deep.") % {"depth": DEPTH}
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


class IgnoreResult(forms.NullBooleanSelect):
    """Yes, no, or what the worker's own code says."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        [_unknown, *rest] = self.choices
        self.choices = [("unknown", _("As the worker's code says")), *rest]


def badge(kind: str, text: Any) -> SafeString:
    """Return a label whose colour and sign come from the class ``dispatch-badge-KIND``."""
    return format_html('<span class="dispatch-badge dispatch-badge-{}">{}</span>', kind.lower(), text)


def remarked(shown: Any, remark: Any) -> SafeString:
    """Return what is shown with a remark in small letters beside it."""
    return format_html('{} <small class="dispatch-quiet">{}</small>', shown, remark)


def subtitled(shown: Any, line: Any) -> SafeString:
    """Return what is shown with a line in small letters below it."""
    return format_html('{}<br><small class="dispatch-quiet">{}</small>', shown, line)


def local(value: dt.datetime) -> dt.datetime:
    """Return a time in the current time zone; one that no clock has there, at the end of time, in its own."""
    try:
        return localtime(value)
    except OverflowError:
        return value


def clock(value: dt.datetime | None) -> str:
    """Return a time to the second, in the current time zone; the date only where it is not today's."""
    if value is None:
        return EMPTY
    here = local(value)
    return f"{here:%H:%M:%S}" if here.date() == localdate() else f"{here:%Y-%m-%d %H:%M}"


def moment(value: dt.datetime, label: Any) -> SafeString:
    """Return a time as a clock shows it, the whole of it as a tooltip."""
    here = local(value)
    return format_html(
        '<time class="dispatch-whole" datetime="{}" title="{}">{}</time>',
        here.isoformat(),
        f"{label} {here:%Y-%m-%d %H:%M:%S %Z}",
        clock(value),
    )


def dotted(name: str) -> SafeString:
    """Return a dotted name that may be broken between its words."""
    return format_html_join(SafeString("<wbr>"), "{}", ((part,) for part in _BREAKS.split(name)))


def shortened(text: str, length: int = 80) -> SafeString | str:
    """Return the beginning of a text, the whole of it as a tooltip."""
    if not text:
        return EMPTY
    return format_html('<span title="{}">{}</span>', text, Truncator(text).chars(length))


def listed(names: Iterable[str], most: int | None = None) -> str:
    """Return names as an enumeration, at most so many of them, or a dash."""
    names = list(names)
    shown = names[:most]
    if left := len(names) - len(shown):
        shown.append(gettext("%(count)s more") % {"count": number(left)})
    return ", ".join(shown) or EMPTY


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'a' or 'b'?)`` for the names closest to this one, or nothing."""
    names = gettext(" or ").join(map(repr, closest(name, known)))
    return gettext(" (did you mean %(names)s?)") % {"names": names} if names else ""


def number(count: float, decimals: int | None = None) -> str:
    """Return a number in the reader's notation, with its digits in groups."""
    return number_format(count, decimals, use_l10n=True, force_grouping=True)


def with_commands(text: Any) -> SafeString:
    """Return a text in which what stands between backticks is code; markup stays as it is."""
    if isinstance(text, SafeString):
        return text
    parts = enumerate(re.split(r"`([^`]+)`", str(text)))
    return SafeString("".join(format_html("<code>{}</code>" if at % 2 else "{}", part) for at, part in parts))
