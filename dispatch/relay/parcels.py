"""Makes parcels of claimed rows. What rows of one task with the same options share is worked out once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.utils import timezone

from dispatch import outbox
from dispatch.client.publisher import Parcel
from dispatch.core.call import STORED, Call, signatures
from dispatch.core.message import Message, Shared, represent
from dispatch.core.routing import Destination
from dispatch.exceptions import InvalidOption
from dispatch.registry import Snapshot
from dispatch.relay.claims import Claimed

#: Plans that are kept for one snapshot; who sends with ever new options must not fill the memory.
MOST_PLANS = 1_000
#: Numbers in AMQP's headers are less.
LARGEST_NUMBER = 1 << 31


OwnHeaders = Mapping[str, str | int]
NONE: OwnHeaders = {}


class Expired(Exception):
    """A message's time is over. What it says is written into its row."""


@dataclass(slots=True)
class Plan:
    """What rows of one task, options and headers, but for what is written in these, have in common.

    ``call`` has no arguments; ``destination`` is None until it is known, and where a router reads the arguments.
    """

    call: Call
    options: dict[str, Any]
    shared: Shared
    destination: Destination | None = None


class Parcels:
    """Makes parcels by one snapshot of the registry."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._plans: dict[tuple[str, ...], Plan] = {}

    def of(self, row: Claimed) -> Parcel:
        """Return a row as a parcel.

        Raises UnreadableMessage for a row that no call would have made, Expired, UnknownTask and NoDestination.
        """
        _check_columns(row)
        headers, own = (row.headers, NONE) if row.headers == "{}" else _divided(row.headers)
        options, own = _without_place(row.options, own)
        plan = self._plan(row, options, headers, own)
        args, kwargs = outbox.arguments_of(row.args, row.kwargs)
        if row.expires_at is not None:
            _check_time(plan.call, row.expires_at)
        destination = plan.destination or self._destination(plan, args, kwargs)
        shown, shown_by_name = self.snapshot.tasks[row.task_name].mask(args, kwargs)
        message = Message(
            plan.shared,
            str(row.pk),
            row.args,
            row.kwargs,
            represent(tuple(shown)),
            represent(shown_by_name),
            row.expires_at,
            own,
        )
        # what failed once might break a batch again, and leave the fate of the others unknown
        return Parcel(message, destination, row.attempts > 0)

    def _plan(self, row: Claimed, options: str, headers: str, own: OwnHeaders) -> Plan:
        key = (row.task_name, options, headers, *own) if own else (row.task_name, options, headers)
        plan = self._plans.get(key)
        if plan is None:
            parsed = _parsed(options)
            call = outbox.stored_call(row.task_name, parsed, _parsed(row.headers))
            plan = Plan(call, parsed, _shared(call, parsed, _parsed(headers)))
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _destination(self, plan: Plan, args: list[Any], kwargs: dict[str, Any]) -> Destination:
        found = outbox.resolve(replace(plan.call, args=args, kwargs=kwargs), plan.options, self.snapshot)
        if not self.snapshot.reads_arguments(plan.call.name):
            plan.destination = found
        return found


def _check_columns(row: Claimed) -> None:
    if row.odd:  # a claim leaves out what it could not read
        raise outbox.unreadable(InvalidOption(f"column {row.odd[0]} holds a value that cannot be read"))
    if not isinstance(row.attempts, int):
        raise outbox.unreadable(InvalidOption("attempts must be a whole number"))


def _check_time(call: Call, expires: dt.datetime) -> None:
    try:
        replace(call, expires=expires)
    except InvalidOption as error:
        raise outbox.unreadable(error) from None
    if expires <= timezone.now():
        raise Expired(f"Expired at {expires.isoformat()}, before it was published.")


def _without_place(text: Any, own: OwnHeaders) -> tuple[Any, OwnHeaders]:
    """Return options, but for the place in a group, as JSON, and the own headers with it: each part has another."""
    if not isinstance(text, str) or '"group_index"' not in text:
        return text, own
    if not isinstance(options := _parsed(text), dict):
        return text, own
    place = options.pop("group_index", None)
    is_place = type(place) is int and 0 <= place < LARGEST_NUMBER
    return json.dumps(options), {**own, "group_index": place} if is_place else own


def _divided(text: Any) -> tuple[Any, OwnHeaders]:
    """Return headers, but for those that are texts, as JSON, and these: they are what differs, such as a trace's."""
    if not isinstance(headers := _parsed(text), dict):
        return text, NONE
    texts = {name: value for name, value in headers.items() if value and isinstance(value, str)}
    return json.dumps({name: value for name, value in headers.items() if name not in texts}), texts


def _parsed(text: Any) -> Any:
    """Return what a JSON column holds, as the model's field reads it: its text where that is no JSON."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text


def _shared(call: Call, options: Mapping[str, Any], headers: Any) -> Shared:
    return Shared(
        task=call.name,
        eta=call.eta,
        headers=headers or {},
        stamps=call.stamps or {},
        link=signatures(call.link),
        link_error=signatures(call.link_error),
        chain=outbox.chain_of(options),
        group_id=options.get("group_id"),
        **{name: getattr(call, name) for name in STORED},
    )
