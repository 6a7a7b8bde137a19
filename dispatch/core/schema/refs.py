"""The schemas inside one JSON Schema, and ``$ref`` between them: what it points at, and whether judging stays short.

Neither the length of a chain of references nor the number of its branches is bounded by the library that judges: forty
levels of ``allOf``, each naming the next twice, take it hours, and a chain of thousands the stack of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from dispatch.core.json_values import unescape
from dispatch.exceptions import ConfigurationError

#: Keywords whose schemas judge the same value, and those whose schemas judge a part of it, or none.
IN_PLACE = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}
)
INSIDE = frozenset(
    {"properties", "patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties",
     "prefixItems", "items", "contains", "unevaluatedItems", "contentSchema", "$defs", "definitions", "x-variadic"}
)  # fmt: skip
KEYWORDS = IN_PLACE | INSIDE
NAMED = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"}
)
REFERENCES = ("$ref", "$dynamicRef")
UNEVALUATED = frozenset({"unevaluatedProperties", "unevaluatedItems"})
#: How often one value may be judged, and how deep; unions of hundreds of pydantic's models stay far below.
MOST, DEEPEST = 10_000, 32


def subschemas(root: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and all that stand under the keywords of JSON Schema in it."""
    pending = [root]
    while pending:
        schema = pending.pop()
        if isinstance(schema, dict):
            yield schema
            pending += _parts(schema, KEYWORDS)


def rewritten(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return a schema in which each of :func:`subschemas` is what ``change`` returns, the inner ones first."""
    if not isinstance(schema, dict):
        return schema
    return change({keyword: _rewritten_in(keyword, each, change) for keyword, each in schema.items()})


def _rewritten_in(keyword: str, value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if keyword not in KEYWORDS:
        return value
    if isinstance(value, list):
        return [rewritten(each, change) for each in value]
    if keyword in NAMED and isinstance(value, dict):
        return {name: rewritten(each, change) for name, each in value.items()}
    return rewritten(value, change)


def check_references(root: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless each reference inside ``root`` leads to one of its schemas, and ends.

    A model that holds a list of its own kind ends with the value; ``{"$ref": "#"}`` does not. What stands under other
    keywords is no schema, says JSON Schema (9.4.2), and nobody checks it as one.
    """
    known = {id(schema): schema for schema in subschemas(root)}
    costs: dict[int, tuple[int, int]] = {}
    for schema in known.values():
        if "$id" in schema and schema is not root:
            raise ConfigurationError("The schema holds another with an $id: write it under $defs instead.")
        for name, target in _targets(root, schema):
            if not isinstance(target, bool) and id(target) not in known:
                raise _strange(name)
        if not schema.keys().isdisjoint(IN_PLACE) or not schema.keys().isdisjoint(REFERENCES):
            _cost(root, schema, costs)


def resolve(root: Any, reference: Any) -> Any:
    """Return what a reference inside ``root`` points at.

    Raises LookupError for a reference to elsewhere, by an anchor, or to nothing.
    """
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        raise LookupError(reference)
    found = root
    for step in unquote(reference).split("/")[1:]:
        try:
            found = found[int(step)] if isinstance(found, list) else found[unescape(step)]
        except (TypeError, ValueError):
            raise LookupError(reference) from None
    return found


def _cost(
    root: Any, schema: Any, costs: dict[int, tuple[int, int]], depth: int = 0, last: str = ""
) -> tuple[int, int]:
    """Return how often and how deep ``schema`` judges one value, ``last`` being the reference that led there."""
    if not isinstance(schema, dict):
        return 1, 0
    height = costs[id(schema)][1] if id(schema) in costs else 0
    if depth + height > DEEPEST:
        raise ConfigurationError(
            f"The schema refers to {last!r} without end, or judges one value in more than {DEEPEST} steps: correct it."
        )
    if id(schema) not in costs:
        inner = [_cost(root, part, costs, depth + 1, last) for part in _parts(schema, IN_PLACE)]
        inner += [_cost(root, part, costs, depth + 1, name) for name, part in _targets(root, schema)]
        # What no other keyword has judged is found by asking them all again.
        again = 3 if UNEVALUATED & schema.keys() else 1
        often = 1 + again * sum(each for each, _ in inner)
        costs[id(schema)] = often, 1 + max((deep for _, deep in inner), default=0)
    if costs[id(schema)][0] > MOST:
        raise ConfigurationError(
            f"The schema judges one value more than {MOST:,} times, as its references name others again and again: "
            "correct it."
        )
    return costs[id(schema)]


def _parts(schema: Mapping[str, Any], keywords: frozenset[str]) -> Iterator[Any]:
    for keyword, found in schema.items():
        if keyword not in keywords:
            continue
        if isinstance(found, list):
            yield from found
        elif keyword in NAMED and isinstance(found, dict):
            yield from found.values()
        else:
            yield found


def _targets(root: Any, schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what the schema refers to, with the reference."""
    for keyword in REFERENCES:
        if keyword not in schema:
            continue
        try:
            yield str(schema[keyword]), resolve(root, schema[keyword])
        except LookupError:
            raise _strange(schema[keyword]) from None


def _strange(reference: Any) -> ConfigurationError:
    return ConfigurationError(
        f"The schema refers to {reference!r}, which it does not hold: put it under $defs, and refer to it there."
    )
