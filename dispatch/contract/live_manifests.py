"""The manifests of the workers that run now, asked of themselves."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from dispatch.client import queue_state, worker_control
from dispatch.conf import conf
from dispatch.core import manifest as documents
from dispatch.core.redaction import redact, shorten
from dispatch.core.routing import RoutingTable
from dispatch.exceptions import InvalidManifest
from dispatch.models import Manifest

logger = logging.getLogger("dispatch.contract")


def ask_running(table: RoutingTable) -> list[documents.Manifest]:
    """Return one manifest for each worker of this registry that runs, by name.

    Ours are those whose manifest was imported before, and those that consume a queue of the registry: others may share
    the broker. Nodes of one worker may consume different queues, but must offer the same tasks.

    Raises InvalidManifest if none answers, or if nodes of one worker disagree, and PublishError for a broker that
    cannot be asked.
    """
    answers = dict(_answers())
    read, unread = _read(answers)
    known = set(Manifest.objects.values_list("worker", flat=True).order_by())
    ours = {node: found for node, found in read.items() if _is_ours(found, known, table)}
    if not ours:
        raise InvalidManifest(_nobody(read, unread))
    for node, reason in unread.items():
        logger.warning("Worker %r is left out, for it cannot tell its manifest: %s", node, shorten(reason))
    return [_together(name, ours, answers) for name in sorted({found.worker for found in ours.values()})]


def _nobody(others: Collection[str], unread: Mapping[str, str]) -> str:
    sentences = [
        f"No running worker told its manifest within {conf.BROKER_TIMEOUT:g} s.",
        *([f"Those of other registries did: {', '.join(others)}."] if others else []),
        *(
            f"Worker {node!r} cannot tell it: {shorten(reason).rstrip('.')}."
            for node, reason in unread.items()
        ),
        "Start one that has the remote-control command `manifest`, or give a file.",
    ]
    return " ".join(sentences)


def _answers() -> Iterator[tuple[str, Any]]:
    for broker in {broker.url: broker for broker in conf.brokers.values()}.values():
        with queue_state.opened(broker) as link:
            yield from worker_control.manifests(link).items()


def _read(answers: Mapping[str, Any]) -> tuple[dict[str, documents.Manifest], dict[str, str]]:
    """Return the manifests that can be read, and why the others cannot, by node."""
    read, unread = {}, {}
    for node, answer in sorted(answers.items()):
        try:
            read[node] = documents.from_document(answer)
        except InvalidManifest as error:
            refuses = isinstance(answer, dict) and set(answer) == {"error"}
            unread[node] = redact(str(answer["error"] if refuses else error))
    return read, unread


def _is_ours(found: documents.Manifest, known: Iterable[str], table: RoutingTable) -> bool:
    consumes = any(queue.name in table.queues for queue in found.queues)
    return found.worker in known or consumes or not table.queues


def _together(
    name: str, read: Mapping[str, documents.Manifest], answers: Mapping[str, Mapping[str, Any]]
) -> documents.Manifest:
    """Return the manifest of a worker, with the queues of all its nodes."""
    nodes = {node: found for node, found in read.items() if found.worker == name}
    first = next(iter(nodes.values()))
    for found in nodes.values():
        if (found.version, found.tasks) != (first.version, first.tasks):
            told = ", ".join(f"{node} {found.version}" for node, found in nodes.items())
            raise InvalidManifest(
                f"The running nodes of worker {name!r} do not offer the same tasks ({told}): finish the deployment, "
                f"or give a file."
            )
    queues = {queue["name"]: queue for node in nodes for queue in answers[node].get("queues", ())}
    document = {**answers[next(iter(nodes))], "queues": [queues[name] for name in sorted(queues)]}
    return documents.from_document({**document, "checksum": documents.checksum(document)})
