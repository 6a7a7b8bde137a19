"""The names that kombu and Celery give to keys and channels of Redis, as patterns in which Redis's ACLs name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kombu.transport.redis import Channel
from kombu.utils.encoding import bytes_to_str

from dispatch.client.celery_apps import stored_results
from dispatch.conf import Broker


@dataclass(frozen=True, slots=True)
class RedisNames:
    """The names on one broker, by its transport options. Of a channel all databases are meant, as ACLs mean them."""

    broker: Broker

    def queue(self, name: str) -> list[str]:
        """Return the lists of a queue: one for each step of the priorities."""
        separator = self._option("sep")
        return [
            self._key(f"{name}{separator}{step}" if step else name) for step in self._option("priority_steps")
        ]

    def broadcast(self, exchange: str) -> list[str]:
        """Return the channels on which a fanout exchange is heard, without and with a routing key."""
        prefix = self._option("fanout_prefix")
        if not isinstance(prefix, str):
            prefix = Channel.keyprefix_fanout if prefix else ""
        channel = self._key(prefix + exchange).replace("{db}", "*")
        return [channel, f"{channel}/*"]

    def bindings(self) -> list[str]:
        """Return the keys in which kombu remembers what is bound to which exchange."""
        return [f"{self._key(Channel.keyprefix_queue.removesuffix('.%s'))}*"]

    def replies(self, exchange: str) -> list[str]:
        """Return the lists of the reply queues of everybody who asks workers over the mailbox of this exchange."""
        return [f"{self._key('')}*.{literally(exchange)}*"]

    def _key(self, name: str) -> str:
        return literally(self._option("global_keyprefix") + name)

    def _option(self, name: str) -> Any:
        return (self.broker.conf.get("broker_transport_options") or {}).get(name, getattr(Channel, name))


def results(alias: str) -> str:
    """Return the keys, and channels, of the results in a broker's result backend."""
    return f"{literally(bytes_to_str(stored_results(alias).task_keyprefix))}*"


def literally(text: str) -> str:
    """Return a pattern of Redis that means the text itself."""
    return "".join(f"\\{letter}" if letter in r"\*?[]" else letter for letter in text)
