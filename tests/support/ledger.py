"""What was committed, against what arrived: the one audit of every test in which something breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.db import transaction

from dispatch.api import Call, send_many
from dispatch.models import OutboxMessage
from tests.support.brokers import body, read_all
from tests.support.registry import TASK


class Ledger:
    """Sends messages, each with a text of its own, and takes out of the broker's queues what came of them."""

    def __init__(self) -> None:
        self.committed: dict[str, str] = {}
        self.rolled_back: dict[str, str] = {}
        self.copies: Counter[str] = Counter()
        self._texts: dict[str, str] = {}

    def commit(self, count: int = 1, **options: Any) -> list[str]:
        """Send messages in one transaction that is committed; return their ids."""
        with transaction.atomic():
            sent = self.send(count, **options)
        self.committed |= sent
        return list(sent)

    def roll_back(self, count: int = 1, **options: Any) -> None:
        """Send messages in one transaction that is rolled back."""
        with transaction.atomic():
            self.rolled_back |= self.send(count, **options)
            transaction.set_rollback(True)

    def send(self, count: int = 1, *, padding: int = 0, **options: Any) -> dict[str, str]:
        """Send messages, as much longer as ``padding``; return the text of each by its id.

        What becomes of the transaction is the caller's business.
        """
        start = len(self.committed) + len(self.rolled_back)
        texts = [f"message {number}{' ' * padding}" for number in range(start, start + count)]
        calls = [Call(TASK, kwargs={"note_id": "1", "text": text}, **options) for text in texts]
        return {str(row.pk): text for row, text in zip(send_many(calls), texts, strict=True)}

    def take(self, url: str, *queues: str) -> None:
        """Take what is in these queues, and remember it."""
        for queue in queues:
            for message in read_all(url, queue):
                self.copies[message.headers["id"]] += 1
                self._texts[message.headers["id"]] = body(message)[1]["text"]

    def audit(self, *, duplicates: int = 0, affected: int | None = None, missing: Iterable[str] = ()) -> None:
        """Compare what arrived with what was committed.

        Every committed message arrived under its own id and with its own text, except those ``missing``; none that was
        rolled back did. None came in more than ``duplicates`` further copies, no more than ``affected`` in any.
        """
        expected = {pk: text for pk, text in self.committed.items() if pk not in set(missing)}
        assert self._texts == expected, self._difference(expected)
        again = {pk: copies - 1 for pk, copies in self.copies.items() if copies > 1}
        assert max(again.values(), default=0) <= duplicates, again
        assert affected is None or len(again) <= affected, f"{len(again)} messages came twice"
        rows = OutboxMessage.objects.filter(pk__in=expected).values_list("status", flat=True)
        assert Counter(rows) == Counter({"published": len(expected)})

    def _difference(self, expected: dict[str, str]) -> str:
        lost, strange = expected.keys() - self._texts.keys(), self._texts.keys() - expected.keys()
        undone = strange & self.rolled_back.keys()
        other = {pk for pk in expected.keys() & self._texts.keys() if expected[pk] != self._texts[pk]}
        return (
            f"{len(lost)} of {len(expected)} committed messages are lost, {len(undone)} that were rolled back and "
            f"{len(strange - undone)} that nobody sent arrived, {len(other)} have another's text."
        )
