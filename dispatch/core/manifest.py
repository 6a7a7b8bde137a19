"""The worker's manifest, and every other document with a checksum: read, written, checked.

The format is described in ``docs/reference/manifest.md``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from dispatch.core.json_values import plain
from dispatch.core.message import represent
from dispatch.core.schema.parameters import Parameters
from dispatch.core.schema.validation import check
from dispatch.core.seconds import EXPECTED, TIMES, is_seconds
from dispatch.exceptions import ConfigurationError, InvalidArguments, InvalidManifest

FORMAT = 1
#: Characters of a manifest, and tasks in it; real ones are far below.
LONGEST, MOST_TASKS = 16 * 1024 * 1024, 10_000
#: Options by which a task says itself where it goes.
PLACE = ("queue", "exchange", "routing_key")
#: What the options of a task hold, by Celery's names; others are kept and shown as they are.
OPTIONS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "compression": ((str,), "a text"),
    "ignore_result": ((bool,), "true or false"),
    "priority": ((int,), "a whole number"),
    "rate_limit": ((str, int, float), "a text such as 10/m, or a number"),
    "serializer": ((str,), "a text"),
}
#: As long as the columns that hold them.
LENGTHS = {"worker": 200, "version": 64, "name": 255}


@dataclass(frozen=True, slots=True)
class ConsumedQueue:
    """A queue that a worker consumes, with the arguments it declares it with."""

    name: str
    durable: bool
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the worker offers it.

    ``parameters`` is a JSON Schema of the call's keyword form, ``returns`` one of the return value (empty where the
    worker does not say). ``options`` are those that the task sets itself. ``deprecated`` is the reason not to send it
    any more ("" where none is given), None for a task that may be sent.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    returns: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    deprecated: str | None = None
    sensitive: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one worker offers: its tasks, and the queues that it in fact consumes.

    ``left_out`` are the tasks that it has and cannot describe, with the reason.
    """

    worker: str
    version: str
    queues: tuple[ConsumedQueue, ...]
    tasks: tuple[Task, ...]
    checksum: str
    left_out: Mapping[str, str] = field(default_factory=dict)


def checksum(document: Mapping[str, Any]) -> str:
    """Return ``sha256:…`` over the canonical JSON of a document, its own ``checksum`` left out."""
    body = {key: value for key, value in document.items() if key != "checksum"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sealed(document: Mapping[str, Any]) -> str:
    """Return the document as readable JSON with its checksum as the last key."""
    body = {key: value for key, value in document.items() if key != "checksum"}
    return json.dumps({**body, "checksum": checksum(body)}, indent=2, ensure_ascii=False) + "\n"


def steady(value: Any) -> Any:
    """Return a JSON value with large floats as whole numbers: PostgreSQL gives them back so, others as written."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items()}
    if isinstance(value, list):
        return [steady(item) for item in value]
    is_large = isinstance(value, float) and abs(value) >= 1e16 and value.is_integer()
    return int(Decimal(repr(value))) if is_large else value


def read(text: str) -> Manifest:
    """Return the manifest that a JSON text holds.

    Raises InvalidManifest, which names what is wrong and what to do.
    """
    if len(text) > LONGEST:
        raise InvalidManifest(
            f"The manifest has {len(text):,} characters, and {LONGEST:,} are the most: is it the right file?"
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"The manifest is not JSON: {error}. Export it anew.") from None
    return from_document(document)


def from_document(document: Any) -> Manifest:
    """Return the manifest that a JSON document holds; keys that this version does not know are ignored.

    Raises InvalidManifest, which names what is wrong and what to do.
    """
    _check(document)
    document = steady(document)
    tasks = document.get("tasks")
    if not isinstance(tasks, list) or len(tasks) > MOST_TASKS:
        raise InvalidManifest(f"The manifest has no list of at most {MOST_TASKS:,} tasks: export it anew.")
    worker = _text(document, "worker", "The manifest")
    if not worker:
        raise InvalidManifest("The manifest names no worker: give the Celery app a name, and export it anew.")
    return Manifest(
        worker=worker,
        version=_text(document, "version", "The manifest") or "",
        queues=consumed_queues(document.get("queues")),
        tasks=_tasks(tasks),
        checksum=document["checksum"],
        left_out=_left_out(document.get("left_out", [])),
    )


def _check(document: Any) -> None:
    if not isinstance(document, dict):
        raise InvalidManifest(
            f"The manifest must be a JSON object, not {represent(document)[:40]}. Export it anew."
        )
    if document.get("manifest") != FORMAT:
        raise InvalidManifest(
            f"This is not a manifest of format {FORMAT}, but {represent(document.get('manifest'))[:40]}: "
            f"write it with `celery -A worker manifest`, and update the older side."
        )
    try:
        plain(document)
    except InvalidArguments as error:  # what no database would store
        raise InvalidManifest(f"The manifest cannot be used: {error} Export it anew.") from None
    if document.get("checksum") != checksum(document):
        raise InvalidManifest(
            "The manifest's checksum does not fit its content: it was edited or cut; export it anew."
        )


def _text(entry: Mapping[str, Any], key: str, whose: str) -> str | None:
    value = entry.get(key)
    if value is None:
        return None
    most = LENGTHS.get(key)
    if not isinstance(value, str) or (most and len(value) > most):
        wanted = f"a text of at most {most} characters" if most else "a text"
        raise InvalidManifest(f"{whose}: {key!r} must be {wanted}, not {represent(value)[:80]}.")
    return value


def _object(entry: Mapping[str, Any], key: str, whose: str) -> dict[str, Any]:
    value = entry.get(key, {})
    if not isinstance(value, dict):
        raise InvalidManifest(f"{whose}: {key!r} must be a JSON object, not {represent(value)[:40]}.")
    return value


def _names(entry: Mapping[str, Any], key: str, whose: str) -> tuple[str, ...]:
    names = entry.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidManifest(f"{whose}: {key!r} must be a list of names, not {represent(names)[:40]}.")
    return tuple(names)


def consumed_queues(entries: Any) -> tuple[ConsumedQueue, ...]:
    """Return the queues of a manifest, sorted by name. Raises InvalidManifest."""
    _check_named(entries, "queues")
    queues = {
        entry["name"]: ConsumedQueue(
            entry["name"],
            entry.get("durable") is not False,
            _object(entry, "arguments", f"Queue {entry['name']!r}"),
        )
        for entry in entries
    }
    if len(queues) < len(entries):
        raise InvalidManifest("The manifest holds a queue twice: export it anew.")
    return tuple(queues[name] for name in sorted(queues))


def _tasks(entries: list[Any]) -> tuple[Task, ...]:
    tasks = {}
    for task in map(_task, entries):
        if task.name in tasks:
            raise InvalidManifest(f"The manifest holds {task.name!r} twice: export it anew.")
        tasks[task.name] = task
    return tuple(tasks.values())


def _left_out(entries: Any) -> dict[str, str]:
    _check_named(entries, "left_out")
    return {entry["name"]: _text(entry, "reason", "'left_out'") or "" for entry in entries}


def _task(entry: Any) -> Task:
    if not _is_named(entry):
        raise InvalidManifest(f"A task of the manifest has no name: {represent(entry)[:80]}. Export it anew.")
    whose = f"Task {represent(entry['name'])[:80]}"
    if any(character.isspace() for character in entry["name"]):
        raise InvalidManifest(f"{whose}: a task's name holds no spaces.")
    return Task(
        name=_text(entry, "name", whose) or "",
        description=_text(entry, "description", whose) or "",
        parameters=_schema(Parameters.check_schema, _object(entry, "parameters", whose), whose),
        returns=_schema(check, _object(entry, "returns", whose), f"{whose}, 'returns'"),
        options=check_options(entry.get("options", {}), whose),
        deprecated=_text(entry, "deprecated", whose),
        sensitive=_names(entry, "sensitive", whose),
    )


def check_options(options: Any, whose: str) -> dict[str, Any]:
    """Return the options of a task. Raises InvalidManifest for values that they cannot have."""
    found = _object({"options": options}, "options", whose)
    for key in PLACE:
        _text(found, key, f"{whose}, 'options'")
    for name, (kinds, wanted) in OPTIONS.items():
        if found.get(name) is not None and type(found[name]) not in kinds:
            raise _bad_option(whose, name, wanted, found[name])
    for name in TIMES:
        if found.get(name) is not None and not is_seconds(found[name]):
            raise _bad_option(whose, name, EXPECTED, found[name])
    return found


def _bad_option(whose: str, name: str, wanted: str, value: Any) -> InvalidManifest:
    return InvalidManifest(f"{whose}: option {name!r} must be {wanted}, not {represent(value)[:40]}.")


def _check_named(entries: Any, key: str) -> None:
    if not isinstance(entries, list) or not all(map(_is_named, entries)):
        raise InvalidManifest(
            f"The manifest: {key!r} must be a list of objects that each have a name, not "
            f"{represent(entries)[:80]}. Export it anew."
        )


def _is_named(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str) and bool(entry["name"])


def _schema(judge: Callable[[dict[str, Any]], None], schema: dict[str, Any], whose: str) -> dict[str, Any]:
    try:
        judge(schema)
    except ConfigurationError as error:
        raise InvalidManifest(f"{whose}: {error}") from None
    return schema
