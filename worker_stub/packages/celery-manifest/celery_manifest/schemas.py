"""JSON Schema from annotations, each judged alone.

An annotation of which pydantic makes no schema leaves its own place open to anything, and the others as
strict as they are.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, Never, NoReturn, get_type_hints

from pydantic import AliasChoices, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from celery_manifest.plain import canonical, plain

Mode = Literal["validation", "serialization"]

logger = logging.getLogger(__name__)


#: The texts that a number has as the key of a JSON object.
WHOLE, NUMBER = r"^[+-]?[0-9]+$", r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


class StableSchema(GenerateJsonSchema):
    """Writes what pydantic takes where its own schemas say less, or more.

    Defaults inside models are like those of parameters: sets in an order of their own. The keys of
    dictionaries are texts, whatever they stand for. A field goes by each name by which its model takes it.
    """

    def encode_default(self, dft: Any) -> Any:
        """Return a default as the JSON that it becomes."""
        try:
            return plain(dft)
        except ValueError as error:
            raise PydanticSerializationError(str(error)) from None

    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a `Decimal`, whose text is that of a finite number."""
        found = super().decimal_schema(schema)
        if schema.get("allow_inf_nan"):
            return found
        for each in found.get("anyOf", [found]):
            if each.get("type") == "string":
                each.pop(
                    "pattern", None
                )  # of some versions of pydantic, and not of JSON Schema's own dialect
                each["format"] = "decimal"
        return found

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a dictionary, its keys checked as the texts that they are in JSON."""
        return self._with_keys(super().dict_schema(schema), schema)

    def ordered_dict_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of an `OrderedDict`."""
        return self._with_keys(super().ordered_dict_schema(schema), schema)

    def counter_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a `Counter`."""
        return self._with_keys(super().counter_schema(schema), schema)

    def _with_keys(self, found: dict[str, Any], schema: Any) -> dict[str, Any]:
        if "patternProperties" in found:  # which leaves the other keys open
            return found | {"additionalProperties": False}
        found.pop("propertyNames", None)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        names = self._as_texts(keys)
        return found | {"propertyNames": names} if names else found

    def _as_texts(self, keys: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of the texts that keys of a schema become, `{}` where that cannot be said."""
        if "$ref" in keys:
            resolved = self.get_schema_from_definitions(keys["$ref"])
            is_text = resolved is not None and resolved.get("type") == "string"
            return dict(keys) if is_text else self._as_texts(resolved or {})
        if "anyOf" in keys:
            either = [self._as_texts(each) for each in keys["anyOf"]]
            return {"anyOf": either} if all(either) else {}
        if "enum" in keys or "const" in keys:
            values = keys.get("enum", [keys.get("const")])
            return {"enum": [each if isinstance(each, str) else canonical(each) for each in values]}
        if keys.get("type") == "string":
            return {name: value for name, value in keys.items() if name not in ("type", "title")}
        pattern = {"integer": WHOLE, "number": NUMBER}.get(keys.get("type", ""))
        return {"pattern": pattern} if pattern else {}

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a model, each field under all names by which the model takes it."""
        found = super().model_schema(schema)
        if self.mode == "validation" and self.by_alias and "properties" in found:
            for name, field in schema["cls"].model_fields.items():
                _name_all(found, name, field, schema["cls"].model_config)
        return found


def _name_all(schema: dict[str, Any], name: str, field: FieldInfo, config: Mapping[str, Any]) -> None:
    """Write a field into a model's schema under each name by which it may be given.

    What a path of names begins with may hold anything.
    """
    properties, required = schema["properties"], schema.get("required", [])
    names = dict(_names(name, field, config))
    written = next((each for each in [*dict(_names(name, field, {})), name] if each in properties), None)
    if written is None or list(names) == [written]:
        return
    described = properties.pop(written)
    properties.update(
        {each: described if is_whole else {} for each, is_whole in names.items() if each not in properties}
    )
    if written in required:
        required.remove(written)
        schema.setdefault("allOf", []).append({"anyOf": [{"required": [each]} for each in names]})
    if not required:
        schema.pop("required", None)


def _names(name: str, field: FieldInfo, config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the names by which pydantic takes a field, and whether the field is all that stands there."""
    alias = field.validation_alias
    if alias is not None and config.get("validate_by_alias") is not False:
        for each in alias.choices if isinstance(alias, AliasChoices) else [alias]:
            path = [each] if isinstance(each, str) else each.path
            yield str(path[0]), len(path) == 1
    if alias is None or config.get("populate_by_name") or config.get("validate_by_name"):
        yield name, True


def schemas(
    annotations: Mapping[str, Any],
    function: Callable[..., Any],
    mode: Mode = "validation",
    *,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the schema of each annotation, and the `$defs` that they share.

    One call for all of them, so that pydantic tells apart two models of one name. Fields go by their
    aliases in what a sender gives, by their names in what a task returns, as `pydantic=True` of Celery
    reads and dumps them. One of the `defaults` that its own annotation does not take (`text: str = None`) is
    taken all the same.
    """
    adapters = {name: _adapter(name, each, function, mode) for name, each in annotations.items()}
    found, shared = TypeAdapter.json_schemas(
        [(name, mode, adapter) for name, adapter in adapters.items()],
        by_alias=mode == "validation",
        schema_generator=StableSchema,
    )
    plain_ones = {name: plain(schema) for (name, _), schema in found.items()}
    for name, default in defaults.items():
        plain_ones[name] = _with_default(plain_ones[name], adapters[name], default)
    return plain_ones, plain(shared)


def _with_default(schema: dict[str, Any], adapter: TypeAdapter[Any], default: Any) -> dict[str, Any]:
    try:
        value = plain(default)
    except ValueError:  # no sender can give it
        return schema
    try:
        adapter.validate_json(canonical(value), strict=True)
    except Exception:  # what an annotation's own validators may raise, too
        return {"anyOf": [schema, {"type": "null"} if value is None else {"const": value}]}
    return schema


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
