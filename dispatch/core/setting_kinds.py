"""What the value of a setting may be, and how that is put into words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

HOUR, YEAR = 3_600, 31_536_000  # seconds


class Kind(NamedTuple):
    """What a setting may be: the values that are accepted, and how they are put into words."""

    accepts: Callable[[Any], bool]
    expected: str

    def or_none(self) -> Kind:
        """Return the kind that accepts None as well: Celery's word for "not set"."""
        return Kind(lambda value: value is None or self.accepts(value), f"{self.expected}, or None")


def number(least: float, most: float, kinds: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is a number of these types and in this range."""
    return lambda value: (
        isinstance(value, kinds) and not isinstance(value, bool) and bool(least <= value <= most)
    )


def seconds(least: float, most: float) -> Kind:
    """Return the kind of a number of seconds."""
    return Kind(number(least, most, (int, float)), f"a number of seconds from {least:,} to {most:,}")


def whole(least: int, most: int, of: str = "") -> Kind:
    """Return the kind of a whole number."""
    return Kind(number(least, most, int), f"a whole number{of} from {least:,} to {most:,}")


RETAINED = ("published", "superseded", "cancelled", "dead")


def _are_retentions(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and all(status in RETAINED and _is_retention(each) for status, each in value.items())
    )


def _is_retention(value: Any) -> bool:
    if isinstance(value, dt.timedelta):
        value = value.total_seconds()
    return value is None or number(0, 10 * YEAR, (int, float))(value)


#: How long settled messages are kept, by status.
RETENTION = Kind(
    _are_retentions,
    f"None, or a dictionary of {', '.join(RETAINED)} to seconds from 0 to {10 * YEAR:,}, a timedelta, or None",
)


def one_of(*texts: str) -> Kind:
    """Return the kind of one of these texts."""
    *others, last = (f'"{text}"' for text in texts)
    return Kind(lambda value: isinstance(value, str) and value in texts, f"{', '.join(others)} or {last}")


def names(what: str) -> Kind:
    """Return the kind of a list of texts."""
    return Kind(are_names, f"a list of {what}")


def are_names(value: Any) -> bool:
    """Tell whether this is a list of texts."""
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in value)
