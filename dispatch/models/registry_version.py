"""What all rows of the registry share: one version for all of them, and natural keys."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from dispatch.core.routing import HIGHEST_PRIORITY
from dispatch.signals import registry_changed

_PRIORITY = MaxValueValidator(HIGHEST_PRIORITY, _("Priorities go from 0 to 255."))
PRIORITY_HELP = _(
    "The higher, the more urgent: up to 9 on Redis, up to the queue's highest priority on RabbitMQ."
)


def priority_field(label: Any, help_text: Any) -> models.PositiveSmallIntegerField[int | None, int | None]:
    """Return a column for a priority, NULL for none."""
    return models.PositiveSmallIntegerField(
        label, null=True, blank=True, validators=[_PRIORITY], help_text=help_text
    )


def priority_constraint(column: str, name: str) -> models.CheckConstraint:
    """Return the constraint that such a column holds one of AMQP's priorities, or none."""
    condition = Q(**{column: None}) | Q(**{f"{column}__lte": HIGHEST_PRIORITY})
    return models.CheckConstraint(condition=condition, name=name)


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
