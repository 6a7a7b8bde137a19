from __future__ import annotations

import uuid

from django.db import models

from dispatch.api import HookedModel


class Tag(HookedModel):
    """A word that notes are found by; bulk operations on tags fire triggers too."""

    name = models.CharField(max_length=100, unique=True)
    colour = models.CharField(max_length=20, blank=True)
    weight = models.IntegerField(default=0)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Note(models.Model):
    """Something written down, of which the worker makes a summary."""

    class Kind(models.TextChoices):
        TEXT = "text", "text"
        AUDIO = "audio", "audio"
        LINK = "link", "link"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.TEXT)
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True, help_text="The text, or the links of a link note.")
    audio = models.CharField(
        "audio file", max_length=500, blank=True, help_text="Path of a WAV file that the worker can read."
    )
    summary = models.TextField(blank=True, help_text="Written by the worker.")
    failure = models.CharField(max_length=500, blank=True, help_text="Why the worker wrote no summary.")
    summarized_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="notes")

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.title
