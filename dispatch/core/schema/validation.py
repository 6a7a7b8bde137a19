"""JSON Schema (2020-12) by jsonschema-rs: schemas checked, compiled and compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dispatch.core.redaction import shorten
from dispatch.core.schema import patterns
from dispatch.core.schema.engine import metaschema, registered, validator
from dispatch.core.schema.misfits import pointer, sentence_of
from dispatch.core.schema.refs import check_references, rewritten, subschemas
from dispatch.exceptions import ConfigurationError

if TYPE_CHECKING:
    from jsonschema_rs import CanonicalSchema, ValidationError, Validator

#: Levels that schemas to be compared may have, all definitions together: the library recurses through them.
DEEPEST_COMPARED = 1_000
DEFINITIONS = ("$defs", "definitions")
#: What a schema says of itself, whatever it accepts.
REMARKS = frozenset({"$schema", "$id", "$comment", "title", "description"})


def check(schema: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless any value can be judged, in bounded time, by a schema and by all that is in it.

    Nothing is ever fetched: what a schema refers to stands in it. Patterns are not looked at: those that cannot be read
    are not checked (:mod:`dispatch.core.schema.patterns`).
    """
    with _told(schema):
        metaschema().validate(schema)
        check_references(schema)
        validator(registered(rewritten(schema, _without_patterns)))
    for each in subschemas(schema):
        if "x-variadic" in each:
            with _told(each["x-variadic"], "x-variadic"):
                metaschema().validate(each["x-variadic"])


def compiled(schema: Mapping[str, Any], part: str = "") -> Validator:
    """Return the validator of a schema, or of the part of it under a keyword of its root.

    Raises ConfigurationError where :func:`check` does.
    """
    check(schema)
    with _told(schema):
        return validator(registered(patterns.with_readable(schema)), f"#/{part}" if part else "#")


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal as JSON Schema has it: 1 equals 1.0, and not true."""
    from jsonschema_rs.canonical.json import to_string

    return to_string(one) == to_string(other)


def canonical(schema: Any, root: Mapping[str, Any]) -> CanonicalSchema | None:
    """Return what a schema with the definitions of ``root`` accepts, in a form that can be compared; None at a loss.

    Formats count by their names alone.
    """
    import jsonschema_rs as library

    if isinstance(schema, Mapping):
        schema = {keyword: each for keyword, each in schema.items() if keyword not in REMARKS}
    definitions = {keyword: root[keyword] for keyword in DEFINITIONS if keyword in root}
    document = {**definitions, "allOf": [schema]}
    try:
        if sum(map(_depth, _schemas(document))) > DEEPEST_COMPARED or patterns.unread(document):
            return None
        check_references(document)
        return library.canonicalize(
            patterns.with_readable(document),
            draft=library.Draft202012,
            pattern_options=library.RegexOptions(),
            validate_formats=True,
            offline=True,
        )
    except (ValueError, RecursionError, ConfigurationError):
        return None


def covers(new: CanonicalSchema | None, old: CanonicalSchema | None) -> bool:
    """Tell whether ``new`` surely accepts every value that ``old`` accepts."""
    from jsonschema_rs.canonical import CanonicalizationError, Containment

    if new is None or old is None:
        return False
    try:
        return new == old or new.covers(old) is Containment.YES
    except CanonicalizationError:  # nor is a form known of every negation
        return False


@contextlib.contextmanager
def _told(schema: Any, *place: str) -> Iterator[None]:
    """Turn what the library says of a schema into a ConfigurationError."""
    from jsonschema_rs import ValidationError

    try:
        yield
    except ValidationError as error:
        found = _inner(error)
        at = pointer([*place, *found.instance_path])
        raise ConfigurationError(
            f"Not a JSON Schema (2020-12): {shorten(sentence_of(found, found.instance))} (at {at})."
        ) from None
    except (ValueError, RecursionError) as error:  # nested too deep, or half a pair of surrogates
        raise ConfigurationError(f"Not a JSON Schema (2020-12): {shorten(str(error))}.") from None


def _inner(error: ValidationError) -> ValidationError:
    """Return what is wrong with an alternative of a union: a keyword that takes several types takes one of this."""
    for alternative in getattr(error.kind, "context", ()):
        for inner in alternative:
            if type(inner.kind).__name__ != "Type" or inner.instance_path != error.instance_path:
                return _inner(inner)
    return error


def _without_patterns(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in schema.items() if key not in ("pattern", "patternProperties")}


def _schemas(document: Mapping[str, Any]) -> Iterator[Any]:
    for keyword, found in document.items():
        yield from found.values() if keyword in DEFINITIONS and isinstance(found, Mapping) else [found]


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
