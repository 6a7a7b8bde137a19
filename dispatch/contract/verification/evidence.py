"""What is compared: the registry, and what workers say of themselves, in a manifest or live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from django.db.models import Count

from dispatch.contract.pending_messages import unsent
from dispatch.contract.verification.findings import Finding
from dispatch.core import manifest as documents
from dispatch.core.manifest import ConsumedQueue
from dispatch.core.routing import Target
from dispatch.core.suggestions import suggest
from dispatch.core.trigger_rules import Argument
from dispatch.models import TaskDefinition
from dispatch.registry import Snapshot


@dataclass(frozen=True, slots=True)
class Offer:
    """The word of one worker, or of several running ones that offer the same.

    ``where`` tells where the word comes from. ``worker`` is "", and each task None, where only the names of the tasks
    are known; one task is None of which a manifest knows the name only. ``queues`` are those it consumes.
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
        dict.fromkeys(manifest.left_out) | {task.name: task for task in manifest.tasks},
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


#: How many names are looked up among all others: a thousand renamed tasks would take minutes.
MOST_SUGGESTIONS = 50


@dataclass(frozen=True, slots=True)
class TaskUse:
    """The use of a task by a trigger, in the admin or in code, or by django-celery-beat.

    ``arguments`` are None where they are not known.
    """

    label: str
    name: str
    task: str
    target: Target
    arguments: Mapping[str, Argument] | None = None
    is_periodic: bool = False


@dataclass(slots=True)
class Answers:
    """What brokers and running workers told; ``answered`` and ``reached``: where workers answered, and were asked.

    Brokers are named by their aliases. ``counted`` holds how many consumers RabbitMQ counts at a queue, whoever they
    are.
    """

    offers: list[Offer] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    counted: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """The registry, the triggers, the outbox of database ``using``, and the word of each worker.

    ``live`` is None where nobody was asked. Without ``messages``, those that wait are not looked at.
    """

    using: str
    snapshot: Snapshot
    rows: Mapping[str, TaskDefinition]
    uses: Sequence[TaskUse]
    offers: Sequence[Offer]
    live: Answers | None = None
    messages: bool = True

    def waiting(self, column: str) -> Iterable[tuple[str, int]]:
        """Return how many messages no broker has yet, by task name or queue."""
        counted: Iterable[tuple[str, int]] = unsent(self.using).values_list(column).annotate(Count("pk"))
        return counted if self.messages else ()

    @cached_property
    def offered(self) -> frozenset[str]:
        """The names of all tasks that any worker offers."""
        return frozenset(name for offer in self.offers for name in offer.tasks)

    @cached_property
    def known(self) -> frozenset[str]:
        """The names that a route may mean: registered and not retired, or offered."""
        return self.offered | {name for name, row in self.rows.items() if row.retired_at is None}

    @cached_property
    def sent(self) -> frozenset[str]:
        """The names of the tasks that can be sent: registered, neither retired nor switched off."""
        return frozenset(name for name, row in self.rows.items() if row.enabled and row.retired_at is None)

    def problem(self, name: str) -> str:
        """Say why a definition cannot be used as it is stored; nothing where it can."""
        task = self.snapshot.tasks.get(name)
        return task.problem if task else ""

    def without(self, name: str) -> Offer | None:
        """Return the word that a registered task is gone: its own worker lacks it, and no other offers it."""
        row = self.rows[name]
        worker = row.manifest.worker if row.manifest else ""
        if any(name in offer.tasks for offer in self.offers if offer.worker != worker):
            return None
        return next(
            (offer for offer in self.offers if worker and offer.worker == worker and name not in offer.tasks),
            None,
        )

    def successor(self, name: str, offer: Offer) -> str:
        """Suggest what may be the new name of a task that is gone: one that is not registered yet, if there is any."""
        return self._close(name, (offer.tasks.keys() - self.rows.keys()) or offer.tasks, most=1)

    def reason(self, name: str) -> str:
        """Say why a task cannot be relied on, to be put after "which"; nothing where it can."""
        row = self.rows.get(name)
        if row is None:
            return "" if name in self.offered else f"is not registered{self._close(name, self.known)}"
        if row.retired_at is not None:
            return f"was retired {self.snapshot.tasks[name].retired}{self._close(name, self.known)}"
        if offer := self.without(name):
            return f"{offer.name} does not offer{self.successor(name, offer)}"
        if self.offers and row.manifest is None and name not in self.offered:
            return f"no known worker offers{self._close(name, self.offered)}"
        return ""

    def _close(self, name: str, known: Iterable[str], most: int = 3) -> str:
        if name not in self._suggestions and len(self._suggestions) < MOST_SUGGESTIONS:
            self._suggestions[name] = suggest(name, known, most)
        return self._suggestions.get(name, "")

    @cached_property
    def _suggestions(self) -> dict[str, str]:
        """What was suggested for a name; why it cannot be relied on does not change."""
        return {}
