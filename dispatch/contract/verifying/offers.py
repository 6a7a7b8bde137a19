"""What workers say of themselves: in an imported manifest, in a file, or live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dispatch.core import manifest as documents
from dispatch.core.manifest import ConsumedQueue


@dataclass(frozen=True, slots=True)
class Offer:
    """The word of one worker, or of several running ones that offer the same.

    ``where`` tells where the word comes from. ``worker`` is "", and each task None, where only the names of the tasks
    are known. ``queues`` are those it consumes.
    """

    worker: str
    version: str
    where: str
    tasks: Mapping[str, documents.Task | None]
    queues: tuple[ConsumedQueue, ...]
    is_live: bool = False

    @property
    def label(self) -> str:
        """The worker and where its word comes from."""
        return f"{self._name} ({self.where})"

    @property
    def name(self) -> str:
        """The worker in a sentence: running ones are told apart."""
        return self.label if self.is_live else self._name

    @property
    def _name(self) -> str:
        return f"{self.worker} {self.version}".rstrip() if self.worker else "a worker without a manifest"


def from_manifest(manifest: documents.Manifest, where: str) -> Offer:
    """Return what a manifest says; ``where`` tells where it comes from."""
    return Offer(
        manifest.worker,
        manifest.version,
        where,
        {task.name: task for task in manifest.tasks},
        manifest.queues,
    )


def newest(*words: Iterable[Offer]) -> list[Offer]:
    """Return all offers of the first, and of each further one those of workers that no earlier one speaks for."""
    found: list[Offer] = []
    for offers in words:
        spoken_for = {offer.worker for offer in found}
        found += [offer for offer in offers if offer.worker not in spoken_for]
    return found


def consumers(offers: Iterable[Offer]) -> dict[str, list[Offer]]:
    """Return who consumes each queue."""
    found: dict[str, list[Offer]] = {}
    for offer in offers:
        for name in {queue.name for queue in offer.queues}:
            found.setdefault(name, []).append(offer)
    return found


def by_worker(offers: Iterable[Offer]) -> Iterator[tuple[str, list[Offer]]]:
    """Yield the name of each worker that told it, with its offers."""
    found: dict[str, list[Offer]] = {}
    for offer in offers:
        if offer.worker:
            found.setdefault(offer.worker, []).append(offer)
    yield from sorted(found.items())
