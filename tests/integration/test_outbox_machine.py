"""The way of messages against a model of it: any sequence of transactions, relays, crashes, faults and operators."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kombu.transport import memory

from dispatch import outbox
from dispatch.api import Call, send_many
from dispatch.models import OutboxMessage
from dispatch.outbox.retention import Pruning
from dispatch.relay import Relay
from tests.support.databases import elsewhere
from tests.support.failpoints import filled_in, is_claim, is_settle
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.django_db(transaction=True)

PENDING, CLAIMED, PUBLISHED, DEAD, CANCELLED = "pending", "claimed", "published", "dead", "cancelled"
PRUNED = "pruned"  # and its row is gone
LONG_AGO = "2025-01-01 00:00Z"
counts = st.integers(1, 4)
turns = st.integers(0, 5)
halves = st.sampled_from([0, 1])


class Crash(BaseException):
    """The end of a relay: nothing of it goes on."""


class Broker:
    """kombu's broker in memory, which counts what it takes, and fails where it is told to."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.heal()

    def heal(self) -> None:
        self.fault: Callable[[str, Callable[[], None]], None] = lambda task_id, take: take()
        self.turn = 0

    def on_turn(self, turn: int, fault: Callable[[str, Callable[[], None]], None]) -> None:
        """Let a fault befall the message that comes after so many others."""
        self.fault, self.turn = fault, turn

    def put(self, message: dict[str, Any], put: Callable[[], None]) -> None:
        task_id = message["headers"]["id"]

        def take() -> None:
            self.taken[task_id] += 1
            put()

        self.turn -= 1
        if self.turn == -1:
            fault = self.fault
            self.heal()
            fault(task_id, take)
        else:
            take()


BROKER = Broker()


@dataclass
class Message:
    """What is known of a committed message; ``extra`` copies the faults that it met may have made."""

    status: str = PENDING
    extra: int = 0
    unreadable: bool = False
    lease_is_over: bool = False


@dataclass
class Frame:
    """A transaction, or a savepoint in it, and what was sent in it."""

    atomic: Any
    sent: list[str] = field(default_factory=list)


class Outbox(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, Message] = {}
        self.frames: list[Frame] = []
        BROKER.taken.clear()
        BROKER.heal()
        OutboxMessage.objects.all().delete()

    def teardown(self) -> None:
        while self.frames:
            self.commit()
        self.leases_expire()
        self.relay_works()
        self.nothing_is_lost_or_sent_too_often()
        for task_id, message in self.messages.items():
            assert message.status in (PUBLISHED, CANCELLED, DEAD, PRUNED), task_id

    @invariant()
    def nothing_is_lost_or_sent_too_often(self) -> None:
        assert not BROKER.taken.keys() - self.messages.keys(), "what was not committed is in the broker"
        for task_id, message in self.messages.items():
            assert BROKER.taken[task_id] <= 1 + message.extra
            assert BROKER.taken[task_id] >= (message.status == PUBLISHED)

    @invariant()
    def rows_are_as_expected(self) -> None:
        if not self.frames:
            left = {task_id: message.status for task_id, message in self.messages.items()}
            assert stored() == {task_id: status for task_id, status in left.items() if status != PRUNED}

    @initialize(count=counts, held=st.booleans())
    def begin_with_some(self, count: int, held: bool) -> None:
        self.send(count)
        if held:
            self.relay_dies_in_its_settle(before=True)

    # -- who sends --------------------------------------------------------------------------------

    @rule(count=counts)
    def send(self, count: int) -> None:
        sent = [str(row.pk) for row in send_many([Call(TASK, kwargs=ARGUMENTS)] * count)]
        if self.frames:
            self.frames[-1].sent += sent
        else:
            self.messages |= {task_id: Message() for task_id in sent}

    @precondition(lambda self: len(self.frames) < 2)
    @rule()
    def begin(self) -> None:
        frame = Frame(transaction.atomic())
        frame.atomic.__enter__()
        self.frames.append(frame)

    @precondition(lambda self: self.frames)
    @rule()
    def commit(self) -> None:
        frame = self.frames.pop()
        frame.atomic.__exit__(None, None, None)
        if self.frames:
            self.frames[-1].sent += frame.sent
        else:
            self.messages |= {task_id: Message() for task_id in frame.sent}

    @precondition(lambda self: self.frames)
    @rule()
    def roll_back(self) -> None:
        frame = self.frames.pop()
        transaction.set_rollback(True)
        frame.atomic.__exit__(None, None, None)

    # -- relays -----------------------------------------------------------------------------------

    @precondition(lambda self: self._is_due())
    @rule()
    def relay_works(self) -> None:
        before = Counter(BROKER.taken)
        self._relay()
        for task_id in self._due():
            message = self.messages[task_id]
            message.lease_is_over = False
            message.status = DEAD if message.unreadable else PUBLISHED
            before[task_id] += not message.unreadable
        assert +before == BROKER.taken, "each that was due is handed over once, and no other"

    @precondition(lambda self: self._is_due())
    @rule()
    def relay_dies_in_its_claim(self) -> None:
        self._relay(dies_after=is_claim)
        self._follow(self._due(), {PENDING, CLAIMED})

    @precondition(lambda self: self._is_due())
    @rule(before=st.booleans())
    def relay_dies_in_its_settle(self, before: bool) -> None:
        due = self._due()
        taken = self._relay(**{"dies_before" if before else "dies_after": is_settle})
        self._allow(taken)
        # what is dead without a try may have been settled by then
        self._follow(due, {CLAIMED, PUBLISHED, DEAD})

    @precondition(lambda self: self._is_due())
    @rule(turn=turns, taken=st.booleans())
    def broker_is_lost_in_a_batch(self, turn: int, taken: bool) -> None:
        def lose(task_id: str, take: Callable[[], None]) -> None:
            if taken:
                take()
                self._allow([task_id])
            raise ConnectionError

        BROKER.on_turn(turn, lose)
        due = self._due()
        self._relay()
        BROKER.heal()
        self._follow(due, {PENDING, PUBLISHED, DEAD})

    @precondition(lambda self: self._is_due())
    @rule(turn=turns, wakes_to_an_error=st.booleans())
    def relay_sleeps_past_its_lease_while_another_works(self, turn: int, wakes_to_an_error: bool) -> None:
        def sleep(task_id: str, take: Callable[[], None]) -> None:
            take()
            self._allow(elsewhere(expire_leases))
            elsewhere(lambda: Relay().step())
            if wakes_to_an_error:
                raise ConnectionError

        BROKER.on_turn(turn, sleep)
        due = self._due()
        self._relay()
        BROKER.heal()
        self._follow(due, {PUBLISHED, DEAD})
        # whatever lease there was is over by then
        self._follow(self._with(CLAIMED), {CLAIMED, PUBLISHED, DEAD})

    @precondition(lambda self: self._with(CLAIMED) and not self.frames)
    @rule()
    def leases_expire(self) -> None:
        for task_id in expire_leases():
            self.messages[task_id].lease_is_over = True

    # -- operators --------------------------------------------------------------------------------

    @precondition(lambda self: not self.frames)
    @rule(half=halves)
    def cancel(self, half: int) -> None:
        chosen = self._half(half)
        outbox.cancel(OutboxMessage.objects.filter(pk__in=chosen))
        for task_id in chosen & {*self._with(PENDING), *self._with(DEAD)}:
            self.messages[task_id].status = CANCELLED

    @precondition(lambda self: not self.frames)
    @rule(half=halves)
    def requeue(self, half: int) -> None:
        chosen = self._half(half)
        outbox.requeue(OutboxMessage.objects.filter(pk__in=chosen))
        for task_id in chosen & {*self._with(CANCELLED), *self._with(DEAD)}:
            self.messages[task_id].status = PENDING

    @precondition(lambda self: not self.frames)
    @rule(half=halves, breaks=st.booleans())
    def write_past_the_api(self, half: int, breaks: bool) -> None:
        """Somebody breaks the arguments of rows that wait, or mends them."""
        chosen = self._half(half) & {*self._with(PENDING), *self._with(DEAD)}
        OutboxMessage.objects.filter(pk__in=chosen).update(
            kwargs="{" if breaks else '{"note_id": "1", "text": ""}'
        )
        for task_id in chosen:
            self.messages[task_id].unreadable = breaks

    @precondition(lambda self: not self.frames)
    @rule(with_dead=st.booleans())
    def prune_all_that_is_old(self, with_dead: bool) -> None:
        """All is old: what is settled goes, and nothing that is not sent yet."""
        OutboxMessage.objects.exclude(status=CLAIMED).update(available_at=LONG_AGO)
        OutboxMessage.objects.filter(status=PUBLISHED).update(published_at=LONG_AGO)
        settled = [PUBLISHED, CANCELLED, *[DEAD] * with_dead]
        # the ids are of today, whatever the rows say: so that tomorrow's are looked at, too
        for _ in Pruning("default", dict.fromkeys(settled, dt.timedelta(days=-1))).steps():
            pass
        for status in settled:
            for task_id in self._with(status):
                self.messages[task_id].status = PRUNED

    # -- what is expected -------------------------------------------------------------------------

    def _is_due(self) -> bool:
        """Whether a relay has work; on SQLite nobody else writes while a transaction is open."""
        return bool(self._due()) and (not self.frames or connection.vendor != "sqlite")

    def _relay(self, **fault: Callable[[str], bool]) -> list[str]:
        """Let a relay work on what is due, or die of a fault; return what the broker took of it."""
        before = Counter(BROKER.taken)

        def work() -> None:
            relay = Relay()
            with suppress(Crash), dying(**fault):
                relay.step()
            relay.close()

        elsewhere(work) if self.frames else work()
        return list(BROKER.taken - before)

    def _with(self, status: str) -> list[str]:
        return [task_id for task_id, message in self.messages.items() if message.status == status]

    def _due(self) -> list[str]:
        expired = [task_id for task_id in self._with(CLAIMED) if self.messages[task_id].lease_is_over]
        return [*self._with(PENDING), *expired]

    def _follow(self, task_ids: list[str], allowed: set[str]) -> None:
        """Take over what became of these messages, which must be one of the allowed."""
        found = elsewhere(stored) if self.frames else stored()
        for task_id in task_ids:
            message, status = self.messages[task_id], found[task_id]
            assert status in allowed
            assert message.unreadable or status != DEAD
            message.status, message.lease_is_over = status, False

    def _allow(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            self.messages[task_id].extra += 1

    def _half(self, half: int) -> set[str]:
        """Return every second message, in the order in which they were sent."""
        return {*list(self.messages)[half::2]}


def stored() -> dict[str, str]:
    return {str(pk): status for pk, status in OutboxMessage.objects.values_list("pk", "status")}


def expire_leases() -> list[str]:
    """Let all leases be over; return who held one."""
    held = OutboxMessage.objects.filter(status=CLAIMED)
    ids = [str(pk) for pk in held.values_list("pk", flat=True)]
    held.update(lease_expires_at=LONG_AGO)
    return ids


@contextmanager
def dying(
    *, dies_before: Callable[[str], bool] | None = None, dies_after: Callable[[str], bool] | None = None
) -> Iterator[None]:
    """Crash at such a statement."""

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statement = filled_in(sql, params)
        if dies_before and dies_before(statement):
            raise Crash
        answer = execute(sql, params, many, context)
        if dies_after and dies_after(statement):
            raise Crash
        return answer

    with connection.execute_wrapper(wrapper):
        yield


@pytest.fixture
def broker(
    broker_settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    broker_settings("memory://", BACKOFF_MAX=0)
    make_registry()
    put = memory.Channel._put

    def counted(channel: Any, queue: str, message: dict[str, Any], **options: Any) -> None:
        BROKER.put(message, lambda: put(channel, queue, message, **options))

    monkeypatch.setattr(memory.Channel, "_put", counted)


@pytest.mark.hypothesis
@pytest.mark.usefixtures("broker")
def test_after_any_sequence_what_was_committed_is_in_the_broker_as_often_as_faults_explain() -> None:
    run_state_machine_as_test(
        Outbox,
        settings=settings(stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )
    assert not connection.in_atomic_block
