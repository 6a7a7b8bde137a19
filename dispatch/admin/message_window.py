"""What one page of messages looks through: so many rows along an index, the newest first, and never more.

A filter that no index serves (a task, a queue, an origin) would otherwise read the whole outbox for what is rare in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime

from dispatch.admin.lifecycle_status import Lifecycle

#: The parameter of the address that says where a window begins.
START = "start"
#: Rows of a window, and of one in which nothing was found: what is rare is to be come upon in a few steps.
SIZE, WIDER = 10_000, 100_000
#: Results of one window: SQLite before 3.32 takes no more than 999 parameters.
RESULTS = 900
#: By what an index has the rows of a status in order. In the order of ids, a database may read all others first.
INDEXED_BY: dict[str, str] = {
    Lifecycle.PENDING: "available_at",
    Lifecycle.CLAIMED: "available_at",
    Lifecycle.PUBLISHED: "published_at",
    Lifecycle.DEAD: "available_at",
}


@dataclass(frozen=True, slots=True)
class Window:
    """``within`` are the rows, ``order`` is theirs; the next window begins at ``further``, "" at the end."""

    within: Q
    order: tuple[str, ...] = ("-pk",)
    further: str = ""


def of_messages(rows: QuerySet[Any], column: str, start: str, found: QuerySet[Any]) -> Window:
    """Return the newest of these rows in the order of a column, from where an earlier window ended.

    ``found`` are those that all filters let pass.
    """
    order = tuple(f"-{key}" for key in _keys(column))
    window = _window(rows, column, start, order, SIZE)
    if window.further and not found.filter(window.within).exists():
        return _window(rows, column, start, order, WIDER)
    return window


def _window(rows: QuerySet[Any], column: str, start: str, order: tuple[str, ...], size: int) -> Window:
    within = _from(rows, column, start)
    further = _edge(rows.filter(within), column, size)
    if further:
        within &= _beside(rows, column, further, "gt", "gt")
    return Window(within, order, further)


def of_results(rows: QuerySet[Any], start: str) -> Window:
    """Return the messages of the newest of these results, from where an earlier window ended."""
    rows = rows.filter(_from(rows, "date_done", start)).order_by("-date_done", "-pk")
    ids = [as_uuid(task_id) for task_id in rows.values_list("task_id", flat=True)[:RESULTS]]
    further = _edge(rows, "date_done", RESULTS) if len(ids) == RESULTS else ""
    return Window(Q(pk__in=[each for each in ids if each]), further=further)


def _keys(column: str) -> list[str]:
    return list(dict.fromkeys((column, "pk")))


def _edge(rows: QuerySet[Any], column: str, size: int) -> str:
    """Return where the row stands that comes after so many, as text for an address."""
    keys = _keys(column)
    found = rows.order_by(*(f"-{key}" for key in keys)).values_list(*keys)[size : size + 1]
    return "".join("_".join(map(str, row)) for row in found)


def _from(rows: QuerySet[Any], column: str, start: str) -> Q:
    return _beside(rows, column, start, "lt", "lte") if start else Q()


def _beside(rows: QuerySet[Any], column: str, edge: str, beyond: str, or_same: str) -> Q:
    """Return the condition of the rows on one side of an edge. What is no edge raises an error of its column."""
    moment, _, key = edge.rpartition("_")
    pk = rows.model._meta.pk.to_python(key)
    if column == "pk":
        return Q(**{f"pk__{or_same}": pk})
    at = parse_datetime(moment)
    tied = Q(**{column: at, f"pk__{or_same}": pk})
    return Q(**{f"{column}__{beyond}e": at}) & (Q(**{f"{column}__{beyond}": at}) | tied)


def as_uuid(task_id: str) -> UUID | None:
    """Return the id of a message, None for another producer's or what is none at all."""
    try:
        return UUID(task_id)
    except ValueError:
        return None
