"""What a user says of a call: its arguments, as fields made from the task's schema or as JSON, and its options."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from django import forms
from django.forms.utils import ErrorDict
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from dispatch import outbox
from dispatch.admin import widgets
from dispatch.admin.schema_fields import AnyField, Picked
from dispatch.admin.schema_form import MOST_PARTS, SchemaForm
from dispatch.admin.widgets import IgnoreResult
from dispatch.conf import conf
from dispatch.core.call import STORED, Call
from dispatch.core.codecs import COMPRESSIONS
from dispatch.core.json_values import escape
from dispatch.core.routing import HIGHEST_PRIORITY
from dispatch.core.seconds import MOST
from dispatch.exceptions import InvalidArguments, NoDestination, SendError
from dispatch.models import OutboxMessage
from dispatch.registry import Snapshot, Task

#: Options that may hold what is as sensitive as arguments are.
PRIVATE = ("headers", "stamps", "link", "link_error")
#: Options without a field of their own.
FURTHER = ("shadow", "reply_to", "delivery_mode", "deliver_eta", *PRIVATE)


@dataclass(frozen=True, slots=True)
class Repeated:
    """What is taken over from a message that is sent again; ``kept`` and ``kept_options`` are not shown."""

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    kept_options: dict[str, Any] = field(default_factory=dict)


#: Of a call that repeats none.
NOTHING = Repeated()


def repeated(message: OutboxMessage, task: Task, *, may_view: bool) -> Repeated:
    """Return what a message holds, without showing what is sensitive to those who may not view it.

    What the task's definition says by itself is left to it, and moments are past. Raises UnreadableMessage.
    """
    call = outbox.call_of(message)
    options = {name: getattr(call, name) for name in (*STORED, *call.target.asked(), *PRIVATE)}
    options = {
        name: each for name, each in options.items() if each is not None and each != task.options.get(name)
    }
    kept_options = {} if may_view else {name: options.pop(name) for name in PRIVATE if name in options}
    args, kwargs, names = list(call.args or ()), dict(call.kwargs or {}), task.parameters.positional
    if len(args) > len(names):  # they have no names
        shown = (args, kwargs) if may_view or not task.sensitive else ([], {})
        return Repeated(*shown, options, {}, kept_options)
    named = dict(zip(names, args, strict=False)) | kwargs
    kept = {} if may_view else {name: named.pop(name) for name in [*named] if name in task.sensitive}
    return Repeated([], named, options, kept, kept_options)


def _seconds(label: Any, help_text: Any) -> forms.FloatField:
    return forms.FloatField(label=label, help_text=help_text, required=False, min_value=0, max_value=MOST)


class JSONArguments(forms.Form):
    """The arguments as JSON, for a task without a schema and for what fields cannot say."""

    args = AnyField(
        kind=list,
        label=_("By position"),
        required=False,
        empty=[],
        help_text=_("A JSON array. Empty: none is given by position."),
    )
    kwargs = AnyField(
        kind=dict,
        label=_("By name"),
        required=False,
        empty={},
        help_text=_("A JSON object, with the names of the arguments as keys. Empty: none is given by name."),
    )

    @property
    def has_errors(self) -> bool:
        """Whether something is marked as wrong."""
        return bool(self.errors)

    def add_misfit(self, pointer: str, message: str) -> None:
        """Show an error beside the field that a pointer leads into."""
        self.add_error("args" if pointer.startswith("/args") else "kwargs", message)


class OptionsForm(forms.Form):
    """The options of a call. What is left empty is left to the task's definition and the routes."""

    queue = forms.ChoiceField(label=_("Queue"), required=False)
    exchange = forms.ChoiceField(label=_("Exchange"), required=False)
    routing_key = forms.CharField(label=_("Routing key"), required=False, help_text=_("Of the exchange."))
    priority = forms.IntegerField(
        label=_("Priority"),
        required=False,
        min_value=0,
        max_value=HIGHEST_PRIORITY,
        help_text=_("The higher, the more urgent, on every broker: up to 9 on Redis."),
    )
    countdown = _seconds(_("Countdown"), _("Seconds that the message waits in the outbox."))
    eta = forms.DateTimeField(
        label=_("Not before"),
        required=False,
        widget=Picked("datetime-local", step=1),
        help_text=_("In place of a countdown."),
    )
    expires = _seconds(_("Expires after"), _("Seconds after which it is not run any more."))
    soft_time_limit = _seconds(_("Soft time limit"), _("Seconds after which the task is told to stop."))
    time_limit = _seconds(_("Time limit"), _("Seconds after which the task is killed."))
    ignore_result = forms.NullBooleanField(label=_("Ignore result"), required=False, widget=IgnoreResult)
    serializer = forms.ChoiceField(label=_("Serializer"), required=False)
    compression = forms.ChoiceField(label=_("Compression"), required=False)
    further = AnyField(
        kind=dict,
        label=_("Further options"),
        required=False,
        empty={},
        help_text=_("A JSON object with any of: %s.") % ", ".join(FURTHER),
    )

    def __init__(
        self,
        snapshot: Snapshot,
        data: QueryDict | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        named = {name: each for name, each in options.items() if name not in FURTHER}
        further = {name: each for name, each in options.items() if name in FURTHER}
        shown = named | ({"further": AnyField().show(further)} if further else {})
        super().__init__(data, initial=shown, use_required_attribute=False)
        for name, known in (
            ("queue", sorted(snapshot.table.queues)),
            ("exchange", sorted(snapshot.table.exchanges)),
            ("serializer", conf.SERIALIZERS),
            ("compression", COMPRESSIONS),
        ):
            self._offer(name, known)

    def _offer(self, name: str, known: Iterable[str]) -> None:
        """Offer the known names, and what the message that is sent again had."""
        names = dict.fromkeys([*known, *filter(None, [self.initial.get(name)])])
        offered: Any = self.fields[name]
        offered.choices = [("", "—"), *((each, each) for each in names)]

    def clean_further(self) -> dict[str, Any]:
        further: dict[str, Any] = self.cleaned_data["further"]
        for name in further:
            if name not in FURTHER:
                text = _("There is no further option %(name)s%(close)s.")
                close = widgets.suggestion(name, FURTHER)
                raise forms.ValidationError(text, params={"name": repr(name), "close": close})
        return further

    @property
    def is_open(self) -> bool:
        """Whether something was given, or is wrong, so that it must be seen."""
        return bool(self.errors) or any(field.value() not in (None, "") for field in self)

    def options(self) -> dict[str, Any]:
        """Return the options that were given."""
        given = {name: each for name, each in self.cleaned_data.items() if each not in (None, "", {})}
        further: dict[str, Any] = given.pop("further", {})
        return given | further


class SendForm:
    """Arguments and options of one call of a task, from what was posted or from the message that is sent again."""

    def __init__(
        self, task: Task, snapshot: Snapshot, repeated: Repeated, data: QueryDict | None = None
    ) -> None:
        self.task, self.snapshot, self.repeated = task, snapshot, repeated
        self.options = OptionsForm(snapshot, data, repeated.options)
        is_json = bool(repeated.args) or not self.has_fields if data is None else "kwargs" in data
        self._show(repeated.args, repeated.kwargs, is_json, data)

    def _show(self, args: list[Any], kwargs: dict[str, Any], is_json: bool, data: QueryDict | None) -> None:
        if is_json:
            shown = {
                name: AnyField().show(each) for name, each in (("args", args), ("kwargs", kwargs)) if each
            }
            self.arguments: JSONArguments | SchemaForm = JSONArguments(data, initial=shown)
        else:
            self.arguments = SchemaForm(
                self.task.parameters.schema,
                "/kwargs",
                data,
                kwargs,
                secret=self.task.sensitive,
                optional=frozenset(self.repeated.kept),
            )

    @property
    def has_fields(self) -> bool:
        """Whether the task's schema says enough, and not too much, for a form."""
        parameters = self.task.parameters
        return len(parameters.names) <= MOST_PARTS and (bool(parameters.names) or not parameters.is_open)

    @property
    def is_json(self) -> bool:
        """Whether the arguments are written as JSON."""
        return isinstance(self.arguments, JSONArguments)

    @property
    def has_errors(self) -> bool:
        """Whether something is marked as wrong."""
        return self.arguments.has_errors or bool(self.options.errors)

    def draft(self) -> SendForm:
        """Return the form as it is, without errors: nothing was asked of it yet."""
        forms: tuple[Any, ...] = (self.arguments, self.options)
        for form in forms:
            form._errors, form.cleaned_data = ErrorDict(), {}
        return self

    def switched(self) -> SendForm:
        """Return the form with its arguments written the other way, or with what is wrong with them."""
        found = self.arguments.errors.as_data().values()
        if any(error.code != "required" for errors in found for error in errors):
            return self
        args, kwargs = self._given()
        names = self.task.parameters.positional
        if len(args) > len(names):
            text = ngettext(
                "Only %(count)d argument has a name, and so a field.",
                "Only %(count)d arguments have names, and so fields.",
                len(names),
            )
            self.arguments.add_error("args", text % {"count": len(names)})
            return self
        self._show([], dict(zip(names, args, strict=False)) | kwargs, not self.is_json, None)
        return self.draft()

    def is_valid(self) -> bool:
        """Tell whether all can be read; what is wrong otherwise is shown beside it."""
        return all([self.arguments.is_valid(), self.options.is_valid()])

    def call(self, task_id: uuid.UUID) -> Call:
        """Return the call; raises InvalidOption."""
        args, kwargs = self._given()
        by_position = self.task.parameters.positional[: len(args)]
        kwargs = {name: each for name, each in self.repeated.kept.items() if name not in by_position} | kwargs
        if not self.is_json:
            args, kwargs = self.task.parameters.placed(kwargs)
        options = self.repeated.kept_options | self.options.options()
        return Call(self.task.name, args, kwargs, task_id=task_id, **options)

    def add_error(self, error: SendError) -> None:
        """Show why it cannot be sent beside the field that is concerned."""
        if isinstance(error, InvalidArguments):
            self._add_misfit(error)
        elif isinstance(error, NoDestination):
            given = [name for name in ("queue", "exchange") if self.options.cleaned_data.get(name)]
            self.options.add_error(given[0] if given else None, str(error))
        else:
            self.options.add_error(None, str(error))

    def _add_misfit(self, error: InvalidArguments) -> None:
        _, root, *steps = error.pointer.split("/") if error.pointer else ("", "kwargs")
        if root not in ("args", "kwargs"):
            return self.options.add_error("further", str(error))
        if root == "args" and not self.is_json:
            steps[0] = escape(self.task.parameters.positional[int(steps[0])])
            root = "kwargs"
        return self.arguments.add_misfit("/".join(["", root, *steps]), str(error))

    def _given(self) -> tuple[Sequence[Any], dict[str, Any]]:
        if isinstance(self.arguments, SchemaForm):
            return [], self.arguments.value()
        return self.arguments.cleaned_data["args"], self.arguments.cleaned_data["kwargs"]
