"""Result backends of the tests' own, which a setting may name by their path."""

from __future__ import annotations

from typing import Any, ClassVar

from celery.backends.base import KeyValueStoreBackend


class OneByOne(KeyValueStoreBackend):
    """Keeps results by key and hands them out one by one, as those of S3, DynamoDB and other clouds do."""

    stored: ClassVar[dict[str, Any]] = {}

    def get(self, key: Any) -> Any:
        return self.stored.get(str(key))

    def set(self, key: Any, value: Any) -> None:
        self.stored[str(key)] = value
