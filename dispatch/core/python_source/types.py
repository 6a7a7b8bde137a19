"""JSON Schema to Python's types: what a sender may pass for an argument, and the named types that it is made of.

The rule is that of ``docs/reference/json.md``, read backwards. An expression accepts what the schema accepts: what
types cannot say (lengths, ranges, patterns, conditions) is left to the check at the send.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import unquote

from dispatch.core.json_values import unescape
from dispatch.core.python_source.names import Names, class_name

Schema: TypeAlias = Any  # a mapping, or True or False

LOCAL = re.compile(r"#/\$defs/([^/]+)")


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a TypedDict."""

    name: str
    expression: str
    required: bool


@dataclass(frozen=True, slots=True)
class Definition:
    """A named type: a TypedDict with ``fields``, or without them an alias of the union of ``members``."""

    name: str
    description: str = ""
    fields: tuple[Field, ...] = ()
    members: tuple[str, ...] = ()

    @property
    def expressions(self) -> tuple[str, ...]:
        """What it is made of."""
        return tuple(each.expression for each in self.fields) or (joined(self.members),)


@dataclass(frozen=True)
class Document:
    """A schema with ``$defs``, whose owner's name tells its types from those of other documents."""

    owner: str
    schema: Mapping[str, Any]

    @property
    def definitions(self) -> Mapping[str, Schema]:
        """The ``$defs``, by name."""
        found = self.schema.get("$defs")
        return found if isinstance(found, Mapping) else {}

    def closure(self, name: str) -> str:
        """Return a digest that is equal for definitions that say the same, with all that they refer to."""
        reached: set[str] = set()
        pending = [name]
        while pending:
            current = pending.pop()
            if current not in reached:
                reached.add(current)
                pending.extend(self._references[current])
        texts = "\n".join(f"{each} {self._texts[each]}" for each in sorted(reached))
        return hashlib.sha256(texts.encode("utf-8", "backslashreplace")).hexdigest()

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {name: json.dumps(schema, sort_keys=True) for name, schema in self.definitions.items()}

    @cached_property
    def _references(self) -> dict[str, set[str]]:
        known = self.definitions
        return {name: set(_references(schema)) & known.keys() for name, schema in known.items()}


def joined(members: Collection[str]) -> str:
    """Return the text of a union: the literals together, None at the end."""
    literals = [member[len("Literal[") : -1] for member in members if member.startswith("Literal[")]
    others = [member for member in members if not member.startswith("Literal[") and member != "None"]
    together = [f"Literal[{', '.join(literals)}]"] if literals else []
    return " | ".join([*together, *others, *(["None"] if "None" in members else [])])


def quoted(text: str) -> str:
    """Return the literal of a text, in double quotes unless that needs more escapes; nothing in it ends it."""
    literal = repr(text)
    if literal[0] == '"' or '"' in text:
        return literal
    return f'"{literal[1:-1]}"'


def referred(reference: Any) -> str:
    """Return the name in ``$defs`` that a ``$ref`` means, or nothing."""
    found = LOCAL.fullmatch(reference) if isinstance(reference, str) else None
    return unescape(unquote(found[1])) if found else ""


def _references(schema: Schema) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if name := referred(schema.get("$ref")):
            yield name
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


SCALARS = {"null": "None", "boolean": "bool", "integer": "int", "number": "float", "string": "str"}
FORMATS = {
    "date": "dt.date",
    "date-time": "dt.datetime",
    "decimal": "Decimal",
    "time": "dt.time",
    "uuid": "UUID",
}
KINDS = {type(None): "None", bool: "bool", int: "int", float: "float", str: "str"}
DEEPEST = 32
LONGEST_LITERAL = 60


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an expression stands, and the name for a type that is made there."""

    document: Document
    hint: str
    depth: int = 0
    is_returned: bool = False

    def within(self, word: str = "") -> _Place:
        """Return the place of a part."""
        hint = self.hint + class_name(word) if word else self.hint
        return replace(self, hint=hint, depth=self.depth + 1)


@dataclass(slots=True)
class Annotations:
    """Writes type expressions, and keeps the definitions that they refer to.

    A definition that several documents share is written once. Where they have one name for different things, each
    of them bears its owner's name.
    """

    names: Names
    documents: Collection[Document]
    definitions: dict[str, Definition] = field(default_factory=dict)
    _shared: dict[str, str] = field(default_factory=dict)  # what a definition says → its name
    _says: dict[tuple[int, str], str] = field(default_factory=dict)  # what a name in a document's $defs says
    _ambiguous: set[str] = field(default_factory=set)  # names of which different definitions make use
    _pending: list[tuple[str, Schema, Document]] = field(default_factory=list)  # named, not yet written

    def __post_init__(self) -> None:
        uses: dict[str, list[tuple[Document, str]]] = {}
        for document in self.documents:
            for name in document.definitions:
                uses.setdefault(class_name(name), []).append((document, name))
        for short, users in uses.items():
            says = {
                (id(document), name): f"{name} {document.closure(name) if len(users) > 1 else ''}"
                for document, name in users
            }
            self._says |= says
            self._ambiguous |= {short} if len(set(says.values())) > 1 else set()

    def members(self, schema: Schema, document: Document, word: str) -> tuple[str, ...]:
        """Return the union of what a schema accepts; ``word`` names types that have no name of their own."""
        return self._written(schema, _Place(document, document.owner).within(word))

    def returned(self, document: Document) -> str:
        """Return what comes back where a document describes a return value: JSON gives lists and dictionaries."""
        place = _Place(document, document.owner, is_returned=True)
        return joined(self._written(document.schema, place.within()))

    def _written(self, schema: Schema, place: _Place) -> tuple[str, ...]:
        found = _members(self._parts(schema, place))
        while self._pending:
            self._define(*self._pending.pop())
        return found

    def accepts(self, members: Iterable[str], value: Any) -> bool:
        """Tell whether a value surely is of one of the types; only for None, booleans, numbers and texts."""
        if type(value) not in KINDS:
            return False
        wanted = {"Any", KINDS[type(value)], _of_value(value)}
        for member in members:
            found = self.definitions.get(member)
            if member in wanted or (found and found.members and self.accepts(found.members, value)):
                return True
        return False

    def _union(self, schema: Schema, place: _Place) -> str:
        return joined(_members(self._parts(schema, place)))

    def _parts(self, schema: Schema, place: _Place) -> list[str]:
        """Return the members of the union that a schema stands for."""
        if schema is False:
            return ["Never"]
        if not isinstance(schema, Mapping) or place.depth > DEEPEST:
            return ["Any"]
        for read in (
            self._of_reference,
            self._of_values,
            self._of_alternatives,
            self._of_all,
            self._of_types,
        ):
            if parts := read(schema, place):
                return parts
        return ["Any"]

    def _of_reference(self, schema: Mapping[str, Any], place: _Place) -> list[str]:
        if "$ref" not in schema:
            return []
        name = referred(schema["$ref"])
        if name not in place.document.definitions:
            return ["Any"]
        return [self._defined(name, place.document)]

    def _of_values(self, schema: Mapping[str, Any], place: _Place) -> list[str]:
        """Return the types of the values that ``const`` or ``enum`` lists; a long list gets a name."""
        values = [schema["const"]] if "const" in schema else schema.get("enum") or []
        parts = [_of_value(value) for value in values]
        if len(joined(parts)) <= LONGEST_LITERAL or place.depth == 0:
            return parts
        name = self.names.claim(place.hint)
        self.definitions[name] = Definition(name, members=_members(parts))
        return [name]

    def _of_alternatives(self, schema: Mapping[str, Any], place: _Place) -> list[str]:
        for keyword in ("anyOf", "oneOf"):
            if alternatives := schema.get(keyword):
                return [part for each in alternatives for part in self._parts(each, place.within())]
        return []

    def _of_all(self, schema: Mapping[str, Any], place: _Place) -> list[str]:
        """Return the first of several demands that a type can express: more can be asked of a value, not less."""
        for each in schema.get("allOf", ()):
            parts = self._parts(each, place.within())
            if "Any" not in parts:
                return parts
        return []

    def _of_types(self, schema: Mapping[str, Any], place: _Place) -> list[str]:
        given = schema.get("type", [])
        types = [given] if isinstance(given, str) else given
        return [part for kind in types for part in self._of_type(kind, schema, place)]

    def _of_type(self, kind: str, schema: Mapping[str, Any], place: _Place) -> Iterator[str]:
        if kind == "array":
            yield self._array(schema, place)
        elif kind == "object":
            yield self._object(schema, place)
        else:
            yield SCALARS.get(kind, "Any")
            if kind == "string" and schema.get("format") in FORMATS:
                yield FORMATS[schema["format"]]

    def _array(self, schema: Mapping[str, Any], place: _Place) -> str:
        first, inner = schema.get("prefixItems", []), place.within("item")
        is_tuple = bool(first) and _is_tuple(schema)
        if is_tuple and not place.is_returned:
            return f"tuple[{', '.join(self._union(each, inner) for each in first)}]"
        members = first if is_tuple else [*first, schema.get("items", True)]
        parts = _members(part for each in members for part in self._parts(each, inner))
        return f"{'list' if place.is_returned else 'Array'}[{joined(parts)}]"

    def _object(self, schema: Mapping[str, Any], place: _Place) -> str:
        if _is_record(schema):
            return self._record(schema, self.names.claim(place.hint), place)
        kind = "dict" if place.is_returned else "Mapping"
        if schema.get("properties"):
            return f"{kind}[str, Any]"
        patterns = schema.get("patternProperties", {})
        values = [patterns[key] for key in sorted(patterns)]
        if not values or schema.get("additionalProperties", True) is not False:
            values.append(schema.get("additionalProperties", True))
        parts = (part for each in values for part in self._parts(each, place.within("value")))
        return f"{kind}[str, {joined(_members(parts))}]"

    def _record(self, schema: Mapping[str, Any], name: str, place: _Place) -> str:
        """Define a TypedDict; its fields are sorted, since a database may have changed their order."""
        required = set(schema.get("required", ()))
        properties = dict.fromkeys(required, True) | dict(schema["properties"])
        inner = _Place(place.document, name, place.depth)
        fields = [
            Field(key, self._union(properties[key], inner.within(key)), key in required)
            for key in sorted(properties, key=lambda key: (key not in required, key))
        ]
        self.definitions[name] = Definition(name, str(schema.get("description", "")), fields=tuple(fields))
        return name

    def _defined(self, name: str, document: Document) -> str:
        """Return the name of the type for one of the ``$defs``."""
        says = self._says[id(document), name]
        if says not in self._shared:
            short, own = class_name(name), class_name(f"{document.owner}_{name}")
            self._shared[says] = self.names.claim(*([] if short in self._ambiguous else [short]), own)
            self._pending.append((self._shared[says], document.definitions[name], document))
        return self._shared[says]

    def _define(self, name: str, schema: Schema, document: Document) -> None:
        if isinstance(schema, Mapping) and schema.get("type") == "object" and _is_record(schema):
            self._record(schema, name, _Place(document, name))
            return
        members = _members(self._parts(schema, _Place(document, f"{name}Value")))
        is_endless = any(name in self._aliases(member) for member in members)
        self.definitions[name] = Definition(name, members=("Any",) if is_endless else members)

    def _aliases(self, member: str) -> set[str]:
        """Return the aliases that stand for the same value as this one does, itself included."""
        found, pending = set(), [member]
        while pending:
            current = pending.pop()
            if current not in found:
                found.add(current)
                pending.extend(self.definitions[current].members if current in self.definitions else ())
        return found


def _is_record(schema: Mapping[str, Any]) -> bool:
    """Tell whether the keys of an object are known beforehand."""
    is_open = schema.get("additionalProperties", False) is not False or schema.get("patternProperties")
    return bool(schema.get("properties")) and not is_open


def _is_tuple(schema: Mapping[str, Any]) -> bool:
    """Tell whether an array has exactly the items that ``prefixItems`` lists."""
    length = len(schema["prefixItems"])
    is_closed = schema.get("items") is False or schema.get("maxItems", math.inf) <= length
    return is_closed and bool(schema.get("minItems", 0) >= length)


def _of_value(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, (str, bool, int)):
        return f"Literal[{quoted(value) if isinstance(value, str) else value}]"
    if isinstance(value, float):
        return "float"
    return "Mapping[str, Any]" if isinstance(value, Mapping) else "Array[Any]"


def _members(parts: Iterable[str]) -> tuple[str, ...]:
    """Return the members of a union, each once."""
    members = list(dict.fromkeys(parts))
    if "Any" in members or not members:
        return ("Any",)
    if len(members) > 1 and "Never" in members:
        members.remove("Never")
    if {"float", "str"} <= set(members) and "Decimal" not in members:
        members.append("Decimal")  # sent as a text, which such a parameter takes
    return tuple(members)
