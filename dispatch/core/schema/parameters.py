"""A task's parameters: the JSON Schema of a call, compiled at the first send and asked at each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dispatch.core.json_values import escape, unescape
from dispatch.core.redaction import shorten
from dispatch.core.schema.misfits import Misfits, pointer
from dispatch.core.schema.validation import check, compiled
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError, InvalidArguments

if TYPE_CHECKING:
    from jsonschema_rs import Validator


class Parameters:
    """What a task accepts, read from the manifest's JSON Schema of its keyword form.

    Beside the standard keywords, ``x-positional`` lists the names that may be given by position,
    ``x-positional-only`` those that must be, and ``x-variadic`` is the schema of further positional arguments.
    An empty schema accepts everything. One that is given as its JSON text is read when it is first asked for: a
    process that knows thousands of tasks and sends ten pays for ten.
    """

    def __init__(self, schema: Mapping[str, Any] | str) -> None:
        self._given = schema

    @cached_property
    def _read(self) -> tuple[Mapping[str, Any], str]:
        if not isinstance(self._given, str):
            return self._given, ""
        try:
            schema = json.loads(self._given)
            _check_shape(schema)
        except ConfigurationError as error:
            return {}, str(error)
        except (ValueError, RecursionError) as error:
            return {}, f"The schema of its parameters cannot be read: {shorten(str(error))}."
        return schema, ""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema; an empty one where its text does not hold one."""
        return self._read[0]

    @property
    def unreadable(self) -> str:
        """Why not even the names can be told, "" where they can."""
        return self._read[1]

    @cached_property
    def problem(self) -> str:
        """Why no call can be checked by this schema, "" where calls can be."""
        if self.unreadable or not self.schema:
            return self.unreadable
        try:
            self.check_schema(self.schema)
        except ConfigurationError as error:
            return str(error)
        return ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters that have a name, in order."""
        return tuple(self.schema.get("properties", {}))

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Those that must be given."""
        return tuple(self.schema.get("required", ()))

    @cached_property
    def positional(self) -> tuple[str, ...]:
        """Those that may be given by position, in order."""
        return tuple(self.schema.get("x-positional", ()))

    @cached_property
    def positional_only(self) -> frozenset[str]:
        """Those that must be given by position."""
        return frozenset(self.schema.get("x-positional-only", ()))

    @cached_property
    def after_result(self) -> Parameters:
        """The same, but that any value fits the first that is given by position: a result that nobody knows yet."""
        if not self.positional:
            return Parameters({**self.schema, **dict.fromkeys({"x-variadic"} & self.schema.keys(), True)})
        properties = {**self.schema.get("properties", {}), self.positional[0]: True}
        return Parameters({**self.schema, "properties": properties})

    @cached_property
    def is_open(self) -> bool:
        """Whether names are accepted that the schema does not list."""
        return (
            self.schema.get("additionalProperties", True) is not False or "patternProperties" in self.schema
        )

    @staticmethod
    def check_schema(schema: Any) -> None:
        """Raise ConfigurationError if ``schema`` is not a JSON Schema (2020-12) of an object, or never ends."""
        _check_shape(schema)
        check(schema)
        if schema.get("type", "object") != "object":
            raise ConfigurationError('The parameters are given by name: the schema\'s type must be "object".')

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, with the JSON pointer, unless the call fits.

        ``args`` and ``kwargs`` hold JSON's own types, as :func:`dispatch.core.message.plain` returns them.
        """
        if not self.schema:
            return
        given = self._by_name(args, kwargs)
        if not _fits(self._validator, given):
            self._check_names(given)
            raise self._explain(given, len(args))

    def check_masked(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], sensitive: Collection[str]
    ) -> None:
        """Do what :meth:`check` does; the error does not quote the value of a sensitive parameter."""
        try:
            self.check(args, kwargs)
        except InvalidArguments as error:
            if not self.conceals(error, sensitive):
                raise
            name = self._parameter(error.pointer)
            what = (
                f"argument {name!r} does not fit its schema"
                if name
                else "the arguments do not fit the schema"
            )
            raise InvalidArguments(f"{what}; sensitive values are not shown.", error.pointer) from None

    def conceals(self, error: InvalidArguments, sensitive: Collection[str]) -> bool:
        """Tell whether an error is about a sensitive parameter, or about all of them where one is."""
        name = self._parameter(error.pointer)
        return name in sensitive if name else bool(sensitive)

    @cached_property
    def _validator(self) -> Validator:
        return compiled(self.schema)

    @cached_property
    def _misfits(self) -> Misfits:
        return Misfits(self.schema)

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
            if not _fits(self._variadic, value):
                path, sentence = _explained(Misfits(self.schema, "x-variadic"), value)
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

    def _explain(self, given: Mapping[str, Any], positional: int) -> InvalidArguments:
        path, sentence = _explained(self._misfits, given)
        if path and path[0] in self.positional[:positional]:
            return _misfit(sentence, pointer(["args", self.positional.index(str(path[0])), *path[1:]]))
        return _misfit(sentence, pointer(["kwargs", *path]))


def _check_shape(schema: Any) -> None:
    """Raise ConfigurationError unless the names of the parameters can be read from a schema."""
    if not isinstance(schema, dict):
        raise ConfigurationError("The schema of a task's parameters must be a JSON object.")
    if not isinstance(schema.get("properties", {}), dict):
        raise ConfigurationError("properties must be an object, with a schema for each parameter.")
    for keyword in ("required", "x-positional", "x-positional-only"):
        names = schema.get(keyword, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigurationError(f"{keyword} must be a list of parameter names.")
    if strangers := set(schema.get("x-positional-only", ())) - set(schema.get("x-positional", ())):
        raise ConfigurationError(f"x-positional-only names {sorted(strangers)}, which x-positional does not.")


def _fits(validator: Validator, value: Any) -> bool:
    try:
        return validator.is_valid(value)
    except ValueError as error:
        raise _no_json(error) from None


def _explained(misfits: Misfits, value: Any) -> tuple[list[str | int], str]:
    try:
        return misfits.explain(value)
    except ValueError as error:
        raise _no_json(error) from None


def _no_json(error: ValueError) -> InvalidArguments:
    return InvalidArguments(f"the arguments are not JSON: {error}.", "")


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
