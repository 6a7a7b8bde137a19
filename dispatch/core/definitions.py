"""Named types, and the JSON Schemas with ``$defs`` that they come from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import unquote

from dispatch.core.message import unescape

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
