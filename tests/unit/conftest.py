"""What the database refuses, of rows in any table."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction


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
