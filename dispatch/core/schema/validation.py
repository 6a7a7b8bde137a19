"""JSON Schema (2020-12) by jsonschema-rs: schemas compiled, and what does not fit told in a sentence.

The library is imported where it is used: a process that checks nothing does not load it.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dispatch.core.json_values import escape
from dispatch.core.message import represent
from dispatch.core.redaction import shorten
from dispatch.core.schema.refs import check_references
from dispatch.exceptions import ConfigurationError

if TYPE_CHECKING:
    from jsonschema_rs import CanonicalSchema, ValidationError, Validator

#: The name by which a part of a schema is compiled, so that its references keep their root.
DOCUMENT = "urn:dispatch:schema"
#: Sentences by kind of error; the braces hold the value and what the kind itself tells.
SENTENCES = {
    "AdditionalProperties": "no key {names} is accepted here",
    "Constant": "{expected_value!r} was expected, not {value}",
    "Contains": "{value} does not hold the items that the schema asks for",
    "Enum": "{value} is not one of {options}",
    "ExclusiveMaximum": "{value} is greater than or equal to the maximum of {limit}",
    "ExclusiveMinimum": "{value} is less than or equal to the minimum of {limit}",
    "FalseSchema": "{value} is not accepted here",
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
    "OneOfMultipleValid": "{value} fits several of the given schemas, and may fit one alone",
    "Pattern": "{value} does not match {asked!r}",
    "Required": "{property!r} is a required property",
    "Type": "{value} is not of type {names}",
    "UnevaluatedProperties": "no key {names} is accepted here",
    "UniqueItems": "{value} holds an item twice",
}
UNIONS = ("AnyOf", "OneOfNotValid")
#: Levels that schemas to be compared may have, all definitions together: the library recurses through them.
DEEPEST_COMPARED = 1_000
DEFINITIONS = ("$defs", "definitions")
#: What a schema says of itself, whatever it accepts.
REMARKS = frozenset({"$schema", "$id", "$comment", "title", "description"})
#: Letters, digits and the like as pydantic's engine reads ``\w``, by category, and all other characters.
WORD, OTHER = r"\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}", r"\p{No}\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\p{S}\p{Z}\p{C}"
UNICODE = {r"\d": r"\p{Nd}", r"\D": r"\P{Nd}", r"\w": WORD, r"\W": OTHER, r"\Z": r"\z"}
PATTERN_TOKEN = re.compile(r"\\.|\[\^?\]?|\]", re.DOTALL)


def compiled(schema: Mapping[str, Any], part: str = "") -> Validator:
    """Return the validator of a schema, or of the part of it under a keyword of its root.

    Raises ConfigurationError where it is no schema, refers to elsewhere (nothing is ever fetched), or would be judged
    without end. Patterns run in linear time; a format is a remark.
    """
    import jsonschema_rs as library

    with _told(schema):
        check_references(schema, schema[part] if part else schema)
        document = _readable(schema)
        registry = library.Registry([(DOCUMENT, document)], draft=library.Draft202012)
        return library.Draft202012Validator(
            {"$ref": f"{DOCUMENT}#/{part}"} if part else document,
            registry=registry,
            pattern_options=library.RegexOptions(),
            validate_formats=False,
            offline=True,
        )


def explain(error: ValidationError, schema: Any, value: Any) -> tuple[list[str | int], str]:
    """Return the path into ``value`` and a sentence without its full stop, of what does not fit ``schema``.

    Of a union, it is the error of the alternative that was meant, where one can be told.
    """
    error = _meant(error)
    return error.instance_path, shorten(_sentence(error, schema, _at(value, error.instance_path)))


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal as JSON Schema has it: 1 equals 1.0, and not true."""
    from jsonschema_rs.canonical.json import to_string

    return to_string(one) == to_string(other)


def canonical(schema: Any, root: Mapping[str, Any]) -> CanonicalSchema | None:
    """Return what a schema with the definitions of ``root`` accepts, in a form that can be compared; None at a loss.

    Here formats count, since the worker checks them.
    """
    import jsonschema_rs as library

    if isinstance(schema, Mapping):
        schema = {keyword: each for keyword, each in schema.items() if keyword not in REMARKS}
    definitions = {keyword: root[keyword] for keyword in DEFINITIONS if keyword in root}
    document = {**definitions, "allOf": [schema]}
    try:
        if sum(map(_depth, _schemas(document))) > DEEPEST_COMPARED:
            return None
        check_references(document, document)
        return library.canonicalize(
            _readable(document),
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


def pointer(path: Sequence[str | int]) -> str:
    """Return the JSON pointer of a path."""
    return "".join(f"/{escape(str(step))}" for step in path)


@contextlib.contextmanager
def _told(schema: Any) -> Iterator[None]:
    """Turn what the library says of a schema into a ConfigurationError."""
    from jsonschema_rs import ValidationError

    try:
        yield
    except ValidationError as error:
        path, sentence = explain(error, None, schema)
        raise ConfigurationError(f"Not a JSON Schema (2020-12): {sentence} (at {pointer(path)}).") from None
    except (ValueError, RecursionError) as error:  # nested too deep, or half a pair of surrogates
        raise ConfigurationError(f"Not a JSON Schema (2020-12): {shorten(str(error))}.") from None


def _meant(error: ValidationError) -> ValidationError:
    """Return the error of the alternative that a value was meant for, else the error itself.

    Alternatives of another type, or with another constant to tell them apart, were not meant; of the others, the one
    that got furthest into the value was.
    """
    while type(error.kind).__name__ in UNIONS:
        near = [
            each
            for each in error.kind.context  # type: ignore[attr-defined]
            if not any(_is_type_of(inner, error) for inner in each)
        ]
        nearer = [each for each in near if not any(_tells_apart(inner, error) for inner in each)] or near
        ranked = sorted((min(each, key=_rank) for each in nearer), key=_rank)
        if not ranked or (len(ranked) > 1 and _rank(ranked[0]) == _rank(ranked[1])):
            return error
        error = ranked[0]
    return error


def _is_type_of(inner: ValidationError, union: ValidationError) -> bool:
    return type(inner.kind).__name__ == "Type" and inner.instance_path == union.instance_path


def _tells_apart(inner: ValidationError, union: ValidationError) -> bool:
    deeper = len(inner.instance_path) - len(union.instance_path)
    return type(inner.kind).__name__ in ("Constant", "Enum") and deeper <= 1


def _rank(error: ValidationError) -> tuple[int, list[str | int]]:
    return -len(error.instance_path), error.instance_path


def _sentence(error: ValidationError, schema: Any, value: Any) -> str:
    """Return the sentence of an error in ``value`` itself."""
    kind = type(error.kind).__name__
    value = represent(value)
    if kind == "PropertyNames":
        inner: ValidationError = error.kind.error  # type: ignore[attr-defined]
        return f"a key: {_sentence(inner, schema, inner.instance)}"
    if kind in UNIONS:
        return _sentence_of_union(error, value)
    if kind == "Format":  # of a schema: the formats of values are not asserted
        pattern = value if error.instance_path[-1] == "pattern" else repr(error.instance_path[-1])
        return (
            f"the pattern {pattern} is none that pydantic's own engine reads in linear time: correct it, "
            "or write it without look-around and backreferences"
        )
    facts = error.kind.as_dict()
    names = facts.get("unexpected") or facts.get("types") or ()
    asked = _at(schema, error.schema_path) or facts.get("pattern")
    facts |= {"value": value, "names": " or ".join(map(repr, names)), "asked": asked}
    return SENTENCES[kind].format(**facts) if kind in SENTENCES else f"{value}: {error.message}"


def _sentence_of_union(error: ValidationError, value: str) -> str:
    inner = [each for alternative in error.kind.context for each in alternative]  # type: ignore[attr-defined]
    if all(_is_type_of(each, error) for each in inner):
        names = dict.fromkeys(name for each in inner for name in each.kind.types)
        return f"{value} is not of type {' or '.join(map(repr, names))}"
    return f"{value} is not valid under any of the given schemas"


def _at(value: Any, path: Sequence[str | int]) -> Any:
    """Return what a path leads to; nothing where the library named what it made of a schema itself."""
    try:
        return functools.reduce(operator.getitem, path, value)
    except (LookupError, TypeError):
        return None


def _readable(schema: Any) -> Any:
    """Return a schema whose patterns mean to the library what they mean to pydantic: JSON Schema's know ASCII only."""
    if isinstance(schema, list):
        return [_readable(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {keyword: _readable_in(keyword, each) for keyword, each in schema.items()}


def _readable_in(keyword: str, value: Any) -> Any:
    if keyword in ("const", "enum", "default", "examples"):
        return value
    if keyword == "pattern" and isinstance(value, str):
        return _unicode(value)
    if keyword == "patternProperties" and isinstance(value, Mapping):
        return {_unicode(each): _readable(inner) for each, inner in value.items()}
    return _readable(value)


def _unicode(pattern: str) -> str:
    r"""Return a pattern with ``\w``, ``\d`` and the like spelt out by Unicode's categories."""
    inside = False

    def spelt(token: re.Match[str]) -> str:
        nonlocal inside
        found = UNICODE.get(token[0], token[0])
        if not token[0].startswith("\\"):
            inside = not token[0].endswith("]") if inside else token[0].startswith("[")
        return f"[{found}]" if token[0] in (r"\w", r"\W") and not inside else found

    return PATTERN_TOKEN.sub(spelt, pattern)


def _schemas(document: Mapping[str, Any]) -> Iterator[Any]:
    for keyword, found in document.items():
        yield from found.values() if keyword in DEFINITIONS and isinstance(found, Mapping) else [found]


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
