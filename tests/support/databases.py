"""Databases as tests see them: a connection of another process, and a further alias."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")


def elsewhere(work: Callable[[], T]) -> T:
    """Run on a connection of its own, as another process would."""
    results: list[T] = []

    def run() -> None:
        try:
            results.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    [result] = results
    return result


@contextmanager
def further_alias(name: str, **changes: Any) -> Iterator[str]:
    """Add an alias, of the same database unless ``changes`` say otherwise."""
    connections.settings[name] = {**connections.settings["default"], **changes}
    try:
        yield name
    finally:
        connections[name].close()
        del connections[name]
        del connections.settings[name]
