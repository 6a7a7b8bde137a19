"""What an assertion asks for, in what a message differs from it, and why it failed: what was sent instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from django.db.models import Model

from dispatch import registry
from dispatch.core import sentences
from dispatch.core.json_values import plain
from dispatch.core.suggestions import suggest
from dispatch.core.trigger_suppression import trigger_name
from dispatch.exceptions import InvalidArguments
from dispatch.testing.sent_messages import Sent, short

HIDDEN = "a sensitive value, not shown"
_MISSING = object()
TriggerLike = str | Callable[..., Any]


class Properties(TypedDict, total=False):
    """What an assertion may ask of a message beside its task and its arguments as a whole."""

    containing: Mapping[str, Any]
    origin: str
    trigger: TriggerLike
    instance: Model
    queue: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The messages that an assertion is about; None where it leaves a property open.

    ``kwargs`` are all keyword arguments, ``containing`` some of them.
    """

    task: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    containing: Mapping[str, Any] | None = None
    origin: str | None = None
    trigger: TriggerLike | None = None
    instance: Model | None = None
    queue: str | None = None

    def __post_init__(self) -> None:
        if self.trigger is not None:
            object.__setattr__(self, "trigger", trigger_name(self.trigger))

    def fits(self, sent: Sent) -> bool:
        """Tell whether a message is one of them."""
        return self.task in (None, sent.task) and not any(self.differences(sent))

    def differences(self, sent: Sent) -> Iterator[str]:
        """Say in what a message of this task differs."""
        yield from self._in_arguments(sent)
        for name in ("origin", "trigger", "queue"):
            wanted, found = getattr(self, name), getattr(sent, name)
            if wanted is not None and wanted != found:
                yield f"{name} is {found!r}, expected {wanted!r}"
        if self.instance is not None and _key(self.instance) != (sent.model, sent.object_pk):
            found = f"{sent.model} {sent.object_pk}" if sent.model else "none"
            yield f"its object is {found}, expected {' '.join(_key(self.instance))}"

    def __str__(self) -> str:
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        yield f"of task {self.task!r}" if self.task is not None else "of any task"
        if self.args is not None:
            yield f"args {short(list(self.args))}"
        for name, values in (("kwargs", self.kwargs), ("kwargs containing", self.containing)):
            if values is not None:
                shown = {key: HIDDEN if key in self._sensitive else value for key, value in values.items()}
                yield f"{name} {short(shown)}"
        for name in ("origin", "trigger", "queue"):
            if getattr(self, name) is not None:
                yield f"{name} {getattr(self, name)!r}"
        if self.instance is not None:
            yield f"for {' '.join(_key(self.instance))}"

    @property
    def _sensitive(self) -> frozenset[str]:
        task = registry.current().tasks.get(self.task or "")
        return task.sensitive if task else frozenset()

    def _in_arguments(self, sent: Sent) -> Iterator[str]:
        if self.args is not None and not equal(list(self.args), sent.args):
            hidden = bool(self._sensitive)
            found = HIDDEN if hidden else short(sent.args)
            yield f"args are {found}" + ("" if hidden else f", expected {short(list(self.args))}")
        if self.kwargs is not None:
            yield from self._in_kwargs(self.kwargs, sent)
            yield from (f"{name}= was not expected" for name in sent.kwargs if name not in self.kwargs)
        yield from self._in_kwargs(self.containing or {}, sent)

    def _in_kwargs(self, wanted: Mapping[str, Any], sent: Sent) -> Iterator[str]:
        for name, value in wanted.items():
            found = sent.kwargs.get(name, _MISSING)
            if found is _MISSING:
                yield f"{name}= is missing"
            elif not equal(value, found):
                hidden = name in self._sensitive
                yield f"{name}= is {HIDDEN if hidden else f'{short(found)}, expected {short(value)}'}"


def equal(wanted: Any, found: Any) -> bool:
    """Tell whether a value that was sent is the one a test expects.

    The expected one may be what the sender gave (a UUID, a date), which was sent as JSON, and may hold objects that
    compare in their own way, such as ``unittest.mock.ANY``.
    """
    if isinstance(wanted, Mapping):
        return (
            isinstance(found, dict)
            and wanted.keys() == found.keys()
            and all(equal(value, found[name]) for name, value in wanted.items())
        )
    if isinstance(wanted, (list, tuple)):
        return isinstance(found, list) and len(wanted) == len(found) and all(map(equal, wanted, found))
    if isinstance(wanted, (int, float)) and isinstance(wanted, bool) != isinstance(found, bool):
        return False  # Python says that True is 1; JSON does not
    return bool(wanted == found) or _as_sent(wanted) == found


def _as_sent(value: Any) -> Any:
    try:
        return plain(value)
    except InvalidArguments:
        return _MISSING


def _key(instance: Model) -> tuple[str, str]:
    return type(instance)._meta.label_lower, str(instance.pk)


MOST_SHOWN = 20


def not_sent(wanted: Wanted, count: int | None, messages: Sequence[Sent]) -> str:
    """Say what was expected, how much of it was found, and in what the closest message differs."""
    found = sum(map(wanted.fits, messages))
    expected = "at least 1 message" if count is None else sentences.count(count, "message")
    of_task = [sent for sent in messages if sent.task == wanted.task]
    hint = "" if of_task else suggest(wanted.task or "", dict.fromkeys(sent.task for sent in messages))
    complaint = f"Expected {expected} {wanted}, found {found}{hint}."
    if found or not of_task:
        return complaint
    closest = min((list(wanted.differences(sent)) for sent in of_task), key=len)
    return f"{complaint}\nThe closest differs in this: {'; '.join(closest)}."


def with_all(complaint: str, stored: Sequence[Sent], undone: Sequence[str]) -> str:
    """Add what was sent, what could not be enqueued, and what was rolled back."""
    return "\n".join([complaint, *_listed(stored, undone)])


def _listed(stored: Sequence[Sent], undone: Sequence[str]) -> Iterator[str]:
    messages = [sent for sent in stored if not sent.error]
    yield "Sent:" if messages else "Nothing was sent."
    yield from (f"  {number}. {sent}" for number, sent in enumerate(messages[:MOST_SHOWN], 1))
    if len(messages) > MOST_SHOWN:
        yield f"  … and {len(messages) - MOST_SHOWN} more"
    failures = [sent for sent in stored if sent.error]
    if failures:
        yield "Could not be enqueued:"
        yield from (f"  - {sent.error}" for sent in failures[:MOST_SHOWN])
    if undone:
        yield f"Rolled back, or deleted: {', '.join(dict.fromkeys(undone))}."
