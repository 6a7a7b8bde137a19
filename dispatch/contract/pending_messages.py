"""Messages that wait in the outbox, tried against parameters that they were not enqueued for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from dispatch import outbox
from dispatch.core.schema.parameters import Parameters
from dispatch.exceptions import ConfigurationError, InvalidArguments, UnreadableMessage
from dispatch.models import OutboxMessage

UNSENT = (OutboxMessage.Status.PENDING, OutboxMessage.Status.CLAIMED)
#: Messages of one task that are tried, how many are read at a time, and how many ids are told.
MOST_CHECKED, PAGE, EXAMPLES = 10_000, 200, 3


@dataclass(frozen=True, slots=True)
class Refused:
    """How many messages do not fit, why the first does not, and the ids of some."""

    number: int
    reason: str
    examples: tuple[str, ...]


def unsent(using: str) -> Any:
    """Return the messages that no broker has yet."""
    return OutboxMessage.objects.using(using).filter(status__in=UNSENT).order_by()


def refused(using: str, name: str, parameters: Parameters, sensitive: Collection[str]) -> Refused | None:
    """Try the first messages of a task; None where all fit. Values of sensitive parameters are not quoted."""
    number, reason = 0, ""
    examples: list[str] = []
    for key, args, kwargs in _pages(unsent(using).filter(task_name=name)):
        try:
            parameters.check_masked(*outbox.arguments_of(args, kwargs), sensitive)
        except (InvalidArguments, ConfigurationError, UnreadableMessage) as error:
            number += 1
            reason = reason or str(error)
            examples += [str(key)] if len(examples) < EXAMPLES else []
    return Refused(number, reason, tuple(examples)) if number else None


def among(waiting: int) -> str:
    """Say how many were tried, if not all."""
    return "" if waiting <= MOST_CHECKED else f", among the first {MOST_CHECKED:,} of {waiting:,}"


def _pages(rows: Any) -> Iterator[tuple[Any, str, str]]:
    """Yield the first messages by id, a page at a time: one alone may be a megabyte."""
    columns, last, left = rows.order_by("pk").values_list("pk", "args", "kwargs"), None, MOST_CHECKED
    while left > 0:
        page = list((columns.filter(pk__gt=last) if last else columns)[: min(PAGE, left)])
        yield from page
        if len(page) < PAGE:
            return
        last, left = page[-1][0], left - len(page)
