"""``suppress_triggers``: saves that send nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from functools import wraps
from typing import Any, TypeVar, cast

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_suppressed: ContextVar[bool] = ContextVar("dispatch_triggers_suppressed", default=False)


class suppress_triggers(ContextDecorator):  # noqa: N801 - read as a verb, like contextlib.suppress
    """Let no trigger fire inside the block, or inside the function it decorates, async ones too; blocks may nest."""

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(_suppressed.set(True))

    def __exit__(self, *exc_info: object) -> None:
        _suppressed.reset(self._tokens.pop())

    def __call__(self, function: Decorated) -> Decorated:
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            with suppress_triggers():
                return await function(*args, **kwargs)

        return cast("Decorated", inner)

    def _recreate_cm(self) -> suppress_triggers:
        return suppress_triggers()  # each call its own: tokens belong to one context


def suppressed() -> bool:
    """Tell whether triggers are suppressed here."""
    return _suppressed.get()
