"""Whether the argument mapping of a trigger fits a task's parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from dispatch.core import trigger_rules
from dispatch.core.schema.breaking_changes import Change
from dispatch.core.schema.parameters import Parameters
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError, InvalidArguments


def misfits(
    arguments: Mapping[str, trigger_rules.Argument],
    parameters: Parameters,
    sensitive: Collection[str] = (),
    changes: Iterable[Change] = (),
) -> Iterator[str]:
    """Yield why a trigger's mapping does not fit, or may not: what a field holds is known only when it is saved.

    Constants for ``sensitive`` parameters are not quoted. ``changes`` are those that led to these parameters, if any.
    """
    for name in parameters.required:
        if name not in arguments:
            yield f"it does not give {name!r}, which is required"
    for name, argument in arguments.items():
        if name not in parameters.names and not parameters.is_open:
            yield f"it gives {name!r}, which the task does not take{suggest(name, parameters.names, most=1)}"
        elif argument.source == "constant" and name in parameters.names:
            yield from _constant(parameters, name, argument.value, sensitive)
        else:
            yield from (
                f"it gives {name!r} from {_place(argument)}, and {change}"
                for change in changes
                if change.breaking and change.parameter == name and name in parameters.names
            )


def _place(argument: trigger_rules.Argument) -> str:
    kind = argument.source.replace("_", " ")
    return f"the {kind} {argument.value!r}" if argument.source == "field" else f"its source {kind!r}"


def _constant(parameters: Parameters, name: str, value: Any, sensitive: Collection[str]) -> Iterator[str]:
    """Check one constant alone: what the other arguments are is known only when an object is saved."""
    kept = ("$schema", "$defs", "definitions", "properties")
    alone = Parameters({key: part for key, part in parameters.schema.items() if key in kept})
    try:
        alone.check_masked((), {name: value}, sensitive)
    except (InvalidArguments, ConfigurationError) as error:
        yield f"its constant for {name!r} does not fit: {str(error).rstrip('.')}"
