"""A task's JSON Schema in the few words that an operator needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import widgets
from dispatch.admin.links import Link
from dispatch.admin.tables import Table
from dispatch.core.schema.summary import describe

COLUMNS = (_("name"), _("type"), _("Required"), _("Default"))


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the table."""

    name: str
    type: str
    required: bool
    default: str
    sensitive: bool
    description: str


def parameters(schema: Any, sensitive: list[str]) -> Iterator[Parameter]:
    """Yield the parameters in the schema's order."""
    schema = _object(schema)
    properties = _object(schema.get("properties"))
    required = schema.get("required")
    for name, value in properties.items():
        details = _object(value)
        yield Parameter(
            name=name,
            type=describe(details),
            required=name in (required if isinstance(required, list) else ()),
            default=json.dumps(details["default"], ensure_ascii=False) if "default" in details else "",
            sensitive=name in sensitive,
            description=str(details.get("description", "")),
        )


def _object(value: Any) -> dict[str, Any]:
    """Return what a schema has where an object is meant; what is none, as the empty one."""
    return value if isinstance(value, dict) else {}


def table(schema: Any, sensitive: list[str]) -> SafeString:
    """Return the parameters as an HTML table."""
    context = {
        "table": Table("", COLUMNS, [*map(_row, parameters(schema, sensitive))]),
        "is_open": _object(schema).get("additionalProperties", True) is not False,
    }
    return render_to_string("dispatch/parameters.html", context)


def _row(parameter: Parameter) -> list[Link]:
    name = format_html("<code>{}</code>", parameter.name)
    if parameter.sensitive:
        name = format_html("{} {}", name, widgets.badge("masked", _("masked")))
    if parameter.description:
        name = widgets.subtitled(name, parameter.description)
    required = gettext("required") if parameter.required else gettext("optional")
    default = format_html("<code>{}</code>", parameter.default) if parameter.default else ""
    return [Link(name), Link(parameter.type), Link(required), Link(default)]
