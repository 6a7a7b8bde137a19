"""Compares the registry with all that is known of the workers, and says where they disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial

from django.db import router

from dispatch import registry
from dispatch.contract.manifest_diff import Known
from dispatch.contract.verification import (
    live_probe,
    process_checks,
    queue_checks,
    route_checks,
    task_checks,
    worker_checks,
)
from dispatch.contract.verification.evidence import Offer, TaskUse, World, from_manifest, newest
from dispatch.contract.verification.findings import KINDS, Finding, Kind
from dispatch.contract.verification.periodic_tasks import periodic_uses
from dispatch.core import manifest as documents
from dispatch.models import TaskDefinition

__all__ = ["KINDS", "Finding", "Kind", "Report", "TaskUse", "verify"]

PARTS = (worker_checks, task_checks, route_checks, queue_checks)


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared with the registry, by labels, and what was found: errors first."""

    compared: tuple[str, ...]
    findings: tuple[Finding, ...]
    ignored: int = 0

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors


def verify(
    using: str,
    manifests: Sequence[tuple[str, documents.Manifest]] = (),
    *,
    code: Iterable[TaskUse] = (),
    live: bool = False,
    messages: bool = True,
    processes: bool = True,
    ignore: Set[str] = frozenset(),
) -> Report:
    """Compare the registry with each worker's newest word: live, else a manifest given, else the one imported last.

    ``using`` is the database of the outbox. ``manifests`` come with where they are from, ``code`` holds the triggers
    that are written in code, ``ignore`` ids of findings, or ``ID:SUBJECT``. With ``live``, the brokers and the running
    workers are asked. Without ``messages``, those that wait are not counted, which reads all of them; without
    ``processes``, nothing is said of relay and collector. Whatever is wrong is a finding, brokers that cannot be asked
    included.
    """
    snapshot = registry.current()
    known = Known.load(router.db_for_read(TaskDefinition))
    given = [from_manifest(manifest, where) for where, manifest in manifests]
    imported = list(_imported(known))
    names = {offer.worker for offer in (*given, *imported)}
    is_ours = partial(_is_ours, snapshot=snapshot, names=names)
    answers = live_probe.ask(snapshot.table, is_ours) if live else None
    told = answers.offers if answers else []
    world = World(
        using=using,
        snapshot=snapshot,
        rows=known.rows,
        uses=(*_triggers(snapshot), *periodic_uses(snapshot), *code),
        offers=newest((*told, *given), imported),
        live=answers,
        messages=messages,
    )
    parts = (*PARTS, process_checks) if processes else PARTS
    found = [*(answers.found if answers else ()), *(each for part in parts for each in part.check(world))]
    kept = [
        finding for finding in found if ignore.isdisjoint((finding.id, f"{finding.id}:{finding.subject}"))
    ]
    return Report(
        tuple(offer.label for offer in world.offers),
        tuple(sorted(set(kept), key=_urgency)),
        len(found) - len(kept),
    )


def _is_ours(offer: Offer, *, snapshot: registry.Snapshot, names: Set[str]) -> bool:
    """Tell whether a running worker has to do with this registry."""
    return (
        offer.worker in names
        or not offer.tasks.keys().isdisjoint(snapshot.tasks)
        or any(queue.name in snapshot.table.queues for queue in offer.queues)
    )


def _imported(known: Known) -> Iterator[Offer]:
    """Yield what each worker said in the manifest of it that was imported last."""
    for row in known.manifests.values():
        queues = documents.consumed_queues(row.queues)
        where = f"imported {row.imported_at:%Y-%m-%d %H:%M}"
        yield Offer(row.worker, row.version, where, dict.fromkeys(row.offers), queues)


def _triggers(snapshot: registry.Snapshot) -> Iterator[TaskUse]:
    for trigger in snapshot.triggers:
        label = f"Trigger {trigger.name!r}"
        arguments = (
            None if trigger.problem else trigger.arguments
        )  # with a problem, it has none that could be read
        yield TaskUse(label, trigger.name, trigger.task, trigger.target, arguments)


def _urgency(finding: Finding) -> tuple[bool, str, str, str]:
    return finding.severity != "error", finding.id, finding.subject, finding.sentence
