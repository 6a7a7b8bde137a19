"""What a trigger would send for an object, and why, or why not. Nothing is sent and nothing is stored.

The same code answers as when an object is saved: the trigger is asked whether it fires, makes its call, and the outbox
makes the row, which is not inserted. Whatever a function in code writes meanwhile is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import transaction
from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _

from dispatch import outbox, registry
from dispatch.core import trigger_rules
from dispatch.core.call import Call
from dispatch.core.json_values import plain, to_json
from dispatch.core.redaction import redact
from dispatch.core.routing import Destination, Request, Target
from dispatch.core.trigger_suppression import suppress_triggers
from dispatch.exceptions import ConfigurationError, InvalidArguments, SendError
from dispatch.models import OutboxMessage, Trigger
from dispatch.models.hookable_columns import find_field, find_model, to_python
from dispatch.registry.routing_explanation import KEYS, Explanation, explain
from dispatch.triggers import event_values, firing
from dispatch.triggers.code_triggers import CodeTrigger, declared
from dispatch.triggers.event_values import Event
from dispatch.triggers.firing_explanation import Check, reasons
from dispatch.triggers.trigger_index import AnyTrigger


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trigger that can be previewed: a row of the admin, switched on or not, or one in code."""

    trigger: AnyTrigger
    enabled: bool = True
    row: Trigger | None = None

    @property
    def first_event(self) -> str:
        """The first of its events."""
        return next(
            (event for event in trigger_rules.EVENTS if event in self.trigger.events), trigger_rules.CREATED
        )


@dataclass(frozen=True, slots=True)
class Body:
    """What would be sent: the arguments, sensitive ones masked, and what else is known of the message."""

    args: list[Any]
    kwargs: dict[str, Any]
    queue: str = ""
    due_in: float = 0.0
    coalesce: float | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """The answer. ``body`` is None where none could be made; ``problems`` say why it would be a dead message."""

    trigger: str
    model: str
    object_pk: str
    event: str
    fires: bool
    checks: tuple[Check, ...]
    task: str
    body: Body | None
    destination: Explanation
    problems: tuple[str, ...]


def candidates(
    name: str, model: str = "", task: str = "", event: str = "", *, using: str | None = None
) -> list[Candidate]:
    """Return the triggers of this name, in the admin and in code; several functions in code may share one."""
    rows = Trigger.objects.using(using) if using else Trigger.objects.all()
    found = [Candidate(row.spec(), row.enabled, row) for row in rows.filter(name=name)]
    found += [Candidate(each) for each in declared.values() if each.name == name]
    return [
        each
        for each in found
        if model.lower() in ("", each.trigger.model)
        and task in ("", each.trigger.task)
        and (not event or len(found) == 1 or event in each.trigger.events)
    ]


def load(trigger: AnyTrigger, pk: str, using: str | None = None) -> Model:
    """Return the object of the trigger's model; a key of several columns is a JSON list.

    Raises ConfigurationError where there is none.
    """
    try:
        model = find_model(trigger.model)
    except ValidationError as error:
        raise ConfigurationError(" ".join(error.messages)) from None
    rows = model._base_manager.using(using) if using else model._base_manager.all()
    try:
        return rows.get(pk=_key(model, pk))
    except (ObjectDoesNotExist, ValueError, TypeError, ValidationError):
        raise ConfigurationError(
            f"There is no {model._meta.label_lower} with the primary key {pk!r}."
        ) from None


def _key(model: type[Model], text: str) -> Any:
    names = [field.name for field in getattr(model._meta.pk, "fields", ())]
    if not names:
        return text
    values = _list(text)
    if len(values) != len(names):
        raise ConfigurationError(
            f"The primary key of {model._meta.label_lower} is made of {', '.join(names)}: write these as a JSON list, "
            f'for example [1, "a"], not {text!r}.'
        )
    return values


def _list(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def preview(
    found: Candidate, instance: Model, event: str, changes: Mapping[str, str] | None = None
) -> Preview:
    """Return what the trigger would do about an event of an object that is stored.

    Of an update nothing has changed, but for ``changes``: column → new value as a text, as in a condition.
    Raises ConfigurationError for a column that is not there or cannot hold the value.
    """
    using = instance._state.db or "default"
    with _undone(using, firing.database(using)), suppress_triggers():
        return _Previewing(found, _event(found.trigger, instance, event, using, changes or {})).answer()


def destination(trigger: AnyTrigger) -> tuple[Destination | None, str]:
    """Return where a trigger's messages go as things stand, or why nowhere."""
    if isinstance(trigger, CodeTrigger):
        target = Target(**{key: trigger.options.get(key) for key in KEYS})
    else:
        target = trigger.target
    try:
        return registry.current().destination(trigger.task, target), ""
    except SendError as error:
        return None, str(error)


@contextmanager
def _undone(*aliases: str) -> Iterator[None]:
    """Roll back, at the end, whatever is written inside the block."""
    with ExitStack() as stack:
        for alias in dict.fromkeys(aliases):
            stack.enter_context(transaction.atomic(using=alias))
            stack.callback(transaction.set_rollback, True, using=alias)
        yield


def _event(trigger: AnyTrigger, instance: Model, event: str, using: str, changes: Mapping[str, str]) -> Event:
    model = type(instance)
    before = (
        event_values.read(instance, [field.attname for field in model._meta.concrete_fields], using) or {}
    )
    stored = dict(before)
    for name, text in changes.items():
        try:
            field = find_field(model, name)
            stored[field.attname] = to_python(field, text)
            setattr(instance, field.attname, stored[field.attname])
        except ValidationError as error:
            raise ConfigurationError(f"{name}: {' '.join(error.messages)}") from None
    names = [field.name for field in model._meta.many_to_many]
    relation = next(iter(trigger.relations or names), "") if event in trigger_rules.M2M_EVENTS else ""
    related = getattr(instance, relation).using(using).values_list("pk", flat=True) if relation else ()
    return Event(
        instance=instance,
        event=event,
        using=using,
        before=before,
        relation=relation,
        related=list(related),
        stored=stored,
    )


class _Previewing:
    """One preview in the making."""

    def __init__(self, found: Candidate, seen: Event) -> None:
        self.found, self.trigger, self.seen = found, found.trigger, seen
        self.snapshot = registry.current()
        self.problems: list[str] = []
        self.could_not_ask = bool(getattr(self.trigger, "problem", ""))

    def answer(self) -> Preview:
        fires = self._fires()
        call = self._call(fires)
        return Preview(
            trigger=self.trigger.name,
            model=self.trigger.model,
            object_pk=str(self.seen.instance.pk),
            event=self.seen.event,
            fires=fires and self.found.enabled,
            checks=self._checks(),
            task=self.trigger.task,
            body=self._body(call) if call else None,
            destination=self._explain(call),
            problems=tuple(dict.fromkeys(self.problems)),
        )

    def _fires(self) -> bool:
        if self.could_not_ask:
            self.problems.append(str(getattr(self.trigger, "problem", "")))
            return False
        try:
            with transaction.atomic(using=self.seen.using):
                return self.trigger.fires(self.seen)
        except Exception as error:  # noqa: BLE001 - a trigger in code may raise anything
            self._tell(error)
            self.could_not_ask = True
            return False

    def _call(self, fires: bool) -> Call | None:
        """Return the call, of a trigger in the admin even where it does not fire: its arguments are plain data."""
        if self.problems or (isinstance(self.trigger, CodeTrigger) and not fires):
            return None
        try:
            with transaction.atomic(using=self.seen.using):
                return firing.make_call(self.trigger, self.seen, self.snapshot)
        except Exception as error:  # noqa: BLE001 - likewise
            self._tell(error)
            return None

    def _body(self, call: Call) -> Body | None:
        source = firing.origin(self.trigger, self.seen)
        now = timezone.now()
        try:
            row = outbox.draft(call, source, self.snapshot, now).row
        except Exception as error:  # noqa: BLE001 - as firing does
            self._tell(error)
            return self._unsent(call)
        due_in = (row.available_at - now).total_seconds()
        return Body(*self._masked(row), row.queue, max(due_in, 0.0), self.trigger.coalesce)

    def _unsent(self, call: Call) -> Body | None:
        """Return the arguments that do not fit, where they are data that can be shown at all."""
        try:
            args, kwargs = plain(list(call.args or ())), plain(dict(call.kwargs or {}))
        except InvalidArguments:
            return None
        row = OutboxMessage(task_name=call.name, args=to_json(args), kwargs=to_json(kwargs))
        return Body(*self._masked(row)) if call.name in self.snapshot.tasks else None

    def _masked(self, row: OutboxMessage) -> tuple[list[Any], dict[str, Any]]:
        return self.snapshot.tasks[row.task_name].masked(row.args, row.kwargs)

    def _explain(self, call: Call | None) -> Explanation:
        name = self.trigger.task
        if call is None:
            return explain(self.snapshot, name)
        request = Request(name, list(call.args or ()), dict(call.kwargs or {}), call.options())
        return explain(self.snapshot, name, call.target, request)

    def _tell(self, error: Exception) -> None:
        kind = "" if isinstance(error, ConfigurationError) else f"{type(error).__name__}: "
        self.problems.append(redact(f"{kind}{error}"))

    def _checks(self) -> tuple[Check, ...]:
        off = Check(_("the trigger"), _("off"), _("on"), holds=False, hint=_("Enable it."))
        found = () if self.found.enabled else (off,)
        if self.could_not_ask:
            return found
        try:
            return (*found, *reasons(self.trigger, self.seen))
        except Exception as error:  # noqa: BLE001 - of an event that is not its own
            self._tell(error)
            return found
