"""Workers that contradict each other, and the case that nobody said anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from dispatch.contract.verification import findings
from dispatch.contract.verification.evidence import Offer, World, by_worker
from dispatch.contract.verification.findings import Finding
from dispatch.core.sentences import enumerated


def check(world: World) -> Iterator[Finding]:
    """Yield what running workers, and those of the manifests, contradict each other in.

    A manifest may be that of the next deployment: it is not held against those that run.
    """
    if not world.offers:
        yield findings.SILENT.found("manifest")
    for is_live in (True, False):
        for worker, offers in by_worker(offer for offer in world.offers if offer.is_live == is_live):
            yield from _versions(worker, offers)
            yield from _contents(worker, offers)


def _versions(worker: str, offers: Sequence[Offer]) -> Iterator[Finding]:
    versions = {offer.version for offer in offers}
    if len(versions) > 1:
        told = ", ".join(f"{offer.version or 'none'} ({offer.where})" for offer in offers)
        yield findings.VERSIONS.found(worker, count=len(versions), versions=told)


def _contents(worker: str, offers: Sequence[Offer]) -> Iterator[Finding]:
    for one, other in combinations(offers, 2):
        names = one.tasks.keys() | other.tasks.keys()
        tasks = [name for name in names if one.tasks.get(name) != other.tasks.get(name)]
        if one.version == other.version and tasks:
            yield findings.CONTENTS.found(
                worker,
                version=one.version,
                workers=f"{one.where} and {other.where}",
                tasks=enumerated(tasks),
            )
