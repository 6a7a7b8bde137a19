"""From a message to those that repeat it, and back."""

from __future__ import annotations

import pytest

from dispatch.models import OutboxMessage
from dispatch.outbox.resends import Resends, note_resend, resends

pytestmark = pytest.mark.django_db


def test_a_message_and_its_copies_lead_to_each_other() -> None:
    original, first, second, other = (OutboxMessage.objects.create(task_name="a.task") for _ in range(4))
    note_resend(original, first)
    note_resend(original, second)
    assert resends(original) == Resends(None, [first.pk, second.pk])
    assert resends(second) == Resends(original.pk, [])
    assert resends(other) == Resends(None, [])
