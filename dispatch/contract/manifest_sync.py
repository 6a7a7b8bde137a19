"""A worker's manifest, written into the registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from django.db import router, transaction
from django.db.models import F
from django.utils import timezone

from dispatch import registry
from dispatch.contract.manifest_diff import Difference, Known, difference
from dispatch.contract.own_queues import Bringer, OwnQueue, differing
from dispatch.contract.sync_impact import Effect, effects
from dispatch.core import manifest as documents
from dispatch.models import Manifest, OutboxMessage, RegistryVersion, TaskDefinition
from dispatch.models.write_transactions import write_transaction

#: The columns that follow the manifest; all others are the operator's.
FOLLOWING = (
    "description",
    "parameters",
    "returns",
    "worker_options",
    "deprecated",
    "sensitive_parameters",
    "ignore_result",
    "source",
    "manifest",
    "retired_at",
    "retired_version",
)


@dataclass(frozen=True, slots=True)
class Synced:
    """What an import changes, what that breaks, and whether it was written.

    ``own_queues`` are the tasks that the worker's code sends elsewhere than the registry: brought where that was asked.
    """

    difference: Difference
    effects: tuple[Effect, ...]
    applied: bool
    own_queues: tuple[OwnQueue, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A text that differs where something else would change or break; waiting messages come and go."""
        broken = [effect for effect in self.effects if effect.kind != "messages"]
        return hashlib.sha256(repr((self.difference, broken, self.own_queues)).encode()).hexdigest()


def sync(
    manifest: documents.Manifest,
    *,
    dry_run: bool = False,
    refuse_breaking: bool = False,
    code: Iterable[tuple[str, str]] = (),
    own_queues: bool = False,
    expected: str | None = None,
) -> Synced:
    """Write what a manifest says of its tasks into the registry, all or nothing.

    What the operator set on a definition (queue, priority, limits, enabled, paused, further sensitive parameters)
    stays. Tasks that the worker no longer offers are retired, not deleted. ``code`` holds name and task of each trigger
    in code. With ``refuse_breaking``, nothing is written if something that could be sent cannot be sent any more. With
    ``own_queues``, a task whose definition names no place, or the one that its worker named before, goes where the
    worker's code sends it. With ``expected``, the fingerprint of an earlier look, nothing is written if it differs now.
    """
    using = router.db_for_write(TaskDefinition)
    with transaction.atomic(using=using) if dry_run else write_transaction(using):
        if not dry_run:
            _wait_for_others(using)
        known = Known.load(using)
        found = difference(manifest, known)
        snapshot = registry.current()
        broken = effects(
            found,
            manifest,
            known,
            snapshot,
            code=code,
            outbox=router.db_for_write(OutboxMessage),
        )
        own = tuple(differing(manifest, known, snapshot))
        is_expected = expected in (None, Synced(found, broken, False, own).fingerprint)
        applied = not dry_run and is_expected and not (refuse_breaking and found.breaking)
        if applied and not _is_current(manifest, found, known):
            _Writer(manifest, found, known, using).write()
        if own_queues and own and applied:
            own = tuple(map(Bringer(manifest, snapshot, using).bring, own))
    return Synced(found, broken, applied, own)


def _wait_for_others(using: str) -> None:
    """Take the lock that any change of the registry takes, before anything is read; the version stays."""
    rows = RegistryVersion._default_manager.using(using)
    if not rows.filter(pk=1).update(token=F("token")):
        rows.get_or_create(pk=1)


def _is_current(manifest: documents.Manifest, found: Difference, known: Known) -> bool:
    last = known.manifests.get(manifest.worker)
    is_last = last is not None and last.checksum == manifest.checksum
    return is_last and not (found.added or found.changed or found.returned or found.missing)


class _Writer:
    """Writes one difference inside the caller's transaction."""

    def __init__(self, manifest: documents.Manifest, found: Difference, known: Known, using: str) -> None:
        self._manifest, self._found, self._known, self._using = manifest, found, known, using
        self._rows = TaskDefinition.objects.using(using)
        self._offered = {task.name: task for task in manifest.tasks}

    def write(self) -> None:
        """Store the manifest, the tasks it brings, changes and gives up."""
        imported = self._import()
        self._rows.bulk_create([self._filled(TaskDefinition(name=n), imported) for n in self._found.added])
        for change in (*self._found.changed, *self._found.returned):
            row = self._known.rows[change.name]
            if change.name in self._offered:
                self._filled(row, imported)
            else:
                row.manifest = self._known.others(change.name, self._manifest.worker)[0]
            row.save(using=self._using, update_fields=FOLLOWING)
        if self._found.missing:
            retired = {"retired_at": timezone.now(), "retired_version": self._manifest.version}
            self._rows.filter(name__in=self._found.missing).update(**retired)
        self._rows.filter(manifest__worker=self._manifest.worker, retired_at=None).update(manifest=imported)

    def _import(self) -> Manifest:
        columns = {
            "version": self._manifest.version,
            "queues": [asdict(queue) for queue in self._manifest.queues],
            "offers": sorted({*self._offered, *self._manifest.left_out}),
            "changes": self._found.document(),
        }
        return Manifest.objects.using(self._using).update_or_create(
            worker=self._manifest.worker, checksum=self._manifest.checksum, defaults=columns
        )[0]

    def _filled(self, row: TaskDefinition, imported: Manifest) -> TaskDefinition:
        task = self._offered[row.name]
        if row.ignore_result == row.worker_options.get("ignore_result"):  # nobody chose otherwise by hand
            row.ignore_result = task.options.get("ignore_result")
        row.description = task.description
        row.parameters = dict(task.parameters)
        row.returns = dict(task.returns)
        row.worker_options = dict(task.options)
        row.deprecated = task.deprecated
        row.sensitive_parameters = sorted({*row.sensitive_parameters, *task.sensitive})
        row.source = TaskDefinition.Source.MANIFEST
        row.manifest = imported
        row.retired_at, row.retired_version = None, ""
        return row
