"""Triggers that developers write in code, beside those that operators write in the admin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Model

from dispatch.core import rules
from dispatch.core.call import Call
from dispatch.exceptions import ConfigurationError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
When = Callable[[Any], bool]
Arguments = Callable[[Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CodeTrigger:
    """A trigger written with :func:`trigger`; ``arguments`` makes the task's keyword arguments of the saved object."""

    name: str
    model: str
    events: frozenset[str]
    task: str
    arguments: Arguments
    when: When | None
    options: Mapping[str, Any]

    def call(self, instance: Model) -> Call:
        """Return the call for one saved object."""
        return Call(self.task, kwargs=self.arguments(instance), **self.options)


#: By what makes a trigger the same one when its module is loaded again; one function may carry several.
declared: dict[tuple[Any, ...], CodeTrigger] = {}


def trigger(
    model: type[Model],
    *,
    on: str | Iterable[str],
    task: str,
    when: When | None = None,
    **options: Any,
) -> Callable[[Decorated], Decorated]:
    """Send ``task`` when a ``model`` was created, updated or deleted.

    The decorated function gets the object and returns the task's keyword arguments; ``when``, if given, gets the object
    and tells whether to send at all. ``options`` are those of :func:`dispatch.api.send_task`::

        @trigger(Note, on="created", task="worker.tasks.llm.summarize_note", when=lambda note: note.body)
        def summarize(note):
            return {"note_id": note.pk, "text": note.body}

    Raises ConfigurationError for an event that does not exist, and TypeError for an unknown option.
    """
    events = frozenset([on] if isinstance(on, str) else on)
    if not events or not events <= set(rules.EVENTS):
        raise ConfigurationError(f"on={on!r} names no event: use one or more of {', '.join(rules.EVENTS)}.")
    _check_options(options)

    def register(function: Decorated) -> Decorated:
        name = f"{function.__module__}.{function.__qualname__}"
        label = model._meta.label_lower
        declared[name, label, task, events] = CodeTrigger(name, label, events, task, function, when, options)
        return function

    return register


def _check_options(options: Mapping[str, Any]) -> None:
    accepted = set(inspect.signature(Call).parameters) - {"name", "args", "kwargs", "task_id"}
    for name in options:
        if name not in accepted:
            raise TypeError(
                f"trigger() got an unexpected option {name!r}: accepted are {', '.join(sorted(accepted))}."
            )
