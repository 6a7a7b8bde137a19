"""Ranges of PostgreSQL, as psycopg reads them, recognised without importing it."""

from __future__ import annotations

import datetime as dt
from typing import Any


def is_range(value: Any) -> bool:
    """Tell whether a value is a range: psycopg has one class for them, psycopg2 several."""
    return hasattr(value, "isempty") and hasattr(value, "lower_inc")


def as_object(value: Any) -> dict[str, Any]:
    """Return a range as Django's own serializers write it: with both ends and its bounds, or as empty."""
    if value.isempty:
        return {"empty": True}
    return {"lower": value.lower, "upper": value.upper, "bounds": bounds(value)}


def bounds(value: Any) -> str:
    """Return the brackets of a range."""
    return ("[" if value.lower_inc else "(") + ("]" if value.upper_inc else ")")


def canonical(value: Any) -> Any:
    """Return a range as PostgreSQL holds it: one of whole numbers or days includes its lower end alone.

    A range that holds nothing is the empty one.
    """
    if value.isempty:
        return value
    lower, upper, kind = value.lower, value.upper, type(value)
    brackets = bounds(value)
    if (step := _step(lower if upper is None else upper)) is not None:
        lower = lower + step if brackets[0] == "(" and lower is not None else lower
        upper = upper + step if brackets[1] == "]" else upper
        brackets = "(" * (lower is None) + "[" * (lower is not None) + ")"
    if lower is not None and upper is not None and lower >= upper and brackets != "[]":
        return kind(empty=True)
    return kind(lower, upper, brackets)


def _step(end: Any) -> Any:
    """Return how far it is to the next value, None where there is no next one."""
    if isinstance(end, int):
        return 1
    is_day = isinstance(end, dt.date) and not isinstance(end, dt.datetime)
    return dt.timedelta(days=1) if is_day else None
