"""``$ref`` inside one JSON Schema: what it points at, and whether following it ever ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dispatch.core.message import unescape

#: Keywords whose schemas judge the same value, not a part of it.
IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")


def resolve(root: Any, reference: Any) -> Any:
    """Return what a reference inside ``root`` points at.

    Raises LookupError for a reference to elsewhere, by an anchor, or to nothing.
    """
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        raise LookupError(reference)
    found = root
    for step in reference.split("/")[1:]:
        try:
            found = found[int(step)] if isinstance(found, list) else found[unescape(step)]
        except (TypeError, ValueError):
            raise LookupError(reference) from None
    return found


def endless(root: Mapping[str, Any]) -> str:
    """Return a reference that leads to itself without descending into the value, "" where there is none.

    A model that holds a list of its own kind descends, and ends with the value; ``{"$ref": "#"}`` does not.
    """
    done: set[str] = set()
    for reference in _references(root):
        try:
            if _returns(root, reference, done, ()):
                return reference
        except RecursionError:
            return reference
    return ""


def _returns(root: Any, reference: str, done: set[str], path: tuple[str, ...]) -> bool:
    if reference in path:
        return True
    if reference in done:
        return False
    try:
        next_ = list(_in_place(resolve(root, reference)))
    except LookupError:
        next_ = []
    found = any(_returns(root, each, done, (*path, reference)) for each in next_)
    done.add(reference)
    return found


def _in_place(schema: Any) -> Iterator[str]:
    """Yield the references that judge the same value as ``schema`` does."""
    if not isinstance(schema, Mapping):
        return
    if isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    named = schema.get("dependentSchemas")
    for part in [*map(schema.get, IN_PLACE), list(named.values()) if isinstance(named, Mapping) else []]:
        for each in part if isinstance(part, list) else [part]:
            yield from _in_place(each)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)
