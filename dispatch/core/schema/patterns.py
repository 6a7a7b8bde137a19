r"""Regular expressions of a schema as pydantic reads them, for the linear engine of jsonschema-rs.

Both use the same engine, but jsonschema-rs reads ``\w``, ``.`` and brackets as ECMAScript has them. What of pydantic's
notation cannot be written that way, and what takes no linear time (look-around and backreferences, which pydantic reads
in its mode ``python-re``), is not checked at the send.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dispatch.core.redaction import shorten
from dispatch.core.schema.refs import rewritten, subschemas
from dispatch.exceptions import ConfigurationError

#: Letters, digits and the like as pydantic's engine reads ``\w``, and all other characters; inside brackets, where no
#: list can be turned round, those that only Unicode's property Alphabetic makes letters are among both.
WORD = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}"
OTHER = r"\p{No}\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\p{S}\p{Z}\p{C}"
CLASSES = {
    r"\d": r"\p{Nd}", r"\D": r"\P{Nd}", r"\s": r"\p{White_Space}", r"\S": r"\P{White_Space}",
    r"\Z": r"\z", r"\a": r"\x07",
}  # fmt: skip
OUTSIDE = {r"\w": f"[{WORD}]", r"\W": f"[^{WORD}]", ".": r"[^\n]"} | CLASSES
BETWEEN = {r"\w": WORD, r"\W": OTHER} | CLASSES
TOKEN = re.compile(r"\\.|\(\?[A-Za-z-]*|\[\^?\]?|\]|&&|--|~~|\.", re.DOTALL)
#: Of a group: what a point matches, comments, and bytes.
FLAGS = re.compile(r"\(\?[A-Za-z]*[sRx-]")
#: Keywords that judge otherwise, or less, when a schema in them accepts more.
REVERSING = ("not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems", "maxContains")


def unread(schema: Any) -> tuple[str, ...]:
    """Return the patterns of a schema that are not checked at the send, in order."""
    return tuple(dict.fromkeys(pattern for pattern in _patterns(schema) if readable(pattern) is None))


def check_patterns(schema: Any) -> None:
    """Raise ConfigurationError, with the remedy, for a pattern that would not be checked."""
    for pattern in unread(schema):
        raise ConfigurationError(
            f"The pattern {shorten(repr(pattern))} is none that takes linear time: correct it, or write it without "
            f"look-around, backreferences, and brackets in brackets."
        )


def with_readable(schema: Any) -> Any:
    """Return a schema with its patterns as :func:`readable` has them.

    Where one cannot be read, the schema accepts what might fit it: the pattern is left out, and so are keywords
    by which a schema would accept less for it.
    """
    return rewritten(schema, _loosened if unread(schema) else _spelt)


@functools.lru_cache(maxsize=1_000)
def readable(pattern: str) -> str | None:
    """Return a pattern that means to jsonschema-rs what the given one means to pydantic, None at a loss."""
    import jsonschema_rs as library

    text = _translated(pattern)
    if text is None:
        return None
    try:
        library.Draft202012Validator({"pattern": text}, pattern_options=library.RegexOptions(), offline=True)
    except (library.ValidationError, ValueError):
        return None
    return text


def original(schema: Any, text: str) -> str:
    """Return the pattern of a schema that was made readable as ``text``."""
    return next((pattern for pattern in _patterns(schema) if readable(pattern) == text), text)


def _patterns(schema: Any) -> Iterator[str]:
    for each in subschemas(schema):
        if isinstance(each.get("pattern"), str):
            yield each["pattern"]
        if isinstance(each.get("patternProperties"), Mapping):
            yield from each["patternProperties"]


def _spelt(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("pattern"), str):
        schema["pattern"] = readable(schema["pattern"])
    if isinstance(schema.get("patternProperties"), dict):
        schema["patternProperties"] = {
            readable(pattern): each for pattern, each in schema["patternProperties"].items()
        }
    return schema


def _loosened(schema: dict[str, Any]) -> dict[str, Any]:
    schema = {keyword: each for keyword, each in _spelt(schema).items() if keyword not in REVERSING}
    if schema.get("pattern", "") is None:
        del schema["pattern"]
    if None in schema.get("patternProperties", ()):
        del schema["patternProperties"][None]
        schema.pop("additionalProperties", None)
    if "oneOf" in schema:
        schema["allOf"] = [*schema.get("allOf", ()), {"anyOf": schema.pop("oneOf")}]
    return schema


def _translated(pattern: str) -> str | None:
    parts, end, inside = [], 0, False
    for token in TOKEN.finditer(pattern):
        text = token[0]
        if (text.startswith("[") or text in ("&&", "--", "~~")) if inside else FLAGS.match(text):
            return None
        parts += [pattern[end : token.start()], (BETWEEN if inside else OUTSIDE).get(text, text)]
        end = token.end()
        inside = text.startswith("[") or (inside and text != "]")
    return "".join([*parts, pattern[end:]])
