"""Rows for tests of models, and how a refusal is read."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction


@pytest.fixture(autouse=True)
def brokers(settings):
    settings.DISPATCH = {
        "BROKERS": {"default": {"URL": "memory://"}, "bulk": {"URL": "memory://"}},
        "REGISTRY_TTL": 0,
    }


@pytest.fixture
def refusal():
    """Return a function that gives the messages by which full_clean refuses a row, by field."""

    def of(row):
        with pytest.raises(ValidationError) as caught:
            row.full_clean()
        return {field: " ".join(messages) for field, messages in caught.value.message_dict.items()}

    return of


@pytest.fixture
def refused_by_database():
    """Return a function that stores rows past full_clean and expects the database to refuse the last one."""

    def store(*rows):
        *accepted, last = rows
        for row in accepted:
            row.save()
        with pytest.raises(IntegrityError), transaction.atomic():
            last.save()

    return store
