"""The accounts that brokers need for this registry: what the relay, the collector and the admin do there, no more."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from dispatch import registry
from dispatch.client import celery_apps, redis_names
from dispatch.client.redis_names import RedisNames
from dispatch.conf import DEFAULT_BROKER, Broker, conf
from dispatch.core.binding_match import topic_expression
from dispatch.core.routing import Exchange, Queue, Target
from dispatch.registry import Snapshot

#: Any database may be chosen: what an account may do on Redis does not depend on it.
CONNECT = ("+ping", "+select")
#: What it takes to look into queues, to empty them or take one message out, and to ask workers: kombu keeps bindings,
#: and sweeps by scripts.
OPERATE = (
    *("+info", "+multi", "+exec", "+llen", "+lrange", "+lrem", "+del", "+sadd", "+srem", "+smembers"),
    *("+publish", "+brpop", "+exists", "+time", "+zadd", "+zrem", "+zrangebyscore"),
    *("+evalsha", "+script|load", "+script|exists"),
)
PASSWORDS = {
    "redis": "A new account has no password, and lets nobody in: `ACL SETUSER NAME >PASSWORD` gives it one. "
    "`ACL SAVE`, or `CONFIG REWRITE`, keeps what was set.",
    "rabbitmq": "Add the users first: `rabbitmqctl add_user NAME` asks for the password.",
}
REACHES_ALL = (
    "Queues are addressed by name, through the default exchange, by which RabbitMQ lets an account write to every "
    "queue of the vhost: give this registry a vhost of its own, or let it name exchanges only."
)
NAMES_NO_QUEUE = (
    "The registry names exchanges only: a call that names a queue of this broker itself is refused."
)
UNKNOWN = "What accounts a broker {scheme}:// has is not known here: Redis and RabbitMQ are."


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a server ("redis" or "rabbitmq"), and the commands that give it its rights, as their words.

    ``role`` is "relay" (who publishes), "collector" (who reads results) or "admin" (who looks at queues, works on them
    and asks workers: the web processes and the commands).
    """

    role: str
    server: str
    name: str
    commands: tuple[tuple[str, ...], ...]

    def lines(self) -> list[str]:
        """Return the commands as one types them into redis-cli, or into a shell."""
        write = _in_redis_cli if self.server == "redis" else shlex.join
        return [write(words) for words in self.commands]


@dataclass(frozen=True, slots=True)
class BrokerAccounts:
    """The accounts of one broker of the settings, and what is to be known of them."""

    broker: str
    accounts: tuple[Account, ...]
    notes: tuple[str, ...]


def accounts() -> list[BrokerAccounts]:
    """Return the accounts of each broker."""
    snapshot = registry.current()
    return [_of_broker(_Needs(broker, snapshot)) for _, broker in sorted(conf.brokers.items())]


def _of_broker(needs: _Needs) -> BrokerAccounts:
    broker = needs.broker
    found: list[Account] = []
    notes: list[str] = []
    if broker.has_exchanges:
        found += _on_rabbitmq(needs)
        notes.append(REACHES_ALL if needs.names_queues else NAMES_NO_QUEUE)
    elif broker.is_urgent_low:
        found += _on_redis(needs)
    else:
        notes.append(UNKNOWN.format(scheme=broker.scheme))
    if broker.keeps_results_in_redis:
        found.append(_collector(broker))
    servers = dict.fromkeys(account.server for account in found)
    return BrokerAccounts(broker.alias, tuple(found), (*map(PASSWORDS.__getitem__, servers), *notes))


@dataclass(frozen=True)
class _Needs:
    """What of the registry concerns one broker."""

    broker: Broker
    snapshot: Snapshot

    @cached_property
    def queues(self) -> list[Queue]:
        return [each for each in self.snapshot.table.queues.values() if each.broker == self.broker.alias]

    @cached_property
    def exchanges(self) -> list[Exchange]:
        return [each for each in self.snapshot.table.exchanges.values() if each.broker == self.broker.alias]

    @property
    def mailbox(self) -> str:
        """The exchange on which workers are asked."""
        return f"{self.broker.conf.get('control_exchange') or 'celery'}.pidbox"

    @property
    def names_queues(self) -> bool:
        """Whether anything in the registry may send to a queue of this broker by its name."""
        table = self.snapshot.table
        named = {target.queue for target in (table.default, *self._targets())}
        return any(route.router for route in table.routes) or any(
            queue.name in named for queue in self.queues
        )

    def _targets(self) -> Iterator[Target]:
        for level in (self.snapshot.table.routes, self.snapshot.tasks.values(), self.snapshot.triggers):
            yield from (each.target for each in level)

    def binding_keys(self, exchange: Exchange) -> set[str]:
        """Return the keys by which the registry's queues are bound to an exchange."""
        bindings = (binding for queue in self.queues for binding in queue.bindings)
        return {binding.routing_key for binding in bindings if binding.exchange == exchange.name}


def _on_redis(needs: _Needs) -> Iterator[Account]:
    names = RedisNames(needs.broker)
    queues = [key for queue in needs.queues for key in names.queue(queue.name)]
    broadcasts = [
        channel
        for exchange in needs.exchanges
        if exchange.type == "fanout" and exchange.broadcast
        for channel in names.broadcast(exchange.name)
    ]
    publish = ("+lpush", *(["+publish"] if broadcasts else []))
    yield _redis_account("relay", needs.broker, publish, queues, broadcasts)
    keys = [*queues, *names.bindings(), *names.replies(needs.mailbox)]
    channels = names.broadcast(needs.mailbox)
    if _web_publishes():
        yield _redis_account("admin", needs.broker, (*OPERATE, *publish), keys, [*channels, *broadcasts])
    else:
        yield _redis_account("admin", needs.broker, OPERATE, keys, channels)


def _collector(broker: Broker) -> Account:
    results = [redis_names.results(broker.alias)]
    return _redis_account("collector", broker, ("+mget", "+psubscribe"), results, results)


def _redis_account(
    role: str, broker: Broker, may: Iterable[str], keys: Iterable[str], channels: Iterable[str]
) -> Account:
    name = _name(role, broker)
    rights = [*CONNECT, *may, *(f"~{_spaceless(key)}" for key in keys)]
    rights += [f"&{_spaceless(channel)}" for channel in channels]
    fresh = ("on", "resetkeys", "resetchannels", "-@all")
    return Account(role, "redis", name, (("ACL", "SETUSER", name, *fresh, *rights),))


def _on_rabbitmq(needs: _Needs) -> Iterator[Account]:
    vhost = celery_apps.connection(needs.broker).virtual_host
    queues = [re.escape(queue.name) for queue in needs.queues]
    exchanges = [re.escape(exchange.name) for exchange in needs.exchanges]
    publish = [*([r"amq\.default"] if needs.names_queues else []), *exchanges]
    own = publish if _web_publishes() else []
    topics = [exchange for exchange in needs.exchanges if exchange.type == "topic"]
    for role, rights, writes_topics in (
        ("relay", ([], publish, []), True),
        ("admin", _of_admin(needs, queues, exchanges, own), bool(own)),
    ):
        name = _name(role, needs.broker)
        commands = [("rabbitmqctl", "set_permissions", "-p", vhost, name, *map(_any_of, rights))]
        for exchange in topics if writes_topics else ():
            keys = _any_of(map(topic_expression, sorted(needs.binding_keys(exchange))))
            commands.append(
                ("rabbitmqctl", "set_topic_permissions", "-p", vhost, name, exchange.name, keys, "^$")
            )
        yield Account(role, "rabbitmq", name, tuple(commands))


def _of_admin(
    needs: _Needs, queues: list[str], exchanges: list[str], publish: list[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return what may be configured, written and read: to bind is to write to a queue and to read an exchange."""
    mailbox = re.escape(needs.mailbox)
    reply = rf"[0-9a-f-]+\.reply\.{mailbox}"
    everything = [*queues, *exchanges, mailbox, rf"reply\.{mailbox}", reply]
    return everything, [*queues, mailbox, reply, *publish], [*queues, *exchanges, rf"reply\.{mailbox}", reply]


def _web_publishes() -> bool:
    return conf.DELIVERY == "on_commit"


def _name(role: str, broker: Broker) -> str:
    """Return the name of an account, which holds no spaces."""
    suffix = "" if broker.alias == DEFAULT_BROKER else "-" + re.sub(r"[^\w.-]", "-", broker.alias)
    return f"dispatch-{role}{suffix}"


def _any_of(expressions: Iterable[str]) -> str:
    """Return a regular expression of RabbitMQ's that takes what any of these does, and nothing for none."""
    found = "|".join(expressions)
    return f"^({found})$" if found else "^$"


def _spaceless(pattern: str) -> str:
    """Return a pattern without spaces, which Redis refuses: any one letter stands in their place."""
    return re.sub(r"\s", "?", pattern)


def _in_redis_cli(words: Iterable[str]) -> str:
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Return a word as redis-cli reads it: what cannot be seen, or would end it, is written as an escape."""
    if re.fullmatch(r"[\w.~&+@|*/:-]+", word):
        return word
    text = "".join(f"\\{letter}" if letter in '\\"' else letter for letter in word)
    return f'"{"".join(letter if letter.isprintable() else _escaped(letter) for letter in text)}"'


def _escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode())
