"""The brokers of rows in tests of models, and how a refusal is read."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError


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
