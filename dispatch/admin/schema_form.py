"""A form made from the JSON Schema of an object, rendered by the server: it works without a script (decision 51).

An object becomes a fieldset, an array rows that buttons add and remove, a union a choice and what was chosen, a scalar
a field; what no field could show without changing it is written as JSON. A field is named by its kind and by the JSON
pointer of its value, so that what was posted says which fields the form had.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from django import forms
from django.forms.boundfield import BoundField
from django.http import QueryDict
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from dispatch.admin.schema_fields import (
    ABSENT,
    AnyField,
    DateField,
    LinesField,
    MomentField,
    NumberField,
    OneOfField,
    TextField,
    ValueField,
)
from dispatch.core.json_values import escape, to_json
from dispatch.core.redaction import shorten
from dispatch.core.schema import shape
from dispatch.core.schema.engine import registered, validator
from dispatch.core.schema.summary import describe

#: What is more, or deeper, is written as JSON; what buttons add comes on top.
MOST_PARTS, MOST_ITEMS, DEEPEST = 300, 50, 12
#: Django takes no more fields of one request (DATA_UPLOAD_MAX_NUMBER_FIELDS).
MOST_POSTED = 1_000
MOST_EXAMPLES = 3
#: Types that need no words.
PLAIN = ("string", "number", "anything")
#: Labels the part for what the schema of the whole accepts beyond what it names; no property is called so.
OTHERS = "\0"

Make = Callable[..., ValueField]


@dataclass(slots=True)
class Part:
    """One value of the form: a single field, or the parts that it is made of.

    ``written`` is the kind of a single field. ``bound`` is the field that says which value it is: of an object or an
    array how many parts it has, of a union which alternative was chosen.
    """

    pointer: str
    label: str
    schema: Mapping[str, Any]
    required: bool
    takes_null: bool = False
    kind: str = "field"
    written: str = ""
    bound: BoundField | None = None
    parts: list[Part] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    is_item: bool = False
    next_size: int | None = None

    @property
    def empty(self) -> Any:
        """The value of what is left empty."""
        if not self.required:
            return ABSENT
        return None if self.takes_null else [] if shape.kind(self.schema) == "array" else ABSENT

    @property
    def anchor(self) -> str:
        """What an address jumps to."""
        return f"{self.kind}{quote(self.pointer)}"

    @property
    def constant(self) -> str:
        """The only value there is, as JSON."""
        return _shown(self.schema["const"])

    @property
    def help(self) -> SafeString:
        """What the schema says of the value, below what it says in words."""
        told = [*self._form()]
        if "default" in self.schema:
            told.append(gettext("if left out: %s") % _shown(self.schema["default"]))
        if isinstance(examples := self.schema.get("examples"), list) and examples:
            told.append(gettext("for example: %s") % ", ".join(map(_shown, examples[:MOST_EXAMPLES])))
        lines = filter(None, [str(self.schema.get("description", "")), " · ".join(told)])
        return format_html_join(SafeString("<br>"), "{}", ((line,) for line in lines))

    def _form(self) -> Iterator[str]:
        """Yield how the value is written, where its field does not show that."""
        words = {
            "lines": gettext("one a line"),
            "json": gettext("as JSON"),
            "others": gettext("as a JSON object"),
        }
        if self.written in words:
            yield words[self.written]
        if self.written in ("text", "number", "json") and (found := describe(self.schema)) not in PLAIN:
            yield found

    def walk(self) -> Iterator[Part]:
        """Yield the part and all in it."""
        yield self
        for part in self.parts:
            yield from part.walk()


class SchemaForm(forms.Form):
    """The fields of an object; ``root`` is the part they stand in, ``value`` what they show at first.

    ``secret`` are properties whose texts cannot be read from the screen; ``optional`` need not be given even if the
    schema requires them.
    """

    required_css_class = "required"

    def __init__(
        self,
        schema: Mapping[str, Any],
        pointer: str,
        data: QueryDict | None = None,
        value: Mapping[str, Any] | None = None,
        *,
        secret: frozenset[str] = frozenset(),
        optional: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(data, use_required_attribute=False)
        self._document, self._count = schema, 0
        required = [name for name in schema.get("required", ()) if name not in optional]
        self.root = Part(pointer, "", {**schema, "required": required}, required=True, kind="object")
        shown = {} if data is not None or value is None else value  # what was posted has other parts
        self._add_properties(self.root, shown)
        self._add_others(self.root, shown)
        for part in self.root.parts:
            for each in part.walk() if part.label in secret else ():
                self._conceal(each)

    @property
    def has_errors(self) -> bool:
        """Whether something is marked as wrong."""
        return bool(self.errors) or any(part.errors for part in self.root.walk())

    def value(self, part: Part | None = None) -> Any:
        """Return the JSON value of the form, or of a part; ABSENT where it is left out."""
        part = part or self.root
        if part.kind == "constant":
            return part.schema["const"]
        given = self.cleaned_data.get(part.bound.name, ABSENT) if part.bound else True
        if part.kind == "field":
            return given
        if not given or given is ABSENT:
            return part.empty
        found = [(each.label, value) for each in part.parts if (value := self.value(each)) is not ABSENT]
        if part.kind == "union":
            return found[0][1] if found else ABSENT
        if part.kind == "array":
            return [value for _label, value in found]
        named = dict(found)
        return named | named.pop(OTHERS, {})

    def add_misfit(self, pointer: str, message: str) -> None:
        """Show an error beside the field, or in the part, that a pointer leads to or into."""
        around = [each for each in self.root.walk() if f"{pointer}/".startswith(f"{each.pointer}/")]
        part = max(reversed(around), key=lambda each: len(each.pointer), default=self.root)
        if part.kind == "field" and part.bound:
            self.add_error(part.bound.name, message)
        else:
            part.errors.append(message)

    # ------------------------------------------------------------- what it is made of

    def _add_properties(self, part: Part, value: Any) -> None:
        for name, schema in _in_order(part.schema):
            pointer = f"{part.pointer}/{escape(name)}"
            inner = self._part(pointer, name, schema, name in part.schema.get("required", ()))
            part.parts.append(self._filled(inner, value.get(name, ABSENT)))

    def _add_others(self, root: Part, value: Mapping[str, Any]) -> None:
        """Add a field for what the schema does not name, if it accepts that, or if such a value is there."""
        schema = self._document
        is_open = schema.get("additionalProperties", True) is not False or "patternProperties" in schema
        others = {name: each for name, each in value.items() if name not in schema.get("properties", {})}
        part = Part(root.pointer, OTHERS, {"type": "object"}, required=False)
        if is_open or others or _name("others", part.pointer) in self.data:
            made = AnyField(kind=dict, label=gettext("Further arguments"), required=False)
            self._set_field(part, "others", made, others or ABSENT)
            root.parts.append(part)

    def _part(self, pointer: str, label: str, given: Any, required: bool) -> Part:
        schema, takes_null = shape.simplified(self._document, given)
        return Part(pointer, label, schema, required, takes_null)

    def _filled(self, part: Part, value: Any) -> Part:
        self._count += 1
        value = ABSENT if value is None and part.empty is None else value
        if self._is_written_as_json(part, value):
            self._fill_field(part, {}, value)
        elif _is_constant(part):
            part.kind = "constant"
        else:
            fill = {"union": self._fill_union, "object": self._fill_object, "array": self._fill_array}
            fill.get(shape.kind(part.schema), self._fill_scalar)(part, value)
        return part

    def _is_written_as_json(self, part: Part, value: Any) -> bool:
        if part.pointer.count("/") > DEEPEST or self._count > (MOST_POSTED if self.is_bound else MOST_PARTS):
            return True
        if self.is_bound:
            return _name("json", part.pointer) in self.data
        return value is not ABSENT and not _has_room(part, value)

    def _fill_scalar(self, part: Part, value: Any) -> None:
        self._fill_field(part, _fields(part), value)

    def _fill_object(self, part: Part, value: Any) -> None:
        part.kind = "object"
        is_there = part.required and not part.takes_null
        if not is_there:
            is_there = self._size(part, int(value is not ABSENT)) > 0
            part.next_size = int(not is_there)
        if is_there:
            self._add_properties(part, {} if value is ABSENT else value)

    def _fill_array(self, part: Part, value: Any) -> None:
        given = part.schema.get("items", {})
        item = self._part(part.pointer, "", given, required=True)
        by_line = {} if item.takes_null else _line_fields(item.schema)
        if by_line or shape.kind(item.schema) == "any":
            return self._fill_field(part, by_line, value)
        part.kind = "array"
        size = self._size(part, 0 if value is ABSENT else len(value))
        part.next_size = size + 1 if size < MOST_ITEMS else None
        for index in range(size):
            inner = self._part(f"{part.pointer}/{index}", f"{part.label} {index + 1}", given, required=True)
            inner.is_item = True
            part.parts.append(self._filled(inner, ABSENT if value is ABSENT else value[index]))
        return None

    def _fill_union(self, part: Part, value: Any) -> None:
        offered = shape.alternatives(part.schema)
        chosen = "" if value is ABSENT else self._fitting(offered, value)
        is_nested = any(shape.kind(shape.simplified(self._document, each)[0]) == "union" for each in offered)
        if chosen is None or is_nested:
            return self._fill_field(part, {}, value)
        part.kind = "union"
        labels = [(str(index), self._title(each)) for index, each in enumerate(offered)]
        which = forms.ChoiceField(
            choices=[("", "—"), *labels], required=part.required, initial=chosen, label=gettext("One of")
        )
        shown = self._bind(part, "which", which).value()
        if shown in dict(labels):
            inner = self._part(part.pointer, labels[int(shown)][1], offered[int(shown)], required=True)
            part.parts.append(self._filled(inner, value))
        return None

    def _fitting(self, alternatives: list[Any], value: Any) -> str | None:
        """Return the number of the alternative that a value fits, None where it fits none."""
        known = registered({**self._document, "x-alternatives": alternatives})
        at = range(len(alternatives))
        fitting = (each for each in at if validator(known, f"#/x-alternatives/{each}").is_valid(value))
        return next(map(str, fitting), None)

    def _title(self, given: Any) -> str:
        schema, _takes_null = shape.simplified(self._document, given)
        return str(schema.get("title") or describe(schema))

    def _fill_field(self, part: Part, makes: Mapping[str, Make], value: Any) -> None:
        """Fill a part with one field, of the first kind that holds the value, or that was posted; JSON holds any."""
        required = part.required and part.empty is ABSENT
        made = {
            kind: make(empty=part.empty, required=required, label=part.label)
            for kind, make in {**makes, "json": AnyField}.items()
        }
        fitting = (
            kind
            for kind, each in made.items()
            if (_name(kind, part.pointer) in self.data if self.is_bound else each.holds(value))
        )
        kind = next(fitting, next(iter(made)))
        self._set_field(part, kind, made[kind], value)

    def _set_field(self, part: Part, kind: str, made: ValueField, value: Any) -> None:
        made.initial = "" if value is ABSENT else made.show(value)
        part.written = kind
        made.help_text = part.help
        self._bind(part, kind, made)

    def _size(self, part: Part, held: int) -> int:
        """Return how many parts there are, which a hidden field says."""
        made = forms.IntegerField(widget=forms.HiddenInput, initial=held, required=False)
        return _number(str(self._bind(part, "size", made).value()))

    def _bind(self, part: Part, kind: str, made: forms.Field) -> BoundField:
        self.fields[_name(kind, part.pointer)] = made
        part.bound = self[_name(kind, part.pointer)]
        return part.bound

    def _conceal(self, part: Part) -> None:
        if part.kind == "field" and part.bound:
            attrs = part.bound.field.widget.attrs
            attrs |= {"autocomplete": "off", "class": f"{attrs.get('class', '')} dispatch-secret"}


def _shown(value: Any) -> str:
    return shorten(json.dumps(value, ensure_ascii=False))


def resized(data: QueryDict, size: str, pointer: str) -> QueryDict:
    """Return what was posted with another number of parts in an array, or with an object that is there or not."""
    changed = data.copy()
    changed[_name("size", pointer)] = size
    return changed


def without_item(data: QueryDict, pointer: str) -> QueryDict:
    """Return what was posted without an item of an array: those after it move up."""
    array, _slash, gone = pointer.rpartition("/")
    before, size = f"{quote(array)}/", _number(data.get(_name("size", array)))
    changed = resized(data, str(max(size - 1, 0)), array)
    for name in data:
        kind, _colon, place = name.partition(":")
        index, slash, rest = place.removeprefix(before).partition("/")
        if not place.startswith(before) or _number(index) < _number(gone):
            continue
        values = changed.pop(name)
        if _number(index) > _number(gone):
            changed.setlist(f"{kind}:{before}{_number(index) - 1}{slash}{rest}", values)
    return changed


def _number(text: Any) -> int:
    """Return a posted number of parts, or of one of them; 0 for what nobody's browser posts."""
    return min(int(text), MOST_ITEMS) if isinstance(text, str) and text.isdecimal() and len(text) < 4 else 0


def _name(kind: str, pointer: str) -> str:
    return f"{kind}:{quote(pointer)}"


def _in_order(schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the properties, those that have a position first: a database may reorder the others."""
    properties = schema.get("properties", {})
    names = [name for name in schema.get("x-positional", ()) if name in properties]
    return [(name, properties[name]) for name in dict.fromkeys([*names, *properties])]


def _is_constant(part: Part) -> bool:
    """Tell whether there is nothing to choose: pydantic gives what tells the members of a union apart a default."""
    return "const" in part.schema and not part.takes_null and (part.required or "default" in part.schema)


def _has_room(part: Part, value: Any) -> bool:
    """Tell whether a constant, or the parts of an object or an array, can hold a value as it is."""
    if _is_constant(part):
        return to_json(value) == to_json(part.schema["const"])
    kind = shape.kind(part.schema)
    if kind == "object":
        return isinstance(value, dict) and value.keys() <= part.schema["properties"].keys()
    if kind == "array":
        return isinstance(value, list) and len(value) <= MOST_ITEMS and (bool(value) or part.required)
    return True


def _fields(part: Part) -> dict[str, Make]:
    """Return the kinds of fields for a scalar, the best first."""
    schema = part.schema
    if "enum" in schema or "const" in schema or schema.get("type") == "boolean":
        known = schema.get("enum", [schema["const"]] if "const" in schema else [True, False])
        values = [*known, None] if part.takes_null and not part.required else known
        return {"choice": partial(OneOfField, values=values)}
    if schema.get("type") != "string":
        return {"number": NumberField} if schema.get("type") in ("integer", "number") else {}
    by_format: dict[str, dict[str, Make]] = {
        "date": {"date": DateField},
        "date-time": {"moment": MomentField},
    }
    return {**by_format.get(schema.get("format", ""), {}), "text": TextField}


def _line_fields(item: Mapping[str, Any]) -> dict[str, Make]:
    """Return the field for an array whose items are written one a line; none for other items."""
    kinds: dict[str, type[ValueField]] = {"string": TextField, "integer": NumberField, "number": NumberField}
    if "enum" in item or item.get("type") not in kinds:
        return {}
    return {"lines": partial(LinesField, item=kinds[item["type"]]())}
