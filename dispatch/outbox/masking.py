"""What may be shown of a message: its arguments and options without what is sensitive in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dispatch import registry
from dispatch.core.message import MASK
from dispatch.exceptions import UnreadableMessage
from dispatch.models import OutboxMessage
from dispatch.outbox.stored_calls import arguments_of
from dispatch.registry import Task

#: Options whose values may be as sensitive as arguments are.
UNTOLD = ("headers", "stamps")


def masked_arguments(message: OutboxMessage, task: Task | None) -> list[tuple[str, Any]]:
    """Return name (or position) and value of each argument, sensitive ones masked.

    None is returned of a task that nobody knows: nor are its sensitive parameters.
    """
    return [] if task is None else _named(message, task, task.mask)


def arguments(message: OutboxMessage, task: Task | None) -> list[tuple[str, Any]]:
    """Return name (or position) and value of each argument as it is: for those who may see sensitive ones."""
    return _named(message, task, lambda args, kwargs: (args, kwargs))


def _named(message: OutboxMessage, task: Task | None, shown: Callable[..., Any]) -> list[tuple[str, Any]]:
    try:
        by_position, by_name = shown(*arguments_of(message.args, message.kwargs))
    except UnreadableMessage:  # a row that was written past the API
        return [("", MASK)]
    known = task.parameters.positional if task else ()
    names = (*known, *map(str, range(len(known), len(by_position))))
    return [*zip(names, by_position, strict=False), *by_name.items()]


def masked_option(option: Any) -> Any:
    """Return options, or one, with the arguments of each signature masked, as deep as it stands.

    Of headers and stamps the names alone are shown: nobody says which of them are sensitive.
    """
    if isinstance(option, list):
        return [masked_option(each) for each in option]
    if not isinstance(option, dict):
        return option
    shown = {
        name: dict.fromkeys(value, MASK)
        if name in UNTOLD and isinstance(value, dict)
        else masked_option(value)
        for name, value in option.items()
    }
    return shown | _masked_signature(shown) if "task" in option else shown


def _masked_signature(signature: dict[str, Any]) -> dict[str, Any]:
    task = registry.current().tasks.get(str(signature["task"]))
    args, kwargs = signature.get("args") or [], signature.get("kwargs") or {}
    if task is None or not isinstance(args, list) or not isinstance(kwargs, dict):
        return {"args": MASK, "kwargs": MASK}
    shown = dict(zip(("args", "kwargs"), task.mask(args, kwargs), strict=True))
    is_shifted = task.sensitive and args and not signature.get("immutable")
    return shown | {"args": MASK} if is_shifted else shown  # the worker puts the parent's result before them
