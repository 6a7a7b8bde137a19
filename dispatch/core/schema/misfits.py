"""Why a value does not fit a schema: where it first does not, in a sentence.

The library tells of a union all that is wrong with every alternative, and of unions in unions once for each way
through them: a value of sixty bytes takes it minutes, one of a megabyte seconds. Here unions are asked whether a value
fits, and the first error of each alternative is looked at where none does.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dispatch.core.json_values import escape
from dispatch.core.message import represent
from dispatch.core.redaction import shorten
from dispatch.core.schema import patterns
from dispatch.core.schema.engine import is_constant, registered, validator
from dispatch.core.schema.refs import resolve, rewritten

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

Path = list[str | int]
#: Sentences by kind of error; the braces hold the value and what the kind itself tells.
SENTENCES = {
    "AdditionalProperties": "no key {names} is accepted here",
    "Constant": "{expected_value!r} was expected, not {value}",
    "Contains": "{value} does not hold the items that the schema asks for",
    "Enum": "{value} is not one of {options}",
    "ExclusiveMaximum": "{value} is greater than or equal to the maximum of {limit}",
    "ExclusiveMinimum": "{value} is less than or equal to the minimum of {limit}",
    "FalseSchema": "{value} is not accepted here",
    "Format": "{value} is not of format {format!r}",
    "MaxItems": "{value} has more items than the maximum of {limit}",
    "MaxLength": "{value} has more characters than the maximum of {limit}",
    "MaxProperties": "{value} has more keys than the maximum of {limit}",
    "Maximum": "{value} is greater than the maximum of {limit}",
    "MinItems": "{value} has fewer items than the minimum of {limit}",
    "MinLength": "{value} has fewer characters than the minimum of {limit}",
    "MinProperties": "{value} has fewer keys than the minimum of {limit}",
    "Minimum": "{value} is less than the minimum of {limit}",
    "MultipleOf": "{value} is not a multiple of {multiple_of}",
    "Not": "{value} is what the schema excludes",
    "Pattern": "{value} does not match {pattern!r}",
    "Required": "{property!r} is a required property",
    "Type": "{value} is not of type {names}",
    "UnevaluatedProperties": "no key {names} is accepted here",
    "UniqueItems": "{value} holds an item twice",
}
UNIONS = ("anyOf", "oneOf")


class Misfits:
    """Tells of values that do not fit a schema, or the part of it under a keyword of its root."""

    def __init__(self, schema: Mapping[str, Any], part: str = "") -> None:
        self._schema = schema
        self._start = f"#/{part}" if part else "#"
        self._document = rewritten(patterns.with_readable(schema), _without_unions)
        self._registry = registered(self._document)
        self._validators: dict[str, Validator] = {}

    def explain(self, value: Any) -> tuple[Path, str]:
        """Return the path into a value that does not fit, and a sentence without its full stop.

        Of a union, it is the error of the alternative that was meant, where one can be told.
        """
        path, sentence = self._explain(self._first(self._start, value), value)
        return path, shorten(sentence)

    def _first(self, at: str, value: Any) -> ValidationError | None:
        from jsonschema_rs import ValidationError

        try:
            if at not in self._validators:
                self._validators[at] = validator(self._registry, at)
        except ValueError:  # a reference into a union, which is elsewhere here
            return None
        try:
            self._validators[at].validate(value)
        except ValidationError as error:
            return error
        return None

    def _explain(self, error: ValidationError | None, value: Any) -> tuple[Path, str]:
        if error is None:
            return [], f"{represent(value)} does not fit its schema"
        path, union = error.instance_path, self._union(error)
        value = _at(value, path)
        if not union:
            return path, self._sentence(error, value)
        rest, sentence = self._explain_union(union, value)
        return [*path, *rest], sentence

    def _union(self, error: ValidationError) -> Path:
        """Return the path to the alternatives of a union, which fails as what stands in its place; else nothing."""
        if type(error.kind).__name__ != "FalseSchema" or error.schema_path[-1:] != ["else"]:
            return []
        place = error.schema_path[:-1]
        inner = _at(self._document, place)
        found = [keyword for keyword in UNIONS if list(inner["if"]) == [keyword]] if inner else []
        return [*place, "if", *found] if found else []

    def _explain_union(self, union: Path, value: Any) -> tuple[Path, str]:
        """Tell of the alternative that a value was meant for, else of them all.

        Alternatives of another type, or with another constant to tell them apart, were not meant; of the others, the
        one that got furthest into the value was.
        """
        given = represent(value)
        alternatives = list(self._alternatives(union, value))
        errors = [error for _, error in alternatives if error]
        if len(errors) < len(alternatives):
            return [], f"{given} fits several of the given schemas, and may fit one alone"
        near = [(schema, error) for schema, error in alternatives if error and not _is_of_type(error)]
        if not near:
            names = dict.fromkeys(name for error in errors for name in error.kind.types)  # type: ignore[attr-defined]
            return [], f"{given} is not of type {' or '.join(map(repr, names))}"
        nearer = [(schema, error) for schema, error in near if not self._tells_apart(schema, value)] or near
        ranked = sorted((error for _, error in nearer), key=_rank)
        if len(ranked) > 1 and _rank(ranked[0]) == _rank(ranked[1]):
            return [], f"{given} is not valid under any of the given schemas"
        return self._explain(ranked[0], value)

    def _alternatives(self, union: Path, value: Any) -> Iterator[tuple[Any, ValidationError | None]]:
        for index, schema in enumerate(_at(self._document, union)):
            yield schema, self._first(f"#{quote(pointer([*union, index]))}", value)

    def _tells_apart(self, schema: Any, value: Any) -> bool:
        while isinstance(schema, Mapping) and "$ref" in schema:
            schema = resolve(self._document, schema["$ref"])
        properties = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        inner = (
            [(properties[name], value[name]) for name in properties if name in value]
            if isinstance(value, dict)
            else []
        )
        return any(is_constant(*pair) is False for pair in [(schema, value), *inner])

    def _sentence(self, error: ValidationError, value: Any) -> str:
        """Return the sentence of an error in ``value`` itself."""
        kind = type(error.kind).__name__
        if kind == "PropertyNames":
            inner: ValidationError = error.kind.error  # type: ignore[attr-defined]
            return f"a key: {self._sentence(inner, inner.instance)}"
        if kind == "FalseSchema" and self._union(error):
            return f"{represent(value)} is not valid under any of the given schemas"
        if kind == "Pattern":
            asked = patterns.original(self._schema, error.kind.pattern)  # type: ignore[attr-defined]
            return SENTENCES[kind].format(value=represent(value), pattern=asked)
        return sentence_of(error, value)


def sentence_of(error: ValidationError, value: Any) -> str:
    """Return the sentence of an error in ``value`` that no union hides."""
    kind, facts = type(error.kind).__name__, error.kind.as_dict()
    names = facts.get("unexpected") or facts.get("types") or ()
    facts |= {"value": represent(value), "names": " or ".join(map(repr, names))}
    return SENTENCES[kind].format(**facts) if kind in SENTENCES else f"{facts['value']}: {error.message}"


def pointer(path: Sequence[str | int]) -> str:
    """Return the JSON pointer of a path."""
    return "".join(f"/{escape(str(step))}" for step in path)


def _without_unions(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose unions only say that a value does not fit."""
    unions = [
        {"if": {keyword: schema.pop(keyword)}, "else": False} for keyword in UNIONS if keyword in schema
    ]
    return {**schema, "allOf": [*schema.get("allOf", ()), *unions]} if unions else schema


def _is_of_type(error: ValidationError) -> bool:
    return type(error.kind).__name__ == "Type" and not error.instance_path


def _rank(error: ValidationError) -> tuple[int, Path]:
    return -len(error.instance_path), error.instance_path


def _at(value: Any, path: Sequence[str | int]) -> Any:
    """Return what a path leads to, None where it leads nowhere."""
    try:
        return functools.reduce(operator.getitem, path, value)
    except (LookupError, TypeError):
        return None
