"""Result backends of the tests' own, which a setting may name by their path."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, ClassVar

from celery.backends.base import KeyValueStoreBackend

#: Whether Celery stores JSON in SQL; before 5.7 it pickles whatever it stores there.
SQL_HOLDS_JSON = tuple(map(int, version("celery").split(".")[:2])) >= (5, 7)
#: What ``CONF`` needs to read the results that this Celery stores, of whichever backend.
READS_SQL: dict[str, Any] = {} if SQL_HOLDS_JSON else {"result_accept_content": ["json", "pickle"]}


class OneByOne(KeyValueStoreBackend):
    """Keeps results by key and hands them out one by one, as those of S3, DynamoDB and other clouds do."""

    stored: ClassVar[dict[str, Any]] = {}

    def get(self, key: Any) -> Any:
        return self.stored.get(str(key))

    def set(self, key: Any, value: Any) -> None:
        self.stored[str(key)] = value
