"""What the operator and the worker say of tasks: routes, task definitions, and imported manifests."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, Value
from django.utils.translation import gettext_lazy as _

from dispatch.conf import conf
from dispatch.core import route_patterns, routing
from dispatch.core.codecs import COMPRESSIONS, absence
from dispatch.core.schema.parameters import Parameters
from dispatch.core.schema.patterns import check_patterns
from dispatch.exceptions import ConfigurationError
from dispatch.models.database import ReadableJSON, SecondsField
from dispatch.models.registry_version import PRIORITY_HELP, RegistryModel, priority_constraint, priority_field
from dispatch.models.topology import Exchange, Queue


class WithTarget(RegistryModel):
    """A level of the routing precedence: a queue, or an exchange and a routing key, and a priority."""

    queue = models.ForeignKey(
        Queue, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("queue")
    )
    exchange = models.ForeignKey(
        Exchange, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("exchange")
    )
    routing_key = models.CharField(_("routing key"), max_length=255, blank=True)
    priority = priority_field(_("priority"), PRIORITY_HELP)

    class Meta(RegistryModel.Meta):
        abstract = True

    @classmethod
    def target_constraints(cls, prefix: str) -> tuple[models.BaseConstraint, ...]:
        """Return the constraints each model with a target needs, under names of its own."""
        return (
            models.CheckConstraint(
                condition=Q(queue=None) | Q(exchange=None), name=f"{prefix}_queue_or_exchange"
            ),
            priority_constraint("priority", f"{prefix}_priority"),
        )

    def clean(self) -> None:
        super().clean()
        if self.queue_id and self.exchange_id:
            raise ValidationError({"exchange": _("Choose a queue or an exchange, not both.")})
        if self.routing_key and not self.exchange_id:
            raise ValidationError({"routing_key": _("A routing key needs an exchange to be published to.")})

    def target(self) -> routing.Target:
        return routing.Target(
            queue=self.queue.name if self.queue else None,
            exchange=self.exchange.name if self.exchange else None,
            routing_key=self.routing_key if self.exchange else None,
            priority=self.priority,
        )


class Route(WithTarget):
    """Tasks whose name matches go there; the first route that matches wins."""

    NATURAL_KEY = ("pattern", "kind")

    class Kind(models.TextChoices):
        EXACT = "exact", _("exact name")
        GLOB = "glob", _("glob: * stands for any text")
        REGEX = "regex", _("regular expression, from the start of the name")
        CALLABLE = "callable", _("router callable, by its dotted path")

    position = models.PositiveIntegerField(
        _("position"), default=0, help_text=_("Lower ones are tried first.")
    )
    pattern = models.CharField(_("pattern"), max_length=255, help_text=_("For example worker.tasks.llm.*"))
    kind = models.CharField(_("kind"), max_length=16, choices=Kind, default=Kind.GLOB)
    enabled = models.BooleanField(_("enabled"), default=True)

    class Meta(WithTarget.Meta):
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering = ("position", "pk")
        constraints = (
            *WithTarget.target_constraints("dispatch_route"),
            models.UniqueConstraint(fields=("pattern", "kind"), name="dispatch_route_unique"),
        )

    def __str__(self) -> str:
        return self.pattern

    def clean(self) -> None:
        super().clean()
        if self.kind == self.Kind.CALLABLE:
            self._clean_callable()
            return
        if not self.queue_id and not self.exchange_id and self.priority is None:
            raise ValidationError(_("This route decides nothing: choose a queue, an exchange or a priority."))
        try:
            if self.kind == self.Kind.REGEX:
                names = TaskDefinition.objects.values_list("name", flat=True)
                route_patterns.check(self.pattern, names)
        except ConfigurationError as error:
            raise ValidationError({"pattern": str(error)}) from None

    def _clean_callable(self) -> None:
        if self.pattern not in conf.ROUTERS:
            message = _(
                '%(path)s is not one of DISPATCH["ROUTERS"] (%(known)s): list it in the settings first.'
            )
            known = ", ".join(conf.ROUTERS) or _("none")
            raise ValidationError({"pattern": message % {"path": self.pattern, "known": known}})
        if self.queue_id or self.exchange_id or self.priority is not None:
            raise ValidationError(
                _("A router callable decides by itself: leave queue, exchange and priority empty.")
            )


class Manifest(models.Model):
    """A worker manifest as it was imported."""

    worker = models.CharField(_("worker"), max_length=200)
    version = models.CharField(_("version"), max_length=64, blank=True)
    checksum = models.CharField(_("checksum"), max_length=80)
    queues = ReadableJSON(
        _("consumed queues"),
        default=list,
        blank=True,
        help_text=_("Objects with name, durable and arguments, as the manifest has them."),
    )
    offers = ReadableJSON(_("offered tasks"), default=list, blank=True, help_text=_("Names of tasks."))
    changes = ReadableJSON(
        _("changes"),
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text=_("What its last import changed, task by task."),
    )
    imported_at = models.DateTimeField(_("imported at"), auto_now=True)

    class Meta:
        verbose_name = _("manifest")
        verbose_name_plural = _("manifests")
        permissions = (("sync_manifest", "Can sync tasks with a manifest"),)
        ordering = ("-imported_at", "-pk")
        constraints = (
            models.UniqueConstraint(fields=("worker", "checksum"), name="dispatch_manifest_unique"),
        )

    def __str__(self) -> str:
        return f"{self.worker} {self.version}"


class TaskDefinition(WithTarget):
    """A task that may be sent, under its exact Celery name."""

    #: The columns that are options of a call and fall back from call to definition.
    OPTIONS = (
        "countdown", "expires", "time_limit", "soft_time_limit", "serializer", "compression", "ignore_result",
    )  # fmt: skip

    class Source(models.TextChoices):
        MANIFEST = "manifest", _("manifest")
        HAND = "hand", _("by hand")

    name = models.CharField(
        _("name"), max_length=255, unique=True, help_text=_("The exact name the worker gave it.")
    )
    description = models.TextField(_("description"), blank=True)
    parameters = ReadableJSON(
        _("parameters"),
        default=dict,
        blank=True,
        help_text=_("JSON Schema (2020-12) of the keyword arguments. Empty: anything is accepted."),
    )
    sensitive_parameters = ReadableJSON(
        _("sensitive parameters"),
        default=list,
        blank=True,
        help_text=_("Names whose values are masked everywhere."),
    )
    countdown = SecondsField(_("countdown"), help_text=_("Seconds to wait before sending."))
    expires = SecondsField(_("expires"), help_text=_("Seconds after which it is no longer run."))
    time_limit = SecondsField(_("time limit"), help_text=_("Seconds; then it is killed."))
    soft_time_limit = SecondsField(
        _("soft time limit"), help_text=_("Seconds; then the task is asked to stop.")
    )
    serializer = models.CharField(_("serializer"), max_length=16, blank=True)
    compression = models.CharField(_("compression"), max_length=16, blank=True)
    ignore_result = models.BooleanField(
        _("ignore result"), null=True, blank=True, help_text=_("Yes: the worker stores nothing.")
    )
    enabled = models.BooleanField(_("enabled"), default=True, help_text=_("Off: sending it is refused."))
    paused = models.BooleanField(
        _("paused"), default=False, help_text=_("Messages wait in the outbox until the task is resumed.")
    )
    source = models.CharField(_("source"), max_length=16, choices=Source, default=Source.HAND, editable=False)
    manifest = models.ForeignKey(
        Manifest,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="tasks",
        verbose_name=_("manifest"),
    )
    returns = ReadableJSON(
        _("returns"),
        default=dict,
        blank=True,
        editable=False,
        help_text=_("JSON Schema of the return value. Empty: the worker does not say."),
    )
    worker_options = ReadableJSON(
        _("options of the worker"),
        default=dict,
        blank=True,
        editable=False,
        help_text=_("What the worker's code sets on the task, by Celery's names."),
    )
    deprecated = models.TextField(  # noqa: DJ001 - empty is a reason that was not given
        _("deprecated"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Why the worker wants it no longer sent; NULL where it does not say so."),
    )
    retired_at = models.DateTimeField(_("retired at"), null=True, blank=True, editable=False)
    retired_version = models.CharField(
        _("retired by version"),
        max_length=64,
        blank=True,
        editable=False,
        help_text=_("The version of the worker that no longer had it."),
    )

    class Meta(WithTarget.Meta):
        verbose_name = _("task definition")
        verbose_name_plural = _("task definitions")
        permissions = (
            ("send_taskdefinition", "Can send tasks"),
            ("pause_taskdefinition", "Can pause and resume tasks"),
        )
        ordering = ("name",)
        constraints = WithTarget.target_constraints("dispatch_task")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        try:
            Parameters.check_schema(self.parameters)
            if self.source == self.Source.HAND:  # what a worker wrote is not corrected here
                check_patterns(self.parameters)
        except ConfigurationError as error:
            raise ValidationError({"parameters": str(error)}) from None
        names = self.sensitive_parameters
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValidationError(
                {"sensitive_parameters": _('Write a list of names, for example ["token"].')}
            )
        self._clean_encoding()
        if re.search(r"\s", self.name):
            raise ValidationError({"name": _("Task names hold no spaces.")})

    def _clean_encoding(self) -> None:
        for name, known in (("serializer", conf.SERIALIZERS), ("compression", COMPRESSIONS)):
            value = getattr(self, name)
            if value and value not in known:
                message = _("%(value)s is not allowed: use one of %(known)s.")
                raise ValidationError({name: message % {"value": value, "known": ", ".join(known)}})
            if value and (lacking := absence(value)):
                raise ValidationError({name: f"{lacking}."})

    def options(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.OPTIONS}
        return {name: value for name, value in values.items() if value not in (None, "")}
