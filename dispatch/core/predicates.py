"""A JSON Schema compiled to one function that says yes: what a valid call costs at each send.

The function answers for the keywords that manifests are made of. It may fail to see that a value fits, and then
jsonschema, which knows every rule and finds the words for the error, has the last word; it never passes a value
that jsonschema refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator

Predicate: TypeAlias = Callable[[Any], bool]

TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
NUMBERS = (int, float)


class Unsupported(Exception):
    """The schema uses a keyword that only jsonschema knows."""


def compiled(schema: Any, root: Mapping[str, Any] | None = None) -> Predicate | None:
    """Return a function that is true only of values that fit a schema; None where none can be made.

    ``root`` holds the ``$defs`` where ``schema`` is a part of a document. The values hold JSON's own types, as
    :func:`dispatch.core.message.plain` returns them. The function raises RecursionError where a schema refers
    to itself without end.
    """
    try:
        return _Compiler(schema if root is None else root).predicate(schema)
    except Unsupported:
        return None


class _Compiler:
    """Makes predicates of the parts of one schema; each of its ``$defs`` is made once, so it may be recursive."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.definitions = root.get("$defs", {})
        self.made: dict[str, list[Predicate]] = {}

    def predicate(self, schema: Any) -> Predicate:
        if isinstance(schema, bool):
            return lambda value: schema
        if unknown := ASSERTIONS.intersection(schema) - KEYWORDS.keys():
            raise Unsupported(unknown)
        makers = dict.fromkeys(KEYWORDS[keyword] for keyword in schema if keyword in KEYWORDS)
        return _all([make(self, schema) for make in makers])

    def reference(self, schema: Mapping[str, Any]) -> Predicate:
        prefix, _, name = schema["$ref"].rpartition("/")
        if prefix != "#/$defs" or name not in self.definitions or "~" in name or "%" in name:
            raise Unsupported(schema["$ref"])
        if name not in self.made:
            self.made[name] = []
            self.made[name].append(self.predicate(self.definitions[name]))
        found = self.made[name]
        return found[0] if found else lambda value: found[0](value)

    def combined(self, schemas: list[Any]) -> list[Predicate]:
        return [self.predicate(each) for each in schemas]


def _all(parts: list[Predicate]) -> Predicate:
    if not parts:
        return lambda value: True
    if len(parts) == 1:
        return parts[0]

    def check(value: Any) -> bool:
        for part in parts:  # noqa: SIM110 - each send comes here, and a generator costs as much as the question
            if not part(value):
                return False
        return True

    return check


def _type(compiler: _Compiler, schema: Mapping[str, Any]) -> Predicate:
    names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    kinds = frozenset(kind for name in names for kind in TYPES[name])
    return lambda value: type(value) in kinds


def _one_of_values(values: list[Any]) -> Predicate:
    """True of the scalars given; the type counts, since True is no 1 in JSON."""
    known = {(type(value), value) for value in values if not isinstance(value, (list, dict))}
    return lambda value: not isinstance(value, (list, dict)) and (type(value), value) in known


def _members(compiler: _Compiler, schema: Mapping[str, Any]) -> Predicate:
    """``properties`` and ``additionalProperties``, which belong together."""
    known = {name: compiler.predicate(each) for name, each in schema.get("properties", {}).items()}
    others = compiler.predicate(schema.get("additionalProperties", True))

    def check(value: Any) -> bool:
        if isinstance(value, dict):
            for name, item in value.items():
                if not known.get(name, others)(item):
                    return False
        return True

    return check


def _required(compiler: _Compiler, schema: Mapping[str, Any]) -> Predicate:
    names = frozenset(schema["required"])
    return lambda value: not isinstance(value, dict) or names <= value.keys()


def _elements(compiler: _Compiler, schema: Mapping[str, Any]) -> Predicate:
    """``prefixItems`` and ``items``, which belong together."""
    first = compiler.combined(schema.get("prefixItems", []))
    rest = compiler.predicate(schema.get("items", True))

    def checks(value: list[Any]) -> Iterator[bool]:
        for index, item in enumerate(value):
            yield (first[index] if index < len(first) else rest)(item)

    return lambda value: not isinstance(value, list) or all(checks(value))


def _any_of(compiler: _Compiler, schema: Mapping[str, Any]) -> Predicate:
    parts = compiler.combined(schema["anyOf"])
    return lambda value: any(part(value) for part in parts)


def _bound(keyword: str, kinds: tuple[type, ...], holds: Callable[[Any, Any], bool]) -> Keyword:
    """A keyword that compares values of some types with its own number."""

    def make(compiler: _Compiler, schema: Mapping[str, Any]) -> Predicate:
        limit = schema[keyword]
        return lambda value: not isinstance(value, kinds) or isinstance(value, bool) or holds(value, limit)

    return make


def _pattern(compiler: _Compiler, schema: Mapping[str, Any]) -> Predicate:
    search = re.compile(schema["pattern"]).search
    return lambda value: not isinstance(value, str) or search(value) is not None


Keyword: TypeAlias = Callable[[_Compiler, Mapping[str, Any]], Predicate]
KEYWORDS: Mapping[str, Keyword] = {
    "$ref": _Compiler.reference,
    "additionalProperties": _members,
    "allOf": lambda compiler, schema: _all(compiler.combined(schema["allOf"])),
    "anyOf": _any_of,
    "const": lambda compiler, schema: _one_of_values([schema["const"]]),
    "enum": lambda compiler, schema: _one_of_values(schema["enum"]),
    "exclusiveMaximum": _bound("exclusiveMaximum", NUMBERS, lambda value, limit: value < limit),
    "exclusiveMinimum": _bound("exclusiveMinimum", NUMBERS, lambda value, limit: value > limit),
    "items": _elements,
    "maxItems": _bound("maxItems", (list,), lambda value, limit: len(value) <= limit),
    "maxLength": _bound("maxLength", (str,), lambda value, limit: len(value) <= limit),
    "maxProperties": _bound("maxProperties", (dict,), lambda value, limit: len(value) <= limit),
    "maximum": _bound("maximum", NUMBERS, lambda value, limit: value <= limit),
    "minItems": _bound("minItems", (list,), lambda value, limit: len(value) >= limit),
    "minLength": _bound("minLength", (str,), lambda value, limit: len(value) >= limit),
    "minProperties": _bound("minProperties", (dict,), lambda value, limit: len(value) >= limit),
    "minimum": _bound("minimum", NUMBERS, lambda value, limit: value >= limit),
    "pattern": _pattern,
    "prefixItems": _elements,
    "properties": _members,
    "required": _required,
    "type": _type,
}
#: What jsonschema acts on (a format is a remark, unless one asks), and what changes how it reads references.
ASSERTIONS = frozenset(Draft202012Validator.VALIDATORS) - {"format"} | {"$id", "$anchor", "$dynamicAnchor"}
