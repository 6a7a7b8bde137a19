"""jsonschema-rs as this package sets it up: nothing is fetched, patterns take linear time, formats are pydantic's.

It is imported where it is used: a process that checks nothing does not load it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dispatch.core.schema.formats import FORMATS

if TYPE_CHECKING:
    from jsonschema_rs import Registry, Validator

#: The name by which a schema is registered, so that the references of its parts keep their root.
DOCUMENT = "urn:dispatch:schema"


def registered(schema: Any) -> Registry:
    """Return the registry that :func:`validator` takes the parts of a schema from."""
    import jsonschema_rs as library

    return library.Registry([(DOCUMENT, schema)], draft=library.Draft202012)


def validator(registry: Registry, at: str = "#") -> Validator:
    """Return the validator of the part of a registered schema that a JSON pointer leads to, written as a fragment.

    Raises ValueError, of which the library's ValidationError is one, where it is no schema.
    """
    import jsonschema_rs as library

    return library.Draft202012Validator(
        {"$ref": f"{DOCUMENT}{at}"},
        registry=registry,
        pattern_options=library.RegexOptions(),
        validate_formats=True,
        formats=FORMATS,
        offline=True,
    )


@functools.cache
def metaschema() -> Validator:
    """Return what judges schemas; formats, of which patterns are one, are left out."""
    import jsonschema_rs as library

    return library.Draft202012Validator(
        {"$ref": "https://json-schema.org/draft/2020-12/schema"}, validate_formats=False, offline=True
    )


def is_constant(schema: Any, value: Any) -> bool | None:
    """Tell whether a value is one that a schema lists; None where it lists none."""
    import jsonschema_rs as library

    if not isinstance(schema, Mapping) or schema.keys().isdisjoint(("const", "enum")):
        return None
    return library.is_valid({key: schema[key] for key in ("const", "enum") if key in schema}, value)
