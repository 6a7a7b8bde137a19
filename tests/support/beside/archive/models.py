"""Models as these packages' manuals write them; what fires triggers in bulk stands last among the querysets."""

from __future__ import annotations

from django.db import models
from polymorphic.managers import PolymorphicManager, PolymorphicQuerySet
from polymorphic.models import PolymorphicModel
from safedelete.config import SOFT_DELETE_CASCADE
from safedelete.managers import SafeDeleteAllManager, SafeDeleteManager
from safedelete.models import SafeDeleteModel
from safedelete.queryset import SafeDeleteQueryset
from simple_history.models import HistoricalRecords

from dispatch.api import HookedManager, HookedModel, HookedQuerySet


class WorkRows(PolymorphicQuerySet, HookedQuerySet):
    pass


class Work(PolymorphicModel):
    title = models.CharField(max_length=50)
    note = models.CharField(max_length=50, default="")
    objects = PolymorphicManager.from_queryset(WorkRows)()


class Film(Work):
    minutes = models.IntegerField(default=0)
    hours = models.GeneratedField(
        expression=models.F("minutes") / 60, output_field=models.IntegerField(), db_persist=True
    )


class Series(Film):
    episodes = models.IntegerField(default=0)


class Song(Work):
    bars = models.IntegerField(default=0)


class Topic(models.Model):
    name = models.CharField(max_length=50)


class Page(models.Model):
    title = models.CharField(max_length=50)
    topics = models.ManyToManyField(Topic)
    objects = HookedManager()
    history = HistoricalRecords(m2m_fields=[topics])


class Price(models.Model):
    """Its history fires triggers in bulk too."""

    amount = models.IntegerField(default=0)
    objects = HookedManager()
    history = HistoricalRecords(bases=[HookedModel])


class KeptRows(SafeDeleteQueryset, HookedQuerySet):
    pass


class Kept(SafeDeleteModel):
    name = models.CharField(max_length=50)
    objects = SafeDeleteManager.from_queryset(KeptRows)()
    all_objects = SafeDeleteAllManager.from_queryset(KeptRows)()

    class Meta:
        abstract = True


class Folder(Kept):
    _safedelete_policy = SOFT_DELETE_CASCADE


class Sheet(Kept):
    folder = models.ForeignKey(Folder, on_delete=models.CASCADE)
