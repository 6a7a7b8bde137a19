"""A task's parameters: the JSON Schema of a call, compiled once and asked at each send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from dispatch.core.message import escape
from dispatch.core.wording import shorten, suggest
from dispatch.exceptions import ConfigurationError, InvalidArguments


class Parameters:
    """What a task accepts, read from the manifest's JSON Schema of its keyword form.

    Beside the standard keywords, ``x-positional`` lists the names that may be given by position and
    ``x-variadic`` is the schema of further positional arguments. An empty schema accepts everything.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.names: tuple[str, ...] = tuple(schema.get("properties", {}))
        self.required: tuple[str, ...] = tuple(schema.get("required", ()))
        self.positional: tuple[str, ...] = tuple(schema.get("x-positional", ()))
        self.is_open = schema.get("additionalProperties", True) is not False or "patternProperties" in schema
        # A registry of its own: jsonschema would otherwise fetch a remote $ref over HTTP.
        self._validator = Draft202012Validator(dict(schema), registry=Registry())
        self._variadic = schema.get("x-variadic")

    @staticmethod
    def check_schema(schema: Any) -> None:
        """Raise ConfigurationError if ``schema`` is not a JSON Schema (2020-12) of an object."""
        if not isinstance(schema, dict):
            raise ConfigurationError("The schema of a task's parameters must be a JSON object.")
        try:
            Draft202012Validator.check_schema(schema)
            Draft202012Validator.check_schema(schema.get("x-variadic", True))
        except SchemaError as error:
            raise ConfigurationError(f"Not a JSON Schema (2020-12): {error.message}") from None
        if schema.get("type", "object") != "object":
            raise ConfigurationError('The parameters are given by name: the schema\'s type must be "object".')
        names = schema.get("x-positional", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigurationError("x-positional must be a list of parameter names.")

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, with the JSON pointer, unless the call fits.

        ``args`` and ``kwargs`` hold JSON's own types, as :func:`dispatch.core.message.plain` returns them.
        """
        if not self.schema:
            return
        try:
            given = self._by_name(args, kwargs)
            self._check_names(given)
            error = best_match(self._validator.iter_errors(given))
        except Unresolvable as reference:
            raise ConfigurationError(
                f"The task's schema refers to {reference.ref!r}, which it does not hold: correct its parameters."
            ) from None
        if error is not None:
            raise self._explain(error, len(args))

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        named = dict(zip(self.positional, args, strict=False))
        self._check_variadic(args[len(self.positional) :])
        for name in kwargs:
            if name in named:
                raise InvalidArguments(
                    f"argument {name!r} is given twice, by position and by name: give it once.",
                    f"/kwargs/{escape(name)}",
                )
        return named | dict(kwargs)

    def _check_variadic(self, rest: Sequence[Any]) -> None:
        if not rest:
            return
        start = len(self.positional)
        if self._variadic is None:
            raise InvalidArguments(
                f"{start + len(rest)} positional arguments given, at most {start} accepted: {self._accepted()}.",
                f"/args/{start}",
            )
        validator = self._validator.evolve(schema=self._variadic)
        for index, value in enumerate(rest, start):
            if error := best_match(validator.iter_errors(value)):
                raise InvalidArguments(f"{error.message} (at /args/{index}).", f"/args/{index}")

    def _check_names(self, given: Mapping[str, Any]) -> None:
        for name in self.required:
            if name not in given:
                raise InvalidArguments(
                    f"argument {name!r} is missing: {self._accepted()}.", f"/kwargs/{escape(name)}"
                )
        if self.is_open:
            return
        for name in given:
            if name not in self.names:
                raise InvalidArguments(
                    f"unknown argument {name!r}{suggest(name, self.names, most=1)}: {self._accepted()}.",
                    f"/kwargs/{escape(name)}",
                )

    def _accepted(self) -> str:
        if not self.names:
            return "the task takes no arguments"
        names = ", ".join(name if name in self.required else f"{name} (optional)" for name in self.names)
        return f"the task takes {names}"

    def _explain(self, error: ValidationError, positional: int) -> InvalidArguments:
        path = [str(step) for step in error.absolute_path]
        if path and path[0] in self.positional[:positional]:
            root = ["args", str(self.positional.index(path[0]))]
        else:
            root = ["kwargs", *path[:1]]
        pointer = "".join(f"/{escape(step)}" for step in [*root, *path[1:]])
        return InvalidArguments(f"{shorten(error.message)} (at {pointer}).", pointer)
