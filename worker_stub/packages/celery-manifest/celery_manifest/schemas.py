"""JSON Schema from annotations, each judged alone.

An annotation of which pydantic makes no schema leaves its own place open to anything, and the others as
strict as they are.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, Never, NoReturn, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from celery_manifest.plain import plain

Mode = Literal["validation", "serialization"]

logger = logging.getLogger(__name__)


class StableSchema(GenerateJsonSchema):
    """Writes the defaults inside models like those of parameters: sets in an order of their own."""

    def encode_default(self, dft: Any) -> Any:
        """Return a default as the JSON that it becomes."""
        try:
            return plain(dft)
        except ValueError as error:
            raise PydanticSerializationError(str(error)) from None


def schemas(
    annotations: Mapping[str, Any], function: Callable[..., Any], mode: Mode = "validation"
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the schema of each annotation, and the `$defs` that they share.

    One call for all of them, so that pydantic tells apart two models of one name. Fields go by their
    aliases in what a sender gives, by their names in what a task returns, as `pydantic=True` of Celery
    reads and dumps them.
    """
    found, shared = TypeAdapter.json_schemas(
        [(name, mode, _adapter(name, each, function, mode)) for name, each in annotations.items()],
        by_alias=mode == "validation",
        schema_generator=StableSchema,
    )
    return {name: plain(schema) for (name, _), schema in found.items()}, plain(shared)


def _adapter(name: str, annotation: Any, function: Callable[..., Any], mode: Mode) -> TypeAdapter[Any]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_resolved(annotation, _namespace(function)))
        plain(adapter.json_schema(mode=mode, schema_generator=StableSchema))
    except Exception as error:  # an annotation may be any object and raise anything
        logger.warning(
            "%s of %s may be anything: its annotation %r gives no JSON Schema (%s).",
            "What is returned" if name == "return" else f"The parameter {name!r}",
            getattr(function, "__qualname__", repr(function)),
            annotation,
            str(error).partition("\n")[0],
        )
        return TypeAdapter(Any)
    return adapter


def _namespace(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that postponed annotations may use: the globals, and type parameters (PEP 695)."""
    original = inspect.unwrap(function)
    parameters = getattr(original, "__type_params__", ())
    return getattr(original, "__globals__", {}) | {each.__name__: each for each in parameters}


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any

    def bearer() -> None: ...

    bearer.__annotations__ = {"it": annotation}
    found = get_type_hints(bearer, globalns=namespace, include_extras=True)["it"]
    return Any if found in (Never, NoReturn) else found
