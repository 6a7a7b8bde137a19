"""The object behind the fixture ``dispatched``: what was sent, assertions on it, and the registry it is sent by."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from dispatch.core import manifest as documents
from dispatch.core import sentences
from dispatch.core.routing import Target
from dispatch.core.schema.parameters import Parameters
from dispatch.core.trigger_suppression import suppress_triggers
from dispatch.models import OutboxMessage
from dispatch.registry import Task
from dispatch.signals import messages_inserted
from dispatch.testing import expectations
from dispatch.testing.expectations import Properties, TriggerLike, Wanted
from dispatch.testing.frozen_registry import Additions, frozen
from dispatch.testing.sent_messages import Noted, Sent, read


class Dispatched:
    """What was sent since the block began, on every database. The outbox is the truth: what was rolled back is gone.

    A context manager, which pytest's fixture ``dispatched`` and :class:`~dispatch.testing.DispatchTestMixin` enter.
    Inside, the registry is frozen: it costs no query that is counted.
    """

    def __init__(self) -> None:
        self._noted: list[Noted] = []
        self._done: set[uuid.UUID] = set()
        self._additions = Additions()
        self._stack = ExitStack()

    def __enter__(self) -> Dispatched:
        self._stack.enter_context(frozen(self._additions.through))
        messages_inserted.connect(self._note)
        self._stack.callback(messages_inserted.disconnect, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    # ---------------------------------------------------------------- the registry

    def task(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        sensitive: Sequence[str] = (),
    ) -> None:
        """Let a task be sent in this test, without a row in the registry.

        ``parameters`` is the JSON Schema of its keyword arguments, by which calls are checked; without it, anything is
        accepted. ``queue`` need not be in the registry either. Raises ConfigurationError for a schema that is none.
        """
        schema = dict(parameters or {})
        Parameters.check_schema(schema)
        self._additions.add(Task(name, Parameters(schema), Target(queue=queue), {}, frozenset(sensitive)))

    def manifest(self, path: str | os.PathLike[str]) -> None:
        """Let the tasks of a worker's manifest be sent, checked as in production.

        Raises InvalidManifest for a file that is none, and OSError for one that cannot be read.
        """
        for task in documents.read(Path(path).read_text(encoding="utf-8")).tasks:
            self.task(task.name, task.parameters, sensitive=task.sensitive)

    def any_task(self) -> None:
        """Let tasks of every name be sent; those that are registered are still checked."""
        self._additions.open()

    # ---------------------------------------------------------------- what was sent

    @property
    def messages(self) -> list[Sent]:
        """The messages in the order in which they were sent."""
        return [sent for sent in read(self._noted) if not sent.error]

    @property
    def failures(self) -> list[Sent]:
        """What triggers fired for and could not enqueue; ``error`` says why."""
        return [sent for sent in read(self._noted) if sent.error]

    def sent(
        self,
        task: str | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **properties: Unpack[Properties],
    ) -> list[Sent]:
        """Return the messages that :meth:`assert_sent` would find; without a task, those of all."""
        wanted = Wanted(task, args, kwargs, **properties)
        return [sent for sent in self.messages if wanted.fits(sent)]

    def assert_sent(
        self,
        task: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        count: int | None = 1,
        **properties: Unpack[Properties],
    ) -> Sent:
        """Assert that a task was sent once, and return its message; of several, the first.

        ``args`` and ``kwargs`` are compared as a whole, ``containing`` with some of the keyword arguments. ``origin``
        is "code", "trigger" or "user"; ``trigger`` a trigger's name, or the function that ``@trigger`` decorates;
        ``instance`` the object it fired for; ``queue`` where it goes. ``count`` is how often, None for once or more.
        """
        __tracebackhide__ = True
        found = self.sent(task, args, kwargs, **properties)
        if not found or count not in (None, len(found)):
            wanted = Wanted(task, args, kwargs, **properties)
            raise AssertionError(self._explain(expectations.not_sent(wanted, count, self.messages)))
        return found[0]

    def assert_not_sent(
        self,
        task: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **properties: Unpack[Properties],
    ) -> None:
        """Assert that no such message was sent, and that no trigger tried to send the task."""
        __tracebackhide__ = True
        found = self.sent(task, args, kwargs, **properties)
        if found or any(failure.task == task for failure in self.failures):
            wanted = Wanted(task, args, kwargs, **properties)
            raise AssertionError(self._explain(f"Expected no message {wanted}, found {len(found)}."))

    def assert_count(self, count: int) -> None:
        """Assert how many messages were sent in all."""
        __tracebackhide__ = True
        messages, failures = self.messages, self.failures
        if len(messages) != count or failures:
            raise AssertionError(
                self._explain(f"Expected {sentences.count(count, 'message')}, found {len(messages)}.")
            )

    def assert_nothing_sent(self) -> None:
        """Assert that nothing was sent, and that no trigger tried to."""
        __tracebackhide__ = True
        self.assert_count(0)

    def clear(self) -> None:
        """Forget what was sent so far; the rows stay."""
        self._noted.clear()

    # ---------------------------------------------------------------- what becomes of it

    def run(self, task: str, function: Callable[..., Any]) -> list[Any]:
        """Call a function in the worker's stead with the arguments of each message of a task; return what it returns.

        A message is run once, whatever its due time: a second call goes on with those that were sent since.
        """
        waiting = [sent for sent in self.sent(task) if sent.id not in self._done]
        self._done.update(sent.id for sent in waiting)
        return [function(*sent.args, **sent.kwargs) for sent in waiting]

    def suppress(self, *triggers: TriggerLike) -> suppress_triggers:
        """Return a block in which some triggers do not fire, or none does: :func:`dispatch.api.suppress_triggers`."""
        return suppress_triggers(*triggers)

    # ---------------------------------------------------------------- how

    def _note(self, *, messages: Sequence[OutboxMessage], using: str, **_: Any) -> None:
        """Note which rows are this test's; the receiver of ``messages_inserted``."""
        self._noted.extend(Noted.of(message, using) for message in messages)

    def _explain(self, complaint: str) -> str:
        stored = read(self._noted)
        there = {sent.id for sent in stored}
        undone = [noted.task for noted in self._noted if noted.id not in there]
        return expectations.with_all(complaint, stored, undone)
