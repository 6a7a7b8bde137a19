"""Whether one JSON Schema accepts every value that another accepts.

The answer "yes" is a proof; "no" means that these rules find none. They know what pydantic writes: types, limits,
enums, unions, nested models. Other keywords count as covered only where both schemas have them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from dispatch.core.references import endless, resolve

Schema: TypeAlias = Any  # a JSON object, or a boolean

#: Comparisons after which the answer is no: unions within unions multiply.
STEPS = 20_000
INFINITY = float("inf")
NUMBERS = frozenset({"integer", "number"})
#: Keyword → the types of which it says something.
APPLIES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"), NUMBERS),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), frozenset({"string"})),
    **dict.fromkeys(("minItems", "maxItems", "uniqueItems", "items", "prefixItems"), frozenset({"array"})),
    **dict.fromkeys(
        ("minProperties", "maxProperties", "required", "properties", "additionalProperties"),
        frozenset({"object"}),
    ),
}
UNDERSTOOD = APPLIES.keys() | {"type", "enum", "const", "$ref", "allOf", "anyOf"}
ASSERTIONS = Draft202012Validator.VALIDATORS.keys() | {"then", "else", "minContains", "maxContains"}
#: Keywords that hold schemas: by name, in a list, or one.
NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})
LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SINGLE = frozenset({
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties",
})  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal as JSON Schema has it: 1 equals 1.0, and not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class Coverage:
    """Compares parts of two schemas, ``old`` and ``new``, each with the definitions of its own root."""

    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self._old_root, self._new_root = old, new
        self._steps = STEPS
        self._comparable = not (endless(old) or endless(new) or _renames(old) or _renames(new))
        self._validator = Draft202012Validator(dict(new), registry=Registry())

    def covers(self, old: Schema, new: Schema) -> bool:
        """Tell whether ``new``, a part of the new root, surely accepts every value that ``old`` accepts."""
        self._steps = STEPS
        if not self._comparable:
            return False
        try:
            return self._covers(old, new, frozenset())
        except (LookupError, OverflowError, RecursionError, _OutOfSteps, Unresolvable):
            return False

    def alike(self, old: Schema, new: Schema) -> bool:
        """Tell whether two parts surely say the same, whatever their titles and descriptions."""
        self._steps = STEPS
        if not self._comparable:
            return same(old, new) and same(self._old_root, self._new_root)
        try:
            return self._alike(old, new, frozenset())
        except (LookupError, RecursionError, _OutOfSteps):
            return same(old, new) and same(self._old_root, self._new_root)

    def _covers(self, old: Schema, new: Schema, assumed: frozenset[tuple[str, str]]) -> bool:
        self._spend()
        if isinstance(new, bool):
            return new or old is False
        if old is False:
            return True
        old, new = _assertions(old), _assertions(new)
        if not new or self._alike(old, new, frozenset()):
            return True
        if "$ref" in old or "$ref" in new:
            pair = (str(old), str(new))
            if pair in assumed:
                return True  # smaller parts of the same value: no reference is endless
            assumed |= {pair}
        if {"$ref", "allOf"} & new.keys():
            return all(self._covers(old, part, assumed) for part in _parts(self._new_root, new))
        if {"$ref", "allOf"} & old.keys():
            return any(self._covers(part, new, assumed) for part in _parts(self._old_root, old))
        return self._covers_each(old, new, assumed)

    def _covers_each(
        self, old: dict[str, Any], new: dict[str, Any], assumed: frozenset[tuple[str, str]]
    ) -> bool:
        """Compare schemas without references, one alternative of the old one after the other."""
        if (values := _finite(old)) is not None:
            return all(self._accepts(new, value) for value in values)
        for keyword in ("anyOf", "oneOf"):
            if keyword in old:
                rest = {key: part for key, part in old.items() if key != keyword}
                return (bool(rest) and self._covers(rest, new, assumed)) or all(
                    self._covers(each, new, assumed) for each in old[keyword]
                )
        if isinstance(old.get("type"), list):
            return all(self._covers({**old, "type": kind}, new, assumed) for kind in old["type"])
        if "anyOf" in new:
            rest = {key: part for key, part in new.items() if key != "anyOf"}
            return self._covers(old, rest, assumed) and any(
                self._covers(old, each, assumed) for each in new["anyOf"]
            )
        return all(self._implied(keyword, old, new, assumed) for keyword in new)

    def _implied(
        self,
        keyword: str,
        old: dict[str, Any],
        new: dict[str, Any],
        assumed: frozenset[tuple[str, str]],
    ) -> bool:
        """Tell whether what one keyword of the new schema demands follows from the old schema."""
        if keyword not in UNDERSTOOD or keyword in ("enum", "const"):
            return False
        if keyword in APPLIES and "type" in old and old["type"] not in APPLIES[keyword]:
            return True
        if keyword in ("properties", "additionalProperties"):
            return all(self._covers(was, is_, assumed) for was, is_ in _properties(old, new))
        if keyword in ("items", "prefixItems"):
            return all(self._covers(was, is_, assumed) for was, is_ in _items(old, new))
        return RULES[keyword](old, new[keyword])

    def _accepts(self, new: Schema, value: Any) -> bool:
        return bool(self._validator.evolve(schema=new).is_valid(value))

    def _alike(self, old: Schema, new: Schema, seen: frozenset[tuple[str, str]]) -> bool:
        """Tell whether two schemas say the same, whatever their descriptions."""
        self._spend()
        if isinstance(old, bool) or isinstance(new, bool):
            return old is new
        old, new = _assertions(old), _assertions(new)
        return old.keys() == new.keys() and all(
            self._alike_in(keyword, old[keyword], new[keyword], seen) for keyword in old
        )

    def _alike_in(self, keyword: str, old: Any, new: Any, seen: frozenset[tuple[str, str]]) -> bool:
        if keyword == "$ref":
            if (old, new) in seen:
                return True
            was, is_ = resolve(self._old_root, old), resolve(self._new_root, new)
            return self._alike(was, is_, seen | {(old, new)})
        if keyword in NAMED:
            return old.keys() == new.keys() and all(self._alike(old[name], new[name], seen) for name in old)
        if keyword in LISTED:
            pairs = zip(old, new, strict=False)
            return len(old) == len(new) and all(self._alike(was, is_, seen) for was, is_ in pairs)
        return self._alike(old, new, seen) if keyword in SINGLE else same(old, new)

    def _spend(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise _OutOfSteps


class _OutOfSteps(Exception):
    """The schemas are too intricate to compare."""


def _renames(value: Any) -> bool:
    """Tell whether a schema gives a part of itself another base, by which references mean something else."""
    if isinstance(value, Mapping):
        return "$id" in value or any(map(_renames, value.values()))
    return isinstance(value, list) and any(map(_renames, value))


def _assertions(schema: Schema) -> dict[str, Any]:
    """Return what a schema demands, without what it merely tells."""
    if schema is True:
        return {}
    return {keyword: value for keyword, value in schema.items() if keyword in ASSERTIONS}


def _parts(root: Any, schema: dict[str, Any]) -> list[Schema]:
    """Return the schemas all of which a value must fit to fit ``schema``."""
    parts = [{keyword: value for keyword, value in schema.items() if keyword not in ("$ref", "allOf")}]
    if "$ref" in schema:
        parts.append(resolve(root, schema["$ref"]))
    return [*(part for part in parts if part), *schema.get("allOf", ())] or [True]


def _finite(schema: dict[str, Any]) -> list[Any] | None:
    """Return values among which all are that the schema accepts, None where there is no list of them."""
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return list(schema["enum"])
    known: dict[Any, list[Any]] = {"null": [None], "boolean": [True, False]}
    return known.get(str(schema.get("type")))


def _properties(old: dict[str, Any], new: dict[str, Any]) -> Iterable[tuple[Schema, Schema]]:
    """Yield, for each property that the old schema lets in, its old and its new schema."""
    known, offered = old.get("properties", {}), new.get("properties", {})
    further = True if "patternProperties" in old else old.get("additionalProperties", True)
    for name in known.keys() | offered.keys():
        yield known.get(name, further), offered.get(name, new.get("additionalProperties", True))
    yield further, new.get("additionalProperties", True)


def _items(old: dict[str, Any], new: dict[str, Any]) -> Iterable[tuple[Schema, Schema]]:
    """Yield, for each place of the array that the old schema lets in, its old and its new schema."""
    known, offered = old.get("prefixItems", []), new.get("prefixItems", [])
    most = old.get("maxItems", INFINITY)
    length = max(len(known), len(offered))
    for place in range(length):
        if place < most:
            was = known[place] if place < len(known) else old.get("items", True)
            yield was, offered[place] if place < len(offered) else new.get("items", True)
    if length < most:
        yield old.get("items", True), new.get("items", True)


def _type(old: dict[str, Any], value: Any) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return old.get("type") in kinds or (old.get("type") == "integer" and "number" in kinds)


def _at_least(keyword: str) -> Callable[[dict[str, Any], Any], bool]:
    return lambda old, value: old.get(keyword, 0) >= value


def _at_most(keyword: str) -> Callable[[dict[str, Any], Any], bool]:
    return lambda old, value: old.get(keyword, INFINITY) <= value


def _equal(keyword: str) -> Callable[[dict[str, Any], Any], bool]:
    return lambda old, value: keyword in old and same(old[keyword], value)


def _above(old: dict[str, Any]) -> Any:
    return max(old.get("minimum", -INFINITY), old.get("exclusiveMinimum", -INFINITY))


def _below(old: dict[str, Any]) -> Any:
    return min(old.get("maximum", INFINITY), old.get("exclusiveMaximum", INFINITY))


def _multiple(old: dict[str, Any], value: Any) -> bool:
    was = old.get("multipleOf")
    if isinstance(was, int) and isinstance(value, int):
        return was % value == 0
    return was is not None and same(was, value)


#: Keyword → test of (the old schema, the keyword's new value): does the one imply the other?
RULES: dict[str, Callable[[dict[str, Any], Any], bool]] = {
    "type": _type,
    "minimum": lambda old, value: bool(_above(old) >= value),
    "exclusiveMinimum": lambda old, value: (
        old.get("exclusiveMinimum", -INFINITY) >= value or old.get("minimum", -INFINITY) > value
    ),
    "maximum": lambda old, value: bool(_below(old) <= value),
    "exclusiveMaximum": lambda old, value: (
        old.get("exclusiveMaximum", INFINITY) <= value or old.get("maximum", INFINITY) < value
    ),
    "multipleOf": _multiple,
    "pattern": _equal("pattern"),
    "format": _equal("format"),
    "uniqueItems": lambda old, value: not value or old.get("uniqueItems") is True,
    "required": lambda old, value: set(value) <= set(old.get("required", ())),
    **{keyword: _at_least(keyword) for keyword in ("minLength", "minItems", "minProperties")},
    **{keyword: _at_most(keyword) for keyword in ("maxLength", "maxItems", "maxProperties")},
}
