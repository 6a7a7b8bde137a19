"""Django's own test classes: a save sends inside them as outside, and nothing of a test is left for the next."""

from __future__ import annotations

from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from dispatch.models import OutboxMessage
from dispatch.registry import cache
from project.notes.models import Note
from tests.support.registry import make_registry, make_trigger


class Saves:
    """Each test starts with its own trigger, and sees its own messages alone."""

    def setUp(self) -> None:
        cache.clear()
        make_trigger(make_registry(), "created")

    def test_a_save_sends(self) -> None:
        Note.objects.create(title="A")
        assert OutboxMessage.objects.count() == 1

    def test_a_second_test_finds_nothing_of_the_first(self) -> None:
        assert OutboxMessage.objects.count() == 0
        with transaction.atomic():
            Note.objects.create(title="A")
            transaction.set_rollback(True)
        assert OutboxMessage.objects.count() == 0
        Note.objects.create(title="B")
        assert OutboxMessage.objects.count() == 1


class InATestCase(Saves, TestCase):
    def test_callbacks_run_with_the_message_there(self) -> None:
        seen: list[int] = []
        with self.captureOnCommitCallbacks(execute=True):
            Note.objects.create(title="A")
            transaction.on_commit(lambda: seen.append(OutboxMessage.objects.count()))
        assert seen == [1]

    def test_it_is_inside_a_transaction(self) -> None:
        assert connection.in_atomic_block


class InATransactionTestCase(Saves, TransactionTestCase):
    def test_it_is_in_autocommit(self) -> None:
        assert not connection.in_atomic_block
