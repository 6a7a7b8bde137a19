"""What the modules written by ``dispatch stubs`` are made of: senders, which are called as their tasks are."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    Protocol,
    SupportsIndex,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
)

from asgiref.sync import sync_to_async

from dispatch import outbox
from dispatch.core.call import Call, Link
from dispatch.models import OutboxMessage

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)

if TYPE_CHECKING:
    # Type checkers know it by this name only (PEP 702); warnings has it from Python 3.13 on.
    from typing_extensions import deprecated

    class SentMessage(OutboxMessage, Generic[R_co]):
        """The message of a task that returns ``R_co``; at run time it is an OutboxMessage."""

        _returned: R_co

    class Returning(Protocol[R_co]):
        """Any message. Named in this way it takes one overload: mypy gives Any where two fit a type that holds Any."""

        @property
        def _returned(self) -> R_co: ...
else:
    SentMessage = OutboxMessage

    def deprecated(reason):
        """Mark a task as one that its worker wants no longer sent."""

        def mark(function):
            function.__deprecated__ = reason
            return function

        return mark


__all__ = ["Array", "SendOptions", "Sender", "SentMessage", "deprecated", "sender"]


class SendOptions(TypedDict, total=False):
    """The options of :func:`dispatch.api.send_task`, for annotations."""

    countdown: float | None
    eta: dt.datetime | None
    expires: float | dt.datetime | None
    queue: str | None
    exchange: str | None
    routing_key: str | None
    priority: int | None
    serializer: str | None
    compression: str | None
    time_limit: float | None
    soft_time_limit: float | None
    ignore_result: bool | None
    shadow: str | None
    reply_to: str | None
    delivery_mode: int | None
    headers: Mapping[str, Any] | None
    stamps: Mapping[str, Any] | None
    link: Link
    link_error: Link
    task_id: uuid.UUID | str | None
    deliver_eta: bool
    using: str | None


class Array(Protocol[T_co]):
    """A list or a tuple, for annotations: what becomes a JSON array.

    Unlike ``Sequence[str]`` it takes no text, and unlike ``list[float]`` it takes a list of whole numbers.
    """

    def __contains__(self, value: object, /) -> bool: ...
    def __getitem__(self, index: SupportsIndex, /) -> T_co: ...
    def __iter__(self) -> Iterator[T_co]: ...
    def __len__(self) -> int: ...


class Sender(Generic[P, R_co]):
    """A task that is sent by calling it with its own arguments.

    What is left out is not sent: the worker's default holds. Raises what :func:`dispatch.api.send_task` raises,
    for missing and unknown arguments too.
    """

    def __init__(
        self,
        name: str,
        function: Callable[P, R_co],
        *,
        renamed: Mapping[str, str] | None = None,
        options: SendOptions | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self._function = function
        self._renamed = dict(renamed or {})
        self._options: SendOptions = options or {}

    def __repr__(self) -> str:
        return f"<Sender of {self.name}>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> SentMessage[R_co]:
        """Send the task, as :func:`dispatch.api.send_task` does; return its message.

        Type checkers know what :func:`dispatch.api.result` of it gives.
        """
        self._warn()
        return self._send(args, kwargs)

    async def asend(self, /, *args: P.args, **kwargs: P.kwargs) -> SentMessage[R_co]:
        """Send the task from async code."""
        self._warn()
        return await sync_to_async(self._send)(args, kwargs)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Return the call as a value, for :func:`dispatch.api.send_many`.

        Raises TypeError for the option ``using``, which goes to ``send_many``.
        """
        self._warn()
        return self._call(args, kwargs, self._options)

    def with_options(self, **options: Unpack[SendOptions]) -> Sender[P, R_co]:
        """Return this sender with options for each of its sends; those of ``send_task``."""
        return Sender(self.name, self._function, renamed=self._renamed, options={**self._options, **options})

    def _send(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> SentMessage[R_co]:
        options: dict[str, Any] = {**self._options}
        using = options.pop("using", None)
        [message] = outbox.enqueue([self._call(args, kwargs, options)], using=using)
        return cast("SentMessage[R_co]", message)

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Call:
        named = {self._renamed.get(name, name): value for name, value in kwargs.items()}
        return Call(self.name, args, named, **options)

    def _warn(self) -> None:
        reason = getattr(self._function, "__deprecated__", None)
        if reason is not None:
            because = f": {reason}" if reason else "."
            warnings.warn(f"The task {self.name} is deprecated{because}", DeprecationWarning, stacklevel=3)


def sender(
    name: str, *, renamed: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R_co]], Sender[P, R_co]]:
    """Make the sender of a task from a function without a body, whose signature is the task's.

    The function is never called: what it returns is for type checkers.

    ``renamed`` maps parameters to the worker's names for them, where these are no names in Python.
    """
    return lambda function: Sender(name, function, renamed=renamed)
