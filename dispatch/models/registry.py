"""What the operator configures: exchanges, queues, bindings, routes, task definitions, and imported manifests."""

from __future__ import annotations

import re
import uuid
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from dispatch.conf import DEFAULT_BROKER, conf
from dispatch.core import routing
from dispatch.core.schema import Parameters
from dispatch.exceptions import ConfigurationError
from dispatch.models.parts import TrueOrNull
from dispatch.signals import registry_changed

PRIORITY = MaxValueValidator(routing.HIGHEST_PRIORITY, _("Priorities go from 0 to 9, 9 most urgent."))


class RegistryVersion(models.Model):
    """One row whose token changes with every change of the registry, in the same transaction.

    The token is random rather than counted: a change that is rolled back must not share its version with the next.
    """

    token = models.UUIDField(default=uuid.uuid4)

    class Meta:
        verbose_name = _("registry version")

    def __str__(self) -> str:
        return str(self.token)

    @classmethod
    def current(cls, using: str) -> uuid.UUID | None:
        """Return the token as this connection sees it, None before the first change."""
        return cls._default_manager.using(using).values_list("token", flat=True).filter(pk=1).first()

    @classmethod
    def bump(cls, using: str) -> None:
        """Give the registry a new version on this connection."""
        rows = cls._default_manager.using(using)
        if not rows.filter(pk=1).update(token=uuid.uuid4()):
            rows.get_or_create(pk=1)
        registry_changed.send(sender=cls, using=using)


class RegistryQuerySet(models.QuerySet[Any]):
    """Bulk operations send no signals: they bump the version themselves."""

    def _bump(self) -> None:
        RegistryVersion.bump(self.db)

    def update(self, **kwargs: Any) -> int:
        rows = super().update(**kwargs)
        self._bump()
        return rows

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[Any]:
        objects = super().bulk_create(*args, **kwargs)
        self._bump()
        return objects

    update.alters_data = True  # type: ignore[attr-defined]  # Django's mark for templates
    bulk_create.alters_data = True  # type: ignore[attr-defined]


class NaturalKeyManager(models.Manager.from_queryset(RegistryQuerySet)):  # type: ignore[misc]  # built by Django at run time
    """Finds rows by their natural key, which export and fixtures use."""

    def get_by_natural_key(self, *key: Any) -> Any:
        return self.get(**dict(zip(self.model.NATURAL_KEY, key, strict=True)))


class RegistryModel(models.Model):
    """Base of every row the registry's snapshot is built from."""

    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("name",)

    objects = NaturalKeyManager()

    class Meta:
        abstract = True

    def natural_key(self) -> tuple[Any, ...]:
        values: list[Any] = []
        for path in self.NATURAL_KEY:
            value: Any = self
            for step in path.split("__"):
                value = getattr(value, step)
            values.append(value)
        return tuple(values)


class OnBroker(RegistryModel):
    """A named thing that lives on one broker."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    broker = models.CharField(
        _("broker"),
        max_length=64,
        default=DEFAULT_BROKER,
        help_text=_('A key of DISPATCH["BROKERS"] in the settings.'),
    )
    durable = models.BooleanField(
        _("durable"), default=True, help_text=_("Survives a restart of the broker.")
    )
    arguments = models.JSONField(
        _("arguments"), default=dict, blank=True, help_text=_("Further AMQP arguments, as a JSON object.")
    )

    class Meta(RegistryModel.Meta):
        abstract = True
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if not isinstance(self.arguments, dict):
            raise ValidationError(
                {"arguments": _('Write a JSON object, for example {"x-max-length": 1000}.')}
            )
        try:
            known = conf.brokers
        except ConfigurationError as error:
            raise ValidationError({"broker": str(error)}) from None
        if self.broker not in known:
            message = _("No broker %(alias)s in the settings: choose one of %(known)s.")
            raise ValidationError(
                {"broker": message % {"alias": self.broker, "known": ", ".join(sorted(known))}}
            )


class Exchange(OnBroker):
    """Where messages are published to, and from which bindings lead to queues."""

    class Type(models.TextChoices):
        DIRECT = "direct", _("direct: the key must be equal")
        TOPIC = "topic", _("topic: the key is matched by words, * and #")

    type = models.CharField(_("type"), max_length=16, choices=Type, default=Type.DIRECT)

    class Meta(OnBroker.Meta):
        verbose_name = _("exchange")
        verbose_name_plural = _("exchanges")


class Queue(OnBroker):
    """A queue that workers consume.

    Names are unique over all brokers, so that ``queue="llm"`` in code names exactly one.
    """

    class Type(models.TextChoices):
        CLASSIC = "classic", _("classic")
        QUORUM = "quorum", _("quorum (RabbitMQ, replicated)")

    queue_type = models.CharField(_("queue type"), max_length=16, choices=Type, default=Type.CLASSIC)
    max_priority = models.PositiveSmallIntegerField(
        _("highest priority"),
        null=True,
        blank=True,
        validators=[PRIORITY],
        help_text=_("RabbitMQ keeps priorities only in queues that were declared with a highest one."),
    )
    default_priority = models.PositiveSmallIntegerField(
        _("default priority"),
        null=True,
        blank=True,
        validators=[PRIORITY],
        help_text=_("For messages without one: brokers disagree on what an unset priority means."),
    )
    is_default = TrueOrNull(
        _("default queue"),
        default=False,
        help_text=_("Takes every message that no route sends elsewhere."),
        error_messages={"unique": _("Another queue is the default one: unset it there first.")},
    )
    paused = models.BooleanField(
        _("paused"), default=False, help_text=_("Messages wait in the outbox until the queue is resumed.")
    )

    class Meta(OnBroker.Meta):
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        constraints = (
            models.CheckConstraint(
                condition=Q(max_priority=None) | Q(max_priority__lte=routing.HIGHEST_PRIORITY),
                name="dispatch_queue_max_priority",
            ),
            models.CheckConstraint(
                condition=Q(default_priority=None) | Q(default_priority__lte=routing.HIGHEST_PRIORITY),
                name="dispatch_queue_default_priority",
            ),
        )

    def clean(self) -> None:
        super().clean()
        if self.queue_type == self.Type.QUORUM and self.max_priority is not None:
            raise ValidationError(
                {"max_priority": _("A quorum queue with a highest priority is refused by RabbitMQ.")}
            )
        if self.queue_type == self.Type.QUORUM and not self.durable:
            raise ValidationError({"durable": _("A quorum queue is always durable.")})

    def declared_arguments(self) -> dict[str, Any]:
        """Return the AMQP arguments the queue is declared with, here and in the worker."""
        arguments = dict(self.arguments)
        if self.queue_type == self.Type.QUORUM:
            arguments["x-queue-type"] = "quorum"
        if self.max_priority is not None:
            arguments["x-max-priority"] = self.max_priority
        return arguments


class Binding(RegistryModel):
    """Messages to the exchange with this key reach the queue."""

    NATURAL_KEY = ("queue__name", "exchange__name", "routing_key")

    queue = models.ForeignKey(Queue, models.CASCADE, related_name="bindings", verbose_name=_("queue"))
    exchange = models.ForeignKey(
        Exchange, models.CASCADE, related_name="bindings", verbose_name=_("exchange")
    )
    routing_key = models.CharField(
        _("routing key"),
        max_length=255,
        blank=True,
        help_text=_("In a topic exchange * stands for one word and # for any number of them."),
    )

    class Meta(RegistryModel.Meta):
        verbose_name = _("binding")
        verbose_name_plural = _("bindings")
        ordering = ("queue", "exchange", "routing_key")
        constraints = (
            models.UniqueConstraint(
                fields=("queue", "exchange", "routing_key"), name="dispatch_binding_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.exchange} → {self.queue} ({self.routing_key})"

    def clean(self) -> None:
        super().clean()
        if self.queue_id and self.exchange_id and self.queue.broker != self.exchange.broker:
            message = _(
                "Exchange %(exchange)s is on broker %(theirs)s, this queue on %(ours)s: they must share one."
            )
            raise ValidationError(
                message
                % {"exchange": self.exchange.name, "theirs": self.exchange.broker, "ours": self.queue.broker}
            )


class WithTarget(RegistryModel):
    """A level of the routing precedence: a queue, or an exchange and a routing key, and a priority."""

    queue = models.ForeignKey(
        Queue, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("queue")
    )
    exchange = models.ForeignKey(
        Exchange, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("exchange")
    )
    routing_key = models.CharField(_("routing key"), max_length=255, blank=True)
    priority = models.PositiveSmallIntegerField(
        _("priority"), null=True, blank=True, validators=[PRIORITY], help_text=_("0 to 9, 9 most urgent.")
    )

    class Meta(RegistryModel.Meta):
        abstract = True

    @classmethod
    def target_constraints(cls, prefix: str) -> tuple[models.BaseConstraint, ...]:
        """Return the constraints each model with a target needs, under names of its own."""
        return (
            models.CheckConstraint(
                condition=Q(queue=None) | Q(exchange=None), name=f"{prefix}_queue_or_exchange"
            ),
            models.CheckConstraint(
                condition=Q(priority=None) | Q(priority__lte=routing.HIGHEST_PRIORITY),
                name=f"{prefix}_priority",
            ),
        )

    def clean(self) -> None:
        super().clean()
        if self.queue_id and self.exchange_id:
            raise ValidationError({"exchange": _("Choose a queue or an exchange, not both.")})
        if self.routing_key and not self.exchange_id:
            raise ValidationError({"routing_key": _("A routing key needs an exchange to be published to.")})

    def target(self) -> routing.Target:
        """Return what this row asks for."""
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
        if not self.queue_id and not self.exchange_id and self.priority is None:
            raise ValidationError(_("This route decides nothing: choose a queue, an exchange or a priority."))
        try:
            routing.compile_pattern(self.kind, self.pattern)
        except ConfigurationError as error:
            raise ValidationError({"pattern": str(error)}) from None


class Manifest(models.Model):
    """A worker manifest as it was imported."""

    worker = models.CharField(_("worker"), max_length=200)
    version = models.CharField(_("version"), max_length=64, blank=True)
    checksum = models.CharField(_("checksum"), max_length=80)
    queues = models.JSONField(_("consumed queues"), default=list, blank=True)
    imported_at = models.DateTimeField(_("imported at"), auto_now=True)

    class Meta:
        verbose_name = _("manifest")
        verbose_name_plural = _("manifests")
        ordering = ("-imported_at",)
        constraints = (
            models.UniqueConstraint(fields=("worker", "checksum"), name="dispatch_manifest_unique"),
        )

    def __str__(self) -> str:
        return f"{self.worker} {self.version}"


class TaskDefinition(WithTarget):
    """A task that may be sent, under its exact Celery name."""

    class Source(models.TextChoices):
        MANIFEST = "manifest", _("manifest")
        HAND = "hand", _("by hand")

    name = models.CharField(
        _("name"), max_length=255, unique=True, help_text=_("The exact name the worker gave it.")
    )
    description = models.TextField(_("description"), blank=True)
    parameters = models.JSONField(
        _("parameters"),
        default=dict,
        blank=True,
        help_text=_("JSON Schema (2020-12) of the keyword arguments. Empty: anything is accepted."),
    )
    sensitive_parameters = models.JSONField(
        _("sensitive parameters"),
        default=list,
        blank=True,
        help_text=_("Names whose values are masked everywhere."),
    )
    countdown = models.FloatField(
        _("countdown"), null=True, blank=True, help_text=_("Seconds to wait before sending.")
    )
    expires = models.FloatField(
        _("expires"), null=True, blank=True, help_text=_("Seconds after which it is no longer run.")
    )
    time_limit = models.FloatField(
        _("time limit"), null=True, blank=True, help_text=_("Seconds; then it is killed.")
    )
    soft_time_limit = models.FloatField(
        _("soft time limit"), null=True, blank=True, help_text=_("Seconds; then the task is asked to stop.")
    )
    serializer = models.CharField(_("serializer"), max_length=16, blank=True)
    compression = models.CharField(_("compression"), max_length=16, blank=True)
    ignore_result = models.BooleanField(
        _("ignore result"), null=True, blank=True, help_text=_("Yes: the worker stores nothing.")
    )
    enabled = models.BooleanField(_("enabled"), default=True, help_text=_("Off: sending it is refused."))
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

    class Meta(WithTarget.Meta):
        verbose_name = _("task definition")
        verbose_name_plural = _("task definitions")
        ordering = ("name",)
        constraints = WithTarget.target_constraints("dispatch_task")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        try:
            Parameters.check_schema(self.parameters)
        except ConfigurationError as error:
            raise ValidationError({"parameters": str(error)}) from None
        names = self.sensitive_parameters
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValidationError(
                {"sensitive_parameters": _('Write a list of names, for example ["token"].')}
            )
        if re.search(r"\s", self.name):
            raise ValidationError({"name": _("Task names hold no spaces.")})

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the columns that are options of a call and fall back from call to definition."""
        return (
            "countdown",
            "expires",
            "time_limit",
            "soft_time_limit",
            "serializer",
            "compression",
            "ignore_result",
        )

    def options(self) -> dict[str, Any]:
        """Return the options that this definition sets."""
        values = {name: getattr(self, name) for name in self.option_names()}
        return {name: value for name, value in values.items() if value not in (None, "")}
