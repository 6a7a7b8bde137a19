"""Calls to brokers and result backends in threads of their own, so that nobody waits for a silent one.

Drivers try again, resolve names, ask one host after the other, or wait without end, each in its own way. A call cannot
be broken off from outside; but nobody has to wait for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, wait
from typing import Any, Generic, TypeVar

from dispatch.conf import conf

R = TypeVar("R")

#: Seconds for which a driver may be late with its own error, which says more.
GRACE = 0.1
#: Seconds after which an unanswered call is given up, and another begun beside it: a driver may wait for ever.
GIVEN_UP = 300.0
#: The calls that were not answered in time, and when that time was up.
_unanswered: dict[Hashable, tuple[Future[Any], float]] = {}


def within_timeout(
    key: Hashable, call: Callable[[], R], *, discard: Callable[[R], object] = lambda answer: None
) -> R:
    """Return what the call returns. Raises TimeoutError where that takes longer than ``BROKER_TIMEOUT``.

    While a call is unanswered no other of its ``key`` is begun, so that threads do not pile up; what it returns in the
    end is discarded.
    """
    deadline = time.monotonic() + conf.BROKER_TIMEOUT + GRACE
    _await_earlier(key, deadline)
    future = _begun(call)
    wait([future], deadline - time.monotonic())
    if future.done():
        try:
            return future.result()
        finally:
            del future  # of an error's traceback it would be part, and keep what failed alive
    _unanswered[key] = future, deadline
    future.add_done_callback(lambda late: _came_late(key, late, discard))
    raise TimeoutError(f"it did not answer within {conf.BROKER_TIMEOUT:g} s")


class SideBySide(Generic[R]):
    """Calls that run at the same time, at most one for each name.

    What one raises is raised where answers are taken, alone: those of the others are there for who asks again.
    """

    def __init__(self) -> None:
        self._futures: dict[str, Future[R]] = {}

    @property
    def names(self) -> frozenset[str]:
        """The names whose call is not taken yet."""
        return frozenset(self._futures)

    def begin(self, name: str, call: Callable[[], R]) -> None:
        """Begin the call of a name that has none."""
        self._futures[name] = _begun(call)

    def take_first(self, timeout: float | None) -> dict[str, R]:
        """Return the answers that are there, as soon as there is one; none after ``timeout`` seconds."""
        return self._take(timeout, FIRST_COMPLETED)

    def take_all(self, timeout: float) -> dict[str, R]:
        """Return all answers, or those that are there after ``timeout`` seconds."""
        return self._take(timeout, ALL_COMPLETED)

    def _take(self, timeout: float | None, when: str) -> dict[str, R]:
        wait(self._futures.values(), timeout, return_when=when)
        over = {name: future for name, future in self._futures.items() if future.done()}
        for name, future in over.items():
            if error := future.exception():
                del self._futures[name]
                raise error
        return {name: self._futures.pop(name).result() for name in over}


def _await_earlier(key: Hashable, deadline: float) -> None:
    earlier, since = _unanswered.get(key, (None, 0.0))
    if earlier is None or time.monotonic() - since > GIVEN_UP:
        return
    wait([earlier], deadline - time.monotonic())
    if not earlier.done():
        raise TimeoutError("it has not answered an earlier call yet")


def _begun(call: Callable[[], R]) -> Future[R]:
    future: Future[R] = Future()
    threading.Thread(target=_run, args=(future, call), name="dispatch call", daemon=True).start()
    return future


def _run(future: Future[R], call: Callable[[], R]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)
        del future  # as above


def _came_late(key: Hashable, late: Future[Any], discard: Callable[[Any], object]) -> None:
    _unanswered.pop(key, None)
    if late.exception() is None:
        discard(late.result())


os.register_at_fork(after_in_child=_unanswered.clear)  # the threads are the parent's
