"""What a manifest changes in the registry, told task by task; nothing is written here."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dispatch.contract.odd_rows import empty_definition, empty_manifest
from dispatch.core import manifest as documents
from dispatch.core.schema.breaking_changes import Change, compare, compare_returns
from dispatch.core.schema.parameters import Parameters
from dispatch.core.schema.validation import check, same
from dispatch.exceptions import ConfigurationError
from dispatch.models import Manifest, TaskDefinition

#: The columns of a manifest that hold its thousands of tasks: not to be read with each of them.
LISTS = ("manifest__queues", "manifest__offers", "manifest__changes")
RELEASE = re.compile(r"\d+(\.\d+)*")
#: Of a definition that was written past the form: nothing could be sent by such a schema, so that nothing breaks.
UNUSABLE = Change("", False, "could not be used as it was stored, and follows the manifest now")


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What changes of one task."""

    name: str
    changes: tuple[Change, ...]

    @property
    def breaking(self) -> bool:
        """Whether a call that was right may be wrong now."""
        return any(change.breaking for change in self.changes)

    def document(self) -> dict[str, Any]:
        changes = [asdict(change) for change in self.changes]
        return {"task": self.name, "breaking": self.breaking, "changes": changes}


@dataclass(frozen=True, slots=True)
class Difference:
    """What an import does, or would do. Every tuple is sorted by task name.

    ``missing`` are retired by it, ``returned`` were retired and are offered again.
    """

    worker: str
    version: str
    added: tuple[str, ...]
    changed: tuple[TaskChange, ...]
    returned: tuple[TaskChange, ...]
    unchanged: tuple[str, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def breaking(self) -> bool:
        """Whether something that could be sent before cannot be sent any more."""
        return bool(self.missing) or any(task.breaking for task in (*self.changed, *self.returned))

    def document(self) -> dict[str, Any]:
        return {
            "added": list(self.added),
            "changed": [task.document() for task in self.changed],
            "returned": [task.document() for task in self.returned],
            "missing": list(self.missing),
        }


@dataclass(frozen=True, slots=True)
class Known:
    """The registry before an import: its definitions by name, and the last manifest of each worker.

    ``odd`` names the definitions that were written past the form, with the columns: those are empty here.
    """

    rows: Mapping[str, TaskDefinition]
    manifests: Mapping[str, Manifest]
    offers: Mapping[str, frozenset[str]]
    odd: Mapping[str, Collection[str]]

    @classmethod
    def load(cls, using: str) -> Known:
        """Read it as this connection sees it."""
        definitions = TaskDefinition.objects.using(using).select_related("manifest", "queue", "exchange")
        rows = {row.name: row for row in definitions.defer(*LISTS)}
        odd = {name: columns for name, row in rows.items() if (columns := empty_definition(row))}
        imported = Manifest.objects.using(using)
        last: dict[str, int] = {}
        for key, worker in imported.values_list("pk", "worker"):
            last.setdefault(worker, key)
        manifests = {row.worker: row for row in imported.defer("changes").in_bulk(last.values()).values()}
        for manifest in manifests.values():
            empty_manifest(manifest)
        offers = {worker: frozenset(row.offers) for worker, row in manifests.items()}
        return cls(rows, manifests, offers, odd)

    def owner(self, name: str) -> str:
        """Return the worker whose manifest brought a definition, "" for one made by hand."""
        row = self.rows.get(name)
        return row.manifest.worker if row and row.manifest else ""

    def others(self, name: str, worker: str) -> list[Manifest]:
        """Return the last manifests of other workers that offer a task."""
        workers = (other for other, names in self.offers.items() if other != worker and name in names)
        return [self.manifests[other] for other in workers]


def difference(manifest: documents.Manifest, known: Known) -> Difference:
    offered = {task.name: task for task in manifest.tasks}
    told = {name: _task(task, known, manifest.worker) for name, task in offered.items() if name in known.rows}
    handed = dict(_handed_over({*offered, *manifest.left_out}, known, manifest.worker))
    retired = {name for name, row in known.rows.items() if row.retired_at is not None}
    changed = {name: changes for name, changes in (told | handed).items() if changes and name not in retired}
    return Difference(
        worker=manifest.worker,
        version=manifest.version,
        added=tuple(sorted(offered.keys() - known.rows.keys())),
        changed=tuple(TaskChange(name, changed[name]) for name in sorted(changed)),
        returned=tuple(TaskChange(name, told[name]) for name in sorted(retired & told.keys())),
        unchanged=tuple(sorted(told.keys() - changed.keys() - retired)),
        missing=tuple(_missing({*offered, *manifest.left_out}, known, manifest.worker)),
        warnings=tuple(_warnings(manifest, known)),
    )


def is_older(version: str, than: str) -> bool:
    """Tell whether one version is surely older than another: only plain releases (1.2.3) are compared."""
    if not RELEASE.fullmatch(version) or not RELEASE.fullmatch(than):
        return False
    return _release(version) < _release(than)


def _release(version: str) -> list[int]:
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def _missing(offered: Collection[str], known: Known, worker: str) -> Iterator[str]:
    for name, row in sorted(known.rows.items()):
        is_ours = name not in offered and known.owner(name) == worker
        if is_ours and row.retired_at is None and not known.others(name, worker):
            yield name


def _handed_over(
    offered: Collection[str], known: Known, worker: str
) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """Yield the tasks that this worker gives up and another one still offers."""
    for name in known.rows:
        if name not in offered and known.owner(name) == worker and (others := known.others(name, worker)):
            yield name, (Change("", False, f"is still offered by {others[0]}, and comes from there now"),)


def _task(task: documents.Task, known: Known, worker: str) -> tuple[Change, ...]:
    row = known.rows[task.name]
    return (
        *_schemas(row, task, known.odd.get(task.name, ())),
        *_options(row.worker_options, task.options),
        *_facts(row, task),
        *_origin(row, known, worker),
    )


def _schemas(row: TaskDefinition, task: documents.Task, odd: Collection[str]) -> Iterator[Change]:
    takes = "parameters" not in odd and _is_usable(Parameters.check_schema, row.parameters, task.parameters)
    gives = "returns" not in odd and _is_usable(check, row.returns, task.returns)
    if odd or not takes or not gives:
        yield UNUSABLE
    if takes:
        yield from _parameters(row.parameters, task.parameters)
    if gives:
        yield from compare_returns(row.returns, task.returns)


def _is_usable(ask: Callable[[Any], None], before: Any, after: Any) -> bool:
    """Tell whether a schema that was stored is one; what a manifest has now is."""
    if same(before, after):
        return True
    try:
        ask(before)
    except ConfigurationError:
        return False
    return True


def _parameters(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    if same(before, after):
        return ()
    return compare(before, after) or (
        Change("", False, "its parameters are described otherwise, and accept the same"),
    )


def _options(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        was, is_ = before.get(name), after.get(name)
        if not same(was, is_):
            yield Change("", False, f"option {name}: was {_shown(was)}, is {_shown(is_)}")


def _shown(value: Any) -> str:
    return "not set" if value is None else repr(value)


def _facts(row: TaskDefinition, task: documents.Task) -> Iterator[Change]:
    if task.deprecated is not None and task.deprecated != row.deprecated:
        yield Change("", False, f"is deprecated: {task.deprecated}" if task.deprecated else "is deprecated")
    if task.deprecated is None and row.deprecated is not None:
        yield Change("", False, "is no longer deprecated")
    for name in sorted(set(task.sensitive) - set(row.sensitive_parameters)):
        yield Change(name, False, "is sensitive: its values are masked from now on")
    if task.description != row.description:
        yield Change("", False, "has another description")


def _origin(row: TaskDefinition, known: Known, worker: str) -> Iterator[Change]:
    owner = known.owner(row.name)
    if row.source != TaskDefinition.Source.MANIFEST:
        yield Change("", False, f"was written by hand, and follows the manifest of {worker} now")
    elif owner != worker and row.name not in known.offers.get(owner, ()):
        yield Change("", False, f"comes from {worker} now" + (f", no longer from {owner}" if owner else ""))


def _warnings(manifest: documents.Manifest, known: Known) -> Iterator[str]:
    last = known.manifests.get(manifest.worker)
    if last and is_older(manifest.version, last.version):
        yield (
            f"This manifest is of version {manifest.version}, and that of {last.version} was imported on "
            f"{last.imported_at:%Y-%m-%d}: is it the right file?"
        )
    for name, reason in manifest.left_out.items():
        yield f"{name} is left out of the manifest, and stays as it is: {reason}"
    for task in manifest.tasks:
        for other in known.others(task.name, manifest.worker):
            row = known.rows.get(task.name)
            if row and not same(row.parameters, task.parameters):
                yield (
                    f"{task.name} is offered by {other} too, with other parameters: a message reaches either of "
                    f"them, unless their queues differ. Give the two tasks names of their own."
                )
