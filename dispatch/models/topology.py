"""What the brokers hold: exchanges, queues, and the bindings between them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from dispatch.conf import DEFAULT_BROKER, conf
from dispatch.exceptions import ConfigurationError
from dispatch.models.database import ReadableJSON, TrueOrNull
from dispatch.models.registry_version import RegistryModel, priority_constraint, priority_field


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
    arguments = ReadableJSON(
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
        FANOUT = "fanout", _("fanout: to every bound queue, and as a broadcast to every worker")
        HEADERS = "headers", _("headers: the message's headers are matched (RabbitMQ)")

    type = models.CharField(_("type"), max_length=16, choices=Type, default=Type.DIRECT)
    broadcast = models.BooleanField(
        _("broadcast"),
        default=True,
        help_text=_("Of a fanout: each worker hears it by a queue of its own, beside those bound here."),
    )

    class Meta(OnBroker.Meta):
        verbose_name = _("exchange")
        verbose_name_plural = _("exchanges")

    def clean(self) -> None:
        super().clean()
        if self.type == self.Type.HEADERS and not conf.brokers[self.broker].has_exchanges:
            message = _(
                "Broker %(broker)s has no exchanges of its own, and nothing there matches headers: use a topic "
                "exchange, or a broker that speaks AMQP."
            )
            raise ValidationError({"type": message % {"broker": self.broker}})


class Queue(OnBroker):
    """A queue that workers consume.

    Names are unique over all brokers, so that ``queue="llm"`` in code names exactly one.
    """

    class Type(models.TextChoices):
        CLASSIC = "classic", _("classic")
        QUORUM = "quorum", _("quorum (RabbitMQ, replicated)")

    queue_type = models.CharField(_("queue type"), max_length=16, choices=Type, default=Type.CLASSIC)
    max_priority = priority_field(
        _("highest priority"),
        _("RabbitMQ keeps priorities only in queues that were declared with a highest one."),
    )
    default_priority = priority_field(
        _("default priority"),
        _("For messages without one: brokers disagree on what an unset priority means."),
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
        permissions = (
            ("declare_queue", "Can declare queues and tell workers of them"),
            ("pause_queue", "Can pause and resume queues"),
            ("purge_queue", "Can purge queues"),
        )
        constraints = (
            priority_constraint("max_priority", "dispatch_queue_max_priority"),
            priority_constraint("default_priority", "dispatch_queue_default_priority"),
        )

    def clean(self) -> None:
        super().clean()
        if "," in self.name:
            raise ValidationError({"name": _("Leave the comma out: celery worker -Q splits names there.")})
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
    arguments = ReadableJSON(
        _("arguments"),
        default=dict,
        blank=True,
        help_text=_(
            'For a headers exchange: the headers to match, for example {"x-match": "all", "format": "pdf"}.'
        ),
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
        if not isinstance(self.arguments, dict):
            raise ValidationError({"arguments": _('Write a JSON object, for example {"x-match": "all"}.')})
        if self.queue_id and self.exchange_id and self.queue.broker != self.exchange.broker:
            message = _(
                "Exchange %(exchange)s is on broker %(theirs)s, this queue on %(ours)s: they must share one."
            )
            raise ValidationError(
                message
                % {"exchange": self.exchange.name, "theirs": self.exchange.broker, "ours": self.queue.broker}
            )
