"""A task's parameters: the JSON Schema of a call, compiled at the first send and asked at each."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dispatch.core.json_values import escape, unescape
from dispatch.core.schema.validation import compiled, explain, pointer
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError, InvalidArguments

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator


class Parameters:
    """What a task accepts, read from the manifest's JSON Schema of its keyword form.

    Beside the standard keywords, ``x-positional`` lists the names that may be given by position,
    ``x-positional-only`` those that must be, and ``x-variadic`` is the schema of further positional arguments.
    An empty schema accepts everything.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.names: tuple[str, ...] = tuple(schema.get("properties", {}))
        self.required: tuple[str, ...] = tuple(schema.get("required", ()))
        self.positional: tuple[str, ...] = tuple(schema.get("x-positional", ()))
        self.positional_only = frozenset(schema.get("x-positional-only", ()))
        self.is_open = schema.get("additionalProperties", True) is not False or "patternProperties" in schema

    @staticmethod
    def check_schema(schema: Any) -> None:
        """Raise ConfigurationError if ``schema`` is not a JSON Schema (2020-12) of an object, or never ends."""
        if not isinstance(schema, dict):
            raise ConfigurationError("The schema of a task's parameters must be a JSON object.")
        compiled(schema)
        if "x-variadic" in schema:
            compiled(schema, "x-variadic")
        if schema.get("type", "object") != "object":
            raise ConfigurationError('The parameters are given by name: the schema\'s type must be "object".')
        for keyword in ("x-positional", "x-positional-only"):
            names = schema.get(keyword, [])
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ConfigurationError(f"{keyword} must be a list of parameter names.")
        if strangers := set(schema.get("x-positional-only", ())) - set(schema.get("x-positional", ())):
            raise ConfigurationError(
                f"x-positional-only names {sorted(strangers)}, which x-positional does not."
            )

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, with the JSON pointer, unless the call fits.

        ``args`` and ``kwargs`` hold JSON's own types, as :func:`dispatch.core.message.plain` returns them.
        """
        if not self.schema:
            return
        given = self._by_name(args, kwargs)
        if error := _first_error(self._validator, given):
            self._check_names(given)
            raise self._explain(error, given, len(args))

    def check_masked(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], sensitive: Collection[str]
    ) -> None:
        """Do what :meth:`check` does; the error does not quote the value of a sensitive parameter."""
        try:
            self.check(args, kwargs)
        except InvalidArguments as error:
            name = self._parameter(error.pointer)
            if name not in sensitive if name else not sensitive:
                raise
            what = (
                f"argument {name!r} does not fit its schema"
                if name
                else "the arguments do not fit the schema"
            )
            raise InvalidArguments(f"{what}; sensitive values are not shown.", error.pointer) from None

    @cached_property
    def _validator(self) -> Validator:
        return compiled(self.schema)

    @cached_property
    def _variadic(self) -> Validator:
        return compiled(self.schema, "x-variadic")

    def placed(self, named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return args and kwargs of a call whose arguments are all known by name, as a trigger's mapping has them."""
        if not self.positional_only:
            return (), dict(named)
        taken = itertools.takewhile(
            lambda name: name in self.positional_only and name in named, self.positional
        )
        args = {name: named[name] for name in taken}
        return tuple(args.values()), {name: value for name, value in named.items() if name not in args}

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        if not args and not self.positional_only:
            return kwargs
        named = dict(zip(self.positional, args, strict=False))
        self._check_variadic(args[len(self.positional) :])
        for name in kwargs:
            if name in self.positional_only:
                raise InvalidArguments(
                    f"argument {name!r} is taken by position only: give it in args.",
                    f"/kwargs/{escape(name)}",
                )
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
        if "x-variadic" not in self.schema:
            raise InvalidArguments(
                f"{start + len(rest)} positional arguments given, at most {start} accepted: {self._accepted()}.",
                f"/args/{start}",
            )
        for index, value in enumerate(rest, start):
            if error := _first_error(self._variadic, value):
                path, sentence = explain(error, self.schema, value)
                raise _misfit(sentence, pointer(["args", index, *path]))

    def _check_names(self, given: Mapping[str, Any]) -> None:
        for name in self.required:
            if name not in given:
                raise InvalidArguments(
                    f"argument {name!r} is missing: {self._accepted()}.", self._place(name)
                )
        if self.is_open:
            return
        for name in given:
            if name not in self.names:
                raise InvalidArguments(
                    f"unknown argument {name!r}{suggest(name, self.names, most=1)}: {self._accepted()}.",
                    f"/kwargs/{escape(name)}",
                )

    def _parameter(self, pointer: str) -> str:
        """Return the parameter that a pointer into the call leads to."""
        _, root, step, *_ = [*pointer.split("/"), "", ""]
        if root == "args" and step.isdecimal() and int(step) < len(self.positional):
            return self.positional[int(step)]
        return unescape(step)

    def _place(self, name: str) -> str:
        """Return the pointer to where a missing argument belongs."""
        if name in self.positional_only:
            return f"/args/{self.positional.index(name)}"
        return f"/kwargs/{escape(name)}"

    def _accepted(self) -> str:
        if not self.names:
            return "the task takes no arguments"
        return f"the task takes {', '.join(map(self._wording, self.names))}"

    def _wording(self, name: str) -> str:
        remarks = [
            *(["by position"] if name in self.positional_only else []),
            *(["optional"] if name not in self.required else []),
        ]
        return f"{name} ({', '.join(remarks)})" if remarks else name

    def _explain(self, error: ValidationError, given: Mapping[str, Any], positional: int) -> InvalidArguments:
        path, sentence = explain(error, self.schema, given)
        if path and path[0] in self.positional[:positional]:
            return _misfit(sentence, pointer(["args", self.positional.index(str(path[0])), *path[1:]]))
        return _misfit(sentence, pointer(["kwargs", *path]))


def _first_error(validator: Validator, value: Any) -> ValidationError | None:
    from jsonschema_rs import ValidationError

    try:
        validator.validate(value)
    except ValidationError as error:
        return error
    except ValueError as error:
        raise InvalidArguments(f"the arguments are not JSON: {error}.", "") from None
    return None


def _misfit(sentence: str, at: str) -> InvalidArguments:
    return InvalidArguments(f"{sentence} (at {at}).", at)


def kinds(schema: Any) -> frozenset[str]:
    """Return the JSON types that a schema names, "" among them where it leaves them open."""
    if not isinstance(schema, dict):
        return frozenset({""})
    if isinstance(schema.get("anyOf"), list):
        return frozenset(kind for each in schema["anyOf"] for kind in kinds(each))
    found = schema.get("type", "")
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset({str(found)})


def wants_text(schema: Any) -> bool:
    """Tell whether a schema takes texts and no numbers, as those of ``str`` and ``str | None`` do."""
    found = kinds(schema)
    return "string" in found and found.isdisjoint({"integer", "number", ""})


def takes(schema: Any, kind: str) -> bool:
    """Tell whether values of a JSON type may fit a schema, numbers becoming texts where it wants those."""
    found = kinds(schema)
    if kind == "integer" and "number" in found:
        return True
    return not kind or "" in found or kind in found or (kind in ("integer", "number") and wants_text(schema))
