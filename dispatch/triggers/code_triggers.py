"""Triggers that developers write in code, beside those that operators write in the admin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import Parameter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from django.db.models import Model

from dispatch.core import trigger_rules
from dispatch.core.call import Call
from dispatch.core.routing import Target
from dispatch.core.seconds import EXPECTED, is_seconds
from dispatch.core.suggestions import suggest
from dispatch.core.trigger_suppression import trigger_name
from dispatch.exceptions import ConfigurationError

if TYPE_CHECKING:
    from dispatch.contract import TaskUse

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
When = Callable[..., bool]
Arguments = Callable[..., Mapping[str, Any]]


class Seen(trigger_rules.Occurrence, Protocol):
    """What a trigger in code is told of: one event of one object."""

    @property
    def instance(self) -> Model: ...


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
    watched: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    carried: frozenset[str] = frozenset()
    coalesce: float | None = None
    reads: ClassVar[None] = None  # nobody knows what a function reads

    @property
    def compared(self) -> frozenset[str]:
        """The columns without whose change an update never fires."""
        return frozenset(self.watched)

    def fires(self, seen: Seen) -> bool:
        """Tell whether this event of this object sends the task."""
        if seen.event not in self.events or not trigger_rules.concerns(self, seen):
            return False
        return self.holds(seen)

    def holds(self, seen: Seen) -> bool:
        """Tell whether its ``when`` agrees."""
        return self.when is None or bool(_told(self.when, seen))

    def call(self, seen: Seen) -> Call:
        """Return the call for one event."""
        return Call(self.task, kwargs=_told(self.arguments, seen), **self.options)


def _told(function: Callable[..., Any], seen: Seen) -> Any:
    """Call a user's function with the object, and with the event too where it takes two arguments."""
    return function(seen.instance, seen) if _takes_two(function) else function(seen.instance)


@cache
def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        kinds = [
            each.kind
            for each in inspect.signature(function).parameters.values()
            if each.default is each.empty
        ]
    except (TypeError, ValueError):  # written in C
        return False
    return sum(kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds) >= 2


#: By what makes a trigger the same one when its module is loaded again; one function may carry several.
declared: dict[tuple[Any, ...], CodeTrigger] = {}


def trigger(
    model: type[Model],
    *,
    on: str | Iterable[str],
    task: str,
    when: When | None = None,
    watch: Iterable[str] = (),
    old: Iterable[str] = (),
    coalesce: float | None = None,
    **options: Any,
) -> Callable[[Decorated], Decorated]:
    """Send ``task`` when a ``model`` was created, updated or deleted, or one of its many-to-many fields changed.

    The decorated function gets the object and returns the task's keyword arguments; ``when``, if given, gets the object
    and tells whether to send at all. An update counts only if one of the ``watch`` fields has changed, an m2m event
    only if it is about one of them; without any, all count. ``coalesce`` is a window in seconds within which the
    messages of one object become one. ``options`` are those of :func:`dispatch.api.send_task`::

        @trigger(Note, on="created", task="worker.tasks.llm.summarize_note", when=lambda note: note.body)
        def summarize(note):
            return {"note_id": note.pk, "text": note.body}

    Both functions may take a second argument, the event: ``seen.event``, ``seen.old("body")``, ``seen.changed("body")``
    (of the fields in ``watch`` and ``old``), ``seen.related``, ``seen.at``.

    Raises ConfigurationError for an event or a field that does not exist, a model that is swapped out or a window that
    is none, InvalidOption for an option of no use, and TypeError for an unknown one.
    """
    events = frozenset([on] if isinstance(on, str) else on)
    if not events or not events <= set(trigger_rules.EVENTS):
        raise ConfigurationError(
            f"on={on!r} names no event: use one or more of {', '.join(trigger_rules.EVENTS)}."
        )
    if model._meta.swapped:
        raise ConfigurationError(
            f"{model._meta.label} is swapped out, and never saved: use {model._meta.swapped}, which is in its place."
        )
    _check_options(options)
    if coalesce is not None and not is_seconds(coalesce):
        raise ConfigurationError(f"coalesce is {coalesce!r}, but must be {EXPECTED}.")
    watched, relations = _split(model, tuple(watch))
    carried, _ = _split(model, tuple(old))

    def register(function: Decorated) -> Decorated:
        name, label = trigger_name(function), model._meta.label_lower
        declared[name, label, task, events] = CodeTrigger(
            name,
            label,
            events,
            task,
            function,
            when,
            options,
            watched=watched,
            relations=relations,
            carried=frozenset(carried),
            coalesce=coalesce,
        )
        return function

    return register


def task_uses() -> Iterator[TaskUse]:
    """Yield the tasks that triggers in code send, and where to, as the contract with the workers is verified by."""
    from dispatch.contract import TaskUse  # a process that only saves verifies nothing

    for each in declared.values():
        place = {key: each.options.get(key) for key in ("queue", "exchange", "routing_key")}
        yield TaskUse(f"@trigger {each.name}", each.name, each.task, Target(**place))


def _split(model: type[Model], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns and the many-to-many fields among some names."""
    meta = model._meta
    columns = {name: each.attname for each in meta.concrete_fields for name in (each.name, each.attname)}
    relations = {each.name for each in meta.many_to_many}
    for name in names:
        if name not in columns and name not in relations:
            raise ConfigurationError(
                f"{meta.label} has no field {name!r}{suggest(name, [*columns, *relations])}: correct the trigger."
            )
    return tuple(columns[name] for name in names if name in columns), tuple(
        n for n in names if n in relations
    )


def _check_options(options: Mapping[str, Any]) -> None:
    accepted = set(inspect.signature(Call).parameters) - {"name", "args", "kwargs", "task_id"}
    for name in options:
        if name not in accepted:
            raise TypeError(
                f"trigger() got an unexpected option {name!r}: accepted are {', '.join(sorted(accepted))}."
            )
    Call("", **options)  # raises InvalidOption here, at the import, instead of at each save
