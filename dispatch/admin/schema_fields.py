"""Form fields whose text stands for a JSON value: one for each kind of value that a JSON Schema asks for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.timezone import is_naive, make_aware, make_naive
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import widgets
from dispatch.core.json_values import to_json

#: What an empty field stands for where nothing is to be sent: the worker's own default holds.
ABSENT: Any = object()


class ValueField(forms.Field):
    """Base of the fields. Left empty, it stands for ``empty``."""

    def __init__(self, *, empty: Any = ABSENT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.empty = empty

    def clean(self, value: Any) -> Any:
        if value in self.empty_values:
            self.validate(value)
            return self.empty
        return self.to_python(value)

    def show(self, value: Any) -> str:
        """Return the text for a JSON value; of one that does not fit, what ``clean`` does not make it from."""
        return str(value)

    def holds(self, value: Any) -> bool:
        """Tell whether a JSON value can be shown here without being changed by that."""
        try:
            return value is ABSENT or to_json(self.clean(self.show(value))) == to_json(value)
        except (ValidationError, ValueError, TypeError, OverflowError):
            return False


def _textarea(rows: int, css_class: str = "dispatch-growing") -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "cols": 60, "class": css_class, "spellcheck": "false"})


class TextField(ValueField):
    """A text."""

    widget = _textarea(1)

    def to_python(self, value: Any) -> str:
        return str(value).replace("\r\n", "\n")


class NumberField(ValueField):
    """A number, written as JSON has it: what is a whole one stays one."""

    widget = forms.NumberInput(attrs={"step": "any"})

    def to_python(self, value: Any) -> int | float:
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise ValidationError(_("Enter a number, for example 3 or 2.5."), code="invalid")
        return found


class OneOfField(ValueField):
    """One of several JSON values."""

    def __init__(self, *, values: Iterable[Any], **kwargs: Any) -> None:
        self.values = {to_json(value): value for value in values}
        labels = [(text, _label(value)) for text, value in self.values.items()]
        super().__init__(widget=forms.Select(choices=[("", "—"), *labels]), **kwargs)

    def to_python(self, value: Any) -> Any:
        try:
            return self.values[value]
        except KeyError:
            raise ValidationError(_("Choose one of the listed values."), code="invalid") from None

    def show(self, value: Any) -> str:
        return to_json(value)


def _label(value: Any) -> Any:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return value if isinstance(value, str) and value else to_json(value)


class Picked(forms.DateTimeInput):
    """An input with the browser's own calendar, which takes ISO's form alone, to the second."""

    def __init__(self, input_type: str, **attrs: Any) -> None:
        super().__init__(attrs=attrs)
        self.input_type = input_type

    def format_value(self, value: Any) -> Any:
        return value


class DateField(ValueField):
    """A date."""

    widget = Picked("date")

    def to_python(self, value: Any) -> str:
        return str(_iso(dt.date, value).isoformat())


class MomentField(ValueField):
    """A date and time, written in the current time zone and sent with its offset."""

    widget = Picked("datetime-local", step=1)

    def to_python(self, value: Any) -> str:
        found = _iso(dt.datetime, value)
        return str((make_aware(found) if is_naive(found) else found).isoformat())

    def show(self, value: Any) -> str:
        found = dt.datetime.fromisoformat(value)
        return (found if is_naive(found) else make_naive(found)).isoformat(timespec="seconds")


def _iso(kind: Any, text: str) -> Any:
    try:
        return kind.fromisoformat(text)
    except ValueError as error:
        raise ValidationError(gettext("This is no such date or time: %s.") % error, code="invalid") from None


class LinesField(ValueField):
    """An array of texts or numbers, one a line."""

    widget = _textarea(3)

    def __init__(self, *, item: ValueField, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item = item

    def to_python(self, value: Any) -> list[Any]:
        return [self.item.to_python(line.strip()) for line in value.splitlines() if line.strip()]

    def show(self, value: Any) -> str:
        return "\n".join(map(self.item.show, value))


class AnyField(ValueField):
    """Any value, or any array or object, written as JSON."""

    widget = _textarea(3, "dispatch-code dispatch-growing")
    reader = widgets.JSONField()
    complaints: ClassVar[dict[type, Any]] = {
        list: _("Write a JSON array, for example [1, 2]."),
        dict: _('Write a JSON object, for example {"count": 3}.'),
    }

    def __init__(self, *, kind: type = object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind

    def to_python(self, value: Any) -> Any:
        found = self.reader.to_python(value)
        if not isinstance(found, self.kind):
            raise ValidationError(self.complaints[self.kind], code="invalid")
        return found

    def show(self, value: Any) -> str:
        return to_json(value) if isinstance(value, str) else str(self.reader.prepare_value(value))
