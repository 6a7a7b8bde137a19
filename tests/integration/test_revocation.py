"""Workers are told of what is revoked, on both brokers: what they answer decides what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from dispatch.client import worker_control
from dispatch.models import OutboxMessage
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.outbox import revocation
from dispatch.outbox.revocation import Revocation, revoke
from dispatch.relay.claims import claim
from tests.support.old_messages import message

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["redis", "rabbitmq"])
def asked(
    request: pytest.FixtureRequest, broker_settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[Any]]]:
    """Return a function that says what workers answer, and returns the list of what they are asked."""
    broker_settings(request.getfixturevalue(f"{request.param}_url"), BROKER_TIMEOUT=1)

    def answer(**replies: Any) -> list[Any]:
        questions: list[Any] = []

        def publish(
            mailbox: Any,
            command: str,
            arguments: Any,
            *args: Any,
            reply_ticket: str,
            channel: Any,
            **options: Any,
        ) -> None:
            questions.append((command, arguments))
            mailbox.reply_queue(channel).declare()
            for worker, reply in replies.items():
                kombu.Producer(channel).publish(
                    json.dumps({worker: reply}),
                    exchange=mailbox.reply_exchange.name,
                    routing_key=mailbox.oid,
                    headers={"ticket": reply_ticket},
                    content_type="application/json",
                    content_encoding="utf-8",
                )

        monkeypatch.setattr(worker_control._Mailbox, "_publish", publish)
        return questions

    return answer


def test_all_published_messages_of_a_step_are_one_question(asked: Callable[..., list[Any]]) -> None:
    ids = [message("published", 1) for _ in range(3)]
    questions = asked(a={"ok": "tasks flagged as revoked"}, b={"ok": "tasks flagged as revoked"})
    result = revoke(OutboxMessage.objects.all())
    assert result == Revocation(revoked=3, workers={"a", "b"})
    [(command, arguments)] = questions
    assert (command, arguments["terminate"]) == ("revoke", False)
    assert set(arguments["task_id"]) == set(map(str, ids))


def test_a_signal_ends_what_runs(asked: Callable[..., list[Any]]) -> None:
    message("published", 1)
    questions = asked(a={"ok": "terminate: tasks unknown"})
    assert revoke(OutboxMessage.objects.all(), "SIGKILL").revoked == 1
    assert questions[0][1] | {"task_id": []} == {"task_id": [], "terminate": True, "signal": "SIGKILL"}


def test_what_workers_refuse_is_told(asked: Callable[..., list[Any]]) -> None:
    message("published", 1)
    asked(a={"error": "no such command"}, b=["what?"])
    result = revoke(OutboxMessage.objects.all())
    assert (result.revoked, result.workers) == (0, set())
    told = " ".join(sorted(result.problems))
    assert "Worker 'a' refuses: no such command" in told
    assert "No worker took it on broker 'default' within 1 s" in told


def test_a_broker_that_is_away_is_told(broker_settings: Callable[..., None]) -> None:
    broker_settings("redis://127.0.0.1:1/0", BROKER_TIMEOUT=0.3)
    message("published", 1)
    result = revoke(OutboxMessage.objects.all())
    assert result.revoked == 0
    [problem] = result.problems
    assert problem.startswith("Broker 'default' cannot be reached")


@pytest.mark.one_database
def test_what_a_relay_claims_meanwhile_is_counted_whatever_was_chosen_by_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message("pending", 1)
    message("pending", 1)
    cancel = revocation.cancel

    def claim_first(rows: OutboxQuerySet) -> int:
        assert len(claim("default", 1, lease=60)) == 1
        return cancel(rows)

    monkeypatch.setattr(revocation, "cancel", claim_first)
    assert revoke(OutboxMessage.objects.filter(status="pending")) == Revocation(cancelled=1, in_hand=1)
