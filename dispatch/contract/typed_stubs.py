"""Typed senders: the module of Python that ``dispatch stubs`` writes from the registry or from a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from dispatch.contract.odd_rows import empty_definition
from dispatch.core.manifest import Task
from dispatch.core.python_source import layout
from dispatch.core.python_source.names import Names, class_name, identifier
from dispatch.core.python_source.signatures import Argument, Signature, signature
from dispatch.core.python_source.types import Annotations, Document, joined, quoted
from dispatch.core.redaction import shorten
from dispatch.core.schema.parameters import Parameters
from dispatch.core.schema.validation import check
from dispatch.exceptions import ConfigurationError
from dispatch.models import TaskDefinition

LONGEST_DEFAULT = 30
ALWAYS = {"annotations", "Final", "sender"}
HEADER = '''\
# Written by `manage.py dispatch stubs`: do not edit, run it again when a worker has changed.
# fmt: off
# mypy: disable-error-code="empty-body"
# pyright: reportArgumentType=false, reportReturnType=false
"""The tasks that the workers offer, each to be called with its own arguments.

A call sends the task and returns its message, whose `result(message).get()` is what the
function returns. What is left out is not sent: the worker's default holds. `task.call(…)`
makes a Call for `send_many`, `await task.asend(…)` sends from async code, and
`task.with_options(countdown=60)(…)` takes the options of `send_task`.
"""
'''


def registered() -> list[Task]:
    """Return what the registry has, without retired tasks: sending those is refused.

    Raises ConfigurationError for a task made by hand whose parameters or return value are no JSON Schema.
    """
    rows = TaskDefinition.objects.filter(retired_at=None).order_by("name")
    return [_task(row) for row in rows]


def module(offers: Iterable[Task]) -> str:
    """Return the text of the module. Equal tasks give equal texts, whatever their order."""
    tasks = {task.name: task for task in sorted(offers, key=attrgetter("name"))}
    names = Names(layout.IMPORTED)
    functions = names.claim_short(tasks)
    constants = {name: _constant(short, names) for name, short in functions.items()}
    owners = {name: Document(class_name(functions[name]), task.parameters) for name, task in tasks.items()}
    results = {
        name: Document(class_name(f"{functions[name]}_result"), task.returns) for name, task in tasks.items()
    }
    types = Annotations(names, [*owners.values(), *results.values()])
    stubs = [
        _Stub.make(tasks[name], functions[name], constants[name], owners[name], results[name], types)
        for name in tasks
    ]
    parts = [
        "".join(f"{constants[name]}: Final = {quoted(name)}\n" for name in tasks),
        *layout.types(types.definitions.values()),
        *(stub.text() for stub in stubs),
    ]
    return "\n".join([HEADER, _imports(stubs, types), "\n\n".join(filter(None, parts))])


def _constant(function: str, names: Names) -> str:
    name = identifier(function.upper().strip("_"))
    return names.claim(name, f"{name}_TASK")


def _task(row: TaskDefinition) -> Task:
    try:
        Parameters.check_schema(row.parameters)
        check(row.returns)
        if empty_definition(row):
            raise ConfigurationError("It was written past its form: correct it in the admin.")
    except ConfigurationError as error:
        raise ConfigurationError(f"No stub can be written for {row.name!r}: {error}") from None
    return Task(
        row.name,
        row.description,
        row.parameters,
        row.returns,
        row.worker_options,
        row.deprecated,
        tuple(row.sensitive_parameters),
    )


def _imports(stubs: Iterable[_Stub], types: Annotations) -> str:
    used = layout.identifiers(text for stub in stubs for text in [*stub.types.values(), stub.returns])
    for each in types.definitions.values():
        used |= layout.identifiers(each.expressions) | {"TypedDict" if each.fields else "TypeAlias"}
        used |= {"NotRequired"} if any(not key.required for key in each.fields) else set()
    if any(stub.task.deprecated is not None for stub in stubs):
        used.add("deprecated")
    return layout.imports(used | ALWAYS)


@dataclass(frozen=True, slots=True)
class _Stub:
    """One function of the module: a task's signature in Python."""

    task: Task
    name: str
    constant: str
    signature: Signature
    types: Mapping[str, str]  # by the names of the parameters
    returns: str
    shown: Mapping[str, str]  # the defaults that the signature shows; the docstring tells the others

    @classmethod
    def make(
        cls, task: Task, name: str, constant: str, owner: Document, result: Document, types: Annotations
    ) -> _Stub:
        """Write the types of the task's parameters and of what it returns."""
        found = signature(owner.schema)
        rest = [each for each in (found.variadic, found.further) if each]
        members = {
            each.name: types.members(each.schema, owner, each.key) for each in (*found.arguments, *rest)
        }
        shown = {
            each.name: _literal(each.default)
            for each in found.arguments
            if _has_default(task, each) and types.accepts(members[each.name], each.default)
        }
        return cls(
            task,
            name,
            constant,
            found,
            types={key: joined(value) for key, value in members.items()},
            returns=types.returned(result),
            shown={key: text for key, text in shown.items() if len(text) <= LONGEST_DEFAULT},
        )

    def text(self) -> str:
        """Return the function with its decorators."""
        renamed = ", ".join(f"{quoted(name)}: {quoted(key)}" for name, key in self.signature.renamed.items())
        decorators = [f"@sender({self.constant}{f', renamed={{{renamed}}}' if renamed else ''})\n"]
        if self.task.deprecated is not None:
            decorators.append(
                f"@deprecated({quoted(self.task.deprecated or 'its worker gives no reason')})\n"
            )
        first = layout.header(self.name, list(self._parameters()), self.returns)
        text = self.task.description.strip() or f"Send {self.task.name}."
        return "".join([*decorators, first, layout.docstring(text, self._notes())])

    def _parameters(self) -> Iterator[str]:
        found = self.signature
        yield from map(self._parameter, found.positional_only)
        if found.positional_only:
            yield "/"
        yield from map(self._parameter, found.positional)
        if found.variadic:
            yield f"*{found.variadic.name}: {self.types[found.variadic.name]}"
        elif found.keyword_only:
            yield "*"
        yield from map(self._parameter, found.keyword_only)
        if found.further:
            yield f"**{found.further.name}: {self.types[found.further.name]}"

    def _parameter(self, argument: Argument) -> str:
        annotated = f"{argument.name}: {self.types[argument.name]}"
        return annotated if argument.required else f"{annotated} = {self.shown.get(argument.name, '...')}"

    def _notes(self) -> Iterator[str]:
        for each in self.signature.arguments:
            is_told = _has_default(self.task, each) and each.name not in self.shown
            default = f"Default: {shorten(_as_json(each.default))}" if is_told else ""
            if text := " ".join(filter(None, [each.description, default])):
                yield f"{each.name}: {text}"


def _has_default(task: Task, argument: Argument) -> bool:
    """Tell whether there is a default to be shown; that of a sensitive parameter is none of the readers' business."""
    return argument.has_default and argument.key not in task.sensitive


def _literal(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
