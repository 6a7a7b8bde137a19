"""Asks every broker of the registry, and the workers that run there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dispatch.client import queue_state, redis_persistence, worker_control
from dispatch.conf import Broker, conf
from dispatch.contract.verification import findings
from dispatch.contract.verification.evidence import Answers, Offer, from_manifest
from dispatch.contract.verification.findings import Finding
from dispatch.core import manifest as documents
from dispatch.core.manifest import ConsumedQueue
from dispatch.core.redaction import shorten
from dispatch.core.routing import Queue, RoutingTable
from dispatch.core.sentences import enumerated
from dispatch.core.suggestions import suggest
from dispatch.exceptions import BrokerUnavailable, InvalidManifest, PublishError, QueueUnavailable

#: What a Redis loses that keeps an append-only file, and when, by its ``appendfsync``.
WINDOWS = {
    "everysec": "when its machine fails it loses what it took in the last second, or two under load",
    "no": "when its machine fails it loses what its operating system had not written yet, about 30 s",
    "": "when its machine fails it loses what its appendfsync allows, which this account may not ask for",
}


def ask(table: RoutingTable, is_ours: Callable[[Offer], bool]) -> Answers:
    """Ask each broker that a queue of the registry names, once however many aliases lead to it.

    Workers that are not ``is_ours`` are passed over: others may share the broker. The time is bounded: a broker or a
    worker that is silent costs a few times ``BROKER_TIMEOUT``.
    """
    answers = Answers()
    for broker, queues in _sites(table, answers):
        aliases = {queue.broker for queue in queues}
        try:
            with queue_state.opened(broker) as link:
                for offer, complaint in _offers(link):
                    if is_ours(offer):
                        answers.answered |= aliases
                        answers.offers.append(offer)
                        answers.found += [complaint] if complaint else []
                answers.reached |= aliases
                if link.has_exchanges:
                    _look(link, table, queues, answers)
                answers.found += _losses(link)
        except PublishError as error:
            answers.found.append(findings.DOWN.found(broker.alias, problem=str(error)))
    answers.offers = list(_together(answers.offers))
    return answers


def _sites(table: RoutingTable, answers: Answers) -> Iterator[tuple[Broker, list[Queue]]]:
    brokers = conf.brokers
    by_url: dict[str, tuple[Broker, list[Queue]]] = {}
    for queue in table.queues.values():
        broker = brokers.get(queue.broker)
        if broker is None:
            close = suggest(queue.broker, brokers)
            problem = f'DISPATCH["BROKERS"] has no broker {queue.broker!r}{close}, but queue {queue.name!r} is there.'
            answers.found.append(findings.DOWN.found(queue.broker, problem=problem))
            continue
        by_url.setdefault(broker.url, (broker, []))[1].append(queue)
    yield from by_url.values()


def _offers(link: queue_state.Link) -> Iterator[tuple[Offer, Finding | None]]:
    """Yield what each running worker offers, and what is wrong with its answer."""
    consumed = worker_control.consumed(link)
    told = worker_control.manifests(link, sorted(consumed))
    read = {host: _read(host, told.get(host)) for host in sorted(consumed)}
    registered = worker_control.registered(
        link, [host for host, each in read.items() if isinstance(each, Finding)]
    )
    for host, each in read.items():
        queues = tuple(
            ConsumedQueue(queue.name, queue.durable, queue.arguments)
            for queue in consumed[host]
            if not queue.own
        )
        if isinstance(each, Finding):
            yield Offer("", "", host, dict.fromkeys(registered.get(host, ())), queues, is_live=True), each
        else:
            yield replace(from_manifest(each, host), queues=queues, is_live=True), None


def _read(host: str, answer: Any) -> documents.Manifest | Finding:
    if not isinstance(answer, Mapping) or set(answer) == {"error"}:
        return findings.WORDLESS.found(host, problem=_why_wordless(answer))
    try:
        return documents.from_document(answer)
    except InvalidManifest as error:
        return findings.GARBLED.found(host, problem=str(error))


def _why_wordless(answer: Any) -> str:
    reason = str(answer["error"]) if isinstance(answer, Mapping) else ""
    # Celery's own word on a command that it does not know
    if not reason or reason == f"KeyError({worker_control.MANIFEST!r})":
        return "cannot tell its manifest"
    return f"cannot tell its manifest ({shorten(reason)})"


def _together(offers: list[Offer]) -> Iterator[Offer]:
    """Make one of those that offer the same: a fleet in which each consumes its own queue has one contract."""
    left = list(offers)
    while left:
        first = left[0]
        same = [
            o for o in left if (o.worker, o.version, o.tasks) == (first.worker, first.version, first.tasks)
        ]
        queues = {repr(queue): queue for offer in same for queue in offer.queues}
        hosts = enumerated(offer.where for offer in same)
        yield replace(first, where=f"running as {hosts}", queues=tuple(queues.values()))
        left = [offer for offer in left if not any(offer is each for each in same)]


def _look(link: queue_state.Link, table: RoutingTable, queues: list[Queue], answers: Answers) -> None:
    for queue in queues:
        try:
            state = queue_state.state(link, table, queue)
        except BrokerUnavailable:
            raise
        except QueueUnavailable as error:
            answers.found.append(findings.REFUSED.found(queue.name, problem=str(error)))
            continue
        answers.counted[queue.name] = state.consumers or 0
        if state.drift:
            answers.found.append(
                findings.ON_BROKER.found(queue.name, broker=queue.broker, problem=state.drift)
            )


def _losses(link: queue_state.Link) -> Iterator[Finding]:
    found = redis_persistence.persistence(link)
    if found is None:
        return
    alias = link.broker.alias
    if found.maxmemory_policy.startswith("allkeys"):  # the others delete what expires, and queues do not
        yield findings.EVICTS.found(alias, policy=found.maxmemory_policy)
    if not found.appendonly:
        window = "when it ends it loses all messages since its last snapshot"
        yield findings.LOSES.found(alias, setting="no append-only file", window=window)
    elif window := WINDOWS.get(found.appendfsync, ""):
        setting = f"appendfsync {found.appendfsync}" if found.appendfsync else "an append-only file"
        yield findings.LOSES.found(alias, setting=setting, window=window)
