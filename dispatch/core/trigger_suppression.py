"""``suppress_triggers`` and ``allow_triggers``: which triggers fire here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Suppression:
    """Which triggers do not fire: those of these names, or all; ``reason`` is for the log."""

    names: frozenset[str] = frozenset()
    everything: bool = False
    reason: str = ""
    outer: Suppression | None = None


NOTHING = Suppression()
_current: ContextVar[Suppression] = ContextVar("dispatch_suppressed_triggers", default=NOTHING)


class _Block:
    """A block, or a function it decorates, in which another suppression holds; async functions too.

    It keeps nothing itself, so that one may be entered by several threads and coroutines at once, and again inside
    itself.
    """

    def _inside(self, outer: Suppression) -> Suppression:
        raise NotImplementedError

    def __enter__(self) -> None:
        _current.set(self._inside(_current.get()))

    def __exit__(self, *exc_info: object) -> None:
        _current.set(_current.get().outer or NOTHING)

    def __call__(self, function: Decorated) -> Decorated:
        self._check(function)
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def inner(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)
        else:

            @wraps(function)
            def inner(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        return cast("Decorated", inner)

    def _check(self, function: Any) -> None:
        name = type(self).__name__
        if not callable(function):
            raise TypeError(
                f"{name} got {function!r} to decorate: it is called first, as in @{name}(), and then decorates."
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{trigger_name(function)} is a generator, whose body runs after the call has returned: "
                f"write `with {name}():` inside of it."
            )


class suppress_triggers(_Block):  # noqa: N801 - read as a verb, like contextlib.suppress
    """Let triggers not fire inside the block, or inside the function it decorates.

    ``triggers`` are the names of triggers, or the functions that ``@trigger`` decorates; without any, none fires.
    With a ``reason``, what would have fired is logged at INFO, else at DEBUG. A name that no trigger has is logged as
    a warning when something is saved: a trigger in the admin may be renamed, or live in another environment only.

    Blocks may nest: what an outer one suppresses, an inner one suppresses too. They hold for this thread or
    asynchronous task, for what it awaits and the tasks it starts, not for threads started inside.
    """

    def __init__(self, *triggers: str | Callable[..., Any], reason: str = "") -> None:
        self._names = frozenset(map(trigger_name, triggers))
        self._reason = reason

    def _inside(self, outer: Suppression) -> Suppression:
        everything = outer.everything or not self._names
        return Suppression(outer.names | self._names, everything, self._reason or outer.reason, outer)


class allow_triggers(_Block):  # noqa: N801 - the opposite of the one above
    """Let triggers fire again inside the block, or the function it decorates, whatever an outer one suppresses.

    A receiver of ``task_finished``, whose saves fire no trigger, asks for them so.
    """

    def _inside(self, outer: Suppression) -> Suppression:
        return Suppression(outer=outer)


def trigger_name(trigger: str | Callable[..., Any]) -> str:
    """Return the name of a trigger: its own, or that of the function that makes its arguments."""
    if isinstance(trigger, str):
        return trigger
    try:
        return f"{trigger.__module__}.{trigger.__qualname__}"
    except AttributeError:
        raise TypeError(
            f"{trigger!r} names no trigger: give its name, or the function that @trigger decorates."
        ) from None


def current_suppression() -> Suppression:
    """Return what is suppressed here."""
    return _current.get()


def suppressed(name: str = "") -> bool:
    """Tell whether the trigger of this name is suppressed here; without a name, whether all are."""
    found = _current.get()
    return found.everything or name in found.names
