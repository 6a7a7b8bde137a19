"""Which queues are meant, and on which brokers they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from dispatch.conf import Broker, conf
from dispatch.core.routing import Queue
from dispatch.core.suggestions import suggest
from dispatch.exceptions import BrokerUnavailable, ConfigurationError


def chosen(queues: Mapping[str, Queue], names: Sequence[str] | None) -> list[Queue]:
    """Return the named queues once each, in their order; all of the registry, sorted, for None.

    Raises ConfigurationError for a name that the registry does not have.
    """
    if names is None:
        return [queues[name] for name in sorted(queues)]
    for name in names:
        if name not in queues:
            raise ConfigurationError(
                f"No queue {name!r} in the registry{suggest(name, queues)}. Add it there; a queue that only the broker "
                f"has is a matter of `celery amqp`."
            )
    return [queues[name] for name in dict.fromkeys(names)]


def by_broker(queues: Iterable[Queue]) -> Iterator[tuple[str, list[Queue]]]:
    """Yield the alias of each broker with its queues."""
    for alias, group in groupby(sorted(queues, key=attrgetter("broker")), key=attrgetter("broker")):
        yield alias, list(group)


def broker(alias: str) -> Broker:
    """Return a broker of the settings.

    Raises BrokerUnavailable for an alias that they do not have: a row may be older than the settings.
    """
    found = conf.brokers.get(alias)
    if found is None:
        raise BrokerUnavailable(
            f'DISPATCH["BROKERS"] has no broker {alias!r}{suggest(alias, conf.brokers)}: add it, or change the queue.'
        )
    return found
