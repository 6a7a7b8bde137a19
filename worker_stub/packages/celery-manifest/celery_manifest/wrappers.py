"""What a task may be called with where decorators, or a base's own `__call__`, stand before its function.

Celery checks a call against the outermost function (`task.__header__`), not against what that wraps. A
wrapper that hands on what it gets adds nothing but its own parameters. Of any other one nobody can tell what
it makes of `*args` and `**kwargs`: it is believed to take whatever it says.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from inspect import Parameter
from types import MethodType
from typing import Any

from celery import Task

VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
#: The default of a parameter that a wrapper may give, so that a caller need not.
UNSAID = object()


@dataclass(frozen=True)
class Accepted:
    """The parameters of a call; `is_open` where a wrapper takes more than is known by name."""

    parameters: tuple[Parameter, ...]
    is_open: bool = False

    @property
    def takes_args(self) -> bool:
        """Whether there is a `*args`."""
        return any(each.kind is Parameter.VAR_POSITIONAL for each in self.parameters)

    @property
    def takes_kwargs(self) -> bool:
        """Whether there is a `**kwargs`."""
        return any(each.kind is Parameter.VAR_KEYWORD for each in self.parameters)

    @property
    def named(self) -> tuple[Parameter, ...]:
        """The parameters that have a name for callers."""
        return tuple(each for each in self.parameters if each.kind not in VARIADIC)


ANYTHING = (Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD))


def accepted_by_task(task: Task) -> Accepted:
    """Return what a task accepts: what its function does, and what a `__call__` of its own makes of that."""
    found = accepted(task.run)
    for cls in reversed([each for each in type(task).__mro__ if _has_own_call(each)]):
        call = MethodType(vars(cls)["__call__"], task)
        own = _own(call)
        if own.takes_args or own.takes_kwargs:
            found = _through(own, found, hands_on=_hands_on(call, own, inner=None))
        elif [each.name for each in own.named] != [each.name for each in found.parameters]:
            found = _either(own, found)  # Celery checks the one, and calls the other
    return found


def accepted(function: Callable[..., Any]) -> Accepted:
    """Return what a function accepts that decorators may stand in front of."""
    layers = list(_layers(function))
    found = _own(layers[-1])
    for layer in reversed(layers[:-1]):
        if _is_celerys(layer):
            continue
        own = _own(layer)
        if own.takes_args or own.takes_kwargs:
            found = _through(own, found, hands_on=_hands_on(layer, own, inner=layer.__wrapped__))
        else:
            found = own
    return found


def _layers(function: Any) -> Iterator[Any]:
    """Yield a function, what it wraps, and so on; one that states its signature speaks for what it wraps."""
    seen = set()
    while id(function) not in seen:
        seen.add(id(function))
        yield function
        inner = getattr(function, "__wrapped__", None)
        speaks = getattr(function, "__signature__", None) is not None and not _is_celerys(function)
        if speaks or not callable(inner):
            return
        function = MethodType(inner, function.__self__) if inspect.ismethod(function) else inner


def _own(function: Callable[..., Any]) -> Accepted:
    try:
        return Accepted(tuple(inspect.signature(function, follow_wrapped=False).parameters.values()))
    except (TypeError, ValueError):  # written in C, or its signature is broken: takes whatever it takes
        return Accepted(ANYTHING)


def _through(own: Accepted, inner: Accepted, *, hands_on: bool) -> Accepted:
    known = {each.name for each in own.named}
    rest = tuple(each for each in inner.parameters if each.name not in known)
    if hands_on and rest == inner.parameters:  # else a place, or a name, would mean either
        first = tuple(each for each in own.named if each.kind is not Parameter.KEYWORD_ONLY)
        last = tuple(each for each in own.named if each.kind is Parameter.KEYWORD_ONLY)
        return Accepted((*first, *_reachable(own, rest), *last), inner.is_open)
    loose = _loose(rest) if own.takes_kwargs else ()
    variadic = [
        each for each, taken in zip(ANYTHING, (own.takes_args, own.takes_kwargs), strict=True) if taken
    ]
    return Accepted((*own.named, *loose, *variadic), is_open=True)


def _reachable(own: Accepted, rest: tuple[Parameter, ...]) -> Iterator[Parameter]:
    """Yield the parameters that are reached through a wrapper with `*args`, `**kwargs` or both."""
    for each in rest:
        if own.takes_args and own.takes_kwargs:
            yield each
        elif own.takes_kwargs and each.kind not in (Parameter.VAR_POSITIONAL, Parameter.POSITIONAL_ONLY):
            yield each if each.kind is Parameter.VAR_KEYWORD else each.replace(kind=Parameter.KEYWORD_ONLY)
        elif own.takes_args and each.kind not in (Parameter.VAR_KEYWORD, Parameter.KEYWORD_ONLY):
            yield (
                each
                if each.kind is Parameter.VAR_POSITIONAL
                else each.replace(kind=Parameter.POSITIONAL_ONLY)
            )


def _either(one: Accepted, other: Accepted) -> Accepted:
    known = {each.name for each in one.named}
    named = _loose((*one.named, *(each for each in other.named if each.name not in known)))
    more = ANYTHING if one.takes_kwargs or other.takes_kwargs else ANYTHING[:1]
    return Accepted((*named, *more), is_open=True)


def _loose(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Return parameters as those that may be given, by name."""
    return tuple(
        each.replace(
            kind=Parameter.KEYWORD_ONLY,
            default=UNSAID if each.default is Parameter.empty else each.default,
        )
        for each in parameters
        if each.kind not in VARIADIC
    )


def without_positional(found: Accepted) -> Accepted:
    """Return what is accepted without the positional arguments of which nobody knows the names."""
    kept = tuple(each for each in found.parameters if each.kind is not Parameter.VAR_POSITIONAL)
    return replace(found, parameters=kept) if found.is_open else found


def _is_celerys(function: Any) -> bool:
    """Tell whether this is a wrapper of `autoretry_for` or `pydantic=True`, which hand on what they get."""
    return str(getattr(function, "__globals__", {}).get("__name__", "")).startswith("celery.")


def _has_own_call(cls: type) -> bool:
    return (
        inspect.isfunction(vars(cls).get("__call__"))
        and issubclass(cls, Task)
        and cls is not Task
        and not (cls.__module__.startswith("celery."))
    )


def _hands_on(function: Any, own: Accepted, inner: Any) -> bool:
    """Tell whether a wrapper only passes `*args` and `**kwargs` on, as they are, with nothing before them."""
    stars = {each.kind: each.name for each in own.parameters if each.kind in VARIADIC}
    args, kwargs = stars.get(Parameter.VAR_POSITIONAL), stars.get(Parameter.VAR_KEYWORD)
    tree = _tree(function)
    if tree is None:
        return False
    calls = [
        each for each in ast.walk(tree) if isinstance(each, ast.Call) and _names_star(each, args, kwargs)
    ]
    uses = [each for each in ast.walk(tree) if isinstance(each, ast.Name) and each.id in stars.values()]
    is_kept = all(isinstance(each.ctx, ast.Load) for each in uses)
    is_only_passed = sum(each.id == kwargs for each in uses) == (len(calls) if kwargs else 0)
    return (
        bool(calls)
        and is_kept
        and is_only_passed
        and all(
            _is_plain(each, function, args, kwargs) and _calls(each.func, function, inner) for each in calls
        )
    )


def _tree(function: Any) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function.__code__))).body[0]
    except (AttributeError, OSError, TypeError, SyntaxError, ValueError, IndexError):
        return None


def _names_star(call: ast.Call, args: str | None, kwargs: str | None) -> bool:
    starred = [each.value for each in call.args if isinstance(each, ast.Starred)]
    named = [each.value for each in call.keywords if each.arg is None]
    return any(isinstance(each, ast.Name) and each.id in (args, kwargs) for each in (*starred, *named))


def _is_plain(call: ast.Call, function: Any, args: str | None, kwargs: str | None) -> bool:
    """Tell whether a call is `f(*args, **kwargs)`, or `f(self, *args, **kwargs)` in a method."""
    bound = function.__code__.co_varnames[:1] if inspect.ismethod(function) else ()
    given = [ast.unparse(each) for each in call.args]
    starred = [f"*{args}"] if args else []
    named = [(each.arg, ast.unparse(each.value)) for each in call.keywords]
    return given in (starred, [*bound, *starred]) and named == ([(None, kwargs)] if kwargs else [])


def _calls(called: ast.expr, function: Any, inner: Any) -> bool:
    """Tell whether a call is of what the wrapper wraps; in a `__call__`, of the task's function or base."""
    if inner is None:
        return isinstance(called, ast.Attribute) and called.attr in ("run", "__call__")
    raw = getattr(function, "__func__", function)
    return isinstance(called, ast.Name) and inspect.getclosurevars(raw).nonlocals.get(called.id) is inner
