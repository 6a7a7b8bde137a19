"""The worker's manifest, and every other document with a checksum: read, written, checked.

The format is described in ``docs/reference/manifest.md``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatch.core.message import represent
from dispatch.core.schema import Parameters
from dispatch.exceptions import ConfigurationError, InvalidManifest

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the worker offers it; ``parameters`` is a JSON Schema of the call's keyword form."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    sensitive: tuple[str, ...]
    ignore_result: bool | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one worker offers: its tasks, and the queues that it in fact consumes."""

    worker: str
    version: str
    queues: tuple[str, ...]
    tasks: tuple[Task, ...]
    checksum: str


def checksum(document: Mapping[str, Any]) -> str:
    """Return ``sha256:…`` over the canonical JSON of a document, its own ``checksum`` left out."""
    body = {key: value for key, value in document.items() if key != "checksum"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sealed(document: Mapping[str, Any]) -> str:
    """Return the document as readable JSON with its checksum as the last key."""
    body = {key: value for key, value in document.items() if key != "checksum"}
    return json.dumps({**body, "checksum": checksum(body)}, indent=2, ensure_ascii=False) + "\n"


def read(text: str) -> Manifest:
    """Return the manifest that a JSON text holds.

    Raises InvalidManifest, which names what is wrong and what to do.
    """
    document = _document(text)
    if document.get("manifest") != FORMAT:
        raise InvalidManifest(
            f"This is not a manifest of format {FORMAT}, but {document.get('manifest')!r}: "
            f"write it with `celery -A worker manifest`, and update the older side."
        )
    if document.get("checksum") != _checksum(document):
        raise InvalidManifest(
            "The manifest's checksum does not fit its content: it was edited or cut; export it anew."
        )
    tasks = document.get("tasks")
    if not isinstance(tasks, list):
        raise InvalidManifest("The manifest has no list of tasks: export it anew.")
    return Manifest(
        worker=str(document.get("worker", "")),
        version=str(document.get("version", "")),
        queues=_names(document, "queues", "The manifest"),
        tasks=_tasks(tasks),
        checksum=document["checksum"],
    )


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"The manifest is not JSON: {error}. Export it anew.") from None
    if not isinstance(document, dict):
        raise InvalidManifest(
            f"The manifest must be a JSON object, not {represent(document)[:40]}. Export it anew."
        )
    return document


def _checksum(document: Mapping[str, Any]) -> str:
    try:
        return checksum(document)
    except UnicodeEncodeError:
        raise InvalidManifest("The manifest holds half of a character pair: export it anew.") from None


def _names(entry: Mapping[str, Any], key: str, whose: str) -> tuple[str, ...]:
    names = entry.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidManifest(f"{whose}: {key!r} must be a list of names, not {represent(names)[:40]}.")
    return tuple(names)


def _tasks(entries: list[Any]) -> tuple[Task, ...]:
    tasks = {}
    for task in map(_task, entries):
        if task.name in tasks:
            raise InvalidManifest(f"The manifest holds {task.name!r} twice: export it anew.")
        tasks[task.name] = task
    return tuple(tasks.values())


def _task(entry: Any) -> Task:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise InvalidManifest(f"A task of the manifest has no name: {represent(entry)[:80]}. Export it anew.")
    parameters = entry.get("parameters", {})
    try:
        Parameters.check_schema(parameters)
    except ConfigurationError as error:
        raise InvalidManifest(f"Task {entry['name']!r}: {error}") from None
    options = entry.get("options") or {}
    if not isinstance(options, dict):
        raise InvalidManifest(f"Task {entry['name']!r}: its options are no JSON object. Export it anew.")
    return Task(
        name=entry["name"],
        description=str(entry.get("description") or ""),
        parameters=parameters,
        sensitive=_names(entry, "sensitive", f"Task {entry['name']!r}"),
        ignore_result=options.get("ignore_result"),
    )
